//! What the operator asked for: plain data, one field a property.

use std::time::Duration;

use fal_client::signalling::{DialectChoice, EncodingChoice, Parameters};
use fal_client::{Auth, Secret};
use gst::glib;
use gst_webrtc::WebRTCICETransportPolicy;
use webrtc_live::Codec;

/// What comes out while no returned picture is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstFalWebRTCBinFallback")]
#[repr(i32)]
pub(crate) enum Fallback {
    #[default]
    #[enum_value(name = "The input, as it is", nick = "passthrough")]
    Passthrough = 0,
    #[enum_value(
        name = "The last returned picture; black before the first",
        nick = "hold"
    )]
    Hold = 1,
    #[enum_value(name = "Black", nick = "black")]
    Black = 2,
    #[enum_value(name = "Nothing; a source that can wait, waits", nick = "none")]
    None = 3,
}

/// How the signalling speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstFalWebRTCBinDialect")]
#[repr(i32)]
pub(crate) enum DialectSetting {
    #[default]
    #[enum_value(name = "Told from what the app says first", nick = "auto")]
    Auto = 0,
    #[enum_value(name = "The webcam demo's, also of most custom apps", nick = "yolo")]
    Yolo = 1,
    #[enum_value(name = "Daydream Scope's", nick = "scope")]
    Scope = 2,
    #[enum_value(
        name = "Hosted video models': the app waits for a first input",
        nick = "lucy"
    )]
    Lucy = 3,
    #[enum_value(name = "fal's HTTP sessions", nick = "wma")]
    Wma = 4,
}

impl From<DialectSetting> for DialectChoice {
    fn from(setting: DialectSetting) -> Self {
        match setting {
            DialectSetting::Auto => Self::Auto,
            DialectSetting::Yolo => Self::Yolo,
            DialectSetting::Scope => Self::Scope,
            DialectSetting::Lucy => Self::Lucy,
            DialectSetting::Wma => Self::Wma,
        }
    }
}

/// How messages are written, where a dialect knows two ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstFalWebRTCBinEncoding")]
#[repr(i32)]
pub(crate) enum EncodingSetting {
    #[default]
    #[enum_value(name = "As the app's first message is", nick = "auto")]
    Auto = 0,
    #[enum_value(name = "JSON in text messages", nick = "json")]
    Json = 1,
    #[enum_value(name = "MessagePack in binary messages", nick = "msgpack")]
    Msgpack = 2,
}

impl From<EncodingSetting> for EncodingChoice {
    fn from(setting: EncodingSetting) -> Self {
        match setting {
            EncodingSetting::Auto => Self::Auto,
            EncodingSetting::Json => Self::Json,
            EncodingSetting::Msgpack => Self::Msgpack,
        }
    }
}

/// How a connection shows that it may be made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstFalWebRTCBinAuth")]
#[repr(i32)]
pub(crate) enum AuthSetting {
    #[default]
    #[enum_value(
        name = "A short-lived token, made with the key for each connection",
        nick = "token"
    )]
    Token = 0,
    #[enum_value(name = "The key itself, in a header of the handshake", nick = "header")]
    Header = 1,
    #[enum_value(name = "Nothing: the app is public", nick = "none")]
    None = 2,
}

impl From<AuthSetting> for Auth {
    fn from(setting: AuthSetting) -> Self {
        match setting {
            AuthSetting::Header => Self::Header,
            AuthSetting::Token => Self::Token,
            AuthSetting::None => Self::None,
        }
    }
}

/// Everything that was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Unset leaves token and socket to the application.
    pub(crate) app_id: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) api_key: Option<Secret>,
    pub(crate) run_url: String,
    pub(crate) rest_url: String,
    pub(crate) wma_url: String,
    pub(crate) dialect: DialectSetting,
    pub(crate) encoding: EncodingSetting,
    pub(crate) auth: AuthSetting,
    pub(crate) user_id: Option<String>,
    pub(crate) stun_server: Option<String>,
    pub(crate) turn_servers: Vec<Secret>,
    pub(crate) ice_transport_policy: WebRTCICETransportPolicy,
    pub(crate) codecs: Vec<Codec>,
    pub(crate) queue_size: u32,
    pub(crate) fallback: Fallback,
    /// Of the jitter buffer.
    pub(crate) latency: Duration,
    /// Zero is no bound.
    pub(crate) max_latency: Duration,
    /// Bit/s.
    pub(crate) min_bitrate: u32,
    /// Bit/s.
    pub(crate) max_bitrate: u32,
    pub(crate) connect_timeout: Duration,
    pub(crate) media_timeout: Duration,
    /// Zero is no bound.
    pub(crate) max_session_duration: Duration,
    /// Zero is no bound.
    pub(crate) max_idle: Duration,
    pub(crate) parameters: Parameters,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            app_id: None,
            path: None,
            api_key: None,
            run_url: "wss://fal.run".into(),
            rest_url: "https://rest.fal.ai".into(),
            wma_url: "https://wma.fal.run".into(),
            dialect: DialectSetting::default(),
            encoding: EncodingSetting::default(),
            auth: AuthSetting::default(),
            user_id: None,
            stun_server: Some(Self::STUN.into()),
            turn_servers: Vec::new(),
            ice_transport_policy: WebRTCICETransportPolicy::All,
            codecs: Codec::ALL.into(),
            queue_size: 2,
            fallback: Fallback::default(),
            latency: Duration::from_millis(80),
            max_latency: Duration::from_millis(1500),
            min_bitrate: 150_000,
            max_bitrate: 8_000_000,
            connect_timeout: Duration::from_secs(180),
            media_timeout: Duration::from_secs(5),
            max_session_duration: Duration::ZERO,
            max_idle: Duration::ZERO,
            parameters: Parameters::new(),
        }
    }
}

impl Settings {
    /// Merges a patch of live controls; nulls say nothing.
    ///
    /// # Errors
    ///
    /// A sentence saying what is wrong, and then nothing has changed.
    pub(crate) fn apply(&mut self, json: &str) -> Result<Parameters, String> {
        let text = Some(json.trim())
            .filter(|text| !text.is_empty())
            .unwrap_or("{}");
        let patch = match serde_json::from_str(text) {
            Ok(serde_json::Value::Object(patch)) => patch,
            Ok(_) => {
                return Err("parameters are a JSON object, e.g. {\"prompt\": \"night\"}".into());
            }
            Err(error) => return Err(format!("the parameters are no JSON: {error}")),
        };
        // The app judges its own controls. This one means the same everywhere, and here too: see `is_paused`.
        if patch
            .get("paused")
            .is_some_and(|paused| !paused.is_boolean() && !paused.is_null())
        {
            return Err("`paused` must be true or false".into());
        }
        for (name, value) in patch.iter().filter(|(_, value)| !value.is_null()) {
            self.parameters.insert(name.clone(), value.clone());
        }
        Ok(patch)
    }

    /// The app id with its path, as the HTTP dialect says it in every request.
    pub(crate) fn app_with_path(&self) -> String {
        let app = self.app_id.clone().unwrap_or_default();
        match self
            .path
            .as_deref()
            .map(|path| path.trim_matches('/'))
            .filter(|path| !path.is_empty())
        {
            Some(path) => format!("{}/{path}", app.trim_end_matches('/')),
            None => app,
        }
    }

    /// What fal's own clients ask for their public address.
    pub(crate) const STUN: &str = "stun://stun.l.google.com:19302";

    /// The server to ask. An app on this very machine needs none, so nobody outside is asked by default.
    pub(crate) fn stun(&self) -> Option<String> {
        let host = self.run_url.split("://").nth(1).unwrap_or_default();
        let here = ["127.", "localhost", "[::1]"]
            .iter()
            .any(|local| host.starts_with(local));
        let asked = self.stun_server.clone();
        asked.filter(|server| !here || server != Self::STUN)
    }

    /// A paused app sends no pictures, and that is no fault.
    pub(crate) fn is_paused(&self) -> bool {
        self.parameters
            .get("paused")
            .and_then(serde_json::Value::as_bool)
            == Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_merge_and_nulls_say_nothing() {
        let mut settings = Settings::default();
        settings.apply(r#"{"a": 1, "b": {"c": 2}}"#).unwrap();
        settings.apply(r#"{"b": null, "a": 3}"#).unwrap();

        assert_eq!(
            serde_json::Value::Object(settings.parameters).to_string(),
            r#"{"a":3,"b":{"c":2}}"#
        );
    }

    #[test]
    fn an_app_on_this_machine_needs_no_stun_server() {
        let mut settings = Settings::default();
        assert_eq!(settings.stun().as_deref(), Some(Settings::STUN));
        settings.run_url = "ws://127.0.0.1:9000".into();
        assert_eq!(settings.stun(), None);
        settings.stun_server = Some("stun://here:3478".into());
        assert_eq!(settings.stun().as_deref(), Some("stun://here:3478"));
    }

    #[test]
    fn what_is_no_object_is_refused_and_changes_nothing() {
        let mut settings = Settings::default();
        for wrong in ["[1]", "7", "{", r#"{"a":1,"paused":"perhaps"}"#] {
            assert!(settings.apply(wrong).is_err(), "{wrong}");
        }
        assert!(settings.parameters.is_empty());
        assert!(settings.apply("  ").unwrap().is_empty());
    }
}

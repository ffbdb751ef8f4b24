//! ParamSpecs ↔ [`Settings`], both directions. Defaults come from the settings alone.

use std::sync::LazyLock;
use std::time::Duration;

use fal_client::Secret;
use gst::glib;
use gst::prelude::*;
use webrtc_live::Codec;

use super::imp::FalWebRTCBin;
use super::settings::Settings;

pub(crate) static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
    let mut all = far_end();
    all.extend(media());
    all.extend(bounds());
    all.extend(live());
    all
});

fn text(
    name: &'static str,
    nick: &'static str,
    blurb: &'static str,
    default: Option<&'static str>,
) -> glib::ParamSpec {
    let spec = glib::ParamSpecString::builder(name)
        .nick(nick)
        .blurb(blurb)
        .mutable_ready();
    spec.default_value(default).build()
}

/// Where pictures go, and how one gets there.
fn far_end() -> Vec<glib::ParamSpec> {
    use fal_client::Endpoints;
    let defaults = Settings::default();
    vec![
        text("app-id", "App", "The fal app, owner/app; unset leaves token and socket to the application (signalling-send)", None),
        text("path", "Path", "Path of the app's endpoint; unset takes the dialect's (/webrtc, /realtime, /ws)", None),
        glib::ParamSpecString::builder("api-key")
            .nick("API key")
            .blurb("The fal API key; unset takes FAL_KEY, FAL_KEY_ID and FAL_KEY_SECRET, or FAL_API_KEY from the environment")
            .write_only()
            .mutable_ready()
            .build(),
        text("run-url", "Run URL", "Where sockets are opened", Some(Endpoints::RUN_URL)),
        text("rest-url", "REST URL", "Where tokens are made", Some(Endpoints::REST_URL)),
        text("wma-url", "WMA URL", "Where the dialect wma makes its sessions", Some(Endpoints::WMA_URL)),
        glib::ParamSpecEnum::builder_with_default("dialect", defaults.dialect)
            .nick("Dialect")
            .blurb("The signalling that the app speaks")
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("encoding", defaults.encoding)
            .nick("Encoding")
            .blurb("How signalling messages are written")
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("auth", defaults.auth)
            .nick("Authentication")
            .blurb("How a connection shows that it may be made")
            .mutable_ready()
            .build(),
        text("user-id", "User", "Told to apps that ask who the user is (dialect scope)", None),
        text("stun-server", "STUN server", "stun://host:port, or empty for none; the default is not asked for an app on this machine", Some(Settings::STUN)),
        gst::ParamSpecArray::builder("turn-servers")
            .nick("TURN servers")
            .blurb("turn(s)://user:password@host:port, any number; write only, because of the passwords")
            .element_spec(&glib::ParamSpecString::builder("turn-server").nick("TURN server").blurb("turn(s)://user:password@host:port").build())
            .write_only()
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("ice-transport-policy", defaults.ice_transport_policy)
            .nick("ICE transport policy")
            .blurb("all, or relay: nothing but the way through a TURN server")
            .mutable_ready()
            .build(),
    ]
}

/// How pictures travel.
fn media() -> Vec<glib::ParamSpec> {
    let defaults = Settings::default();
    vec![
        text(
            "codecs",
            "Codecs",
            "vp8, h264, or both with a comma; the first that the app knows is used both ways",
            Some("vp8,h264"),
        ),
        unsigned(
            "queue-size",
            "Queue size",
            "Pictures that may wait in each direction; the oldest is dropped for a new one",
            (1, 240),
            defaults.queue_size,
            false,
        ),
        glib::ParamSpecEnum::builder_with_default("fallback", defaults.fallback)
            .nick("Fallback")
            .blurb("What comes out while no returned picture is there")
            .mutable_playing()
            .build(),
        unsigned(
            "latency",
            "Jitter buffer",
            "How long a lost packet is waited for, milliseconds",
            (0, 5000),
            milliseconds(defaults.latency),
            false,
        ),
        unsigned(
            "min-bitrate",
            "Lowest bit rate",
            "Of the video sent, and of what the app is asked to send, bit/s",
            (1, u32::MAX),
            defaults.min_bitrate,
            false,
        ),
        unsigned(
            "max-bitrate",
            "Highest bit rate",
            "Of the video sent, and of what the app is asked to send, bit/s",
            (1, u32::MAX),
            defaults.max_bitrate,
            false,
        ),
    ]
}

/// What may take how long, and cost how much.
fn bounds() -> Vec<glib::ParamSpec> {
    let defaults = Settings::default();
    const DAY: u32 = 86_400;
    vec![
        unsigned(
            "max-latency",
            "Longest round trip",
            "Fewer pictures are sent while there and back takes longer, milliseconds; 0 sends all",
            (0, 60_000),
            milliseconds(defaults.max_latency),
            false,
        ),
        unsigned(
            "connect-timeout",
            "Connect timeout",
            "For one attempt from its start to the first picture, a cold start included, seconds",
            (1, DAY),
            seconds(defaults.connect_timeout),
            false,
        ),
        unsigned(
            "media-timeout",
            "Media timeout",
            "A connection that brings no picture for so long is made anew, seconds; 0 never",
            (0, DAY),
            seconds(defaults.media_timeout),
            true,
        ),
        unsigned(
            "max-session-duration",
            "Longest session",
            "The remote session is ended after so long, reconnections included, seconds; 0 never. reconnect-now begins another",
            (0, 30 * DAY),
            seconds(defaults.max_session_duration),
            true,
        ),
        unsigned(
            "max-idle",
            "Longest idle time",
            "The remote session is ended when no picture comes in for so long, seconds; 0 never. The next picture begins another",
            (0, 30 * DAY),
            seconds(defaults.max_idle),
            true,
        ),
    ]
}

/// What may be said, and read, at any time.
fn live() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecString::builder("parameters")
            .nick("Parameters")
            .blurb("JSON object of the app's live controls, told with the offer and after; reads back what is in force")
            .default_value(Some("{}"))
            .mutable_playing()
            .build(),
        glib::ParamSpecString::builder("stage")
            .nick("Stage")
            .blurb("idle, token, socket, starting-runner, negotiating, live, reconnecting or failed; notifies, and message connection-stage tells more")
            .default_value(Some("idle"))
            .read_only()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb("frames-in, frames-out, frames-dropped, frames-sent, frames-returned, frames-lost, rates, round-trip, bit rates, loss, reconnects, stage; since READY")
            .read_only()
            .build(),
    ]
}

fn unsigned(
    name: &'static str,
    nick: &'static str,
    blurb: &'static str,
    range: (u32, u32),
    default: u32,
    playing: bool,
) -> glib::ParamSpec {
    let spec = glib::ParamSpecUInt::builder(name)
        .nick(nick)
        .blurb(blurb)
        .minimum(range.0)
        .maximum(range.1)
        .default_value(default);
    if playing {
        spec.mutable_playing().build()
    } else {
        spec.mutable_ready().build()
    }
}

fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

/// Writes a property.
///
/// # Errors
///
/// A sentence, and nothing has changed.
pub(crate) fn set(settings: &mut Settings, name: &str, value: &glib::Value) -> Result<(), String> {
    fn typed<'a, T: glib::value::FromValue<'a>>(value: &'a glib::Value) -> T {
        value
            .get()
            .unwrap_or_else(|_| unreachable!("GObject checks a value against its ParamSpec"))
    }
    let text = foreign_text::text(value).map_err(|error| error.to_string())?;
    let text = || {
        text.map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
    };
    let number = || value.get::<u32>().unwrap_or_default();
    let in_seconds = || Duration::from_secs(number().into());
    let in_milliseconds = || Duration::from_millis(number().into());
    let defaults = Settings::default();
    match name {
        "app-id" => {
            if let Some(id) = text() {
                id.parse::<fal_client::AppId>()
                    .map_err(|error| error.to_string())?;
            }
            settings.app_id = text();
        }
        "path" => settings.path = text(),
        "api-key" => settings.api_key = text().map(Secret::new),
        "run-url" => settings.run_url = text().unwrap_or(defaults.run_url),
        "rest-url" => settings.rest_url = text().unwrap_or(defaults.rest_url),
        "wma-url" => settings.wma_url = text().unwrap_or(defaults.wma_url),
        "dialect" => settings.dialect = typed(value),
        "encoding" => settings.encoding = typed(value),
        "auth" => settings.auth = typed(value),
        "user-id" => settings.user_id = text(),
        "stun-server" => settings.stun_server = text(),
        "turn-servers" => {
            let servers = typed::<gst::Array>(value);
            let servers = servers.iter().map(|server| foreign_text::text(server));
            let servers = servers.collect::<Result<Vec<_>, _>>();
            let servers = servers.map_err(|error| error.to_string())?;
            let servers = servers.into_iter().flatten();
            settings.turn_servers = servers.map(Secret::new).collect();
        }
        "ice-transport-policy" => settings.ice_transport_policy = typed(value),
        "codecs" => settings.codecs = Codec::list(&text().unwrap_or_default())?,
        "queue-size" => settings.queue_size = number(),
        "fallback" => settings.fallback = typed(value),
        "latency" => settings.latency = in_milliseconds(),
        "min-bitrate" => settings.min_bitrate = number(),
        "max-bitrate" => settings.max_bitrate = number(),
        "max-latency" => settings.max_latency = in_milliseconds(),
        "connect-timeout" => settings.connect_timeout = in_seconds(),
        "media-timeout" => settings.media_timeout = in_seconds(),
        "max-session-duration" => settings.max_session_duration = in_seconds(),
        "max-idle" => settings.max_idle = in_seconds(),
        other => unreachable!("GObject writes only the properties listed, and `{other}` is none"),
    }
    Ok(())
}

/// Reads a property of the settings. `None` for those that describe the running element.
pub(crate) fn get(settings: &Settings, name: &str) -> Option<glib::Value> {
    Some(match name {
        "app-id" => settings.app_id.to_value(),
        "path" => settings.path.to_value(),
        "run-url" => settings.run_url.to_value(),
        "rest-url" => settings.rest_url.to_value(),
        "wma-url" => settings.wma_url.to_value(),
        "dialect" => settings.dialect.to_value(),
        "encoding" => settings.encoding.to_value(),
        "auth" => settings.auth.to_value(),
        "user-id" => settings.user_id.to_value(),
        "stun-server" => settings.stun_server.to_value(),
        "ice-transport-policy" => settings.ice_transport_policy.to_value(),
        "codecs" => settings
            .codecs
            .iter()
            .map(|codec| codec.word())
            .collect::<Vec<_>>()
            .join(",")
            .to_value(),
        "queue-size" => settings.queue_size.to_value(),
        "fallback" => settings.fallback.to_value(),
        "latency" => milliseconds(settings.latency).to_value(),
        "min-bitrate" => settings.min_bitrate.to_value(),
        "max-bitrate" => settings.max_bitrate.to_value(),
        "max-latency" => milliseconds(settings.max_latency).to_value(),
        "connect-timeout" => seconds(settings.connect_timeout).to_value(),
        "media-timeout" => seconds(settings.media_timeout).to_value(),
        "max-session-duration" => seconds(settings.max_session_duration).to_value(),
        "max-idle" => seconds(settings.max_idle).to_value(),
        "parameters" => serde_json::Value::Object(settings.parameters.clone())
            .to_string()
            .to_value(),
        _ => return None,
    })
}

impl FalWebRTCBin {
    /// Property `stats`.
    pub(super) fn stats(&self) -> gst::Structure {
        let (meter, now) = (self.flow.meter(), self.flow.now());
        let progress = self.progress.lock().unwrap();
        let stage = progress.stage.unwrap_or("idle");
        let in_stage = if progress.stage.is_some() {
            now.saturating_sub(progress.since)
        } else {
            Duration::ZERO
        };
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        gst::Structure::builder("application/x-falwebrtcbin-stats")
            .field("frames-in", meter.input.total())
            .field("frames-out", meter.output.total())
            .field("frames-dropped", meter.dropped)
            .field("frames-sent", meter.sent.total())
            .field("frames-returned", meter.returned.total())
            .field("frames-fallback", meter.fallback)
            .field("frames-lost", meter.lost_pictures)
            .field("fps-in", meter.input.per_second(now))
            .field("fps-sent", meter.sent.per_second(now))
            .field("fps-returned", meter.returned.per_second(now))
            .field("fps-out", meter.output.per_second(now))
            .field(
                "round-trip",
                meter.round_trip.quantile(0.5).map_or(0, nanoseconds),
            )
            .field(
                "round-trip-worst",
                meter.round_trip.quantile(0.95).map_or(0, nanoseconds),
            )
            .field("timestamps-kept", self.flow.keeps_timestamps())
            .field_if_some("fps-limit", self.flow.limit())
            .field("bitrate-sent", meter.network.sent)
            .field("bitrate-received", meter.network.received)
            .field("bitrate-target", meter.network.target)
            .field("bitrate-limit", meter.network.limit)
            .field("loss-sent", meter.network.loss)
            .field("loss-received", meter.network.loss_received)
            .field("bits-sent", meter.sent_bits)
            .field("bits-received", meter.received_bits)
            .field("packets-lost", meter.lost)
            .field("reconnects", meter.reconnects)
            .field("stage", stage)
            .field("stage-time", nanoseconds(in_stage))
            .field_if_some("reason", progress.reason.as_deref())
            .build()
    }
}

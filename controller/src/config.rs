//! What the operator asked for: file, environment and command line, checked once.
//!
//! [`RawConfig`] is what was written down, [`Config`] what it means. The later of these wins: default, file,
//! environment, command line. Every environment variable is named in [`mod@env`], and nowhere else.

mod cloud;
mod ice;
mod recording;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;

pub use cloud::{CloudConfig, RawCloud};
pub use ice::{IceServer, IceTransportPolicy, OwnIce};
pub use recording::{RawRecording, RecordingConfig};

use crate::secret::Secret;

/// The environment variables this program reads.
pub mod env {
    /// Token that every request under `/api` must carry.
    pub const TOKEN: &str = "SCOPE_TOKEN";
    /// Host names to answer to, separated by commas.
    pub const ALLOWED_HOSTS: &str = "SCOPE_ALLOWED_HOSTS";
    /// Largest message of a WebSocket, MiB.
    pub const SOCKET_MESSAGE: &str = "SCOPE_SOCKET_MESSAGE_MIB";
    /// How long a WebSocket may last, seconds.
    pub const SOCKET_SECONDS: &str = "SCOPE_SOCKET_SECONDS";
    /// What to log, in `tracing`'s filter language.
    pub const LOG: &str = "SCOPE_LOG";
    /// Base folder of models and assets.
    pub const BASE_DIR: &str = "DAYDREAM_SCOPE_DIR";
    /// Folder of model folders.
    pub const MODELS_DIR: &str = "DAYDREAM_SCOPE_MODELS_DIR";
    /// Folder of uploaded files.
    pub const ASSETS_DIR: &str = "DAYDREAM_SCOPE_ASSETS_DIR";
    /// Folder of recordings.
    pub const RECORDINGS_DIR: &str = "DAYDREAM_SCOPE_RECORDINGS_DIR";
    /// How glibc's allocator is told to give memory back, which reads it at its start.
    pub const HEAPS: [(&str, &str); 3] = [
        ("MALLOC_ARENA_MAX", "2"),
        ("MALLOC_MMAP_THRESHOLD_", "1048576"),
        ("MALLOC_TRIM_THRESHOLD_", "1048576"),
    ];
    /// Pipeline to load at start.
    pub const PRELOAD: &str = "PIPELINE";
    /// Where the base folder goes when nothing says otherwise.
    pub const HOME: &str = "HOME";
    /// Where programs keep their data, when it is not `~/.local/share`.
    pub const DATA_HOME: &str = "XDG_DATA_HOME";
    /// Set when there is a screen to open a browser on.
    pub const SCREENS: [&str; 2] = ["WAYLAND_DISPLAY", "DISPLAY"];
    pub use super::cloud::{API_KEY as CLOUD_API_KEY, APP_ID as CLOUD_APP_ID, KEY_HALVES};
    /// GStreamer's own log selection; ours steps back when it is set.
    pub const GST_DEBUG: &str = "GST_DEBUG";
}

/// What this program was built from, when the build said so in `SCOPE_GIT_COMMIT`.
pub const GIT_COMMIT: &str = match option_env!("SCOPE_GIT_COMMIT") {
    Some(commit) => commit,
    None => "not recorded in this build",
};

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file named by `--config` cannot be read.
    #[error("the configuration `{}` cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML, or has an unknown key or a wrong type.
    #[error("the configuration `{}` is wrong: {message}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Line, key and reason.
        message: String,
    },
    /// An environment variable that must be a number is none.
    #[error("{name} must be a whole number, not `{value}`")]
    NoNumber {
        /// The variable.
        name: &'static str,
        /// What it holds.
        value: String,
    },
    /// The page's folder is no folder with an `index.html`.
    #[error("the frontend folder `{}` holds no index.html", .0.display())]
    NoFrontend(PathBuf),
    /// Media may only take a way that is not there.
    #[error("ice_transport_policy is `relay`, and ice_servers names no TURN server")]
    NoRelay,
}

impl ConfigError {
    /// What to do next.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "check the path given with --config",
            Self::NoNumber { .. } => "correct the variable, or unset it",
            Self::Wrong { .. } => "compare with controller.toml, which shows every key",
            Self::NoRelay => {
                "add one with a `turn:` URL to [[ice_servers]], or leave the policy at `all`"
            }
            Self::NoFrontend(_) => {
                "give --frontend-dir the folder of a built page, or leave it out"
            }
        }
    }
}

/// What was written down, in one place or another. See `controller.toml` for each key.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "controller.toml documents each key")]
pub struct RawConfig {
    pub host: Option<String>,
    pub port: Option<u16>,
    pub token: Option<Secret>,
    pub allowed_hosts: Option<Vec<String>>,
    pub frontend_dir: Option<PathBuf>,
    pub models_dir: Option<PathBuf>,
    pub assets_dir: Option<PathBuf>,
    pub preload: Option<String>,
    pub upload_limit_mib: Option<u64>,
    pub max_sessions: Option<usize>,
    pub socket_message_mib: Option<usize>,
    pub socket_seconds: Option<u64>,
    pub media_addresses: Option<Vec<IpAddr>>,
    pub jitter_buffer_ms: Option<u32>,
    pub log: Option<String>,
    pub ice_servers: Option<Vec<IceServer>>,
    pub ice_transport_policy: Option<IceTransportPolicy>,
    #[serde(default)]
    pub recording: RawRecording,
    #[serde(default)]
    pub cloud: RawCloud,
}

impl RawConfig {
    /// Reads a configuration file.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.into(),
            source,
        })?;
        toml::from_str(&text).map_err(|err| ConfigError::Wrong {
            path: path.into(),
            message: err.message().to_owned(),
        })
    }

    /// Reads the environment through `get`; an empty variable counts as unset.
    pub fn from_env(get: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        let list = |text: String| text.split(',').map(|item| item.trim().to_owned()).collect();
        let base = get(env::BASE_DIR).map(PathBuf::from);
        let folder = |name: &str, child: &str| {
            get(name)
                .map(PathBuf::from)
                .or_else(|| base.as_ref().map(|base| base.join(child)))
        };
        Ok(Self {
            token: get(env::TOKEN).map(Secret::new),
            allowed_hosts: get(env::ALLOWED_HOSTS).map(list),
            socket_message_mib: number(env::SOCKET_MESSAGE, get(env::SOCKET_MESSAGE))?,
            socket_seconds: number(env::SOCKET_SECONDS, get(env::SOCKET_SECONDS))?,
            models_dir: folder(env::MODELS_DIR, "models"),
            assets_dir: folder(env::ASSETS_DIR, "assets"),
            recording: RawRecording {
                dir: folder(env::RECORDINGS_DIR, "recordings"),
                ..RawRecording::default()
            },
            preload: get(env::PRELOAD),
            log: get(env::LOG),
            cloud: RawCloud::from_env(get),
            ..Self::default()
        })
    }

    /// These values, except where `later` says something.
    pub fn overridden_by(self, later: Self) -> Self {
        Self {
            host: later.host.or(self.host),
            port: later.port.or(self.port),
            token: later.token.or(self.token),
            allowed_hosts: later.allowed_hosts.or(self.allowed_hosts),
            frontend_dir: later.frontend_dir.or(self.frontend_dir),
            models_dir: later.models_dir.or(self.models_dir),
            assets_dir: later.assets_dir.or(self.assets_dir),
            preload: later.preload.or(self.preload),
            upload_limit_mib: later.upload_limit_mib.or(self.upload_limit_mib),
            max_sessions: later.max_sessions.or(self.max_sessions),
            socket_message_mib: later.socket_message_mib.or(self.socket_message_mib),
            socket_seconds: later.socket_seconds.or(self.socket_seconds),
            media_addresses: later.media_addresses.or(self.media_addresses),
            jitter_buffer_ms: later.jitter_buffer_ms.or(self.jitter_buffer_ms),
            log: later.log.or(self.log),
            ice_servers: later.ice_servers.or(self.ice_servers),
            ice_transport_policy: later.ice_transport_policy.or(self.ice_transport_policy),
            recording: self.recording.overridden_by(later.recording),
            cloud: self.cloud.overridden_by(later.cloud),
        }
    }
}

/// Reads a variable that holds a number, where it is set.
fn number<T: FromStr>(name: &'static str, value: Option<String>) -> Result<Option<T>, ConfigError> {
    let Some(value) = value else { return Ok(None) };
    match value.trim().parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(ConfigError::NoNumber { name, value }),
    }
}

/// The configuration, whole and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Name or address to listen on.
    pub host: String,
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// Required from every caller of `/api` when set.
    pub token: Option<Secret>,
    /// Host names we answer to besides loopback, `name` or `name:port`.
    pub allowed_hosts: Vec<String>,
    /// A folder to serve in place of the built-in page.
    pub frontend_dir: Option<PathBuf>,
    /// Folder of model folders.
    pub models_dir: PathBuf,
    /// Folder of uploaded files.
    pub assets_dir: PathBuf,
    /// Pipeline to load at start.
    pub preload: Option<String>,
    /// Largest upload, bytes.
    pub upload_limit: u64,
    /// Sessions that may be open at once.
    pub max_sessions: usize,
    /// Largest message of a WebSocket, bytes.
    pub socket_message: usize,
    /// How long a WebSocket may last, seconds; 0 is for ever.
    pub socket_seconds: u64,
    /// Addresses media is exchanged at; empty is every address of the machine.
    pub media_addresses: Vec<IpAddr>,
    /// How long a lost packet may be waited for, milliseconds.
    pub jitter_buffer_ms: u32,
    /// What to log, in `tracing`'s filter language.
    pub log: String,
    /// Handed to the browser; empty contacts nobody.
    pub ice_servers: Vec<IceServer>,
    /// The same for our own side.
    pub own_ice: OwnIce,
    /// Where recordings lie and how much of them is kept.
    pub recording: RecordingConfig,
    /// The app in the cloud, if any.
    pub cloud: CloudConfig,
}

impl Config {
    /// Fills in the defaults; `home` is where `~` is.
    pub fn new(raw: RawConfig, home: &Path) -> Result<Self, ConfigError> {
        let base = home.join(".daydream-scope");
        if let Some(dir) = raw
            .frontend_dir
            .as_ref()
            .filter(|dir| !dir.join("index.html").is_file())
        {
            return Err(ConfigError::NoFrontend(dir.clone()));
        }
        let ice_servers = raw.ice_servers.unwrap_or_default();
        let own_ice = OwnIce::new(&ice_servers, raw.ice_transport_policy.unwrap_or_default());
        if own_ice.policy == IceTransportPolicy::Relay && own_ice.turn_servers.is_empty() {
            return Err(ConfigError::NoRelay);
        }
        Ok(Self {
            host: raw.host.unwrap_or_else(|| "127.0.0.1".into()),
            port: raw.port.unwrap_or(8000),
            token: raw.token.filter(|token| !token.expose().is_empty()),
            allowed_hosts: raw.allowed_hosts.unwrap_or_default(),
            frontend_dir: raw.frontend_dir,
            models_dir: raw.models_dir.unwrap_or_else(|| base.join("models")),
            assets_dir: raw.assets_dir.unwrap_or_else(|| base.join("assets")),
            preload: raw.preload,
            upload_limit: raw.upload_limit_mib.unwrap_or(2048).saturating_mul(1 << 20),
            max_sessions: raw.max_sessions.unwrap_or(8),
            socket_message: raw.socket_message_mib.unwrap_or(32).clamp(1, 1024) << 20,
            socket_seconds: raw.socket_seconds.unwrap_or(0),
            media_addresses: raw.media_addresses.unwrap_or_default(),
            jitter_buffer_ms: raw.jitter_buffer_ms.unwrap_or(80),
            log: raw.log.unwrap_or_else(|| "info".into()),
            ice_servers,
            cloud: CloudConfig::new(raw.cloud, &own_ice),
            own_ice,
            recording: RecordingConfig::new(raw.recording, &base),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTED: &str = include_str!("../controller.toml");

    fn config(raw: RawConfig) -> Config {
        Config::new(raw, Path::new("/home/ada")).unwrap()
    }

    #[test]
    fn controller_toml_as_it_stands_says_the_defaults() {
        let raw: RawConfig = toml::from_str(DOCUMENTED).unwrap();

        assert_eq!(config(raw), config(RawConfig::default()));
    }

    #[test]
    fn controller_toml_shows_every_key() {
        // A setting that is off is written `#key = …`, without a space; prose has one.
        let all: String = DOCUMENTED
            .lines()
            .map(|line| {
                line.strip_prefix('#')
                    .filter(|rest| !rest.starts_with(' '))
                    .unwrap_or(line)
            })
            .flat_map(|line| [line, "\n"])
            .collect();

        let raw: RawConfig = toml::from_str(&all).unwrap();

        let RawConfig {
            host: Some(_),
            port: Some(_),
            token: Some(_),
            allowed_hosts: Some(_),
            frontend_dir: Some(_),
            models_dir: Some(_),
            assets_dir: Some(_),
            preload: Some(_),
            upload_limit_mib: Some(_),
            max_sessions: Some(_),
            socket_message_mib: Some(_),
            socket_seconds: Some(_),
            media_addresses: Some(_),
            jitter_buffer_ms: Some(_),
            log: Some(_),
            ice_servers: Some(_),
            ice_transport_policy: Some(_),
            recording:
                RawRecording {
                    dir: Some(_),
                    keep_hours: Some(_),
                    total_mib: Some(_),
                    spare_mib: Some(_),
                },
            cloud:
                RawCloud {
                    app_id: Some(_),
                    api_key: Some(_),
                    path: Some(_),
                    dialect: Some(_),
                    auth: Some(_),
                    run_url: Some(_),
                    rest_url: Some(_),
                    fallback_to_local: Some(_),
                    max_session_minutes: Some(_),
                    max_idle_minutes: Some(_),
                },
        } = raw
        else {
            panic!("controller.toml leaves a key out: {raw:?}");
        };
    }

    #[test]
    fn a_folder_of_its_own_beats_the_base_folder() {
        let raw = RawConfig::from_env(|name| match name {
            env::BASE_DIR => Some("/data".into()),
            env::ASSETS_DIR => Some("/pictures".into()),
            _ => None,
        })
        .unwrap();

        assert_eq!(raw.models_dir, Some("/data/models".into()));
        assert_eq!(raw.recording.dir, Some("/data/recordings".into()));
        assert_eq!(raw.assets_dir, Some("/pictures".into()));
    }

    #[test]
    fn the_command_line_beats_the_environment_and_the_environment_the_file() {
        let file = RawConfig {
            preload: Some("a".into()),
            port: Some(1),
            ..RawConfig::default()
        };
        let environment = RawConfig {
            preload: Some("b".into()),
            ..RawConfig::default()
        };
        let line = RawConfig {
            port: Some(2),
            ..RawConfig::default()
        };

        let config = config(file.overridden_by(environment).overridden_by(line));

        assert_eq!((config.preload.as_deref(), config.port), (Some("b"), 2));
    }

    #[test]
    fn hosts_and_limits_come_from_the_environment_too() {
        let raw = RawConfig::from_env(|name| match name {
            env::ALLOWED_HOSTS => Some("scope.example, localhost:3000".into()),
            env::SOCKET_MESSAGE => Some("3".into()),
            env::SOCKET_SECONDS => Some(" 7200 ".into()),
            _ => None,
        });

        let config = config(raw.unwrap());
        assert_eq!(config.allowed_hosts, ["scope.example", "localhost:3000"]);
        assert_eq!(
            (config.socket_message, config.socket_seconds),
            (3 << 20, 7200)
        );
    }

    #[test]
    fn a_limit_that_is_no_number_is_named() {
        let refused =
            RawConfig::from_env(|name| (name == env::SOCKET_SECONDS).then(|| "2h".into()));

        let err = refused.unwrap_err();
        assert_eq!(
            err.to_string(),
            "SCOPE_SOCKET_SECONDS must be a whole number, not `2h`"
        );
    }

    #[test]
    fn relays_alone_need_a_relay() {
        let raw: RawConfig = toml::from_str(
            "ice_transport_policy = \"relay\"\n[[ice_servers]]\nurls = [\"stun:a.example\"]\n",
        )
        .unwrap();

        let err = Config::new(raw, Path::new("/home/ada")).unwrap_err();
        assert!(matches!(err, ConfigError::NoRelay) && err.remedy().contains("turn:"));
    }

    #[test]
    fn an_empty_token_is_no_token() {
        let raw = RawConfig {
            token: Some(Secret::new("")),
            ..RawConfig::default()
        };

        assert_eq!(config(raw).token, None);
    }
}

//! The `[cloud]` part of the configuration: which app to connect to, where, and within which limits.

use serde::Deserialize;

use super::ice::{IceTransportPolicy, OwnIce};
use crate::secret::Secret;

/// The environment's names: the newest first, then those of Scope's earlier versions and of fal itself.
pub const APP_ID: [&str; 2] = ["SCOPE_CLOUD_APP_ID", "FAL_APP_ID"];
/// A whole key.
pub const API_KEY: [&str; 3] = ["SCOPE_CLOUD_API_KEY", "FAL_KEY", "FAL_API_KEY"];
/// A key in two halves.
pub const KEY_HALVES: (&str, &str) = ("FAL_KEY_ID", "FAL_KEY_SECRET");

/// A connection that nobody uses ends after this long unless someone says otherwise: a runner costs money.
const IDLE_MINUTES: u32 = 5;

/// What was written down. See `controller.toml` for each key.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "controller.toml documents each key")]
pub struct RawCloud {
    pub app_id: Option<String>,
    pub api_key: Option<Secret>,
    pub path: Option<String>,
    pub dialect: Option<String>,
    pub auth: Option<String>,
    pub run_url: Option<String>,
    pub rest_url: Option<String>,
    pub fallback_to_local: Option<bool>,
    pub max_session_minutes: Option<u32>,
    pub max_idle_minutes: Option<u32>,
}

impl RawCloud {
    /// Reads the environment through `get`, which gives no empty value.
    pub(super) fn from_env(get: impl Fn(&str) -> Option<String>) -> Self {
        let halves = || {
            let (id, secret) = KEY_HALVES;
            Some(format!("{}:{}", get(id)?, get(secret)?))
        };
        let first = |names: &[&str]| names.iter().find_map(|name| get(name));
        let key = get(API_KEY[0])
            .or_else(|| get(API_KEY[1]))
            .or_else(halves)
            .or_else(|| get(API_KEY[2]));
        Self {
            app_id: first(&APP_ID),
            api_key: key.map(Secret::new),
            ..Self::default()
        }
    }

    /// These values, except where `later` says something.
    pub(super) fn overridden_by(self, later: Self) -> Self {
        Self {
            app_id: later.app_id.or(self.app_id),
            api_key: later.api_key.or(self.api_key),
            path: later.path.or(self.path),
            dialect: later.dialect.or(self.dialect),
            auth: later.auth.or(self.auth),
            run_url: later.run_url.or(self.run_url),
            rest_url: later.rest_url.or(self.rest_url),
            fallback_to_local: later.fallback_to_local.or(self.fallback_to_local),
            max_session_minutes: later.max_session_minutes.or(self.max_session_minutes),
            max_idle_minutes: later.max_idle_minutes.or(self.max_idle_minutes),
        }
    }
}

/// What it means.
#[derive(Debug, Clone, PartialEq)]
pub struct CloudConfig {
    /// The app to connect to when a request names none: `owner/app`.
    pub app_id: Option<String>,
    /// The key to use when a request brings none.
    pub api_key: Option<Secret>,
    /// Properties of the processor that differ from its own defaults: name and text.
    pub properties: Vec<(&'static str, String)>,
    /// TURN servers on the way there, with their passwords.
    pub turn_servers: Vec<Secret>,
    /// True when no key is needed.
    pub open: bool,
    /// Show the local processor while the cloud is lost.
    pub fallback_to_local: bool,
}

impl CloudConfig {
    /// Fills in the defaults; `ice` goes for this connection as for any other.
    pub(super) fn new(raw: RawCloud, ice: &OwnIce) -> Self {
        let text = |name, value: Option<String>| value.map(|value| (name, value));
        let minutes =
            |name, value: Option<u32>| Some((name, value?.saturating_mul(60).to_string()));
        let properties = [
            text("path", raw.path),
            text("dialect", raw.dialect),
            text("auth", raw.auth.clone()),
            text("run-url", raw.run_url),
            text("rest-url", raw.rest_url),
            // Without one the processor has a default of its own.
            text("stun-server", ice.stun_server.clone()),
            (ice.policy != IceTransportPolicy::All)
                .then(|| ("ice-transport-policy", ice.policy.word().to_owned())),
            minutes("max-session-duration", raw.max_session_minutes),
            minutes("max-idle", raw.max_idle_minutes.or(Some(IDLE_MINUTES))),
        ];
        Self {
            app_id: raw.app_id,
            api_key: raw.api_key.filter(|key| !key.expose().is_empty()),
            properties: properties.into_iter().flatten().collect(),
            turn_servers: ice.turn_servers.clone(),
            open: raw.auth.as_deref() == Some("none"),
            fallback_to_local: raw.fallback_to_local.unwrap_or(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(variables: &[(&str, &str)]) -> Option<String> {
        let get = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name)?;
            Some(found.1.to_owned())
        };
        let raw = RawCloud::from_env(get);
        Some(raw.api_key?.expose().to_owned())
    }

    #[test]
    fn the_newest_name_of_the_key_wins_and_the_oldest_comes_last() {
        let all = [
            ("FAL_API_KEY", "old"),
            ("FAL_KEY_ID", "id"),
            ("FAL_KEY_SECRET", "secret"),
            ("FAL_KEY", "fal"),
            ("SCOPE_CLOUD_API_KEY", "scope"),
        ];
        let wanted = ["old", "old", "id:secret", "fal", "scope"];
        for (count, wanted) in wanted.into_iter().enumerate() {
            assert_eq!(key(&all[..=count]).as_deref(), Some(wanted));
        }
        assert_eq!(key(&[]), None);
    }

    #[test]
    fn only_what_was_said_becomes_a_property() {
        let raw = RawCloud {
            run_url: Some("ws://127.0.0.1:1".into()),
            max_idle_minutes: Some(2),
            ..RawCloud::default()
        };

        let config = CloudConfig::new(raw, &OwnIce::default());

        assert_eq!(
            config.properties,
            [
                ("run-url", "ws://127.0.0.1:1".to_owned()),
                ("max-idle", "120".to_owned())
            ]
        );
        assert!(config.fallback_to_local && !config.open);
    }

    #[test]
    fn the_ways_of_the_sessions_are_those_of_the_cloud_too() {
        let ice = OwnIce {
            stun_server: Some("stun://a:1".into()),
            turn_servers: vec![Secret::new("turn://u:p@b:2")],
            policy: IceTransportPolicy::Relay,
        };

        let config = CloudConfig::new(RawCloud::default(), &ice);

        for wanted in [
            ("stun-server", "stun://a:1"),
            ("ice-transport-policy", "relay"),
        ] {
            let (name, value) = wanted;
            assert!(
                config.properties.contains(&(name, value.to_owned())),
                "{wanted:?}"
            );
        }
        assert_eq!(config.turn_servers, ice.turn_servers);
    }
}

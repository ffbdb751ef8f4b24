//! STUN and TURN servers: written once, as browsers spell them, and respelled for GStreamer.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::Config;
use crate::secret::Secret;

/// One server a browser may ask for its outside address.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IceServer {
    /// `stun:` and `turn:` URLs.
    pub urls: Vec<String>,
    /// TURN user.
    pub username: Option<String>,
    /// TURN password.
    pub credential: Option<Secret>,
}

impl Config {
    /// The same servers for our own side: one STUN server at most, and every TURN server with its password inside.
    pub fn gstreamer_ice_servers(&self) -> (Option<String>, Vec<Secret>) {
        let all = || {
            self.ice_servers
                .iter()
                .flat_map(|server| server.urls.iter().map(move |url| (server, url)))
        };
        let stun = all().find_map(|(_, url)| url.strip_prefix("stun:"));
        let turn = |(server, url): (&IceServer, &String)| {
            let (scheme, rest) = url
                .split_once(':')
                .filter(|(scheme, _)| matches!(*scheme, "turn" | "turns"))?;
            let escaped = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
            let user = escaped(server.username.as_deref().unwrap_or_default());
            let password = escaped(server.credential.as_ref().map_or("", Secret::expose));
            Some(Secret::new(format!("{scheme}://{user}:{password}@{rest}")))
        };
        (
            stun.map(|host| format!("stun://{host}")),
            all().filter_map(turn).collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::RawConfig;

    #[test]
    fn servers_are_respelled_with_their_passwords_escaped() {
        let servers = vec![
            IceServer {
                urls: vec!["stun:stun.example:3478".into()],
                username: None,
                credential: None,
            },
            IceServer {
                urls: vec![
                    "turn:turn.example:3478?transport=udp".into(),
                    "turns:turn.example".into(),
                    "junk".into(),
                ],
                username: Some("ada".into()),
                credential: Some(Secret::new("p@ss")),
            },
        ];
        let raw = RawConfig {
            ice_servers: Some(servers),
            ..RawConfig::default()
        };

        let (stun, turn) = Config::new(raw, Path::new("/"))
            .unwrap()
            .gstreamer_ice_servers();

        assert_eq!(stun.as_deref(), Some("stun://stun.example:3478"));
        assert_eq!(
            turn.iter().map(Secret::expose).collect::<Vec<_>>(),
            [
                "turn://ada:p%40ss@turn.example:3478?transport=udp",
                "turns://ada:p%40ss@turn.example"
            ]
        );
    }
}

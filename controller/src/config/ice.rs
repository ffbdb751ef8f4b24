//! STUN and TURN servers: written once, as browsers spell them, and respelled for GStreamer.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

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

/// Which ways media may take. Words as in browsers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IceTransportPolicy {
    /// The best there is.
    #[default]
    All,
    /// Through a TURN server and no other.
    Relay,
}

impl IceTransportPolicy {
    /// As GStreamer writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Relay => "relay",
        }
    }
}

/// The servers as our own side takes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnIce {
    /// `stun://host:port`, one at most.
    pub stun_server: Option<String>,
    /// `turn://user:password@host:port` each.
    pub turn_servers: Vec<Secret>,
    /// Which ways may be taken.
    pub policy: IceTransportPolicy,
}

impl OwnIce {
    pub(super) fn new(servers: &[IceServer], policy: IceTransportPolicy) -> Self {
        let all = || {
            servers
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
        Self {
            stun_server: stun.map(|host| format!("stun://{host}")),
            turn_servers: all().filter_map(turn).collect(),
            policy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

        let own = OwnIce::new(&servers, IceTransportPolicy::All);

        assert_eq!(own.stun_server.as_deref(), Some("stun://stun.example:3478"));
        assert_eq!(
            own.turn_servers
                .iter()
                .map(Secret::expose)
                .collect::<Vec<_>>(),
            [
                "turn://ada:p%40ss@turn.example:3478?transport=udp",
                "turns://ada:p%40ss@turn.example"
            ]
        );
    }
}

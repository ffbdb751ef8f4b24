//! How far a connection has come.

use std::fmt;
use std::time::Duration;

/// One leg of the way from nothing to returned pictures, as users see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Asking for a short-lived token.
    Token,
    /// Opening the socket.
    Socket,
    /// The socket is open (or its handshake pends); the app has not said that it is ready. A cold start takes 20 s to 2 min.
    StartingRunner,
    /// Offer, answer, candidates, DTLS.
    Negotiating,
    /// Pictures come back.
    Live,
    /// It was lost or never came up; the next attempt waits its turn.
    Reconnecting,
    /// It cannot work until someone changes something.
    Failed,
}

impl Stage {
    /// Every stage, in the order of a connection's life.
    pub const ALL: [Self; 7] = [
        Self::Token,
        Self::Socket,
        Self::StartingRunner,
        Self::Negotiating,
        Self::Live,
        Self::Reconnecting,
        Self::Failed,
    ];

    /// The name in messages, properties and replies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Socket => "socket",
            Self::StartingRunner => "starting-runner",
            Self::Negotiating => "negotiating",
            Self::Live => "live",
            Self::Reconnecting => "reconnecting",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A time for people: `1.5 s`, `180 s`.
pub(crate) fn seconds(time: Duration) -> String {
    let tenths = time.as_millis() / 100;
    if tenths.is_multiple_of(10) {
        format!("{} s", tenths / 10)
    } else {
        format!("{}.{} s", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        assert_eq!(seconds(Duration::from_secs(180)), "180 s");
        assert_eq!(seconds(Duration::from_millis(1549)), "1.5 s");
    }

    #[test]
    fn no_two_stages_share_a_name() {
        let names: std::collections::BTreeSet<_> = Stage::ALL.iter().map(|s| s.as_str()).collect();
        assert_eq!(names.len(), Stage::ALL.len());
    }
}

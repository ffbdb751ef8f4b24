//! What can go wrong between a key and returned pictures, each with the next step.

use std::time::Duration;

use crate::stage::{Stage, seconds};

/// Why fal cannot be reached, or the connection ended. Texts of servers are kept, secrets in them are not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FalError {
    /// The id does not name an app.
    #[error("`{id}` is no fal app id: {reason}")]
    InvalidAppId {
        /// As given.
        id: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A host or URL option is unusable.
    #[error("{option} `{url}` cannot be used: {reason}")]
    InvalidUrl {
        /// Name of the option, e.g. `run-url`.
        option: &'static str,
        /// As given, without its query.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A word that the option does not know.
    #[error("{option} is `{value}`; it can be {known}")]
    InvalidChoice {
        /// Name of the option.
        option: &'static str,
        /// As given.
        value: String,
        /// Every word it knows.
        known: String,
    },
    /// The text cannot be a key.
    #[error("the fal API key is empty or has characters that no key has")]
    InvalidKey,
    /// A key is needed and none was given.
    #[error("no fal API key was given")]
    NoKey,
    /// Something would have sent the key or token to a host that is neither fal's nor configured.
    #[error("`{host}` is neither a fal host nor a configured one, so the key was not sent there")]
    ForeignHost {
        /// That host.
        host: String,
    },
    /// A file was to be fetched from a host that does not store fal's files.
    #[error("`{host}` is no storage host of fal's, so nothing was fetched from there")]
    ForeignStorage {
        /// That host.
        host: String,
    },
    /// A file could not be fetched.
    #[error("the file cannot be fetched: {status}{}{body}", if body.is_empty() { "" } else { " " })]
    FileRefused {
        /// HTTP status.
        status: u16,
        /// The reply's body, shortened.
        body: String,
    },
    /// The token endpoint answered, but not with a token.
    #[error("Token request failed: {status} {body}")]
    TokenRefused {
        /// HTTP status.
        status: u16,
        /// Its body, shortened.
        body: String,
    },
    /// A host could not be reached, or broke off.
    #[error("{host} cannot be reached: {reason}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// What the network said.
        reason: String,
    },
    /// The socket's handshake was answered with an ordinary HTTP reply.
    #[error("{} ({status}{}{body})", upgrade(*status), if body.is_empty() { "" } else { ": " })]
    UpgradeRefused {
        /// HTTP status.
        status: u16,
        /// Its body, shortened.
        body: String,
    },
    /// The budget of one attempt ran out.
    #[error("no picture came within {} (stage `{stage}`{}{})", seconds(*budget), if hint.is_empty() { "" } else { "; " }, hint)]
    TimedOut {
        /// Where it stood.
        stage: Stage,
        /// The whole budget.
        budget: Duration,
        /// What was noticed on the way, or empty.
        hint: String,
    },
    /// The app itself reported an error.
    #[error("the app reports: {text}")]
    App {
        /// Its words.
        text: String,
        /// Its code, e.g. `ACCESS_DENIED`.
        code: Option<String>,
    },
    /// The socket was closed without a word about why.
    #[error("the socket was closed in stage `{stage}` ({}{}{reason})", code(*close_code), if reason.is_empty() { "" } else { ": " })]
    Closed {
        /// Where it stood.
        stage: Stage,
        /// WebSocket close code, where one came; 1006 says that none came.
        close_code: Option<u16>,
        /// Its reason, often empty.
        reason: String,
    },
    /// The dialect cannot start with what was configured.
    #[error("dialect `{dialect}` {reason}")]
    Dialect {
        /// Name of the dialect.
        dialect: &'static str,
        /// What is missing.
        reason: &'static str,
    },
    /// The peer connection failed, or media stopped.
    #[error("the media connection failed: {reason}")]
    Peer {
        /// What the owner of the peer connection saw.
        reason: String,
    },
}

impl FalError {
    /// What the user can do next; one imperative sentence, no full stop.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::InvalidAppId { .. } => "write the app id as owner/app, e.g. fal-ai/my-app",
            Self::InvalidUrl { .. } | Self::InvalidChoice { .. } => "correct the option",
            Self::InvalidKey | Self::NoKey => {
                "set FAL_KEY, or FAL_KEY_ID and FAL_KEY_SECRET, to a key from fal.ai/dashboard/keys"
            }
            Self::ForeignHost { .. } => "configure that host if you trust it",
            Self::ForeignStorage { .. } => "upload the file to fal's storage first",
            Self::FileRefused { .. } => "upload the file again: stored files expire",
            Self::TokenRefused { status, .. } | Self::UpgradeRefused { status, .. } => {
                status_remedy(*status)
            }
            Self::Unreachable { .. } => "check the network and the host's name",
            Self::TimedOut { .. } => "look at the app's log on fal.ai, or raise the time limit",
            Self::App { .. } => "look at the app's log on fal.ai",
            Self::Closed { .. } => "look at the app's log on fal.ai; it is being tried again",
            Self::Dialect { .. } => "set what the dialect needs, or another dialect",
            Self::Peer { .. } => {
                "check that UDP gets through, or set a TURN server; it is being tried again"
            }
        }
    }

    /// Whether the socket did not accept what should prove who we are.
    #[cfg(feature = "net")]
    pub(crate) fn is_unauthorized(&self) -> bool {
        matches!(self, Self::UpgradeRefused { status: 401, .. })
    }

    /// Whether the app has no socket on that path; fal says so in two ways.
    #[cfg(feature = "net")]
    pub(crate) fn is_unknown_path(&self) -> bool {
        matches!(
            self,
            Self::UpgradeRefused {
                status: 403 | 404,
                ..
            }
        )
    }

    /// Whether trying again without changing anything is pointless.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::InvalidAppId { .. }
            | Self::InvalidUrl { .. }
            | Self::InvalidChoice { .. }
            | Self::InvalidKey
            | Self::NoKey
            | Self::ForeignHost { .. }
            | Self::ForeignStorage { .. }
            | Self::Dialect { .. } => true,
            Self::TokenRefused { status, .. }
            | Self::UpgradeRefused { status, .. }
            | Self::FileRefused { status, .. } => {
                matches!(status, 300..=407 | 409..=428 | 430..=499)
            }
            Self::App { code, .. } => code.as_deref() == Some("ACCESS_DENIED"),
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Closed { .. }
            | Self::Peer { .. } => false,
        }
    }
}

fn upgrade(status: u16) -> &'static str {
    match status {
        401 => "fal does not accept the key or token",
        403 => {
            "fal does not allow this: the account is locked, the path is unknown or the key may not"
        }
        404 => "fal knows no such app",
        429 => "fal has too many requests of this account running",
        503 => "fal has no runner for the app right now",
        504 => "the app's runner did not start in time",
        _ => "the app answered the socket with an HTTP reply",
    }
}

fn status_remedy(status: u16) -> &'static str {
    match status {
        401 => "check the fal API key",
        402 | 403 => "check the balance at fal.ai/dashboard/billing, the app id and its path",
        404 => "check the app id, its path and that the app is deployed",
        422 => "check the app id",
        429 => "end other requests of this account; it is being tried again",
        _ => "it is being tried again; if it stays, look at status.fal.ai",
    }
}

fn code(code: Option<u16>) -> String {
    code.map_or_else(|| "no close code".to_owned(), |code| format!("code {code}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_refusal_reads_as_existing_clients_know_it() {
        let refused = FalError::TokenRefused {
            status: 401,
            body: r#"{"detail":"no"}"#.into(),
        };
        assert_eq!(
            refused.to_string(),
            r#"Token request failed: 401 {"detail":"no"}"#
        );
    }

    #[test]
    fn sentences_are_whole_with_and_without_details() {
        let closed = |close_code, reason: &str| FalError::Closed {
            stage: Stage::Live,
            close_code,
            reason: reason.into(),
        };
        assert_eq!(
            closed(Some(1006), "").to_string(),
            "the socket was closed in stage `live` (code 1006)"
        );
        assert_eq!(
            closed(None, "gone").to_string(),
            "the socket was closed in stage `live` (no close code: gone)"
        );
        let refused = |body: &str| FalError::UpgradeRefused {
            status: 404,
            body: body.into(),
        };
        assert_eq!(refused("").to_string(), "fal knows no such app (404)");
        assert_eq!(
            refused("gone").to_string(),
            "fal knows no such app (404: gone)"
        );
    }

    #[test]
    fn what_only_the_user_can_mend_is_permanent() {
        let upgrade = |status| FalError::UpgradeRefused {
            status,
            body: String::new(),
        };
        for status in [401, 403, 404, 422] {
            assert!(upgrade(status).is_permanent(), "{status}");
        }
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(!upgrade(status).is_permanent(), "{status}");
        }
    }
}

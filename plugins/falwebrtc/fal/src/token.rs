//! Short-lived tokens: what to ask for, how to read the reply, when to renew.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::app_id::AppId;
use crate::error::FalError;
use crate::secret::Secret;

/// How long a token is asked to last.
pub const LIFETIME: Duration = Duration::from_secs(120);

/// Longest piece of a server's body that goes into an error.
const LONGEST_BODY: usize = 500;

/// The two token endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenEndpoint {
    /// `/tokens/`: every app has it; scoped to the app's name.
    Tokens,
    /// `/tokens/realtime`: newer; scoped to the whole id and path.
    Realtime,
}

impl TokenEndpoint {
    /// The path below the REST host.
    pub fn path(self) -> &'static str {
        match self {
            Self::Tokens => "/tokens/",
            Self::Realtime => "/tokens/realtime",
        }
    }

    /// What is POSTed there for a token that opens `path` of `app`.
    pub fn body(self, app: &AppId, path: &str) -> Value {
        let seconds = LIFETIME.as_secs();
        match self {
            Self::Tokens => json!({"allowed_apps": [app.alias()], "token_expiration": seconds}),
            Self::Realtime => {
                let app = format!("{}/{path}", app.base());
                // Servers differ in which of the two they demand; both take both.
                json!({"app": app, "allowed_apps": [app], "duration": seconds})
            }
        }
    }

    /// The endpoint to try next when this one answered `status`: a host that has only the other one.
    pub fn after(self, status: u16) -> Option<Self> {
        match (self, status) {
            (Self::Tokens, 404 | 405 | 410) => Some(Self::Realtime),
            (Self::Tokens | Self::Realtime, _) => None,
        }
    }
}

/// A token and its time.
#[derive(Debug, Clone)]
pub struct Token {
    /// What goes into the socket's query.
    pub jwt: Secret,
    asked: Instant,
}

impl Token {
    /// Takes the token out of a reply: a JSON string, `{"token": …}` or `{"detail": …}`.
    ///
    /// `asked` is when the request was sent, so that the token never looks younger than it is.
    ///
    /// # Errors
    ///
    /// [`FalError::TokenRefused`] for a status that is no success or a body without a token. Secrets that the server
    /// repeats must have been hidden in `body` by the caller.
    pub fn from_reply(status: u16, body: &str, asked: Instant) -> Result<Self, FalError> {
        let refused = |body: String| FalError::TokenRefused { status, body };
        if !(200..300).contains(&status) {
            return Err(refused(shortened(body)));
        }
        let reply: Value = serde_json::from_str(body).unwrap_or_default();
        let text = [Some(&reply), reply.get("token"), reply.get("detail")]
            .into_iter()
            .flatten()
            .find_map(Value::as_str)
            .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()));
        match text {
            Some(jwt) => Ok(Self {
                jwt: Secret::new(jwt),
                asked,
            }),
            // Whatever came may hold a token in a place we do not know: do not repeat it.
            None => Err(refused("the reply has no token in it".into())),
        }
    }

    /// When it stops opening sockets. Sockets already open stay open.
    pub fn expires_at(&self) -> Instant {
        self.asked + LIFETIME
    }

    /// When to fetch the next one, for who keeps one at hand: at nine tenths of its life.
    pub fn refresh_at(&self) -> Instant {
        self.asked + LIFETIME * 9 / 10
    }

    /// When to try again after a refresh failed at `now`: a twentieth of a life later.
    pub fn retry_refresh_at(now: Instant) -> Instant {
        now + LIFETIME / 20
    }
}

/// `body` on one line, cut to what an error can carry.
pub(crate) fn shortened(body: &str) -> String {
    let mut line = body.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() > LONGEST_BODY {
        let end = (0..=LONGEST_BODY)
            .rev()
            .find(|end| line.is_char_boundary(*end))
            .unwrap_or(0);
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Result<String, FalError> {
        Token::from_reply(status, body, Instant::now()).map(|token| token.jwt.expose().to_owned())
    }

    #[test]
    fn every_shape_of_reply_is_read() {
        for body in [
            r#""jwt""#,
            r#"{"token":"jwt"}"#,
            r#"{"detail":"jwt"}"#,
            r#"{"token":"jwt","detail":"other"}"#,
            r#"{"token":7,"detail":"jwt"}"#,
        ] {
            assert_eq!(read(200, body).unwrap(), "jwt", "{body}");
            assert_eq!(read(201, body).unwrap(), "jwt", "{body}");
        }
        for body in [
            "{}",
            "7",
            "null",
            "",
            "not json",
            r#"{"detail":["x"]}"#,
            r#""""#,
            r#""a b""#,
        ] {
            assert!(
                matches!(read(200, body), Err(FalError::TokenRefused { .. })),
                "{body}"
            );
        }
    }

    #[test]
    fn an_unreadable_success_is_not_repeated() {
        let error = read(200, r#"{"jwt":"canary"}"#).unwrap_err();
        assert!(!error.to_string().contains("canary"));
    }

    #[test]
    fn the_servers_words_reach_the_user() {
        let locked = r#"{"detail":"User is locked. Reason: Exhausted balance."}"#;
        assert_eq!(
            read(403, locked).unwrap_err().to_string(),
            format!("Token request failed: 403 {locked}")
        );
        let page = "ä".repeat(1000);
        let long = read(500, &page).unwrap_err().to_string();
        assert!(long.ends_with('…') && long.len() < 600);
    }

    #[test]
    fn each_endpoint_is_asked_in_its_own_words() {
        let app: AppId = "1234-test".parse().unwrap();

        assert_eq!(
            TokenEndpoint::Tokens.body(&app, "webrtc"),
            json!({"allowed_apps": ["test"], "token_expiration": 120})
        );
        assert_eq!(
            TokenEndpoint::Realtime.body(&app, "webrtc"),
            json!({"app": "1234/test/webrtc", "allowed_apps": ["1234/test/webrtc"], "duration": 120})
        );
        assert_eq!(
            TokenEndpoint::Tokens.after(404),
            Some(TokenEndpoint::Realtime)
        );
        assert_eq!(TokenEndpoint::Tokens.after(401), None);
        assert_eq!(TokenEndpoint::Realtime.after(404), None);
    }

    #[test]
    fn a_token_is_renewed_before_it_ends() {
        let asked = Instant::now();
        let token = Token::from_reply(200, r#""jwt""#, asked).unwrap();

        assert_eq!(token.refresh_at() - asked, Duration::from_secs(108));
        assert_eq!(token.expires_at() - asked, Duration::from_secs(120));
        assert_eq!(
            Token::retry_refresh_at(asked) - asked,
            Duration::from_secs(6)
        );
    }
}

//! A WebSocket: its handshake, with the app's own words when it is refused, and its messages.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use reqwest::{Method, StatusCode, Upgraded};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use url::Url;

use super::http::{Ask, Http, Reach, place, read};
use crate::credentials::ApiKey;
use crate::endpoint::SocketUrl;
use crate::error::FalError;
use crate::secret::Secret;
use crate::signalling::RawMessage;
use crate::token::shortened;

/// Pings without an answer after which a socket that did answer before is dead.
const MOST_UNANSWERED: u32 = 3;
/// Longest message taken; fal's proxy kills sockets above 4 MB.
const LONGEST_MESSAGE: usize = 8 << 20;
/// How long a socket that takes nothing any more is still listened to: an app's last words come just before its end.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long the other side has to answer our close.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// What comes out of a link.
#[derive(Debug)]
pub(super) enum Incoming {
    Message(RawMessage),
    Closed {
        code: Option<u16>,
        reason: String,
    },
    /// The link ended for a reason that is not a close.
    Broken(FalError),
}

/// An open socket.
pub(super) struct Socket {
    stream: WebSocketStream<Upgraded>,
    /// What an app may have read in our request and must not tell the world through us.
    token: Option<Secret>,
    pings: Interval,
    unanswered: u32,
    answers_pings: bool,
    /// Set when nothing can be sent any more: until when to listen.
    dumb_until: Option<Instant>,
}

impl Socket {
    /// Opens it; pends as long as the other side lets the handshake pend. The key goes along only if there is no token.
    pub(super) async fn open(
        http: &Http,
        url: &SocketUrl,
        key: Option<&ApiKey>,
        token: Option<&Secret>,
        ping_every: Duration,
    ) -> Result<Self, FalError> {
        let nonce = generate_key();
        let refused = |reason: &str| FalError::Unreachable {
            host: place(url.public()),
            reason: reason.to_owned(),
        };
        let header = |name: HeaderName, value: &str| {
            HeaderValue::from_str(value)
                .map(|value| (name, value))
                .map_err(|_| refused("a header cannot be written"))
        };
        let ask = Ask {
            method: Method::GET,
            url: request_url(url).ok_or_else(|| refused("its address cannot be read"))?,
            headers: HeaderMap::from_iter([
                header(CONNECTION, "Upgrade")?,
                header(UPGRADE, "websocket")?,
                header(SEC_WEBSOCKET_VERSION, "13")?,
                header(SEC_WEBSOCKET_KEY, &nonce)?,
            ]),
            body: String::new(),
            key,
            sends_key: token.is_none(),
            token,
            reach: Reach::Any,
        };
        let response = http.send(&ask).await?;
        let status = response.status();
        if status != StatusCode::SWITCHING_PROTOCOLS {
            let body = read(response, &ask).await.unwrap_or_default();
            return Err(FalError::UpgradeRefused {
                status: status.as_u16(),
                body: shortened(&body),
            });
        }
        let accepted = response.headers().get(SEC_WEBSOCKET_ACCEPT);
        if accepted.is_none_or(|accept| {
            accept.as_bytes() != derive_accept_key(nonce.as_bytes()).as_bytes()
        }) {
            return Err(refused("it switched protocols, but not to WebSocket"));
        }
        let stream = response
            .upgrade()
            .await
            .map_err(|_| refused("it broke off in the handshake"))?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(LONGEST_MESSAGE))
            .max_frame_size(Some(LONGEST_MESSAGE));
        let mut pings = interval_at(Instant::now() + ping_every, ping_every);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            stream: WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await,
            token: token.cloned(),
            pings,
            unanswered: 0,
            answers_pings: false,
            dumb_until: None,
        })
    }

    /// The next thing that happens. May be dropped at any `.await` and called again.
    pub(super) async fn next(&mut self) -> Incoming {
        loop {
            let silence = self.dumb_until;
            tokio::select! {
                received = self.stream.next() => match received {
                    Some(Ok(message)) => {
                        if let Some(incoming) = self.take(message) {
                            return incoming;
                        }
                    }
                    Some(Err(err)) => return broken(&err),
                    None => return lost(""),
                },
                () = sleep_until(silence.unwrap_or_else(Instant::now)), if silence.is_some() => {
                    return lost("");
                }
                _ = self.pings.tick(), if silence.is_none() => {
                    if self.answers_pings && self.unanswered >= MOST_UNANSWERED {
                        return lost("it no longer answers");
                    }
                    self.unanswered += 1;
                    let sent = self.stream.send(Message::Ping(Bytes::new())).await;
                    self.note(sent);
                }
            }
        }
    }

    fn take(&mut self, message: Message) -> Option<Incoming> {
        self.unanswered = 0;
        match message {
            Message::Text(text) => {
                let text = RawMessage::Text(self.hide_token_in(&text));
                Some(Incoming::Message(text))
            }
            Message::Binary(bytes) => Some(Incoming::Message(RawMessage::Binary(bytes.to_vec()))),
            Message::Close(frame) => Some(Incoming::Closed {
                code: frame.as_ref().map(|frame| frame.code.into()),
                reason: frame.map_or(String::new(), |frame| self.hide_token_in(&frame.reason)),
            }),
            Message::Pong(_) => {
                self.answers_pings = true;
                None
            }
            Message::Ping(_) | Message::Frame(_) => None,
        }
    }

    fn hide_token_in(&self, text: &str) -> String {
        match &self.token {
            Some(token) => token.hide_in(text),
            None => text.to_owned(),
        }
    }

    /// Sends a message. When that fails, [`Socket::next`] tells how the socket ended.
    pub(super) async fn send(&mut self, message: RawMessage) {
        if self.dumb_until.is_some() {
            return;
        }
        let message = match message {
            RawMessage::Text(text) => Message::text(text),
            RawMessage::Binary(bytes) => Message::binary(bytes),
        };
        let sent = self.stream.send(message).await;
        self.note(sent);
    }

    fn note(&mut self, sent: Result<(), Error>) {
        if let Err(err) = sent {
            tracing::debug!("nothing can be sent any more: {err}");
            self.dumb_until = Some(Instant::now() + LAST_WORDS);
        }
    }

    /// Says goodbye and waits a little for the answer, so that the app ends its session at once.
    pub(super) async fn close(mut self) {
        let goodbye = async {
            let frame = CloseFrame {
                code: CloseCode::Normal,
                reason: "".into(),
            };
            self.stream.close(Some(frame)).await?;
            while let Some(message) = self.stream.next().await {
                message?;
            }
            Ok::<(), Error>(())
        };
        // Whether it answers in time changes nothing for us.
        let _ = timeout(CLOSE_WAIT, goodbye).await;
    }
}

/// The address as HTTP knows it.
fn request_url(url: &SocketUrl) -> Option<Url> {
    let text = url.expose();
    let rest = text.expose().strip_prefix("ws")?;
    Url::parse(&format!("http{rest}")).ok()
}

fn broken(err: &Error) -> Incoming {
    lost(match err {
        // The connection just ended; through fal's proxy most do.
        Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(_) | Error::Io(_) => "",
        Error::Capacity(_) => "a message was too long",
        _ => "the connection broke",
    })
}

/// An end without a close frame: what the protocol calls 1006.
fn lost(reason: &str) -> Incoming {
    Incoming::Closed {
        code: Some(1006),
        reason: reason.to_owned(),
    }
}

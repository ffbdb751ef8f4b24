//! What the two sides say, whatever the dialect.

use std::fmt;

use serde_json::{Map, Value};

use super::ice::{IceCandidate, IceServer};

/// Live generation controls by name, in the order they were said.
pub type Parameters = Map<String, Value>;

/// One message of the socket as it travels: what `signalling-send` and `signalling-receive` carry.
///
/// Its `Debug` shows kind and length only, because TURN passwords travel in it.
#[derive(Clone, PartialEq, Eq)]
pub enum RawMessage {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
}

impl fmt::Debug for RawMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
        }
    }
}

/// A message that is none in this dialect; says what was expected, never what was in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// What the client of an app says.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientMessage {
    /// The model's first input, or a later change of it (lucy).
    ModelInput(Parameters),
    /// Who the user is (scope; must be the first message).
    SetUserId {
        /// As the app knows the user.
        user_id: String,
    },
    /// Asks for STUN and TURN servers (scope, WMA).
    GetIceServers,
    /// The session description of the client.
    Offer {
        /// The SDP.
        sdp: String,
        /// Parameters in force from the first frame; empty is none.
        initial_parameters: Parameters,
        /// As in [`ClientMessage::SetUserId`].
        user_id: Option<String>,
    },
    /// A local candidate; `None` says that there will be no more.
    Candidate {
        /// The candidate.
        candidate: Option<IceCandidate>,
        /// As the answer gave it.
        session_id: Option<String>,
    },
    /// Asks for a [`ServerMessage::Pong`].
    Ping,
    /// The session is still wanted (WMA).
    Heartbeat {
        /// As the answer gave it.
        session_id: Option<String>,
    },
    /// A REST call through the socket (scope).
    Api(ApiRequest),
    /// A word this crate does not know.
    Unknown {
        /// Its `type`.
        kind: String,
    },
}

/// What an app says.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerMessage {
    /// The runner is up and takes an offer.
    Ready {
        /// Only scope names its connections.
        connection_id: Option<String>,
        /// STUN and TURN servers, where the dialect sends them with it.
        ice_servers: Vec<IceServer>,
    },
    /// The user was accepted (scope).
    UserIdSet {
        /// As the client gave it.
        user_id: String,
    },
    /// STUN and TURN servers.
    IceServers(Vec<IceServer>),
    /// The session description of the app.
    Answer {
        /// The SDP.
        sdp: String,
        /// To be named in later messages (scope, WMA).
        session_id: Option<String>,
    },
    /// A candidate of the app; `None` says that there will be no more.
    Candidate(Option<IceCandidate>),
    /// A candidate arrived (scope).
    CandidateAck {
        /// `ok` or `end_of_candidates`.
        status: String,
    },
    /// Something went wrong; what it is worth depends on when it comes.
    Error {
        /// For people.
        text: String,
        /// For machines, where there is one.
        code: Option<String>,
    },
    /// The app will close the socket.
    Closing {
        /// Why, e.g. `max_duration`.
        reason: String,
    },
    /// Lines of the runner's log (scope).
    Logs {
        /// As the runner wrote them.
        lines: Vec<String>,
    },
    /// What the app runs on (`gst-scope`): `gpu` and `vram_gb`, null without one.
    Hardware(Parameters),
    /// Answers [`ClientMessage::Ping`].
    Pong,
    /// Whether the session lives (WMA).
    Alive(bool),
    /// Answers [`ClientMessage::Api`].
    Api(ApiReply),
    /// A word this crate does not know, or one of fal's own that needs no answer.
    Unknown {
        /// Its `type`.
        kind: String,
    },
}

/// A message of a client with the id that every reply to it repeats.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The client's `request_id`, as it wrote it.
    pub request_id: Option<Value>,
    /// What it says.
    pub message: ClientMessage,
}

/// A REST call through the socket.
#[derive(Clone, PartialEq)]
pub struct ApiRequest {
    /// `GET`, `POST`, `PATCH` or `DELETE`.
    pub method: String,
    /// Path and query, e.g. `/api/v1/pipeline/status`.
    pub path: String,
    /// The JSON body; null is none. An upload is an object with `_content_type` and `_base64_content` or `_cdn_url`.
    pub body: Value,
    /// Repeated in the reply.
    pub request_id: String,
}

impl fmt::Debug for ApiRequest {
    /// Bodies may hold keys: they are not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "ApiRequest({} {path})", self.method)
    }
}

/// The reply to a REST call through the socket.
#[derive(Clone, PartialEq)]
pub struct ApiReply {
    /// As in the request.
    pub request_id: String,
    /// HTTP status.
    pub status: u16,
    /// The JSON body of a success; a binary body is an object with `_base64_content`, `_content_type`, `_content_length`.
    pub data: Value,
    /// The text of a failure.
    pub error: Option<String>,
}

impl fmt::Debug for ApiReply {
    /// Bodies may hold passwords: they are not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiReply({} for {})", self.status, self.request_id)
    }
}

//! fal's own language, without a socket: each message is the JSON body of an HTTP POST, each reply the body of its answer.
//!
//! ```text
//!  ► POST ice {app_id}                          ◄ {ice_servers, status}
//!  ► POST session {app_id, sdp, type}           ◄ {session_id, sdp, type}      (pends while the runner starts)
//!  ► POST session/heartbeat {session_id}        ◄ {alive}                      (every 5 s)
//! ```
//!
//! The offer holds every candidate. Parameters go over the data channel `control`. Source: fal 1.83, `fal.wma`.

use std::time::Duration;

use serde_json::{Value, json};

use super::words;
use crate::signalling::encoding::Encoding;
use crate::signalling::message::{ClientMessage, Malformed, Parameters, RawMessage, ServerMessage};

/// How often the session wants to be told that it is wanted.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(5);

/// The path below the WMA host that a message is POSTed to.
pub fn path_of(message: &RawMessage) -> &'static str {
    match Encoding::decode(message) {
        Ok(object) if object.contains_key("sdp") => "session",
        Ok(object) if object.contains_key("session_id") => "session/heartbeat",
        Ok(_) | Err(_) => "ice",
    }
}

/// What stands for the reply of `ice` when none came: there are no servers, and none are needed to begin.
pub fn no_ice_servers() -> RawMessage {
    Encoding::Json.encode(&json!({"ice_servers": []}))
}

pub(super) fn encode(message: &ClientMessage, app: &str) -> Option<RawMessage> {
    let object = match message {
        ClientMessage::GetIceServers => json!({"app_id": app}),
        ClientMessage::Offer { sdp, .. } => json!({"app_id": app, "sdp": sdp, "type": "offer"}),
        ClientMessage::Heartbeat { session_id } => json!({"session_id": session_id}),
        ClientMessage::ModelInput(_)
        | ClientMessage::SetUserId { .. }
        | ClientMessage::Candidate { .. }
        | ClientMessage::Ping
        | ClientMessage::Api(_)
        | ClientMessage::Unknown { .. } => return None,
    };
    Some(Encoding::Json.encode(&object))
}

pub(super) fn decode(message: &RawMessage) -> Result<ServerMessage, Malformed> {
    let object = Encoding::decode(message)?;
    if let Some(alive) = object.get("alive").and_then(Value::as_bool) {
        return Ok(ServerMessage::Alive(alive));
    }
    if object.contains_key("sdp") {
        return Ok(ServerMessage::Answer {
            sdp: words::required(&object, "sdp")?,
            session_id: words::text(&object, "session_id").map(str::to_owned),
        });
    }
    if object.contains_key("ice_servers") {
        return Ok(ServerMessage::Ready {
            connection_id: None,
            ice_servers: words::ice_servers(&object),
        });
    }
    Ok(match words::error_text(&object) {
        Some(text) => ServerMessage::Error { text, code: None },
        None => ServerMessage::Unknown {
            kind: words::text(&object, "type").unwrap_or_default().to_owned(),
        },
    })
}

/// A patch on the channel `control`.
pub(super) fn session_params(patch: &Parameters) -> String {
    json!({"type": "session_params", "params": patch}).to_string()
}

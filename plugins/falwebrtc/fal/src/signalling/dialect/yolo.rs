//! The language of fal's webcam demo (`/webrtc` as text JSON, `/realtime` as binary msgpack).
//!
//! ```text
//!  ◄ ready        ► offer{sdp}        ◄ answer{sdp}        ► icecandidate{candidate|null} …
//! ```
//!
//! The app passes `type` on to its SDP object, so an offer must call itself exactly `offer`. Whatever it cannot read
//! ends the session without a word. Source: fal-demos, yolo_webcam_webrtc.

use serde_json::{Value, json};

use super::words::{self, Object};
use crate::signalling::encoding::Encoding;
use crate::signalling::ice::IceCandidate;
use crate::signalling::message::{ClientMessage, Malformed, RawMessage, ServerMessage};

pub(super) fn encode(message: &ClientMessage, encoding: Encoding) -> Option<RawMessage> {
    let object = match message {
        ClientMessage::Offer {
            sdp,
            initial_parameters,
            user_id: _,
        } => {
            let mut offer = words::offer(sdp, initial_parameters);
            if encoding == Encoding::Json {
                // A scope app that does not name its connection is spoken to in this dialect and wants it.
                offer["sdp_type"] = json!("offer");
            }
            offer
        }
        ClientMessage::Candidate {
            candidate,
            session_id,
        } => words::candidate(candidate.as_ref(), session_id.as_deref()),
        ClientMessage::ModelInput(_)
        | ClientMessage::SetUserId { .. }
        | ClientMessage::GetIceServers
        | ClientMessage::Ping
        | ClientMessage::Heartbeat { .. }
        | ClientMessage::Api(_)
        | ClientMessage::Unknown { .. } => return None,
    };
    Some(encoding.encode(&object))
}

pub(super) fn client_message(object: &Object) -> Result<ClientMessage, Malformed> {
    words::client_message(object)
}

pub(super) fn encode_reply(message: &ServerMessage) -> Option<RawMessage> {
    let object: Value = match message {
        ServerMessage::Ready { .. } => json!({"type": "ready"}),
        ServerMessage::Answer { sdp, session_id: _ } => json!({"type": "answer", "sdp": sdp}),
        ServerMessage::Candidate(candidate) => json!({
            "type": "icecandidate",
            "candidate": candidate.as_ref().map(IceCandidate::to_json),
        }),
        ServerMessage::Error { text, code: _ } => json!({"type": "error", "error": text}),
        ServerMessage::Hardware(hardware) => words::hardware_message(hardware),
        ServerMessage::Pong => json!({"type": "pong"}),
        ServerMessage::UserIdSet { .. }
        | ServerMessage::IceServers(_)
        | ServerMessage::CandidateAck { .. }
        | ServerMessage::Closing { .. }
        | ServerMessage::Logs { .. }
        | ServerMessage::Alive(_)
        | ServerMessage::Api(_)
        | ServerMessage::Unknown { .. } => return None,
    };
    Some(Encoding::Json.encode(&object))
}

//! The language of partners' hosted video models (`decart/lucy-2/realtime`): binary msgpack, the client speaks first.
//!
//! ```text
//!  ► {prompt, …}   ◄ ready{iceServers?}   ◄ iceServers?   ► offer{sdp}   ◄ answer{sdp}   ⇄ icecandidate
//! ```
//!
//! The model input has no `type`; later ones change the running model. Source: fal-js, lucy.

use serde_json::Value;

use super::words;
use crate::signalling::encoding::Encoding;
use crate::signalling::message::{ClientMessage, Parameters, RawMessage};

pub(super) fn encode(message: &ClientMessage) -> Option<RawMessage> {
    let object = match message {
        ClientMessage::ModelInput(input) => Value::Object(input.clone()),
        ClientMessage::Offer { sdp, .. } => words::offer(sdp, &Parameters::new()),
        ClientMessage::Candidate {
            candidate,
            session_id,
        } => words::candidate(candidate.as_ref(), session_id.as_deref()),
        ClientMessage::SetUserId { .. }
        | ClientMessage::GetIceServers
        | ClientMessage::Ping
        | ClientMessage::Heartbeat { .. }
        | ClientMessage::Api(_)
        | ClientMessage::Unknown { .. } => return None,
    };
    Some(Encoding::Msgpack.encode(&object))
}

//! The language of Daydream Scope's `/ws`: signalling, API calls and logs on one socket, text JSON.
//!
//! ```text
//!  ◄ ready{connection_id}   ► set_user_id   ► get_ice_servers   ► offer{sdp, sdp_type, initialParameters}
//!  ◄ ice_servers            ◄ answer{sdp, sdp_type, sessionId}  ► icecandidate{sessionId, candidate}   ◄ …_ack
//!  ► api{method, path, body, request_id}     ◄ api_response{request_id, status, data}
//! ```
//!
//! Every reply repeats the `request_id` of its request. A null candidate ends the list and is only acknowledged.

use serde_json::{Value, json};

use super::words::{self, Object};
use crate::signalling::encoding::Encoding;
use crate::signalling::ice::{IceCandidate, IceServer};
use crate::signalling::message::{
    ApiReply, ApiRequest, ClientMessage, Malformed, RawMessage, ServerMessage,
};

pub(super) fn encode(message: &ClientMessage) -> Option<RawMessage> {
    let object = match message {
        ClientMessage::SetUserId { user_id } => {
            json!({"type": "set_user_id", "user_id": user_id})
        }
        ClientMessage::GetIceServers => json!({"type": "get_ice_servers"}),
        ClientMessage::Offer {
            sdp,
            initial_parameters,
            user_id,
        } => {
            let mut offer = words::offer(sdp, initial_parameters);
            offer["sdp_type"] = json!("offer");
            if let Some(user_id) = user_id {
                offer["user_id"] = json!(user_id);
            }
            offer
        }
        ClientMessage::Candidate {
            candidate,
            session_id,
        } => words::candidate(candidate.as_ref(), session_id.as_deref()),
        ClientMessage::Ping => json!({"type": "ping"}),
        ClientMessage::Api(request) => json!({
            "type": "api",
            "request_id": request.request_id,
            "method": request.method,
            "path": request.path,
            "body": request.body,
        }),
        ClientMessage::ModelInput(_)
        | ClientMessage::Heartbeat { .. }
        | ClientMessage::Unknown { .. } => return None,
    };
    Some(Encoding::Json.encode(&object))
}

pub(super) fn client_message(object: &Object) -> Result<ClientMessage, Malformed> {
    Ok(match words::text(object, "type").unwrap_or_default() {
        "set_user_id" => ClientMessage::SetUserId {
            user_id: words::required(object, "user_id")?,
        },
        "get_ice_servers" => ClientMessage::GetIceServers,
        "api" => ClientMessage::Api(ApiRequest {
            method: words::text(object, "method")
                .unwrap_or("GET")
                .to_ascii_uppercase(),
            path: words::required(object, "path")?,
            body: object.get("body").cloned().unwrap_or_default(),
            request_id: object.get("request_id").map_or_else(String::new, plain),
        }),
        _ => words::client_message(object)?,
    })
}

/// An id as text: most are strings, some numbers.
fn plain(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

pub(super) fn encode_reply(
    message: &ServerMessage,
    request_id: Option<&Value>,
) -> Option<RawMessage> {
    let mut object = match message {
        ServerMessage::Ready { connection_id, .. } => match connection_id {
            Some(id) => json!({"type": "ready", "connection_id": id}),
            None => json!({"type": "ready"}),
        },
        ServerMessage::UserIdSet { user_id } => json!({"type": "user_id_set", "user_id": user_id}),
        ServerMessage::IceServers(servers) => {
            let servers: Vec<_> = servers.iter().map(IceServer::to_json).collect();
            json!({"type": "ice_servers", "data": {"iceServers": servers}, "status": 200})
        }
        ServerMessage::Answer { sdp, session_id } => {
            json!({"type": "answer", "sdp": sdp, "sdp_type": "answer", "sessionId": session_id})
        }
        ServerMessage::Candidate(candidate) => json!({
            "type": "icecandidate",
            "candidate": candidate.as_ref().map(IceCandidate::to_json),
        }),
        ServerMessage::CandidateAck { status } => {
            json!({"type": "icecandidate_ack", "status": status})
        }
        ServerMessage::Error { text, code } => match code {
            Some(code) => json!({"type": "error", "error": text, "code": code}),
            None => json!({"type": "error", "error": text}),
        },
        ServerMessage::Closing { reason } => json!({"type": "closing", "reason": reason}),
        ServerMessage::Logs { lines } => json!({"type": "logs", "lines": lines}),
        ServerMessage::Hardware(hardware) => words::hardware_message(hardware),
        ServerMessage::Pong => json!({"type": "pong"}),
        ServerMessage::Api(reply) => return Some(api_response(reply, request_id)),
        ServerMessage::Alive(_) | ServerMessage::Unknown { .. } => return None,
    };
    if let Some(request_id) = request_id {
        object["request_id"] = request_id.clone();
    }
    Some(Encoding::Json.encode(&object))
}

fn api_response(reply: &ApiReply, request_id: Option<&Value>) -> RawMessage {
    let mut object = json!({
        "type": "api_response",
        "request_id": request_id.cloned().unwrap_or_else(|| json!(reply.request_id)),
        "status": reply.status,
    });
    match &reply.error {
        Some(error) => object["error"] = json!(error),
        None => object["data"] = reply.data.clone(),
    }
    // Clients of Daydream Scope look for a binary body beside the status, its guide's inside `data`: give both.
    if let Some(data) = reply
        .data
        .as_object()
        .filter(|data| data.contains_key("_base64_content"))
    {
        for (name, value) in data.iter().filter(|(name, _)| name.starts_with('_')) {
            object[name.as_str()] = value.clone();
        }
        object["data"] = Value::Null;
    }
    Encoding::Json.encode(&object)
}

//! What several dialects write alike.
//!
//! Read leniently: apps differ in which fields they write, and none of the differences changes what is meant.

use serde_json::{Map, Value, json};

use crate::signalling::ice::{IceCandidate, IceServer};
use crate::signalling::message::{ApiReply, ClientMessage, Malformed, Parameters, ServerMessage};

pub(super) type Object = Map<String, Value>;

/// What an app says on the data channel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ChannelMessage {
    /// No more pictures will come; the text says why when it is an error.
    Stopped(Option<String>),
    /// Something was wrong with what we sent.
    Error(String),
    /// Parameters were changed by someone else.
    ParametersUpdated(Parameters),
}

pub(super) fn text<'a>(object: &'a Object, name: &str) -> Option<&'a str> {
    object.get(name).and_then(Value::as_str)
}

fn owned(object: &Object, names: &[&str]) -> Option<String> {
    let mut found = names.iter().filter_map(|name| text(object, name));
    found.next().map(str::to_owned)
}

pub(super) fn required(object: &Object, name: &str) -> Result<String, Malformed> {
    owned(object, &[name]).ok_or_else(|| {
        let kind = text(object, "type").unwrap_or("message").escape_debug();
        Malformed(format!("a message `{kind}` has no text `{name}`"))
    })
}

/// The words of an app, in every dialect with a socket.
pub(super) fn server_message(object: &Object) -> Result<ServerMessage, Malformed> {
    let kind = text(object, "type").unwrap_or_default();
    let message = match kind.to_ascii_lowercase().as_str() {
        "ready" => ServerMessage::Ready {
            connection_id: owned(object, &["connection_id"]),
            ice_servers: ice_servers(object),
        },
        "user_id_set" => ServerMessage::UserIdSet {
            user_id: owned(object, &["user_id"]).unwrap_or_default(),
        },
        "iceservers" | "ice_servers" => ServerMessage::IceServers(ice_servers(object)),
        "answer" => ServerMessage::Answer {
            sdp: required(object, "sdp")?,
            session_id: owned(object, &["sessionId", "session_id"]),
        },
        "icecandidate" => {
            ServerMessage::Candidate(IceCandidate::from_json(object.get("candidate")))
        }
        "icecandidate_ack" => ServerMessage::CandidateAck {
            status: owned(object, &["status"]).unwrap_or_default(),
        },
        "error" | "x-fal-error" => error(object),
        "closing" => ServerMessage::Closing {
            reason: owned(object, &["reason"]).unwrap_or_default(),
        },
        "stream_exhausted" => ServerMessage::Closing {
            reason: "the stream is exhausted".into(),
        },
        "logs" => ServerMessage::Logs {
            lines: lines(object.get("lines")),
        },
        HARDWARE => ServerMessage::Hardware(hardware(object)),
        "pong" => ServerMessage::Pong,
        "api_response" => ServerMessage::Api(api_reply(object)?),
        "" if text(object, "status") == Some("error") => error(object),
        _ => ServerMessage::Unknown {
            kind: kind.to_owned(),
        },
    };
    Ok(message)
}

/// The `type` of a message that tells what an app runs on.
const HARDWARE: &str = "hardware";

fn hardware(object: &Object) -> Object {
    let told = object
        .iter()
        .filter(|(key, _)| !["type", "request_id"].contains(&key.as_str()));
    told.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// An app's words for what it runs on.
pub(super) fn hardware_message(hardware: &Object) -> Value {
    let mut message = hardware.clone();
    message.insert("type".into(), HARDWARE.into());
    Value::Object(message)
}

fn error(object: &Object) -> ServerMessage {
    let fal = text(object, "type").is_some_and(|kind| kind.eq_ignore_ascii_case("x-fal-error"));
    if fal {
        let code = owned(object, &["error"]).unwrap_or_default();
        let reason = owned(object, &["reason"]).unwrap_or_default();
        return ServerMessage::Error {
            text: format!("{code}: {reason}"),
            code: Some(code),
        };
    }
    ServerMessage::Error {
        text: error_text(object).unwrap_or_else(|| "an error without a text".into()),
        code: owned(object, &["code"]),
    }
}

/// The sentence in an error object, with its detail.
pub(super) fn error_text(object: &Object) -> Option<String> {
    let head = owned(object, &["error", "message"]);
    let detail = match object.get("detail") {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Array(items)) => items
            .first()
            .and_then(|item| item.get("msg"))
            .and_then(Value::as_str)
            .map(str::to_owned),
        _ => None,
    };
    match (head, detail) {
        (Some(head), Some(detail)) => Some(format!("{head}: {detail}")),
        (head, detail) => head.or(detail),
    }
}

pub(super) fn ice_servers(object: &Object) -> Vec<IceServer> {
    let list = |object: &Object| {
        ["iceServers", "ice_servers"]
            .iter()
            .find_map(|name| object.get(*name))
            .cloned()
    };
    let data = object.get("data");
    let nested = data.and_then(Value::as_object).and_then(list);
    let found = nested
        .or_else(|| list(object))
        .or_else(|| data.filter(|data| data.is_array()).cloned());
    IceServer::list_from_json(found.as_ref())
}

fn lines(value: Option<&Value>) -> Vec<String> {
    let lines = value.and_then(Value::as_array).map(Vec::as_slice);
    let texts = lines.unwrap_or_default().iter().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

fn api_reply(object: &Object) -> Result<ApiReply, Malformed> {
    let status = object.get("status").and_then(Value::as_u64);
    let mut data = object.get("data").cloned().unwrap_or_default();
    if data.is_null() && object.contains_key("_base64_content") {
        // Daydream Scope writes a binary body beside the status, its guide inside `data`.
        let binary = object
            .iter()
            .filter(|(name, _)| name.starts_with('_'))
            .map(|(name, value)| (name.clone(), value.clone()));
        data = Value::Object(binary.collect());
    }
    Ok(ApiReply {
        request_id: required(object, "request_id")?,
        status: status
            .and_then(|status| status.try_into().ok())
            .unwrap_or(0),
        data,
        error: owned(object, &["error"]),
    })
}

/// The words of a client that yolo and scope share.
pub(super) fn client_message(object: &Object) -> Result<ClientMessage, Malformed> {
    let kind = text(object, "type").unwrap_or_default();
    Ok(match kind {
        "offer" => ClientMessage::Offer {
            sdp: required(object, "sdp")?,
            initial_parameters: ["initialParameters", "initial_parameters"]
                .iter()
                .find_map(|name| object.get(*name).and_then(Value::as_object))
                .cloned()
                .unwrap_or_default(),
            user_id: owned(object, &["user_id"]),
        },
        "icecandidate" => ClientMessage::Candidate {
            candidate: IceCandidate::from_json(object.get("candidate")),
            session_id: owned(object, &["sessionId", "session_id"]),
        },
        "ping" => ClientMessage::Ping,
        _ => ClientMessage::Unknown {
            kind: kind.to_owned(),
        },
    })
}

/// An offer as every dialect with a socket takes it.
pub(super) fn offer(sdp: &str, initial_parameters: &Parameters) -> Value {
    let mut offer = json!({"type": "offer", "sdp": sdp});
    if !initial_parameters.is_empty() {
        offer["initialParameters"] = json!(initial_parameters);
    }
    offer
}

/// A candidate as every dialect with a socket takes it; the session is named only where the answer named it.
pub(super) fn candidate(candidate: Option<&IceCandidate>, session_id: Option<&str>) -> Value {
    let mut message = json!({
        "type": "icecandidate",
        "candidate": candidate.map(IceCandidate::to_json),
    });
    if let Some(session_id) = session_id {
        message["sessionId"] = json!(session_id);
    }
    message
}

pub(super) fn channel_message(text: &str) -> Option<ChannelMessage> {
    let Ok(Value::Object(object)) = serde_json::from_str(text) else {
        return None;
    };
    match object.get("type").and_then(Value::as_str)? {
        "stream_stopped" => Some(ChannelMessage::Stopped(owned(
            &object,
            &["error_message", "error"],
        ))),
        "stream_exhausted" => Some(ChannelMessage::Stopped(None)),
        "error" => Some(ChannelMessage::Error(
            error_text(&object).unwrap_or_else(|| "an error without a text".into()),
        )),
        "parameters_updated" => {
            let parameters = object.get("parameters")?.as_object()?;
            Some(ChannelMessage::ParametersUpdated(parameters.clone()))
        }
        _ => None,
    }
}

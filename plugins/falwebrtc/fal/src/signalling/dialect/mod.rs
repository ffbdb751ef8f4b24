//! The signalling languages we speak. One file each; the enums are the whole list.
//!
//! [`Dialect`] is the client's side, [`AppDialect`] the side of an app that answers. `words` holds what several
//! languages write alike.

mod lucy;
mod scope;
pub mod wma;
mod words;
mod yolo;

use std::str::FromStr;

use serde_json::Value;

use super::encoding::{Encoding, EncodingChoice};
use super::message::{ClientMessage, Malformed, Parameters, RawMessage, Request, ServerMessage};
use crate::error::FalError;

/// One language of the client's side, with its encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// fal's webcam demo, text JSON.
    YoloJson,
    /// The same words as binary msgpack.
    YoloMsgpack,
    /// Daydream Scope's `/ws`, text JSON, with API calls on the same socket.
    Scope,
    /// Hosted video models of partners: binary msgpack, the client speaks first.
    Lucy,
    /// fal's own, without a socket: each message is the body of an HTTP POST or its reply.
    Wma,
}

impl Dialect {
    /// The name for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::YoloJson => "yolo (json)",
            Self::YoloMsgpack => "yolo (msgpack)",
            Self::Scope => "scope",
            Self::Lucy => "lucy",
            Self::Wma => "wma",
        }
    }

    /// Label of the data channel that carries parameters, to be made before the offer.
    pub fn channel_label(self) -> &'static str {
        match self {
            Self::Wma => "control",
            Self::YoloJson | Self::YoloMsgpack | Self::Scope | Self::Lucy => "parameters",
        }
    }

    /// Whether the offer must hold every candidate, because there is no way to send one later.
    pub fn needs_whole_offer(self) -> bool {
        self == Self::Wma
    }

    /// The message of the socket that says it; `None` where the language has no word for it.
    ///
    /// `app` is the id with its path; WMA names it in every request.
    pub fn encode(self, message: &ClientMessage, app: &str) -> Option<RawMessage> {
        match self {
            Self::YoloJson => yolo::encode(message, Encoding::Json),
            Self::YoloMsgpack => yolo::encode(message, Encoding::Msgpack),
            Self::Scope => scope::encode(message),
            Self::Lucy => lucy::encode(message),
            Self::Wma => wma::encode(message, app),
        }
    }

    /// What a message of the app says. Text and binary are read as what they are, on every socket.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it is no object, or lacks what its type must have.
    pub fn decode(self, message: &RawMessage) -> Result<ServerMessage, Malformed> {
        match self {
            Self::YoloJson | Self::YoloMsgpack | Self::Scope | Self::Lucy => {
                words::server_message(&Encoding::decode(message)?)
            }
            Self::Wma => wma::decode(message),
        }
    }

    /// The message of the data channel that carries a patch.
    pub fn channel_message(self, patch: Parameters) -> String {
        match self {
            Self::Wma => wma::session_params(&patch),
            Self::YoloJson | Self::YoloMsgpack | Self::Scope | Self::Lucy => {
                Value::Object(patch).to_string()
            }
        }
    }
}

/// Reads a message of an app whose dialect is not known yet.
pub(crate) fn decode_any(message: &RawMessage) -> Result<ServerMessage, Malformed> {
    words::server_message(&Encoding::decode(message)?)
}

/// Reads a message of the data channel; the words are the same everywhere.
pub(crate) fn decode_channel(text: &str) -> Option<words::ChannelMessage> {
    words::channel_message(text)
}

pub(crate) use words::ChannelMessage;

/// Which language to speak, as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DialectChoice {
    /// The one of the app's first message.
    #[default]
    Auto,
    /// fal's webcam demo, in either encoding.
    Yolo,
    /// Daydream Scope's `/ws`.
    Scope,
    /// Hosted video models of partners.
    Lucy,
    /// fal's own, over HTTP.
    Wma,
}

impl DialectChoice {
    /// Every choice, in the order of documentation.
    pub const ALL: [Self; 5] = [Self::Auto, Self::Yolo, Self::Scope, Self::Lucy, Self::Wma];

    /// The name in properties and configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Yolo => "yolo",
            Self::Scope => "scope",
            Self::Lucy => "lucy",
            Self::Wma => "wma",
        }
    }

    /// The path of the app where neither its id nor an option names one.
    pub fn default_path(self, encoding: EncodingChoice) -> &'static str {
        match (self, encoding) {
            (Self::Yolo | Self::Auto, EncodingChoice::Auto | EncodingChoice::Json) => "webrtc",
            (Self::Yolo | Self::Auto, EncodingChoice::Msgpack) | (Self::Lucy, _) => "realtime",
            (Self::Scope, _) => "ws",
            (Self::Wma, _) => "",
        }
    }

    /// The language, given how the app said that it is ready.
    pub(crate) fn decide(
        self,
        encoding: EncodingChoice,
        heard: Encoding,
        names_connection: bool,
    ) -> Dialect {
        let encoding = match encoding {
            EncodingChoice::Auto => heard,
            EncodingChoice::Json => Encoding::Json,
            EncodingChoice::Msgpack => Encoding::Msgpack,
        };
        match (self, encoding) {
            (Self::Auto, Encoding::Json) if names_connection => Dialect::Scope,
            (Self::Auto | Self::Yolo, Encoding::Json) => Dialect::YoloJson,
            (Self::Auto | Self::Yolo, Encoding::Msgpack) => Dialect::YoloMsgpack,
            (Self::Scope, _) => Dialect::Scope,
            (Self::Lucy, _) => Dialect::Lucy,
            (Self::Wma, _) => Dialect::Wma,
        }
    }
}

impl FromStr for DialectChoice {
    type Err = FalError;

    fn from_str(text: &str) -> Result<Self, FalError> {
        crate::choice::parse("dialect", text, &Self::ALL, Self::as_str)
    }
}

/// One language of an app that answers, as the controller does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AppDialect {
    /// fal's webcam demo, text JSON.
    Yolo,
    /// Daydream Scope's `/ws`.
    Scope,
}

impl AppDialect {
    /// What a message of the client says.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it is no object, or lacks what its type must have.
    pub fn decode(self, message: &RawMessage) -> Result<Request, Malformed> {
        let object = Encoding::decode(message)?;
        Ok(Request {
            request_id: object.get("request_id").cloned(),
            message: match self {
                Self::Yolo => yolo::client_message(&object)?,
                Self::Scope => scope::client_message(&object)?,
            },
        })
    }

    /// What a reply to this message repeats, also where the message is [`Malformed`] otherwise.
    pub fn request_id(message: &RawMessage) -> Option<Value> {
        Encoding::decode(message).ok()?.remove("request_id")
    }

    /// The message of the socket that says it, in answer to `request_id`; `None` where the language has no word for it.
    pub fn encode(self, message: &ServerMessage, request_id: Option<&Value>) -> Option<RawMessage> {
        match self {
            Self::Yolo => yolo::encode_reply(message),
            Self::Scope => scope::encode_reply(message, request_id),
        }
    }
}

#[cfg(test)]
mod tests;

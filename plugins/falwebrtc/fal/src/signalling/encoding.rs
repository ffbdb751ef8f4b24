//! Objects as text JSON or binary msgpack.

use std::str::FromStr;

use rmpv::Value as Pack;
use serde_json::{Map, Number, Value};

use super::message::{Malformed, RawMessage};
use crate::error::FalError;

/// Objects nested deeper than this are no signalling.
const DEEPEST: usize = 32;

/// How an object becomes a message of the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Text messages, JSON.
    Json,
    /// Binary messages, msgpack.
    Msgpack,
}

impl Encoding {
    /// The encoding a message came in.
    pub fn of(message: &RawMessage) -> Self {
        match message {
            RawMessage::Text(_) => Self::Json,
            RawMessage::Binary(_) => Self::Msgpack,
        }
    }

    /// An object as a message of the socket.
    pub fn encode(self, object: &Value) -> RawMessage {
        match self {
            Self::Json => RawMessage::Text(object.to_string()),
            Self::Msgpack => {
                let mut bytes = Vec::new();
                // Writing to memory cannot fail.
                let _ = rmpv::encode::write_value(&mut bytes, &pack(object));
                RawMessage::Binary(bytes)
            }
        }
    }

    /// Reads a message by its kind, whatever was agreed: fal's own notices are text on every socket.
    pub(crate) fn decode(message: &RawMessage) -> Result<Map<String, Value>, Malformed> {
        let value = match message {
            RawMessage::Text(text) => serde_json::from_str(text)
                .map_err(|err| Malformed(format!("a text message is no JSON: {err}")))?,
            RawMessage::Binary(bytes) => {
                let mut rest = bytes.as_slice();
                let value = rmpv::decode::read_value_with_max_depth(&mut rest, DEEPEST)
                    .map_err(|err| Malformed(format!("a binary message is no msgpack: {err}")))?;
                unpack(value)
            }
        };
        match value {
            Value::Object(object) => Ok(object),
            _ => Err(Malformed("a message is no object".into())),
        }
    }
}

fn pack(value: &Value) -> Pack {
    match value {
        Value::Null => Pack::Nil,
        Value::Bool(yes) => Pack::Boolean(*yes),
        Value::Number(number) => pack_number(number),
        Value::String(text) => Pack::from(text.as_str()),
        Value::Array(items) => Pack::Array(items.iter().map(pack).collect()),
        Value::Object(fields) => Pack::Map(
            fields
                .iter()
                .map(|(name, value)| (Pack::from(name.as_str()), pack(value)))
                .collect(),
        ),
    }
}

fn pack_number(number: &Number) -> Pack {
    if let Some(positive) = number.as_u64() {
        Pack::from(positive)
    } else if let Some(negative) = number.as_i64() {
        Pack::from(negative)
    } else {
        number.as_f64().map_or(Pack::Nil, Pack::from)
    }
}

/// Byte strings become text where they are text (old Python packers write every string so), else null.
fn unpack(value: Pack) -> Value {
    match value {
        Pack::Nil | Pack::Ext(..) => Value::Null,
        Pack::Boolean(yes) => Value::Bool(yes),
        Pack::Integer(number) => number
            .as_u64()
            .map(Value::from)
            .or_else(|| number.as_i64().map(Value::from))
            .unwrap_or_default(),
        Pack::F32(number) => Value::from(f64::from(number)),
        Pack::F64(number) => Value::from(number),
        Pack::String(text) => text.into_str().map_or(Value::Null, Value::String),
        Pack::Binary(bytes) => String::from_utf8(bytes).map_or(Value::Null, Value::String),
        Pack::Array(items) => Value::Array(items.into_iter().map(unpack).collect()),
        Pack::Map(fields) => Value::Object(
            fields
                .into_iter()
                .filter_map(|(name, value)| match unpack(name) {
                    Value::String(name) => Some((name, unpack(value))),
                    _ => None,
                })
                .collect(),
        ),
    }
}

/// Which encoding to use, as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EncodingChoice {
    /// The one of the app's first message.
    #[default]
    Auto,
    /// Text JSON.
    Json,
    /// Binary msgpack.
    Msgpack,
}

impl EncodingChoice {
    /// Every choice, in the order of documentation.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Json, Self::Msgpack];

    /// The name in properties and configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Json => "json",
            Self::Msgpack => "msgpack",
        }
    }
}

impl FromStr for EncodingChoice {
    type Err = FalError;

    fn from_str(text: &str) -> Result<Self, FalError> {
        crate::choice::parse("encoding", text, &Self::ALL, Self::as_str)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn round(encoding: Encoding, object: &Value) -> Value {
        Value::Object(Encoding::decode(&encoding.encode(object)).unwrap())
    }

    #[test]
    fn objects_survive_both_encodings() {
        let object = json!({"type": "offer", "n": -3, "big": u64::MAX, "f": 0.5, "l": [1, null, true], "o": {"ä": ""}});
        for encoding in [Encoding::Json, Encoding::Msgpack] {
            assert_eq!(round(encoding, &object), object);
        }
    }

    #[test]
    fn msgpack_is_written_as_others_read_it() {
        // msgpack.packb({"type": "offer", "n": 1}) of Python's msgpack 1.1.
        let bytes = b"\x82\xa4type\xa5offer\xa1n\x01".to_vec();
        let object = json!({"type": "offer", "n": 1});

        assert_eq!(
            Encoding::Msgpack.encode(&object),
            RawMessage::Binary(bytes.clone())
        );
        assert_eq!(round(Encoding::Msgpack, &object), object);
        // The same with byte strings, as packers without `use_bin_type` do it, and an integer as key.
        let raw = b"\x83\xc4\x04type\xc4\x05ready\x01\x02\xa1x\xc4\x01\xff".to_vec();
        let read = Encoding::decode(&RawMessage::Binary(raw)).unwrap();
        assert_eq!(Value::Object(read), json!({"type": "ready", "x": null}));
    }

    #[test]
    fn what_is_no_object_is_said_without_repeating_it() {
        for message in [
            RawMessage::Text("canary".into()),
            RawMessage::Text(r#"["canary"]"#.into()),
            RawMessage::Text(String::new()),
            RawMessage::Binary(b"\xa6canary".to_vec()),
            RawMessage::Binary(vec![0xc1]),
            RawMessage::Binary(Vec::new()),
            RawMessage::Binary(vec![0x91; 100_000]),
        ] {
            let refused = Encoding::decode(&message).unwrap_err();
            assert!(!refused.to_string().contains("canary"));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Encoding::decode(&RawMessage::Binary(bytes));
        }
    }
}

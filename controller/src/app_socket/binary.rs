//! Bodies that are no JSON, inside JSON: base64 with type and length.

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};
use serde_json::{Map, Value, json};

/// Padding or none: clients differ.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A body with its content type.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Upload {
    pub(super) content_type: String,
    pub(super) bytes: Vec<u8>,
}

/// Whether the content of that type is text for people or programs, and travels as such.
pub(super) fn is_text(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.is_empty()
        || essence.starts_with("text/")
        || matches!(essence, "application/json" | "application/javascript")
        || essence.ends_with("+json")
}

/// What goes into the place of `data`.
pub(super) fn encode(content_type: &str, bytes: &[u8]) -> Value {
    json!({
        "_base64_content": general_purpose::STANDARD.encode(bytes),
        "_content_type": content_type,
        "_content_length": bytes.len(),
    })
}

/// The upload in a body; `None` for a plain JSON body.
///
/// # Errors
///
/// A sentence, when it says that it is an upload and is none.
pub(super) fn decode(body: &Map<String, Value>) -> Result<Option<Upload>, String> {
    let field = |names: [&str; 2]| names.into_iter().find_map(|name| body.get(name));
    // A later Scope writes the names without the underscore.
    let Some(content) = field(["_base64_content", "base64_content"]) else {
        return Ok(None);
    };
    let content = content.as_str().ok_or("`_base64_content` must be a text")?;
    let bytes = LENIENT
        .decode(content)
        .map_err(|err| format!("`_base64_content` is no base64: {err}"))?;
    let content_type = field(["_content_type", "binary_content_type"]).and_then(Value::as_str);
    Ok(Some(Upload {
        content_type: content_type
            .unwrap_or("application/octet-stream")
            .to_owned(),
        bytes,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn read(body: &Value) -> Result<Option<Upload>, String> {
        decode(body.as_object().unwrap())
    }

    #[test]
    fn an_upload_comes_out_as_it_went_in() {
        let bytes = [0, 255, 10];
        let mut body = encode("image/png", &bytes);

        assert_eq!(body["_content_length"], 3);
        for content in ["AP8K", "AP8K\u{3d}"] {
            if content.len() == 4 {
                body["_base64_content"] = json!(content);
            }
            let upload = read(&body).unwrap().unwrap();
            assert_eq!(
                (upload.content_type.as_str(), &upload.bytes[..]),
                ("image/png", &bytes[..])
            );
        }
    }

    #[test]
    fn padding_may_be_missing_and_names_may_be_plain() {
        let upload = read(&json!({ "base64_content": "AA", "binary_content_type": "video/mp4" }));

        let upload = upload.unwrap().unwrap();
        assert_eq!(
            (upload.content_type.as_str(), upload.bytes),
            ("video/mp4", vec![0])
        );
    }

    #[test]
    fn what_is_no_upload_is_json_and_what_is_broken_is_said() {
        assert_eq!(read(&json!({ "prompts": [] })), Ok(None));
        assert!(read(&json!({ "_base64_content": 7 })).is_err());
        assert!(read(&json!({ "_base64_content": "é" })).is_err());
    }

    #[test]
    fn text_is_told_from_the_rest() {
        for text in [
            "",
            "application/json",
            "text/html; charset=utf-8",
            "application/problem+json",
        ] {
            assert!(is_text(text), "{text}");
        }
        for binary in ["video/mp4", "image/svg+xml", "application/octet-stream"] {
            assert!(!is_text(binary), "{binary}");
        }
    }
}

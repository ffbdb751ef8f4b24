//! Getting JSON values out of a request.

use std::collections::HashMap;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde_json::{Map, Value};

use super::error::ApiError;
use super::issue::Issue;

/// The values of an address's query as JSON ones, so that they are checked like a body's: numbers and flags where they
/// read as such, text otherwise.
pub(super) fn query_values(query: HashMap<String, String>) -> Map<String, Value> {
    let value = |text: String| {
        let plain = text.parse::<u64>().map(Value::from);
        plain
            .or_else(|_| text.parse::<bool>().map(Value::from))
            .unwrap_or(Value::String(text))
    };
    query
        .into_iter()
        .map(|(key, text)| (key, value(text)))
        .collect()
}

/// A JSON object, whatever the request calls its content type.
///
/// Refused, in FastAPI's words, when the body is
///
/// - empty: `missing`;
/// - not JSON, which includes `NaN` and numbers beyond a double: `json_invalid`, with the offset;
/// - JSON but no object: `model_attributes_type`;
/// - over the body limit: 413.
#[derive(Debug)]
pub(super) struct JsonObject(pub(super) Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for JsonObject {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| {
                if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                    ApiError::new(
                        StatusCode::PAYLOAD_TOO_LARGE,
                        "body_too_large",
                        "the body is larger than this route takes",
                        "send less; files go to POST /api/v1/assets",
                    )
                } else {
                    ApiError::bad_request(
                        "body_unreadable",
                        rejection.body_text(),
                        "send the request again",
                    )
                }
            })?;
        parse(&body).map(Self).map_err(ApiError::from)
    }
}

fn parse(body: &[u8]) -> Result<Map<String, Value>, Issue> {
    if body.is_empty() {
        return Err(Issue::missing(vec!["body".into()]));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(Issue::new(
            "model_attributes_type",
            vec!["body".into()],
            "Input should be an object",
            &other,
        )),
        Err(err) => {
            let loc = vec!["body".into(), offset(body, &err).into()];
            Err(
                Issue::new("json_invalid", loc, "The body is not JSON", &Value::Null)
                    .with_context("error", err.to_string()),
            )
        }
    }
}

/// Where in the body a syntax error sits, bytes; serde counts lines and columns from one.
fn offset(body: &[u8], err: &serde_json::Error) -> usize {
    let lines = body.split_inclusive(|byte| *byte == b'\n');
    let before: usize = lines
        .take(err.line().saturating_sub(1))
        .map(<[u8]>::len)
        .sum();
    before + err.column().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn complaint(body: &str) -> Value {
        Value::from(parse(body.as_bytes()).unwrap_err())
    }

    #[test]
    fn a_syntax_error_is_located_across_lines() {
        let issue = complaint("{\n \"a\": x}");

        assert_eq!(issue["type"], "json_invalid");
        assert_eq!(issue["loc"], json!(["body", 8]));
    }

    #[test]
    fn not_a_number_is_not_json() {
        for body in [
            r#"{"noise_scale":NaN}"#,
            r#"{"noise_scale":1e999}"#,
            r#"{"a":Infinity}"#,
        ] {
            assert_eq!(complaint(body)["type"], "json_invalid");
        }
    }

    #[test]
    fn nesting_without_end_is_refused_before_the_stack_is() {
        assert_eq!(complaint(&"[".repeat(100_000))["type"], "json_invalid");
    }

    #[test]
    fn a_list_is_no_object() {
        assert_eq!(complaint("[]")["type"], "model_attributes_type");
    }
}

//! One thing wrong with a request, in FastAPI's words.
//!
//! `type` and `loc` are what clients match on. `input` shows short values only: a reply is no place for somebody's
//! whole session description.

use serde_json::{Map, Value, json};

/// One complaint: what kind, where, why.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Issue(Map<String, Value>);

impl Issue {
    /// A complaint without context.
    pub(super) fn new(
        kind: &'static str,
        loc: Vec<Value>,
        message: impl Into<String>,
        input: &Value,
    ) -> Self {
        Self(Map::from_iter([
            ("type".into(), kind.into()),
            ("loc".into(), loc.into()),
            ("msg".into(), message.into().into()),
            ("input".into(), glimpse(input)),
        ]))
    }

    /// A field, or the whole body, is not there.
    pub(super) fn missing(loc: Vec<Value>) -> Self {
        Self::new("missing", loc, "Field required", &Value::Null)
    }

    /// A rule that no single field breaks.
    pub(super) fn value_error(loc: Vec<Value>, message: impl Into<String>) -> Self {
        Self::new("value_error", loc, message, &Value::Null)
    }

    /// The same complaint with the limit that was passed.
    pub(super) fn with_context(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert("ctx".into(), json!({ key: value.into() }));
        self
    }
}

impl From<Issue> for Value {
    fn from(issue: Issue) -> Self {
        Self::Object(issue.0)
    }
}

/// What of an input is worth showing.
fn glimpse(input: &Value) -> Value {
    const LONGEST: usize = 100;
    match input {
        Value::Null | Value::Bool(_) | Value::Number(_) => input.clone(),
        Value::String(text) if text.chars().nth(LONGEST).is_some() => text
            .chars()
            .take(LONGEST)
            .chain(['…'])
            .collect::<String>()
            .into(),
        Value::String(_) => input.clone(),
        Value::Array(_) => json!([]),
        Value::Object(_) => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_input_is_shown_in_part_and_a_nested_one_not_at_all() {
        let long = Issue::new("string_type", vec![], "", &"é".repeat(101).into());
        let nested = Issue::new("string_type", vec![], "", &json!({ "sdp": "v=0" }));

        assert_eq!(long.0["input"], Value::String("é".repeat(100) + "…"));
        assert_eq!(nested.0["input"], json!({}));
    }
}

//! What a field must look like, as data, and the complaints when it does not.

use serde_json::{Map, Value};

use super::error::ApiError;
use super::issue::Issue;

/// The shape of a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// `true` or `false`.
    Flag,
    /// A string.
    Text,
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// A number between two limits, both allowed.
    Number(f64, f64),
    /// A whole number between two limits, both allowed; `4.0` counts as whole.
    Whole(f64, f64),
    /// This word, or else a shape.
    WordOr(&'static str, &'static Self),
    /// A list of one shape.
    List(&'static Self),
    /// An object whose known fields have these shapes; others are let through.
    Fields(&'static [Field]),
    /// Any object.
    Object,
}

/// A field of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    /// Its key.
    pub(super) key: &'static str,
    /// What it must look like, unless null.
    pub(super) shape: Shape,
    /// False for a field that may be left out or null.
    pub(super) required: bool,
}

/// A field that may be left out or null.
pub(super) const fn optional(key: &'static str, shape: Shape) -> Field {
    Field {
        key,
        shape,
        required: false,
    }
}

/// A field that must be there.
pub(super) const fn required(key: &'static str, shape: Shape) -> Field {
    Field {
        key,
        shape,
        required: true,
    }
}

/// Every complaint about an object's known fields; `loc` says where the object is.
pub(super) fn check_fields(
    fields: &[Field],
    object: &Map<String, Value>,
    loc: &[Value],
) -> Vec<Issue> {
    let mut issues = Vec::new();
    for field in fields {
        let loc = inside(loc, field.key);
        match object.get(field.key) {
            Some(value) if field.required || !value.is_null() => {
                issues.extend(field.shape.check(value, loc));
            }
            None if field.required => issues.push(Issue::missing(loc)),
            Some(_) | None => {}
        }
    }
    issues
}

/// Refuses a body with every complaint about its known fields.
pub(super) fn demand(fields: &[Field], body: &Map<String, Value>) -> Result<(), ApiError> {
    let issues = check_fields(fields, body, &["body".into()]);
    if issues.is_empty() {
        Ok(())
    } else {
        Err(issues.into())
    }
}

fn inside(loc: &[Value], step: impl Into<Value>) -> Vec<Value> {
    let mut loc = loc.to_vec();
    loc.push(step.into());
    loc
}

impl Shape {
    fn check(&self, value: &Value, loc: Vec<Value>) -> Vec<Issue> {
        let wrong = |kind, what: &str| {
            vec![Issue::new(
                kind,
                loc.clone(),
                format!("Input should be {what}"),
                value,
            )]
        };
        match (self, value) {
            (Self::Flag, Value::Bool(_)) | (Self::Text, Value::String(_)) => vec![],
            (Self::Flag, _) => wrong("bool_type", "true or false"),
            (Self::Text, _) => wrong("string_type", "a string"),
            (Self::OneOf(options), Value::String(text)) if options.contains(&text.as_str()) => {
                vec![]
            }
            (Self::OneOf(options), _) => {
                let expected = quoted(options);
                vec![
                    Issue::new(
                        "literal_error",
                        loc,
                        format!("Input should be {expected}"),
                        value,
                    )
                    .with_context("expected", expected),
                ]
            }
            (Self::WordOr(word, _), Value::String(text)) if text == word => vec![],
            (Self::WordOr(_, shape), _) => shape.check(value, loc),
            (Self::Number(low, high), Value::Number(_)) => in_range(value, *low, *high, loc),
            (Self::Number(..), _) => wrong("float_type", "a number"),
            (Self::Whole(low, high), Value::Number(number)) => {
                if number.as_f64().is_some_and(|number| number.fract() == 0.0) {
                    in_range(value, *low, *high, loc)
                } else {
                    wrong("int_from_float", "a whole number")
                }
            }
            (Self::Whole(..), _) => wrong("int_type", "a whole number"),
            (Self::List(shape), Value::Array(items)) => {
                let items = items.iter().enumerate();
                items
                    .flat_map(|(at, item)| shape.check(item, inside(&loc, at)))
                    .collect()
            }
            (Self::List(_), _) => wrong("list_type", "a list"),
            (Self::Fields(fields), Value::Object(object)) => check_fields(fields, object, &loc),
            (Self::Object, Value::Object(_)) => vec![],
            (Self::Fields(_) | Self::Object, _) => wrong("dict_type", "an object"),
        }
    }
}

fn in_range(value: &Value, low: f64, high: f64, loc: Vec<Value>) -> Vec<Issue> {
    let number = value.as_f64().unwrap_or(f64::NAN);
    let (kind, words, key, limit) = if number < low {
        ("greater_than_equal", "at least", "ge", low)
    } else if number > high {
        ("less_than_equal", "at most", "le", high)
    } else {
        return vec![];
    };
    let message = format!("Input should be {words} {limit}");
    vec![Issue::new(kind, loc, message, value).with_context(key, limit)]
}

/// `'a', 'b' or 'c'`.
fn quoted(options: &[&str]) -> String {
    let quoted: Vec<_> = options.iter().map(|option| format!("'{option}'")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn kinds(shape: Shape, value: &Value) -> Vec<String> {
        let issues = shape.check(value, vec!["body".into()]);
        let kind = |issue| Value::from(issue)["type"].as_str().unwrap().to_owned();
        issues.into_iter().map(kind).collect()
    }

    #[test]
    fn the_ends_of_a_range_are_inside_it() {
        let unit = Shape::Number(0.0, 1.0);

        assert!(kinds(unit, &json!(0)).is_empty());
        assert!(kinds(unit, &json!(1.0)).is_empty());
        assert_eq!(kinds(unit, &json!(-1e-9)), ["greater_than_equal"]);
        assert_eq!(kinds(unit, &json!(1e308)), ["less_than_equal"]);
    }

    #[test]
    fn a_number_is_no_string_and_no_flag() {
        assert_eq!(
            kinds(Shape::Number(0.0, 1.0), &json!("0.5")),
            ["float_type"]
        );
        assert_eq!(kinds(Shape::Number(0.0, 1.0), &json!(true)), ["float_type"]);
        assert_eq!(kinds(Shape::Flag, &json!(1)), ["bool_type"]);
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_point_but_not_with_a_fraction() {
        let steps = Shape::Whole(0.0, 1000.0);

        assert!(kinds(steps, &json!(4.0)).is_empty());
        assert_eq!(kinds(steps, &json!(4.5)), ["int_from_float"]);
    }

    #[test]
    fn a_complaint_inside_a_list_names_the_item() {
        const PROMPTS: Shape = Shape::List(&Shape::Fields(&[required("text", Shape::Text)]));

        let issues = PROMPTS.check(
            &json!([{ "text": "a" }, { "text": 1 }, {}]),
            vec!["body".into()],
        );

        let locs: Vec<_> = issues
            .into_iter()
            .map(|issue| Value::from(issue)["loc"].clone())
            .collect();
        assert_eq!(
            locs,
            [json!(["body", 1, "text"]), json!(["body", 2, "text"])]
        );
    }

    #[test]
    fn options_are_listed_in_words() {
        let issues = Shape::OneOf(&["a", "b", "c"]).check(&json!("d"), vec![]);

        assert_eq!(
            Value::from(issues[0].clone())["ctx"]["expected"],
            "'a', 'b' or 'c'"
        );
    }
}

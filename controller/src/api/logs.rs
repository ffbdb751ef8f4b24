//! The newest log lines, for a page's log panel.

use axum::extract::{Query, State};
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::AppState;
use super::error::ApiError;
use super::shape::{Shape, check_fields, optional};
use crate::log::{self, TimeFormat};

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/v1/logs/tail", get(tail))
        .route("/api/v1/logs/current", get(current))
}

#[derive(Deserialize)]
struct TailQuery {
    lines: Option<String>,
    since_offset: Option<String>,
}

/// `since_offset` is an `offset` of an earlier reply; 0 asks for the newest lines.
async fn tail(
    State(state): State<AppState>,
    Query(query): Query<TailQuery>,
) -> Result<Json<Value>, ApiError> {
    let number = |text: Option<String>, default: u64| match text {
        Some(text) => text
            .parse::<u64>()
            .map_or_else(|_| Value::from(text), Value::from),
        None => default.into(),
    };
    let query = [
        ("lines".to_owned(), number(query.lines, 200)),
        ("since_offset".to_owned(), number(query.since_offset, 0)),
    ]
    .into_iter()
    .collect();
    let fields = [
        optional("lines", Shape::Whole(1.0, 1000.0)),
        optional("since_offset", Shape::Whole(0.0, f64::MAX)),
    ];
    let issues = check_fields(&fields, &query, &["query".into()]);
    if !issues.is_empty() {
        return Err(issues.into());
    }
    let read = |key: &str| query[key].as_u64().unwrap_or_default();
    let count = usize::try_from(read("lines")).unwrap_or(usize::MAX);
    let (lines, offset) = state.logs.tail(count, read("since_offset"));
    Ok(Json(json!({ "lines": lines, "offset": offset })))
}

async fn current(State(state): State<AppState>) -> impl IntoResponse {
    let (lines, _) = state.logs.tail(usize::MAX, 0);
    let mut text = lines.join("\n");
    text.push('\n');
    let name = format!("scope-logs-{}.txt", log::local_time(TimeFormat::File));
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    (headers, text)
}

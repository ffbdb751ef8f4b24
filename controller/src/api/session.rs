//! All live sessions at once: their parameters and their figures.

use std::collections::HashMap;

use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::AppState;
use super::error::ApiError;
use super::extract::{JsonObject, query_values};
use super::hardware::gpu;
use super::parameters;
use super::shape::{Shape, check_fields, optional};
use crate::media::Still;

/// Of a JPEG, unless the query says another.
const QUALITY: u8 = 85;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/v1/session/parameters", get(show).post(update))
        .route("/api/v1/session/metrics", get(metrics))
        .route("/api/v1/session/frame", get(frame))
}

async fn show(State(state): State<AppState>) -> Json<Value> {
    Json(json!({ "parameters": state.sessions.parameters() }))
}

async fn update(
    State(state): State<AppState>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ApiError> {
    let patch = parameters::read(body, &["body".into()])?;
    if patch.is_empty() {
        return Err(ApiError::bad_request(
            "no_parameters",
            "No parameters provided",
            "send at least one parameter that is not null",
        ));
    }
    state.sessions.apply_parameters(patch.clone()).await?;
    Ok(Json(json!({ "status": "ok", "applied_parameters": patch })))
}

/// The picture in view; `format=png` for every bit of it.
async fn frame(
    State(state): State<AppState>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, ApiError> {
    let mut query = query_values(query);
    let fields = [
        optional("quality", Shape::Whole(1.0, 100.0)),
        optional("format", Shape::OneOf(&["jpeg", "png"])),
    ];
    let issues = check_fields(&fields, &query, &["query".into()]);
    if !issues.is_empty() {
        return Err(issues.into());
    }
    let quality = query.get("quality").and_then(Value::as_u64);
    let quality = quality.and_then(|quality| u8::try_from(quality).ok());
    let (still, kind) = match query.get("format").and_then(Value::as_str) {
        Some("png") => (Still::Png, "image/png"),
        _ => (Still::Jpeg(quality.unwrap_or(QUALITY)), "image/jpeg"),
    };
    // A name that reads as a number is a name all the same.
    let sink = query.remove("sink_node_id").map(|sink| match sink {
        Value::String(name) => name,
        other => other.to_string(),
    });
    let picture = state.sessions.picture(sink, still).await.map_err(|why| {
        ApiError::not_found(
            "no_frame",
            format!("No frame available: {why}"),
            "start a session and wait for its first picture",
        )
    })?;
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, picture).into_response())
}

async fn metrics(State(state): State<AppState>) -> Json<Value> {
    let memory = tokio::task::spawn_blocking(gpu).await.ok().flatten();
    let gpu = memory.map_or_else(
        || json!({}),
        |memory| {
            json!({
                "vram_allocated_mb": memory.used_mb,
                "vram_reserved_mb": memory.used_mb,
                "vram_total_mb": memory.total_mb,
            })
        },
    );
    Json(json!({ "sessions": state.sessions.metrics(), "gpu": gpu }))
}

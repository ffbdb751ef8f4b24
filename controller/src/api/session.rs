//! All live sessions at once: their parameters and their figures.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::AppState;
use super::error::ApiError;
use super::extract::JsonObject;
use super::hardware::gpu;
use super::parameters;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/v1/session/parameters", get(show).post(update))
        .route("/api/v1/session/metrics", get(metrics))
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

//! The LoRA files that a load can name.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;

use super::AppState;
use super::error::ApiError;
use crate::library::loras;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/v1/loras", get(list))
        // What it was called at first.
        .route("/api/v1/lora/list", get(list))
}

async fn list(State(state): State<AppState>) -> Result<Json<Value>, ApiError> {
    let folder = state.library.catalogue.lora_dir();
    let listed = tokio::task::spawn_blocking(move || loras::listing(&folder)).await;
    listed
        .map(Json)
        .map_err(|err| ApiError::internal("loras_unreadable", err.to_string()))
}

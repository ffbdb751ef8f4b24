//! The LoRA files that a load can name.

use axum::extract::{Path, State};
use axum::routing::{delete, get};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::AppState;
use super::error::ApiError;
use crate::library::loras;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/v1/loras", get(list))
        .route("/api/v1/loras/{name}", delete(remove))
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

/// A model that was loaded with it goes on: what it was merged from is no longer needed.
async fn remove(
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let folder = state.library.catalogue.lora_dir();
    let asked = name.clone();
    let removed = tokio::task::spawn_blocking(move || loras::remove(&asked, &folder)).await;
    let removed = removed.map_err(|err| ApiError::internal("lora_failed", err.to_string()))?;
    match removed {
        Ok(true) => {
            tracing::info!(name, "a LoRA was removed");
            Ok(Json(
                json!({ "success": true, "message": format!("`{name}` was removed") }),
            ))
        }
        Ok(false) => Err(ApiError::not_found(
            "unknown_lora",
            format!("there is no LoRA `{name}`"),
            "see GET /api/v1/loras",
        )),
        Err(err) => Err(ApiError::internal(
            "lora_failed",
            format!("`{name}` cannot be removed: {err}"),
        )),
    }
}

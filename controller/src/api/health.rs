//! Whether the server is there, and since when.

use std::time::UNIX_EPOCH;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::AppState;
use crate::config::GIT_COMMIT;
use crate::log;

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/health", get(health))
}

async fn health(State(state): State<AppState>) -> Json<Value> {
    let started = state.started.duration_since(UNIX_EPOCH).unwrap_or_default();
    Json(json!({
        "status": "healthy",
        "timestamp": log::local_time(log::TimeFormat::Iso),
        "server_start_time": started.as_secs_f64(),
        "version": env!("CARGO_PKG_VERSION"),
        "git_commit": GIT_COMMIT,
    }))
}

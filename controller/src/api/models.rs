//! Whether a model's files are here. They are: only what is on disk is listed.

use axum::extract::{Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::AppState;
use super::error::ApiError;
use super::extract::JsonObject;
use super::issue::Issue;
use super::shape::{Shape, demand, required};

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/v1/models/status", get(status))
        .route("/api/v1/models/download", post(download))
}

#[derive(Deserialize)]
struct StatusQuery {
    pipeline_id: Option<String>,
}

async fn status(
    State(state): State<AppState>,
    Query(query): Query<StatusQuery>,
) -> Result<Json<Value>, ApiError> {
    let loc = || vec!["query".into(), "pipeline_id".into()];
    let id = query.pipeline_id.ok_or_else(|| Issue::missing(loc()))?;
    known(state, id).await?;
    Ok(Json(json!({ "downloaded": true, "progress": null })))
}

async fn download(
    State(state): State<AppState>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ApiError> {
    demand(&[required("pipeline_id", Shape::Text)], &body)?;
    let id = id_of(&body);
    if id.is_empty() {
        return Err(ApiError::bad_request(
            "no_pipeline_id",
            "pipeline_id is required",
            "name an id from GET /api/v1/pipelines/schemas",
        ));
    }
    known(state, id).await?;
    Ok(Json(
        json!({ "message": "nothing to fetch: the files are here" }),
    ))
}

fn id_of(body: &Map<String, Value>) -> String {
    body["pipeline_id"].as_str().unwrap_or_default().to_owned()
}

/// Refuses an id that no model has, rather than calling it downloaded.
async fn known(state: AppState, id: String) -> Result<(), ApiError> {
    let shown = id.clone();
    let find = move || state.library.catalogue.find(&id).is_some();
    match tokio::task::spawn_blocking(find).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(ApiError::not_found(
            "unknown_pipeline",
            format!("there is no pipeline `{shown}`"),
            "see GET /api/v1/pipelines/schemas, or put its folder into the models folder",
        )),
        Err(err) => Err(ApiError::internal("models_failed", err.to_string())),
    }
}

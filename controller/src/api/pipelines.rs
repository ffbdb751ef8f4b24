//! Which models there are, and loading them.

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use super::AppState;
use super::error::ApiError;
use super::extract::JsonObject;
use super::shape::{Field, Shape, demand, optional, required};
use crate::library::Library;
use crate::library::loader::Phase;
use crate::library::wish::Wish;

/// The body of a load, current form and legacy form.
const LOAD: &[Field] = &[
    optional(
        "pipelines",
        Shape::List(&Shape::Fields(&[
            required("node_id", Shape::Text),
            required("pipeline_id", Shape::Text),
            optional("load_params", Shape::Object),
        ])),
    ),
    optional("pipeline_ids", Shape::List(&Shape::Text)),
    optional("load_params", Shape::Object),
];
/// More models than any chain has.
const MOST_MODELS: usize = 16;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/v1/pipeline/load", post(load))
        .route("/api/v1/pipeline/status", get(status))
        .route("/api/v1/pipelines/schemas", get(schemas))
        .route("/api/v1/nodes/definitions", get(node_definitions))
}

async fn load(
    State(state): State<AppState>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ApiError> {
    demand(LOAD, &body)?;
    let wishes = wishes(&body);
    if wishes.is_empty() {
        return Err(ApiError::bad_request(
            "no_pipelines",
            "Either 'pipelines' or 'pipeline_ids' must be provided",
            "name at least one id from GET /api/v1/pipelines/schemas",
        ));
    }
    if wishes.len() > MOST_MODELS {
        return Err(ApiError::bad_request(
            "too_many_pipelines",
            format!("{} pipelines are more than a chain can have", wishes.len()),
            format!("load {MOST_MODELS} at most"),
        ));
    }
    state.library.loader.load(wishes);
    Ok(Json(
        json!({ "message": "Pipeline loading initiated successfully" }),
    ))
}

/// Reads a body that was checked; the current form wins.
fn wishes(body: &Map<String, Value>) -> Vec<Wish> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = |value: Option<&Value>| value.and_then(Value::as_object).cloned();
    if let Some(Value::Array(entries)) = body.get("pipelines") {
        let wish = |entry: &Value| Wish {
            node_id: text(&entry["node_id"]),
            pipeline_id: text(&entry["pipeline_id"]),
            load_params: object(entry.get("load_params")),
        };
        return entries.iter().map(wish).collect();
    }
    let ids = body
        .get("pipeline_ids")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let wish = |id: &Value| Wish {
        node_id: text(id),
        pipeline_id: text(id),
        load_params: object(body.get("load_params")),
    };
    ids.map(wish).collect()
}

async fn status(State(state): State<AppState>) -> Json<Value> {
    let status = state.library.loader.status();
    let (name, error, stage) = match status.phase {
        Phase::NotLoaded => ("not_loaded", None, None),
        Phase::Loading(stage) => ("loading", None, Some(stage)),
        Phase::Loaded => ("loaded", None, None),
        Phase::Failed(reason) => ("error", Some(reason), None),
    };
    let first = status.first;
    Json(json!({
        "status": name,
        "pipeline_id": first.as_ref().map(|wish| &wish.node_id),
        "load_params": first.as_ref().and_then(|wish| wish.load_params.as_ref()),
        "loaded_lora_adapters": status.adapters,
        "error": error,
        "loading_stage": stage,
        "produces_video": true,
        "produces_audio": false,
        "model_info": status.facts,
    }))
}

async fn schemas(State(state): State<AppState>) -> Result<Json<Value>, ApiError> {
    look(state, Library::schemas).await
}

async fn node_definitions(State(state): State<AppState>) -> Result<Json<Value>, ApiError> {
    look(state, Library::node_definitions).await
}

/// Describes what is on disk now; disks block.
async fn look(state: AppState, describe: fn(&Library) -> Value) -> Result<Json<Value>, ApiError> {
    let look = move || describe(&state.library);
    let described = tokio::task::spawn_blocking(look).await;
    described
        .map(Json)
        .map_err(|err| ApiError::internal("schemas_failed", err.to_string()))
}

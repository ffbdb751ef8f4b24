//! The cloud connection, under Scope's present paths and those of its first plan.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use super::AppState;
use super::error::ApiError;
use super::extract::JsonObject;
use super::shape::{Field, Shape, check_fields, optional};
use crate::cloud::{CloudError, Wish};
use crate::secret::Secret;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/v1/fal/connect", post(connect_and_wait))
        .route("/api/v1/fal/disconnect", post(disconnect))
        .route("/api/v1/fal/status", get(status))
        .route("/api/v1/cloud/connect", post(connect))
        .route("/api/v1/cloud/disconnect", post(disconnect))
        .route("/api/v1/cloud/status", get(status))
}

const FIELDS: [Field; 4] = [
    optional("app_id", Shape::Text),
    optional("api_key", Shape::Text),
    optional("user_id", Shape::Text),
    optional("initial_parameters", Shape::Object),
];

/// Answers once the credentials are accepted or refused.
async fn connect_and_wait(
    State(state): State<AppState>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ApiError> {
    state.cloud.connect(read(body)?).await.map_err(refused)?;
    state.cloud.accepted().await.map_err(refused)?;
    Ok(Json(state.cloud.status()))
}

/// Answers at once; the status says how it goes.
async fn connect(
    State(state): State<AppState>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ApiError> {
    state.cloud.connect(read(body)?).await.map_err(refused)?;
    Ok(Json(state.cloud.status()))
}

async fn disconnect(State(state): State<AppState>) -> Json<Value> {
    state.cloud.disconnect().await;
    Json(state.cloud.status())
}

async fn status(State(state): State<AppState>) -> Json<Value> {
    Json(state.cloud.status())
}

fn read(mut body: Map<String, Value>) -> Result<Wish, ApiError> {
    let issues = check_fields(&FIELDS, &body, &["body".into()]);
    if !issues.is_empty() {
        return Err(issues.into());
    }
    let mut text = |key| match body.remove(key) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let (app_id, api_key) = (text("app_id"), text("api_key").map(Secret::new));
    let initial_parameters = match body.remove("initial_parameters") {
        Some(sent) => super::parameters::read(
            sent.as_object().cloned().unwrap_or_default(),
            &["body".into(), json!("initial_parameters")],
        )?,
        None => Map::new(),
    };
    Ok(Wish {
        app_id,
        api_key,
        initial_parameters,
    })
}

fn refused(error: CloudError) -> ApiError {
    let detail = error.to_string();
    match error {
        CloudError::Wish(wish) => {
            ApiError::bad_request("cloud_not_configured", detail, wish.remedy())
        }
        CloudError::Element(_) => ApiError::bad_request(
            "cloud_refused",
            detail,
            "check app id, addresses and the rest of the [cloud] configuration",
        ),
        CloudError::Refused(_) => ApiError::new(
            StatusCode::BAD_GATEWAY,
            "cloud_refused",
            detail,
            "check the app id and the key",
        ),
    }
}

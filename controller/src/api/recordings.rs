//! Recordings of sessions: begun, ended, fetched.

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::AppState;
use super::error::ApiError;
use super::files;
use crate::library::shelf;
use crate::session::RecordingError;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/v1/recordings/{session_id}", get(fetch))
        .route("/api/v1/recordings/{session_id}/start", post(start))
        .route("/api/v1/recordings/{session_id}/stop", post(stop))
}

#[derive(Deserialize)]
struct Node {
    node_id: Option<String>,
}

async fn start(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Query(Node { node_id }): Query<Node>,
) -> Result<Json<Value>, ApiError> {
    let begun = state.sessions.start_recording(&id, node_id).await?;
    let status = if begun {
        "started"
    } else {
        "already_recording"
    };
    Ok(Json(json!({ "status": status })))
}

async fn stop(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Query(Node { node_id }): Query<Node>,
) -> Result<Json<Value>, ApiError> {
    let ended = state.sessions.stop_recording(&id, node_id).await?;
    let status = if ended { "stopped" } else { "not_recording" };
    Ok(Json(json!({ "status": status })))
}

#[derive(Deserialize)]
struct Piece {
    node_id: Option<String>,
    /// As the header of that name, for a client that can send none: one behind a WebSocket.
    range: Option<String>,
}

async fn fetch(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Query(Piece { node_id, range }): Query<Piece>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let path = state.sessions.recording(&id, node_id.clone()).await?;
    let header = headers.get(header::RANGE);
    let header = header.and_then(|range| range.to_str().ok());
    let mut response = files::serve(&path, header.or(range.as_deref())).await?;
    let name = shelf::download_name(&path, node_id.as_deref());
    let attachment = format!("attachment; filename=\"{name}\"");
    response.headers_mut().extend(
        HeaderValue::try_from(attachment)
            .ok()
            .map(|value| (header::CONTENT_DISPOSITION, value)),
    );
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    Ok(response)
}

impl From<RecordingError> for ApiError {
    fn from(error: RecordingError) -> Self {
        let detail = error.to_string();
        match error {
            RecordingError::NoSession(_) => Self::not_found(
                "session_not_found",
                detail,
                "GET /api/v1/session/metrics lists the sessions",
            ),
            RecordingError::NoNodes(_) => Self::bad_request(
                "no_record_nodes",
                detail,
                "leave `node_id` out, or connect with a graph that has a record node",
            ),
            RecordingError::UnknownNode(..) => {
                Self::bad_request("unknown_record_node", detail, "name one of these")
            }
            RecordingError::NodeNeeded(_) => {
                Self::bad_request("record_node_needed", detail, "add ?node_id= to the address")
            }
            RecordingError::Between(_) => Self::bad_request(
                "record_node_between",
                detail,
                "join the record node to the source, to the last pipeline or to the sink",
            ),
            RecordingError::Nothing(_) => Self::not_found(
                "no_recording",
                detail,
                "start one with POST /api/v1/recordings/{session_id}/start and wait for a picture",
            ),
            RecordingError::Full(_) => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "disk_full",
                detail,
                "make room, or change `dir`, `total_mib` or `spare_mib` of [recording] in the configuration",
            ),
            RecordingError::Failed(_) => Self::internal("recording_failed", detail),
        }
    }
}

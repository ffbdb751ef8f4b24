//! Opening, feeding and closing sessions.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use super::AppState;
use super::error::ApiError;
use super::extract::JsonObject;
use super::offer;
use super::shape::{Field, Shape, demand, optional, required};
use crate::config::IceServer;
use crate::secret::Secret;
use crate::session::{Answer, Candidate};

/// The body of a trickle.
const CANDIDATES: &[Field] = &[required(
    "candidates",
    Shape::List(&Shape::Fields(&[
        optional("candidate", Shape::Text),
        optional("sdpMid", Shape::Text),
        optional("sdpMLineIndex", Shape::Whole(0.0, 65535.0)),
    ])),
)];

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/v1/webrtc/ice-servers", get(ice_servers))
        .route("/api/v1/webrtc/offer", post(open))
        .route(
            "/api/v1/webrtc/offer/{session_id}",
            patch(add_candidates).delete(close),
        )
}

async fn ice_servers(State(state): State<AppState>) -> Json<Value> {
    let entry = |server: &IceServer| {
        json!({
            "urls": server.urls,
            "username": server.username,
            "credential": server.credential.as_ref().map(Secret::expose),
        })
    };
    Json(json!({ "iceServers": state.config.ice_servers.iter().map(entry).collect::<Vec<_>>() }))
}

async fn open(
    State(state): State<AppState>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ApiError> {
    let answer = open_session(&state, body).await?;
    Ok(Json(
        json!({ "sdp": answer.sdp, "type": "answer", "sessionId": answer.session_id }),
    ))
}

/// Opens the session that an offer's body asks for.
///
/// # Errors
///
/// The body has not the shape of one, what it names is not loaded, or the session refuses.
pub(crate) async fn open_session(
    state: &AppState,
    body: Map<String, Value>,
) -> Result<Answer, ApiError> {
    let offer = offer::read(body, &state.library.loader, &state.cloud)?;
    Ok(state.sessions.open(offer).await?)
}

async fn add_candidates(
    State(state): State<AppState>,
    Path(id): Path<String>,
    JsonObject(body): JsonObject,
) -> Result<StatusCode, ApiError> {
    demand(CANDIDATES, &body)?;
    let list = body["candidates"].as_array().into_iter().flatten();
    let candidates = list.filter_map(Value::as_object).map(candidate).collect();
    state.sessions.add_candidates(&id, candidates).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn candidate(fields: &Map<String, Value>) -> Candidate {
    let text = |key| fields.get(key).and_then(Value::as_str).map(str::to_owned);
    let index = fields.get("sdpMLineIndex").and_then(Value::as_f64);
    Candidate {
        candidate: text("candidate").filter(|line| !line.is_empty()),
        sdp_mid: text("sdpMid"),
        // Whole and in range: checked above.
        sdp_m_line_index: index.map(|index| index as u32),
    }
}

async fn close(State(state): State<AppState>, Path(id): Path<String>) -> StatusCode {
    state.sessions.close(&id).await;
    StatusCode::NO_CONTENT
}

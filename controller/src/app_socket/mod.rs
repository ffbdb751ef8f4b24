//! This program as a fal app: one WebSocket that carries everything, so that one gst-scope can be the cloud of another.
//!
//! ```text
//!  GET /ws      the scope dialect: ready · signalling · API calls with their request_id · uploads · logs
//!  GET /webrtc  the yolo dialect:  ready · offer · answer · candidates
//!  (and below any /owner/app, so that this server's address can stand in for that of fal's gateway)
//!
//!  client ──► Socket ──► conversation ──┬─► signalling ──► Sessions      in order, one after another
//!         ◄── Outbox ◄──────────────────┴─► api_calls  ──► the REST routes, in this process, behind the guard
//! ```
//!
//! The words are [`fal_client`]'s; the routes are those of [`crate::api`]. What was opened over a socket ends with it:
//! the media would outlive it, and nobody would be left to pay attention (or to stop paying).
//!
//! Decision: signalling and API calls run beside each other, and a ping is answered at once. A load that takes a
//! minute must not look like a dead server.

mod api_calls;
mod binary;
mod cdn;
mod conversation;
mod log_feed;
mod model;
mod owned;
mod signalling;
mod socket;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{State, ws};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use fal_client::signalling::AppDialect;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::api::{ApiError, AppState};
use crate::guard::SUBPROTOCOL;
use api_calls::Inside;
use cdn::Cdn;
use socket::{Limits, Socket};

/// Sockets open at once: far more than sessions, far fewer than would hurt.
const MOST_SOCKETS: usize = 64;

/// All sockets, for whoever must end them; clones share them.
#[derive(Debug, Clone)]
pub struct Sockets {
    stopping: CancellationToken,
    places: Arc<Semaphore>,
}

impl Default for Sockets {
    fn default() -> Self {
        Self {
            stopping: CancellationToken::new(),
            places: Arc::new(Semaphore::new(MOST_SOCKETS)),
        }
    }
}

impl Sockets {
    /// Ends every socket; returns when their clients have been told, or do not listen.
    pub async fn end(&self) {
        self.stopping.cancel();
        let all = u32::try_from(MOST_SOCKETS).unwrap_or(u32::MAX);
        // Never closed, so never refused.
        let _ = self.places.acquire_many(all).await;
    }
}

/// What a socket's route can reach.
#[derive(Debug, Clone)]
struct Door {
    state: AppState,
    rest: Router,
    cdn: Arc<Cdn>,
}

/// The two sockets. `rest` is what API calls through a socket reach: every other route, guard included.
pub(crate) fn routes(state: AppState, rest: Router) -> Router {
    let cdn = Arc::new(Cdn::new(&state.config.cloud));
    Router::new()
        .route("/ws", get(scope))
        .route("/webrtc", get(yolo))
        // As behind fal's gateway, which takes the app's id away: for who has the address of no gateway.
        .route("/{owner}/{app}/ws", get(scope))
        .route("/{owner}/{app}/webrtc", get(yolo))
        .with_state(Door { state, rest, cdn })
}

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

async fn scope(
    State(door): State<Door>,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, ApiError> {
    answer(door, &headers, upgrade, AppDialect::Scope)
}

async fn yolo(
    State(door): State<Door>,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, ApiError> {
    answer(door, &headers, upgrade, AppDialect::Yolo)
}

fn answer(
    door: Door,
    headers: &HeaderMap,
    upgrade: Upgrade,
    dialect: AppDialect,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|rejection| {
        ApiError::new(
            StatusCode::UPGRADE_REQUIRED,
            "websocket_expected",
            format!("this route is a WebSocket: {}", rejection.body_text()),
            "connect with a WebSocket client; the REST routes are under /api/v1",
        )
    })?;
    let place = Arc::clone(&door.state.sockets.places)
        .try_acquire_owned()
        .map_err(|_| {
            ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too_many_sockets",
                format!("{MOST_SOCKETS} sockets are open, which is the limit"),
                "close one and try again",
            )
        })?;
    let limits = limits(&door.state);
    let inside = Inside::new(door.rest, headers, door.cdn, limits.message);
    let state = door.state;
    let id = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
    let span = tracing::info_span!("socket", id);
    let talk = move |socket: ws::WebSocket| {
        async move {
            let _place = place;
            let socket = Socket::new(socket, dialect, limits, state.sockets.stopping.clone());
            conversation::hold(socket, dialect, id, state, inside).await;
        }
        .instrument(span)
    };
    Ok(upgrade
        .protocols([SUBPROTOCOL])
        // What is a little too large is refused in words; only what is far too large ends the socket.
        .max_message_size(limits.message.saturating_mul(2))
        .max_frame_size(limits.message.saturating_mul(2))
        .on_upgrade(talk))
}

fn limits(state: &AppState) -> Limits {
    let seconds = state.config.socket_seconds;
    Limits {
        message: state.config.socket_message,
        age: (seconds > 0).then(|| Duration::from_secs(seconds)),
    }
}

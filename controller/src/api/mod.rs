//! The REST edge: Scope's contract, one file per resource.
//!
//! Routes are thin: they read a request, ask the library or the sessions, and write a reply. What Scope's clients ask
//! for at start and we have no use for is answered with an empty body, see `stand_ins`.

mod assets;
mod cloud;
mod error;
mod extract;
mod files;
mod hardware;
mod headless;
mod health;
mod input_sources;
mod issue;
mod logs;
mod loras;
mod models;
mod offer;
mod parameters;
mod pipelines;
mod recordings;
mod route;
mod session;
mod shape;
mod stand_ins;
mod webrtc;
mod workflow;

use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get};

use crate::app_socket::{self, Sockets};
use crate::cloud::Cloud;
use crate::config::Config;
use crate::guard::{self, Guard};
use crate::library::Library;
use crate::log::Ring;
use crate::page;
use crate::session::Sessions;

pub use error::ApiError;
pub(crate) use files::serve as serve_file;
pub(crate) use hardware::told as hardware;
pub(crate) use webrtc::open_session;

/// Largest JSON body, bytes: a hundred times the largest a browser has reason to send.
const BODY_LIMIT: usize = 1 << 20;

/// What every route can reach.
#[derive(Debug, Clone)]
pub struct AppState {
    /// How the program was started.
    pub config: Arc<Config>,
    /// Models and files.
    pub library: Arc<Library>,
    /// The app in the cloud.
    pub cloud: Cloud,
    /// Remote peers.
    pub sessions: Arc<dyn Sessions>,
    /// The newest log lines.
    pub logs: Arc<Ring>,
    /// Who may come in.
    pub guard: Arc<Guard>,
    /// When the server started: a page learns of a restart from it.
    pub started: SystemTime,
    /// The WebSockets that are open.
    pub sockets: Sockets,
}

/// All routes, behind the guard.
pub fn router(state: AppState) -> Router {
    let guarded = from_fn_with_state(Arc::clone(&state.guard), guard::check);
    let rest = Router::new()
        .merge(health::routes())
        .merge(pipelines::routes())
        .merge(models::routes())
        .merge(hardware::routes())
        .merge(webrtc::routes())
        .merge(session::routes())
        .merge(headless::routes())
        .merge(assets::routes())
        .merge(recordings::routes())
        .merge(cloud::routes())
        .merge(input_sources::routes())
        .merge(logs::routes())
        .merge(loras::routes())
        .merge(workflow::routes())
        .merge(stand_ins::routes())
        .route("/api", any(unknown_route))
        .route("/api/{*rest}", any(unknown_route))
        .fallback_service(
            get(page::serve)
                .fallback(wrong_method)
                .with_state(state.clone()),
        )
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(guarded.clone())
        .with_state(state.clone());
    let sockets = app_socket::routes(state, rest.clone()).layer(guarded);
    rest.merge(sockets)
}

async fn unknown_route(uri: Uri) -> ApiError {
    ApiError::not_found(
        "unknown_route",
        format!("there is no {}", uri.path()),
        "see the REST table in README.md",
    )
}

async fn wrong_method() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "Method Not Allowed",
        "the `allow` header lists what this route takes",
    )
}

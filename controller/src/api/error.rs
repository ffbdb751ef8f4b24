//! Error replies: `{"code", "detail", "hint"}`.
//!
//! `code` is for machines and stable, `detail` for people, `hint` is the next step. A body that does not fit is
//! answered as FastAPI does, a list of [`Issue`]s in `detail`, because Scope's clients read that.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::issue::Issue;
use crate::session::SessionError;

/// A refused request.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    detail: Value,
    hint: String,
}

impl ApiError {
    /// An error with its four parts.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            status,
            code,
            detail: Value::String(detail.into()),
            hint: hint.into(),
        }
    }

    /// The reply's status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What went wrong and what to do next, in one line for people.
    pub fn sentence(&self) -> String {
        let detail = match &self.detail {
            Value::String(detail) => detail.clone(),
            Value::Array(issues) => {
                let lines: Vec<_> = issues.iter().map(complaint).collect();
                lines.join(", ")
            }
            other => other.to_string(),
        };
        format!("{}; {}", detail.trim_end_matches('.'), self.hint)
    }

    /// 400, the request makes no sense as it is.
    pub fn bad_request(
        code: &'static str,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail, hint)
    }

    /// 404, there is no such thing.
    pub fn not_found(
        code: &'static str,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail, hint)
    }

    /// 500, and a log line for whoever must act.
    pub fn internal(code: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        tracing::error!(code, %detail, "request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            code,
            detail,
            "see the log of gst-scope",
        )
    }
}

/// `prompts.0.text: Field required`
fn complaint(issue: &Value) -> String {
    let steps = issue["loc"].as_array().into_iter().flatten();
    let path: Vec<_> = steps
        .filter(|step| *step != "body")
        .map(|step| {
            step.as_str()
                .map_or_else(|| step.to_string(), str::to_owned)
        })
        .collect();
    let message = issue["msg"].as_str().unwrap_or_default();
    format!("{}: {message}", path.join("."))
}

impl From<Vec<Issue>> for ApiError {
    fn from(issues: Vec<Issue>) -> Self {
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            code: "invalid_request",
            detail: issues.into_iter().map(Value::from).collect(),
            hint: "correct the fields named by `loc`".into(),
        }
    }
}

impl From<Issue> for ApiError {
    fn from(issue: Issue) -> Self {
        vec![issue].into()
    }
}

impl From<SessionError> for ApiError {
    fn from(err: SessionError) -> Self {
        let detail = err.to_string();
        match err {
            SessionError::NotFound(id) => Self::not_found(
                "session_not_found",
                format!("Session {id} not found"),
                "make a new session with POST /api/v1/webrtc/offer",
            ),
            SessionError::BadOffer(_) => Self::bad_request(
                "bad_offer",
                detail,
                "send the `sdp` of an RTCPeerConnection offer with a VP8 or H264 video line",
            ),
            SessionError::BadParameter(message) => {
                Issue::value_error(vec!["body".into()], message).into()
            }
            SessionError::BadCandidate(line) => Self::not_found(
                "invalid_candidate",
                format!("Invalid ICE candidate: {line}"),
                "send the candidate as the browser gave it",
            ),
            SessionError::Failed(_) => Self::internal("session_failed", detail),
            SessionError::Running => Self::new(
                StatusCode::CONFLICT,
                "headless_running",
                detail,
                "change it with POST /api/v1/session/parameters, or stop it with POST /api/v1/session/stop",
            ),
            SessionError::TooMany(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too_many_sessions",
                detail,
                "close a session, or raise `max_sessions`",
            ),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({ "code": self.code, "detail": self.detail, "hint": self.hint });
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

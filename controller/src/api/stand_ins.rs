//! What Scope's page asks for at start and this server has no use for, answered with nothing in the right shape.
//!
//! One table. A route that comes to life moves to a file of its own.

use axum::extract::Request;
use axum::http::Method;
use axum::routing::{MethodFilter, on};
use axum::{Json, Router};
use serde_json::Value;

use super::AppState;

/// Method, path and body.
const TABLE: [(Method, &str, &str); 11] = [
    (
        Method::GET,
        "/api/v1/onboarding/status",
        r#"{"completed":true,"inference_mode":"local",
        "onboarding_style":null,"referral_source":null,"use_case":null}"#,
    ),
    (
        Method::GET,
        "/api/v1/plugins",
        r#"{"plugins":[],"total":0,"failed_plugins":[]}"#,
    ),
    (Method::GET, "/api/v1/keys", r#"{"keys":[]}"#),
    (
        Method::GET,
        "/api/v1/osc/status",
        r#"{"enabled":false,"listening":false,"port":null,"host":null,
        "log_all_messages":false}"#,
    ),
    (
        Method::GET,
        "/api/v1/osc/paths",
        r#"{"active":{},"available":{},"active_pipeline_ids":[]}"#,
    ),
    (Method::POST, "/api/v1/osc/inventory", r#"{"count":0}"#),
    (
        Method::GET,
        "/api/v1/dmx/status",
        r#"{"enabled":false,"listening":false,"port":null,"preferred_port":6454,
        "host":null,"log_all_messages":false,"mapping_count":0}"#,
    ),
    (
        Method::GET,
        "/api/v1/dmx/paths",
        r#"{"active":{},"available":{},"active_pipeline_ids":[]}"#,
    ),
    (
        Method::GET,
        "/api/v1/dmx/config",
        r#"{"enabled":false,"preferred_port":6454,"log_all_messages":false,
        "mappings":[]}"#,
    ),
    (
        Method::GET,
        "/api/v1/tempo/status",
        r#"{"enabled":false,"source":null,"beats_per_bar":4,"beat_state":null}"#,
    ),
    (
        Method::GET,
        "/api/v1/tempo/sources",
        r#"{"sources":{"link":{"available":false,"name":"Ableton Link"},
        "midi_clock":{"available":false,"name":"MIDI clock","devices":[]}}}"#,
    ),
];

pub(super) fn routes() -> Router<AppState> {
    TABLE
        .into_iter()
        .fold(Router::new(), |router, (method, path, body)| {
            let filter = MethodFilter::try_from(method).expect("the table names plain methods");
            let answer = move |_: Request| async move {
                Json(
                    serde_json::from_str::<Value>(body)
                        .expect("the table holds JSON, see the test"),
                )
            };
            router.route(path, on(filter, answer))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_body_is_an_object() {
        for (_, path, body) in TABLE {
            assert!(
                serde_json::from_str::<Value>(body).is_ok_and(|body| body.is_object()),
                "{path}"
            );
        }
    }
}

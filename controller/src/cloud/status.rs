//! What the cloud connection looks like from outside, in the shape of `GET /api/v1/cloud/status`.
//!
//! Pure. Scope's keys first, under Scope's names; ours after them.

use std::time::Duration;

use serde_json::{Map, Value, json};

/// One connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Lane {
    pub(super) stage: String,
    pub(super) trouble: Option<String>,
    pub(super) figures: Map<String, Value>,
    pub(super) hardware: Option<Value>,
}

/// All there is to tell.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) app_id: Option<String>,
    pub(super) credentials_configured: bool,
    pub(super) uptime: Option<Duration>,
    pub(super) error: Option<String>,
    pub(super) lanes: Vec<Lane>,
}

/// The lane that has come furthest speaks for all.
pub(super) fn shape(seen: &Seen) -> Value {
    let live = seen.lanes.iter().find(|lane| lane.stage == "live");
    let spoken = live.or_else(|| {
        let working = |lane: &&Lane| lane.stage != "failed";
        seen.lanes.iter().find(working).or(seen.lanes.first())
    });
    let stage = spoken.map(|lane| lane.stage.as_str());
    let rests = matches!(stage, Some("failed" | "idle"));
    let sum = |name: &str| -> u64 {
        let counts = seen.lanes.iter().filter_map(|lane| lane.figures.get(name));
        counts.filter_map(Value::as_u64).sum()
    };
    let figure = |name: &str| spoken.and_then(|lane| lane.figures.get(name)).cloned();
    let trouble = spoken.and_then(|lane| lane.trouble.clone());
    let error = seen
        .error
        .clone()
        .or_else(|| trouble.filter(|_| live.is_none()));
    let stats = spoken.map(|_| {
        json!({
            "uptime_seconds": seen.uptime.map(|uptime| (uptime.as_secs_f64() * 10.0).round() / 10.0),
            "webrtc_offers_sent": seen.lanes.len() as u64 + sum("reconnects"),
            "webrtc_offers_successful": live.map_or(0, |_| 1 + sum("reconnects")),
            "webrtc_ice_candidates_sent": null,
            "api_requests_sent": null,
            "api_requests_successful": null,
            "frames_sent_to_cloud": sum("frames-sent"),
            "frames_received_from_cloud": sum("frames-returned"),
        })
    });
    json!({
        "connected": live.is_some(),
        "connecting": spoken.is_some() && live.is_none() && !rests,
        "error": error,
        "connect_stage": stage.filter(|_| live.is_none()),
        "webrtc_connected": live.is_some(),
        "app_id": seen.app_id,
        "connection_id": null,
        "credentials_configured": seen.credentials_configured,
        "stats": stats,
        "last_close_code": null,
        "last_close_reason": figure("reason"),
        "stage": stage,
        "stage_seconds": figure("stage-time").and_then(|time| time.as_u64()).map(|time| (time as f64 / 1e8).round() / 10.0),
        "round_trip_ms": figure("round-trip").and_then(|trip| trip.as_u64()).filter(|trip| *trip > 0).map(|trip| trip as f64 / 1e6),
        "reconnects": sum("reconnects"),
        "hardware": live.and_then(|lane| lane.hardware.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(stage: &str) -> Lane {
        Lane {
            stage: stage.into(),
            ..Lane::default()
        }
    }

    fn with(lanes: Vec<Lane>) -> Value {
        shape(&Seen {
            app_id: Some("owner/app".into()),
            lanes,
            ..Seen::default()
        })
    }

    #[test]
    fn nothing_wanted_is_scopes_empty_answer() {
        let shape = shape(&Seen::default());

        for key in [
            "connected",
            "connecting",
            "webrtc_connected",
            "credentials_configured",
        ] {
            assert_eq!(shape[key], json!(false), "{key}");
        }
        for key in ["error", "connect_stage", "app_id", "connection_id", "stats"] {
            assert_eq!(shape[key], Value::Null, "{key}");
        }
    }

    #[test]
    fn one_live_lane_is_a_connection() {
        let shape = with(vec![lane("token"), lane("live")]);

        assert_eq!(
            (&shape["connected"], &shape["connecting"]),
            (&json!(true), &json!(false))
        );
        assert_eq!(shape["connect_stage"], Value::Null);
    }

    #[test]
    fn a_lane_on_its_way_says_where_it_is_and_what_went_wrong_before() {
        let mut reconnecting = lane("reconnecting");
        reconnecting.trouble = Some("the socket closed".into());

        let shape = with(vec![lane("failed"), reconnecting]);

        assert_eq!(
            (&shape["connected"], &shape["connecting"]),
            (&json!(false), &json!(true))
        );
        assert_eq!(shape["connect_stage"], json!("reconnecting"));
        assert_eq!(shape["error"], json!("the socket closed"));
    }

    #[test]
    fn a_lane_that_failed_or_rests_is_not_connecting() {
        for stage in ["failed", "idle"] {
            let shape = with(vec![lane(stage)]);

            assert_eq!(
                (&shape["connected"], &shape["connecting"]),
                (&json!(false), &json!(false))
            );
        }
    }
}

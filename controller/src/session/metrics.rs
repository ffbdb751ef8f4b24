//! One session's figures in the shape of `GET /api/v1/session/metrics`.
//!
//! Pure. Scope's keys first, under Scope's names; ours after them.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Parameters;
use crate::media::meter::Meter;

/// What the connection says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Link {
    /// What the encoder aims at, bit/s.
    pub(super) bitrate: u32,
    pub(super) round_trip: Option<Duration>,
    /// Share of our packets that the client lost, 0.0 to 1.0.
    pub(super) loss: Option<f64>,
}

/// A cloud lane as its session sees it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Relay {
    pub(super) stage: String,
    /// Its pictures are the ones in view.
    pub(super) shown: bool,
    /// The element's own.
    pub(super) figures: Map<String, Value>,
}

/// Puts one session's figures together; `stats` are the processors' own, by node.
pub(super) fn shape(
    meter: &Meter,
    link: Link,
    codec: Option<&str>,
    known: &Parameters,
    stats: &Map<String, Value>,
    relay: Option<&Relay>,
    now: Duration,
) -> Value {
    let source = known.get("input_source").unwrap_or(&Value::Null);
    let enabled = source
        .get("enabled")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let latency = match (meter.processing.median(), meter.encoding.median()) {
        (Some(processing), Some(encoding)) => Some(processing + encoding),
        (one, other) => one.or(other),
    };
    let mut shape = json!({
        "frames_in": meter.input.total(),
        "frames_out": meter.output.total(),
        "elapsed_seconds": rounded(now.as_secs_f64()),
        "fps_in": rounded(meter.input.per_second(now)),
        "fps_out": rounded(meter.output.per_second(now)),
        "pipeline_fps": rounded(meter.output.per_second(now)),
        "output_sinks": sinks(known),
        "input_source_enabled": enabled,
        "input_source_type": source.get("source_type").and_then(Value::as_str).filter(|_| enabled).unwrap_or_default(),
        "relay_mode": relay.is_some(),
        "frames_dropped": meter.dropped,
        "bitrate_kbps": link.bitrate / 1000,
        "round_trip_ms": link.round_trip.map(milliseconds),
        "loss_percent": link.loss.map(|loss| rounded(loss * 100.0)),
        "latency_ms": latency.map(milliseconds),
        "codec": codec,
        "processors": stats,
    });
    if codec.is_none() {
        shape["headless"] = true.into();
    }
    if let Some(relay) = relay {
        let count = |name| relay.figures.get(name).and_then(Value::as_u64).unwrap_or(0);
        shape["frames_to_cloud"] = count("frames-sent").into();
        shape["frames_from_cloud"] = count("frames-returned").into();
        shape["cloud"] =
            json!({"stage": relay.stage, "shown": relay.shown, "figures": relay.figures});
    }
    shape
}

/// The enabled outputs beside the browser, by type.
fn sinks(known: &Parameters) -> Map<String, Value> {
    let sinks = known
        .get("output_sinks")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let enabled = |sink: &Value| {
        sink.get("enabled")
            .and_then(Value::as_bool)
            .unwrap_or(false)
    };
    let named = |sink: &Value| json!({"name": sink.get("name").and_then(Value::as_str).unwrap_or_default()});
    sinks
        .iter()
        .filter(|(_, sink)| enabled(sink))
        .map(|(kind, sink)| (kind.clone(), named(sink)))
        .collect()
}

fn milliseconds(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64() * 1000.0)
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_is_scopes_then_ours() {
        let mut meter = Meter::default();
        for n in 0..100 {
            meter.input.count(Duration::from_millis(n * 40));
        }
        meter.processing.add(Duration::from_millis(7));
        meter.encoding.add(Duration::from_millis(2));
        let known = json!({
            "output_sinks": {"spout": {"enabled": true, "name": "S"}, "ndi": {"enabled": false}},
            "input_source": {"enabled": true, "source_type": "spout"},
        });
        let link = Link {
            bitrate: 1_500_000,
            round_trip: None,
            loss: Some(0.0123),
        };

        let shape = shape(
            &meter,
            link,
            Some("VP8"),
            known.as_object().unwrap(),
            &Map::new(),
            None,
            Duration::from_millis(3960),
        );

        let expected = json!({
            "frames_in": 100, "frames_out": 0, "elapsed_seconds": 3.96, "fps_in": 25.0, "fps_out": 0.0,
            "pipeline_fps": 0.0, "output_sinks": {"spout": {"name": "S"}}, "input_source_enabled": true,
            "input_source_type": "spout", "relay_mode": false, "frames_dropped": 0, "bitrate_kbps": 1500,
            "round_trip_ms": null, "loss_percent": 1.23, "latency_ms": 9.0, "codec": "VP8", "processors": {},
        });
        assert_eq!(shape, expected);
    }
}

//! What goes wrong when pictures flow: the fallback at once, then a new connection, then pictures again.

use std::time::Duration;

use anyhow::{Result, ensure};
use gst::prelude::*;
use scope_tests::Cloud;
use serde_json::{Value, json};

use super::{RETURNED, SENT, start};

/// Pictures, then `fault`, then the fallback, then pictures of a second connection.
fn comes_back(path: &str, fault: &Value, properties: &str, reason: &str) -> Result<Cloud> {
    start();
    let cloud = Cloud::new(path, &format!("media-timeout=2 {properties}"))?;
    cloud.app.faults(&json!({"attempts": [fault]}))?;
    cloud
        .bin
        .set_property("parameters", r#"{"prompt":"night"}"#);
    cloud.play()?;
    cloud.picture_like(RETURNED)?;
    cloud
        .bin
        .emit_by_name::<Option<String>>("apply-parameters", &[&r#"{"seed":7}"#]);
    cloud.picture_like(SENT)?;
    cloud.picture_like(RETURNED)?;
    let told = cloud.reason_of("reconnecting")?;
    ensure!(told.contains(reason), "`{told}` does not say `{reason}`");
    cloud.until("second connection alone", |cloud| {
        Ok(cloud.report()?["open"] == 1)
    })?;
    ensure!(
        cloud.stats().get::<u64>("reconnects") == Ok(1),
        "{:?}",
        cloud.stats()
    );
    let children = cloud
        .bin
        .downcast_ref::<gst::Bin>()
        .map(|bin| bin.children().len());
    ensure!(
        children == Some(1),
        "the lost connection's elements are still there: {children:?}"
    );
    Ok(cloud)
}

#[test]
fn a_socket_that_dies_while_media_live() -> Result<()> {
    comes_back("webrtc", &json!({"socket_dies": 0.5}), "", "closed").map(drop)
}

#[test]
fn media_that_end_with_a_farewell() -> Result<()> {
    comes_back(
        "webrtc",
        &json!({"media_dies": 0.5, "how": "close"}),
        "",
        "",
    )
    .map(drop)
}

#[test]
fn media_that_vanish_while_the_socket_lives() -> Result<()> {
    comes_back(
        "webrtc",
        &json!({"media_dies": 0.5, "how": "vanish"}),
        "",
        "2 s",
    )
    .map(drop)
}

#[test]
fn pictures_that_stop_while_everything_else_lives() -> Result<()> {
    comes_back(
        "realtime",
        &json!({"media_dies": 0.5, "how": "stall"}),
        "",
        "no picture came back for 2 s",
    )
    .map(drop)
}

/// The new runner knows nothing: everything in force is said again.
#[test]
fn a_runner_that_is_replaced_is_told_the_parameters_again() -> Result<()> {
    let cloud = comes_back("ws", &json!({"replaced": 0.5}), "", "closed")?;
    cloud.until("parameters at the new runner", |cloud| {
        Ok(cloud.report()?["parameters"] == json!({"prompt": "night", "seed": 7}))
    })
}

#[test]
fn an_app_that_ends_the_session_by_its_own_limit() -> Result<()> {
    comes_back("ws", &json!({"max_duration": 0.5}), "", "longest duration").map(drop)
}

#[test]
fn wma_sessions_that_die_are_made_anew() -> Result<()> {
    comes_back(
        "x",
        &json!({"media_dies": 0.5, "how": "vanish"}),
        "dialect=wma auth=header",
        "",
    )
    .map(drop)
}

#[test]
fn reconnect_now_makes_a_new_connection() -> Result<()> {
    start();
    let cloud = Cloud::new("webrtc", "")?;
    cloud.play()?;
    cloud.picture_like(RETURNED)?;

    cloud.bin.emit_by_name::<()>("reconnect-now", &[]);

    cloud.until("second session", |cloud| {
        let report = cloud.report()?;
        Ok(report["attempts"] == 2
            && report["open"] == 1
            && report["ended"].as_array().is_some_and(|all| all.len() == 1))
    })?;
    cloud.waiting();
    cloud.picture_like(RETURNED)?;
    Ok(())
}

/// What came from a stream that stands still keeps the far end, and time alone ends nothing.
#[test]
fn a_source_that_pauses_keeps_its_session() -> Result<()> {
    start();
    let cloud = Cloud::new("webrtc", "media-timeout=2")?;
    cloud.play()?;
    cloud.picture_like(RETURNED)?;

    cloud.pipeline.set_state(gst::State::Paused)?;
    std::thread::sleep(Duration::from_secs(4));
    cloud.pipeline.set_state(gst::State::Playing)?;
    cloud.waiting();
    cloud.picture_like(RETURNED)?;

    ensure!(cloud.report()?["attempts"] == 1, "{:#}", cloud.report()?);
    Ok(())
}

/// A paused app sends no pictures; that is what it was asked for.
#[test]
fn an_app_that_was_paused_is_not_taken_for_dead() -> Result<()> {
    start();
    let cloud = Cloud::new("webrtc", "media-timeout=1")?;
    cloud.play()?;
    cloud.picture_like(RETURNED)?;

    cloud
        .bin
        .emit_by_name::<Option<String>>("apply-parameters", &[&r#"{"paused":true}"#]);
    cloud.app.act("drop_media", json!({"how": "stall"}))?;
    std::thread::sleep(Duration::from_secs(3));

    ensure!(cloud.report()?["attempts"] == 1, "{:#}", cloud.report()?);
    ensure!(cloud.stage() == "live");
    Ok(())
}

//! What a session may cost: time, money, delay; and how both rates follow the network.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gst::prelude::*;
use scope_tests::Cloud;
use serde_json::json;

use super::{RETURNED, SENT, start};

#[test]
fn a_session_that_lasted_long_enough_is_really_ended() -> Result<()> {
    start();
    let cloud = Cloud::new("webrtc", "max-session-duration=2")?;
    cloud.play()?;
    cloud.picture_like(RETURNED)?;

    cloud.await_stage("idle")?;
    cloud.until("end at the app", |cloud| Ok(cloud.report()?["open"] == 0))?;
    cloud.waiting();
    cloud.picture_like(SENT)?;
    std::thread::sleep(Duration::from_secs(1));
    ensure!(
        cloud.report()?["attempts"] == 1,
        "only the user begins another"
    );

    cloud.bin.emit_by_name::<()>("reconnect-now", &[]);
    cloud.picture_like(RETURNED)?;
    Ok(())
}

#[test]
fn an_idle_session_is_ended_and_the_next_picture_begins_another() -> Result<()> {
    start();
    let source = "appsrc name=in is-live=true format=time do-timestamp=true \
         caps=video/x-raw,format=RGB,width=64,height=64,framerate=30/1";
    let cloud = Cloud::with_source(source, "webrtc", "max-idle=2")?;
    let input: gst_app::AppSrc = cloud
        .pipeline
        .by_name("in")
        .and_downcast()
        .context("no source")?;
    let feed = |cloud: &Cloud| -> Result<()> {
        for _ in 0..600 {
            input.push_buffer(gst::Buffer::from_mut_slice([60_u8; 64 * 64 * 3]))?;
            std::thread::sleep(Duration::from_millis(20));
            if cloud
                .waiting()
                .iter()
                .any(|seen| (seen.brightness - 195.0).abs() < 8.0)
            {
                return Ok(());
            }
        }
        anyhow::bail!("nothing came back: {:?}", cloud.stats())
    };
    cloud.play()?;
    feed(&cloud)?;

    cloud.await_stage("idle")?;
    cloud.until("end at the app", |cloud| Ok(cloud.report()?["open"] == 0))?;
    ensure!(cloud.report()?["attempts"] == 1);

    cloud.waiting();
    feed(&cloud)?;
    ensure!(cloud.report()?["attempts"] == 2);
    Ok(())
}

#[test]
fn a_slow_app_gets_fewer_pictures() -> Result<()> {
    start();
    let cloud = Cloud::new("webrtc", "max-latency=400")?;
    // It takes ten a second and keeps the rest for later.
    cloud.app.faults(&json!({"rest": {"delay": 0.1}}))?;
    cloud.play()?;
    cloud.picture_like(RETURNED)?;

    cloud.until("bound on the frame rate", |cloud| {
        let stats = cloud.stats();
        let limit = stats.get::<f64>("fps-limit").unwrap_or(30.0);
        Ok(limit < 14.0
            && stats
                .get::<u64>("round-trip")
                .is_ok_and(|trip| trip < 1_500_000_000))
    })
}

/// Its processor is needed elsewhere for a second out of four: what it can do in the other three, it is given.
#[test]
fn an_app_that_stands_still_at_times_gets_everything_between() -> Result<()> {
    start();
    let cloud = Cloud::new("webrtc", "max-latency=400")?;
    cloud.app.faults(&json!({"rest": {"starved": 1.0}}))?;
    cloud.play()?;
    cloud.picture_like(RETURNED)?;
    let count = |name: &str| cloud.stats().get::<u64>(name).unwrap_or_default();
    let before = (count("frames-in"), count("frames-returned"));

    std::thread::sleep(Duration::from_secs(16));

    let (sent, back) = (
        count("frames-in") - before.0,
        count("frames-returned") - before.1,
    );
    ensure!(
        back * 10 > sent * 6,
        "{back} of {sent}: {:?}",
        cloud.stats()
    );
    Ok(())
}

#[test]
fn the_app_is_told_that_it_may_send_more_and_does() -> Result<()> {
    start();
    let cloud = Cloud::new("webrtc", "")?;
    cloud.play()?;
    cloud.picture_like(RETURNED)?;

    cloud.until("higher bit rate at the app", |cloud| {
        let report = cloud.report()?;
        let rates = report["bitrates"].as_array().cloned().unwrap_or_default();
        Ok(rates.last().and_then(serde_json::Value::as_u64) > Some(1_000_000))
    })?;
    ensure!(
        cloud.report()?["plis"].as_u64() > Some(0),
        "the first picture is asked for"
    );
    Ok(())
}

#[test]
fn an_app_with_a_clock_of_its_own_gets_pictures_through() -> Result<()> {
    start();
    let cloud = Cloud::new("webrtc", "")?;
    cloud.app.faults(&json!({"rest": {"timestamps": "own"}}))?;
    cloud.play()?;
    cloud.picture_like(RETURNED)?;

    let mut last = None;
    for _ in 0..30 {
        let seen = cloud.picture_like(RETURNED)?;
        let pts = seen.pts.context("no timestamp")?;
        let running = cloud
            .pipeline
            .current_running_time()
            .context("not running")?;
        ensure!(
            running.absdiff(pts) < gst::ClockTime::from_seconds(5),
            "{pts} at {running}"
        );
        ensure!(last < Some(pts), "{last:?} before {pts}");
        last = Some(pts);
    }
    ensure!(cloud.stats().get::<bool>("timestamps-kept") == Ok(false));
    Ok(())
}

#[test]
fn an_app_that_leaves_pictures_out_keeps_their_timestamps() -> Result<()> {
    start();
    let cloud = Cloud::new("webrtc", "")?;
    cloud.app.faults(&json!({"rest": {"keep": 3}}))?;
    cloud.play()?;
    cloud.until("known timestamps", |cloud| {
        Ok(cloud.stats().get::<bool>("timestamps-kept") == Ok(true))
    })?;
    cloud.until("round trip", |cloud| {
        Ok(cloud
            .stats()
            .get::<u64>("round-trip")
            .is_ok_and(|trip| trip > 0))
    })
}

/// Lost packets are sent again, both ways.
#[test]
fn a_little_loss_costs_few_pictures_and_little_time() -> Result<()> {
    start();
    let cloud = Cloud::new("webrtc", "")?;
    cloud.app.faults(&json!({"rest": {"loss": 0.03}}))?;
    cloud.play()?;
    cloud.picture_like(RETURNED)?;
    cloud.until("200 pictures", |cloud| {
        Ok(cloud
            .stats()
            .get::<u64>("frames-returned")
            .is_ok_and(|all| all > 200))
    })?;

    let stats = cloud.stats();
    let count = |name: &str| stats.get::<u64>(name).unwrap_or_default();
    ensure!(
        count("frames-returned") * 10 > count("frames-sent") * 8,
        "{stats:?}"
    );
    ensure!(count("round-trip") < 500_000_000, "{stats:?}");
    ensure!(cloud.stage() == "live");
    Ok(())
}

#[test]
fn heavy_loss_lowers_the_bit_rates() -> Result<()> {
    start();
    let cloud = Cloud::new("webrtc", "")?;
    cloud.app.faults(&json!({"rest": {"loss": 0.3}}))?;
    cloud.play()?;

    cloud.until("lower bit rate", |cloud| {
        let stats = cloud.stats();
        Ok(stats
            .get::<u32>("bitrate-target")
            .is_ok_and(|rate| rate > 0 && rate < 1_000_000)
            && stats.get::<f64>("loss-sent").is_ok_and(|loss| loss > 0.1))
    })
}

//! What comes out while nothing comes back, and that a pipeline never stands still for it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use gst::prelude::*;
use scope_tests::Cloud;
use serde_json::json;

use super::{RETURNED, SENT, start};

/// A far end that never becomes ready.
fn unready(properties: &str) -> Result<Cloud> {
    start();
    let cloud = Cloud::new("webrtc", properties)?;
    cloud.app.faults(&json!({"rest": {"no_ready": true}}))?;
    Ok(cloud)
}

#[test]
fn every_input_gives_an_output_at_once() -> Result<()> {
    for (fallback, brightness) in [("passthrough", SENT), ("black", 16.0), ("hold", 16.0)] {
        let cloud = unready(&format!("fallback={fallback} queue-size=60"))?;
        cloud.play()?;
        let seen = (0..20)
            .map(|_| cloud.picture())
            .collect::<Result<Vec<_>>>()?;
        for pair in seen.windows(2) {
            let step =
                pair[1].pts.context("no timestamp")? - pair[0].pts.context("no timestamp")?;
            ensure!(
                step < gst::ClockTime::from_mseconds(40),
                "{fallback} left pictures out: {pair:?}"
            );
        }
        let near = |brightness: f64| {
            seen.iter()
                .all(|seen| (seen.brightness - brightness).abs() < 3.0)
        };
        ensure!(near(brightness), "{fallback}: {seen:?}");
    }
    Ok(())
}

#[test]
fn none_gives_nothing_until_pictures_come_back() -> Result<()> {
    start();
    let cloud = Cloud::new("webrtc", "fallback=none")?;
    cloud
        .app
        .faults(&json!({"attempts": [{"ready_delay": 1.5}]}))?;
    let begun = Instant::now();
    cloud.play()?;

    let first = cloud.picture()?;

    ensure!((first.brightness - RETURNED).abs() < 6.0, "{first:?}");
    ensure!(begun.elapsed() > Duration::from_millis(1500));
    Ok(())
}

#[test]
fn hold_keeps_the_last_returned_picture() -> Result<()> {
    start();
    let cloud = Cloud::new("webrtc", "fallback=hold")?;
    cloud
        .app
        .faults(&json!({"attempts": [{}], "rest": {"no_ready": true}}))?;
    cloud.play()?;
    cloud.picture_like(RETURNED)?;
    cloud.app.act("replace", json!({}))?;
    cloud.until("loss", |cloud| Ok(cloud.stage() != "live"))?;
    cloud.waiting();

    for _ in 0..20 {
        let held = cloud.picture()?;
        ensure!((held.brightness - RETURNED).abs() < 6.0, "{held:?}");
    }
    Ok(())
}

/// An editor's effect slot pushes one picture and blocks until one comes out.
#[test]
fn a_source_that_waits_for_each_output_never_waits_for_the_network() -> Result<()> {
    start();
    let source =
        "appsrc name=in format=time caps=video/x-raw,format=RGB,width=64,height=64,framerate=0/1";
    let cloud = Cloud::with_source(source, "webrtc", "")?;
    cloud
        .app
        .faults(&json!({"attempts": [{"ready_delay": 1}]}))?;
    let input: gst_app::AppSrc = cloud
        .pipeline
        .by_name("in")
        .and_downcast()
        .context("no source")?;
    cloud.play()?;

    let mut inverted = 0;
    let begun = Instant::now();
    for number in 0..600_u64 {
        let mut buffer = gst::Buffer::from_mut_slice([60_u8; 64 * 64 * 3]);
        let pts = gst::ClockTime::from_mseconds(number * 20);
        buffer.get_mut().context("shared")?.set_pts(pts);
        let pushed = Instant::now();
        input.push_buffer(buffer)?;
        let seen = cloud.picture()?;
        ensure!(
            seen.at.duration_since(pushed) < Duration::from_secs(1),
            "picture {number} waited"
        );
        ensure!(seen.pts == Some(pts) && seen.size == (64, 64), "{seen:?}");
        inverted += u32::from((seen.brightness - 195.0).abs() < 8.0);
        if inverted > 20 {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }

    ensure!(
        inverted > 20,
        "only {inverted} came back in {:?}: {:?}",
        begun.elapsed(),
        cloud.stats()
    );
    Ok(())
}

#[test]
fn a_state_change_does_not_wait_for_a_host_that_is_not_there() -> Result<()> {
    start();
    let cloud = Cloud::new("webrtc", "")?;
    // Of the documentation's own address range: nobody answers.
    cloud.bin.set_property("run-url", "ws://203.0.113.1:9");
    cloud.bin.set_property("rest-url", "http://203.0.113.1:9");
    for _ in 0..3 {
        let begun = Instant::now();
        cloud.play()?;
        cloud.picture_like(SENT)?;
        cloud.stop()?;
        ensure!(
            begun.elapsed() < Duration::from_secs(10),
            "{:?}",
            begun.elapsed()
        );
    }
    Ok(())
}

/// A new size upstream is a new size at the app and downstream, on the same connection.
#[test]
fn a_change_of_size_keeps_the_connection() -> Result<()> {
    start();
    let source = "videotestsrc is-live=true pattern=solid-color foreground-color=0xff3c3c3c \
         ! capsfilter name=size caps=video/x-raw,format=I420,width=320,height=240,framerate=30/1";
    let cloud = Cloud::with_source(source, "webrtc", "")?;
    cloud.play()?;
    cloud.picture_like(RETURNED)?;

    let caps: gst::Caps = "video/x-raw,format=I420,width=201,height=155,framerate=30/1".parse()?;
    cloud
        .pipeline
        .by_name("size")
        .context("no filter")?
        .set_property("caps", caps);

    cloud.until("new size at the app", |cloud| {
        Ok(cloud.report()?["sizes"]
            .as_array()
            .is_some_and(|sizes| sizes.len() > 1))
    })?;
    cloud.waiting();
    let seen = cloud.picture_like(RETURNED)?;
    ensure!(seen.size == (201, 155), "{seen:?}");
    ensure!(
        cloud.report()?["offers"]
            .as_array()
            .is_some_and(|offers| offers.len() == 1)
    );
    Ok(())
}

/// A file of many pictures through a slow reader: all of them, in order, and the reader sets the pace.
#[test]
fn a_source_that_can_wait_loses_nothing_to_a_slow_reader() -> Result<()> {
    start();
    let source = "videotestsrc num-buffers=60 pattern=solid-color foreground-color=0xff3c3c3c \
         ! video/x-raw,format=I420,width=64,height=64,framerate=30/1";
    let slow = "fallback=none ! identity sleep-time=30000";
    let cloud = Cloud::with_source(source, "webrtc", slow)?;
    cloud.play()?;

    let seen = (0..60)
        .map(|_| cloud.picture())
        .collect::<Result<Vec<_>>>()?;

    for (number, seen) in seen.iter().enumerate() {
        let due = gst::ClockTime::SECOND * number as u64 / 30;
        let pts = seen.pts.context("no timestamp")?;
        ensure!(
            pts.absdiff(due) < gst::ClockTime::from_mseconds(2),
            "{number}: {seen:?}"
        );
        ensure!(
            (seen.brightness - RETURNED).abs() < 6.0,
            "{number}: {seen:?}"
        );
    }
    Ok(())
}

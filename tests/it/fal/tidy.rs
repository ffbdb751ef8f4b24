//! Nothing stays behind: no thread, descriptor, element or remote session.

use std::time::Duration;

use anyhow::{Result, ensure};
use gst::prelude::*;
use scope_tests::Cloud;
use serde_json::json;

use super::{RETURNED, start};

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Waits until a count is no higher than it was.
fn settles(what: &str, before: usize, now: impl Fn() -> usize) -> Result<()> {
    for _ in 0..300 {
        if now() <= before {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    ensure!(now() <= before, "{before} {what} became {}", now());
    Ok(())
}

#[test]
fn twenty_connections_leave_nothing_behind() -> Result<()> {
    start();
    let cloud = Cloud::new("webrtc", "")?;
    let connect = |cloud: &Cloud| -> Result<()> {
        cloud.waiting();
        cloud.play()?;
        cloud.picture_like(RETURNED)?;
        cloud.stop()?;
        cloud.until("end at the app", |cloud| Ok(cloud.report()?["open"] == 0))
    };
    // What a process makes once (the runtime, pools, DTLS keys) is there after the first few.
    for _ in 0..3 {
        connect(&cloud)?;
    }
    std::thread::sleep(Duration::from_secs(1));
    let (threads_before, descriptors_before) = (threads(), descriptors());

    for _ in 0..20 {
        connect(&cloud)?;
    }

    settles("threads", threads_before, threads)?;
    settles("descriptors", descriptors_before, descriptors)?;
    let tasks = cloud.report()?["tasks"].as_u64();
    ensure!(tasks < Some(12), "tasks are left at the app: {tasks:?}");
    let children = cloud
        .bin
        .downcast_ref::<gst::Bin>()
        .map(|bin| bin.children().len());
    ensure!(children == Some(0), "{children:?}");
    Ok(())
}

#[test]
fn a_dropped_pipeline_takes_everything_along() -> Result<()> {
    start();
    let cloud = Cloud::new("webrtc", "")?;
    cloud.play()?;
    cloud.picture_like(RETURNED)?;
    let bin = cloud.bin.downgrade();
    let connection = first_child(&cloud);
    let app = cloud.into_app()?;

    ensure!(bin.upgrade().is_none(), "the element lives on");
    ensure!(
        connection.is_some_and(|weak| weak.upgrade().is_none()),
        "its connection lives on"
    );
    app.wait("no session", Duration::from_secs(10), |report| {
        report["open"] == 0
    })?;
    Ok(())
}

fn first_child(cloud: &Cloud) -> Option<gst::glib::WeakRef<gst::Element>> {
    let bin = cloud.bin.downcast_ref::<gst::Bin>()?;
    bin.children()
        .first()
        .map(gst::glib::object::ObjectExt::downgrade)
}

/// Every third of a second the runner is gone without a word: pictures flow all the same, and nothing piles up.
#[test]
fn a_far_end_that_dies_again_and_again_never_stops_the_pictures() -> Result<()> {
    start();
    let cloud = Cloud::new("webrtc", "queue-size=30")?;
    cloud.app.faults(&json!({"rest": {"replaced": 0.1}}))?;
    cloud.play()?;
    cloud.until("third connection", |cloud| {
        Ok(cloud
            .stats()
            .get::<u64>("reconnects")
            .is_ok_and(|again| again >= 2))
    })?;
    let (threads_before, descriptors_before) = (threads(), descriptors());
    cloud.until("twentieth connection", |cloud| {
        Ok(cloud
            .stats()
            .get::<u64>("reconnects")
            .is_ok_and(|again| again >= 19))
    })?;

    let gaps = cloud.waiting();
    let longest = gaps
        .windows(2)
        .filter_map(|pair| Some(pair[1].pts? - pair[0].pts?))
        .max();
    ensure!(
        longest < Some(gst::ClockTime::from_seconds(1)),
        "a gap of {longest:?}"
    );
    // One connection's worth more or less, as it happens to stand.
    ensure!(
        threads() < threads_before + 12,
        "{threads_before} threads became {}",
        threads()
    );
    ensure!(
        descriptors() < descriptors_before + 15,
        "{descriptors_before} descriptors became {}",
        descriptors()
    );
    cloud.app.faults(&json!({}))?;
    cloud.waiting();
    cloud.await_stage("live")?;
    cloud.picture_like(RETURNED)?;
    Ok(())
}

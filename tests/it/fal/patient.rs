//! A source that can wait and no fallback, a file: every picture goes there and back, whatever happens on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use gst::prelude::*;
use scope_tests::Cloud;
use serde_json::{Value, json};

use super::{RETURNED, start};

/// Of each file.
const PICTURES: u64 = 24;
/// Nothing here takes longer, whatever else the machine does.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(80);

fn file(pictures: u64, properties: &str) -> Result<Cloud> {
    start();
    let source = format!(
        "videotestsrc num-buffers={pictures} pattern=solid-color foreground-color=0xff3c3c3c \
         ! video/x-raw,format=I420,width=320,height=240,framerate=30/1"
    );
    Cloud::with_source(&source, "webrtc", &format!("fallback=none {properties}"))
}

/// Plays to the end of the stream; what the element said meanwhile.
fn to_the_end(cloud: &Cloud) -> Result<Vec<gst::Structure>> {
    cloud.play()?;
    let bus = cloud.pipeline.bus().context("no bus")?;
    let mut said = Vec::new();
    for message in bus.iter_timed(PATIENCE) {
        match message.view() {
            gst::MessageView::Eos(_) => return Ok(said),
            gst::MessageView::Error(error) => bail!("{}: {:?}", error.error(), error.debug()),
            _ => said.extend(message.structure().map(ToOwned::to_owned)),
        }
    }
    bail!("no end: {:?} {:#}", cloud.stats(), cloud.report()?)
}

/// Every picture of a file comes out once, in order, redrawn, in its place.
fn is_whole(cloud: &Cloud, pictures: u64) -> Result<()> {
    let seen = cloud.waiting();
    let came: Vec<_> = seen
        .iter()
        .map(|seen| {
            seen.pts
                .map(|pts| (pts.nseconds() * 30 + 500_000_000) / 1_000_000_000)
        })
        .collect();
    let wanted: Vec<_> = (0..pictures).map(Some).collect();
    ensure!(came == wanted, "{came:?}; {:?}", cloud.stats());
    for picture in &seen {
        ensure!((picture.brightness - RETURNED).abs() < 6.0, "{picture:?}");
    }
    ensure!(cloud.stats().get::<u64>("frames-lost") == Ok(0));
    Ok(())
}

fn survives(faults: &Value, properties: &str) -> Result<Cloud> {
    let cloud = file(PICTURES, properties)?;
    cloud.app.faults(faults)?;
    to_the_end(&cloud)?;
    is_whole(&cloud, PICTURES)?;
    Ok(cloud)
}

#[test]
fn files_of_any_length_come_back_whole() -> Result<()> {
    for pictures in [1, 2, 7, 9, 40] {
        let cloud = file(pictures, "")?;
        to_the_end(&cloud)?;
        is_whole(&cloud, pictures)?;
    }
    Ok(())
}

#[test]
fn lost_packets_cost_no_picture() -> Result<()> {
    survives(&json!({"rest": {"loss": 0.03}}), "").map(drop)
}

#[test]
fn an_app_that_leaves_pictures_out_is_sent_them_again() -> Result<()> {
    survives(&json!({"rest": {"keep": 3}}), "").map(drop)
}

#[test]
fn an_app_that_takes_its_time_is_waited_for() -> Result<()> {
    let cloud = survives(&json!({"rest": {"delay": 0.4}}), "")?;
    let took = cloud.report()?["frames_in"].as_u64().unwrap_or_default();
    ensure!(took < PICTURES * 2, "it was kept busy with {took} pictures");
    Ok(())
}

#[test]
fn a_runner_that_is_replaced_is_sent_what_the_first_one_kept() -> Result<()> {
    let cloud = survives(&json!({"attempts": [{"replaced": 0.2, "delay": 0.05}]}), "")?;
    ensure!(cloud.report()?["attempts"] == 2, "{:#}", cloud.report()?);
    Ok(())
}

/// Such an app cannot be asked for a certain picture, but nothing is lost where nothing goes wrong.
#[test]
fn an_app_with_a_clock_of_its_own_gives_every_picture_its_place() -> Result<()> {
    survives(&json!({"rest": {"timestamps": "own"}}), "").map(drop)
}

#[test]
fn what_never_came_back_is_named() -> Result<()> {
    let cloud = file(5, "connect-timeout=2")?;
    let gone =
        json!({"attempts": [{"replaced": 0.2, "delay": 0.1}], "rest": {"upgrade_status": 503}});
    cloud.app.faults(&gone)?;
    let said = to_the_end(&cloud)?;

    let told = said.iter().filter(|said| said.name() == "frames-lost");
    let count: u64 = told.filter_map(|said| said.get::<u64>("count").ok()).sum();
    ensure!(count > 0, "{said:?}");
    ensure!(cloud.stats().get::<u64>("frames-lost") == Ok(count));
    ensure!(
        cloud.waiting().len() as u64 + count == 5,
        "{:?}",
        cloud.stats()
    );
    Ok(())
}

/// More threads than cores that do nothing but count.
#[test]
fn a_busy_machine_costs_no_picture() -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let cores = thread::available_parallelism()?.get();
    let busy: Vec<_> = (0..cores * 3)
        .map(|_| {
            let stop = stop.clone();
            thread::spawn(move || while !stop.load(Ordering::Relaxed) {})
        })
        .collect();
    let outcome = (0..3).try_for_each(|_| {
        let cloud = file(12, "")?;
        to_the_end(&cloud)?;
        is_whole(&cloud, 12)
    });
    stop.store(true, Ordering::Relaxed);
    for thread in busy {
        ensure!(thread.join().is_ok());
    }
    outcome
}

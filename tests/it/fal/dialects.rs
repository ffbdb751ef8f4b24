//! In each dialect: pictures come back inverted, in order, with the timestamps they went out with; parameters arrive.

use anyhow::{Context, Result, ensure};
use gst::prelude::*;
use scope_tests::Cloud;
use serde_json::json;

use super::{RETURNED, start};

/// Enough for a first look at order and timestamps.
const PICTURES: usize = 40;

fn there_and_back(path: &str, properties: &str) -> Result<Cloud> {
    start();
    let cloud = Cloud::new(path, properties)?;
    cloud
        .bin
        .set_property("parameters", r#"{"prompt":"night","noise_scale":0.5}"#);
    cloud.play()?;

    cloud.picture_like(RETURNED)?;
    let seen = (0..PICTURES)
        .map(|_| cloud.picture())
        .collect::<Result<Vec<_>>>()?;

    for pair in seen.windows(2) {
        ensure!(pair[0].pts < pair[1].pts, "out of order: {pair:?}");
    }
    for picture in &seen {
        ensure!(
            (picture.brightness - RETURNED).abs() < 6.0,
            "not inverted: {picture:?}"
        );
        let pts = picture.pts.context("no timestamp")?.nseconds();
        // The source's timestamps are multiples of its frame interval behind a common start.
        let off = (pts - seen[0].pts.context("no timestamp")?.nseconds() + 1_000_000) % 33_333_333;
        ensure!(
            off < 2_000_000,
            "a timestamp of its own: {picture:?} after {:?}",
            seen[0]
        );
        ensure!(picture.size == (320, 240), "{picture:?}");
    }
    ensure!(cloud.stats().get::<bool>("timestamps-kept") == Ok(true));
    cloud
        .bin
        .emit_by_name::<Option<String>>("apply-parameters", &[&r#"{"prompt":"day","seed":null}"#]);
    cloud.until("patch at the app", |cloud| {
        Ok(cloud.report()?["parameters"]["prompt"] == "day")
    })?;
    let told = cloud.report()?["parameters"].clone();
    ensure!(
        told == json!({"prompt": "day", "noise_scale": 0.5}),
        "{told}"
    );
    ensure!(cloud.stage() == "live");
    Ok(cloud)
}

#[test]
fn yolo_in_json() -> Result<()> {
    there_and_back("webrtc", "").map(drop)
}

#[test]
fn yolo_in_msgpack() -> Result<()> {
    there_and_back("realtime", "").map(drop)
}

#[test]
fn scope_gets_initial_parameters_with_the_offer() -> Result<()> {
    let cloud = there_and_back("ws", "")?;
    let said = cloud.report()?["messages"].clone();
    ensure!(
        !said.to_string().contains("night"),
        "they came with the offer, not on the channel: {said}"
    );
    Ok(())
}

#[test]
fn lucy_is_spoken_to_first() -> Result<()> {
    there_and_back("lucy", "dialect=lucy").map(drop)
}

#[test]
fn wma_goes_by_http_and_its_own_channel() -> Result<()> {
    let cloud = there_and_back("", "dialect=wma auth=header")?;
    let report = cloud.report()?;
    assert_eq!(report["messages"][0]["channel"], "control");
    cloud.until("heartbeat", |cloud| {
        Ok(cloud.report()?["heartbeats"].as_u64() > Some(0))
    })
}

#[test]
fn h264_in_the_users_order() -> Result<()> {
    let cloud = there_and_back("webrtc", "codecs=h264,vp8")?;
    let offer = cloud.report()?["offers"][0]
        .as_str()
        .context("no offer")?
        .to_owned();
    let video = offer
        .lines()
        .find(|line| line.starts_with("m=video"))
        .context("no video line")?;
    ensure!(video.find(" 98") < video.find(" 96"), "{video}");
    ensure!(
        offer.contains("a=setup:active") && !offer.contains("actpass"),
        "{offer}"
    );
    ensure!(offer.contains("packetization-mode=1"), "{offer}");
    ensure!(
        offer.matches("m=video").count() == 1 && offer.contains("a=sendrecv"),
        "{offer}"
    );
    Ok(())
}

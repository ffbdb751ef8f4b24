//! Streams that are encoded already pass unchanged to the app.

use anyhow::{Context, Result, ensure};
use gst::prelude::*;
use scope_tests::Cloud;
use serde_json::json;

use super::{RETURNED, start};

const RAW: &str = "videotestsrc is-live=true pattern=solid-color foreground-color=0xff3c3c3c \
     ! video/x-raw,format=I420,width=320,height=240,framerate=30/1";

fn passes(encoder: &str, codec: &str) -> Result<Cloud> {
    start();
    let cloud = Cloud::with_source(&format!("{RAW} ! {encoder}"), "webrtc", "fallback=black")?;
    cloud.play()?;
    let seen = cloud.picture_like(RETURNED)?;
    ensure!(seen.size == (320, 240), "{seen:?}");
    let bin = cloud.bin.downcast_ref::<gst::Bin>().context("no bin")?;
    let inside: Vec<_> = bin
        .iterate_recurse()
        .into_iter()
        .flatten()
        .filter_map(|child| child.factory())
        .collect();
    let encodes = inside
        .iter()
        .any(|factory| factory.name().ends_with("enc") && factory.name().starts_with("vp8"));
    ensure!(!encodes, "encoded again: {inside:?}");
    let offer = cloud.report()?["offers"][0]
        .as_str()
        .context("no offer")?
        .to_owned();
    ensure!(offer.contains(codec), "{offer}");
    Ok(cloud)
}

#[test]
fn vp8_passes_and_a_new_far_end_gets_a_key_frame() -> Result<()> {
    let cloud = passes(
        "vp8enc deadline=1 threads=1 cpu-used=-8 keyframe-max-dist=3000",
        "VP8/90000",
    )?;
    ensure!(
        !cloud.report()?["offers"][0]
            .as_str()
            .context("no offer")?
            .contains("H264")
    );

    cloud.app.act("replace", json!({}))?;
    cloud.until("second session", |cloud| {
        Ok(cloud.report()?["attempts"] == 2)
    })?;
    cloud.waiting();
    cloud.await_stage("live")?;
    cloud.picture_like(RETURNED)?;
    Ok(())
}

#[test]
fn h264_passes() -> Result<()> {
    let encoder = "openh264enc gop-size=3000 ! h264parse \
         ! video/x-h264,stream-format=byte-stream,alignment=au,profile=constrained-baseline";
    passes(encoder, "H264/90000").map(drop)
}

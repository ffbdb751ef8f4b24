//! OBS Studio's "GStreamer Filter": the pipeline that its plugin builds around the user's text, driven as OBS drives it.
//!
//! OBS hands over one frame and waits for one back, in the thread that draws the source; timestamps are its own clock,
//! the frame rate is unknown, and nobody reads the bus. What holds a frame back stops the source for ever.

use anyhow::{Context, Result, ensure};
use gst::prelude::*;

const WIDTH: usize = 320;
const HEIGHT: usize = 240;
/// OBS counts in its own time, which began long before the pipeline.
const FIRST: gst::ClockTime = gst::ClockTime::from_seconds(5000);
const EACH: gst::ClockTime = gst::ClockTime::from_mseconds(33);

struct Filter {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    sink: gst_app::AppSink,
    frames: u64,
}

impl Filter {
    fn new(format: &str, text: &str) -> Result<Self> {
        gst::init()?;
        gstscopediffusion::plugin_register_static()?;
        gstfalwebrtc::plugin_register_static()?;
        gstspout::plugin_register_static()?;
        let caps =
            format!("video/x-raw,format={format},width={WIDTH},height={HEIGHT},framerate=0/1");
        let pipeline = gst::parse::launch(&format!(
            "appsrc name=appsrc format=time ! {caps} ! videoconvert ! {text} ! videoconvert ! {caps} \
             ! appsink name=appsink sync=false"
        ))?;
        let pipeline = pipeline.downcast::<gst::Pipeline>().ok();
        let pipeline = pipeline.context("the text is no pipeline")?;
        let source = pipeline.by_name("appsrc").and_downcast();
        let sink = pipeline.by_name("appsink").and_downcast();
        pipeline.set_state(gst::State::Playing)?;
        Ok(Self {
            source: source.context("no appsrc")?,
            sink: sink.context("no appsink")?,
            pipeline,
            frames: 0,
        })
    }

    /// One frame there, one frame back.
    fn filter(&mut self, frame: Vec<u8>) -> Result<Vec<u8>> {
        let mut buffer = gst::Buffer::from_mut_slice(frame);
        let pts = FIRST + EACH * self.frames;
        buffer.get_mut().context("shared")?.set_pts(pts);
        self.frames += 1;
        self.source.push_buffer(buffer)?;
        let patience = gst::ClockTime::from_seconds(30);
        let sample = self.sink.try_pull_sample(patience);
        let sample = sample.with_context(|| format!("frame {} is held back", self.frames))?;
        let buffer = sample.buffer().context("no picture in the sample")?;
        ensure!(buffer.pts() == Some(pts), "it belongs to another frame");
        Ok(buffer.map_readable()?.to_vec())
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        self.pipeline.set_state(gst::State::Null).ok();
    }
}

/// BGRA, every pixel the same light grey.
fn grey() -> Vec<u8> {
    [180, 180, 180, 255].repeat(WIDTH * HEIGHT)
}

/// Means of blue, green and red of a BGRA frame.
fn means(frame: &[u8]) -> [f64; 3] {
    let pixels = (frame.len() / 4) as f64;
    [0, 1, 2].map(|at| {
        let sum: u64 = frame
            .iter()
            .skip(at)
            .step_by(4)
            .map(|&byte| u64::from(byte))
            .sum();
        sum as f64 / pixels
    })
}

#[test]
fn scopediffusion_gives_a_frame_for_every_frame() -> Result<()> {
    let mut filter = Filter::new(
        "BGRA",
        "scopediffusion prompt=\"blueprint\" width=128 height=128",
    )?;

    for _ in 0..8 {
        let [blue, _, red] = means(&filter.filter(grey())?);

        ensure!(blue > red + 50.0, "blue {blue:.0}, red {red:.0}");
    }
    Ok(())
}

#[test]
fn the_formats_of_cameras_in_obs_come_back_in_their_own_size() -> Result<()> {
    for (format, bytes) in [
        ("NV12", WIDTH * HEIGHT * 3 / 2),
        ("YUY2", WIDTH * HEIGHT * 2),
    ] {
        let mut filter = Filter::new(format, "scopediffusion width=64 height=64")?;

        let back = filter.filter(vec![128; bytes])?;

        ensure!(back.len() == bytes, "{format}: {} bytes", back.len());
    }
    Ok(())
}

#[test]
fn falwebrtcbin_never_holds_obs_up_while_nobody_answers() -> Result<()> {
    let mut filter = Filter::new(
        "BGRA",
        "falwebrtcbin app-id=owner/app run-url=ws://127.0.0.1:9 auth=none fallback=passthrough",
    )?;

    for _ in 0..8 {
        let [blue, green, red] = means(&filter.filter(grey())?);

        for colour in [blue, green, red] {
            ensure!(
                (colour - 180.0).abs() < 4.0,
                "{colour:.0} is not the grey that went in"
            );
        }
    }
    Ok(())
}

#[test]
fn a_share_in_the_middle_lets_the_frames_pass() -> Result<()> {
    let mut filter = Filter::new(
        "BGRA",
        "tee name=t ! queue ! spoutsink sender-name=obs-filter t. ! queue",
    )?;

    for _ in 0..4 {
        ensure!(filter.filter(grey())? == grey());
    }
    Ok(())
}

//! Every launch text of `pipelines/` runs as it stands; what this machine lacks (a camera, a screen, a browser) is
//! stood in for in its slot.

use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use gst::prelude::*;
use scope_tests::{FalApp, house};
use serde_json::json;

/// Frames that must come out: more than any queue on the way can hold back.
const FRAMES: u32 = 12;

fn start() -> Result<()> {
    gst::init()?;
    gstscopediffusion::plugin_register_static()?;
    gstfalwebrtc::plugin_register_static()?;
    gstspout::plugin_register_static()?;
    Ok(())
}

/// The text for the parser: what `grep -v '^#'` leaves.
fn text(name: &str) -> Result<String> {
    let file = house::root()
        .join("pipelines")
        .join(format!("{name}.launch"));
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    Ok(text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect::<Vec<_>>()
        .join("\n"))
}

fn parse(name: &str) -> Result<gst::Pipeline> {
    let element =
        gst::parse::launch(&text(name)?).with_context(|| format!("{name} does not parse"))?;
    element
        .downcast()
        .map_err(|_| anyhow!("{name} is no pipeline"))
}

/// Puts another element into a slot; the pads it had links on are linked again.
fn fill(pipeline: &gst::Pipeline, slot: &str, element: &gst::Element) -> Result<()> {
    let old = pipeline
        .by_name(slot)
        .with_context(|| format!("no slot `{slot}`"))?;
    let peers: Vec<(gst::Pad, gst::Pad)> = old
        .pads()
        .into_iter()
        .filter_map(|pad| Some((pad.clone(), pad.peer()?)))
        .collect();
    for (own, peer) in &peers {
        match own.direction() {
            gst::PadDirection::Src => own.unlink(peer)?,
            _ => peer.unlink(own)?,
        }
    }
    pipeline.remove(&old)?;
    pipeline.add(element)?;
    for (own, peer) in peers {
        let new = element
            .static_pad(&own.name())
            .with_context(|| format!("no pad `{}`", own.name()))?;
        match own.direction() {
            gst::PadDirection::Src => new.link(&peer)?,
            _ => peer.link(&new)?,
        };
    }
    Ok(())
}

/// A stand-in for a window: it shows nothing, keeps time, and ends the stream after [`FRAMES`] frames.
fn counting_sink() -> Result<gst::Element> {
    Ok(gst::ElementFactory::make("fakesink")
        .name("sink")
        .property("num-buffers", i32::try_from(FRAMES)?)
        .property("sync", true)
        .build()?)
}

fn test_source() -> Result<gst::Element> {
    let source =
        "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=30/1";
    let bin = gst::parse::bin_from_description(&format!("{source} ! identity"), true)?;
    bin.set_property("name", "source");
    Ok(bin.upcast())
}

/// Runs to the end of the stream; an error on the bus is the test's.
fn run(pipeline: &gst::Pipeline) -> Result<()> {
    let bus = pipeline.bus().context("no bus")?;
    pipeline.set_state(gst::State::Playing)?;
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds);
    pipeline.set_state(gst::State::Null)?;
    match message.as_deref().map(gst::MessageRef::view) {
        Some(gst::MessageView::Eos(_)) => Ok(()),
        Some(gst::MessageView::Error(error)) => {
            Err(anyhow!("{}: {:?}", error.error(), error.debug()))
        }
        _ => Err(anyhow!("no end of stream within a minute")),
    }
}

#[test]
fn every_text_is_covered_here() -> Result<()> {
    let mut names: Vec<String> = std::fs::read_dir(house::root().join("pipelines"))?
        .filter_map(|entry| {
            Some(
                entry
                    .ok()?
                    .path()
                    .file_name()?
                    .to_str()?
                    .strip_suffix(".launch")?
                    .to_owned(),
            )
        })
        .collect();
    names.sort();
    let covered = [
        "browser-diffusion-browser",
        "browser-fal-browser",
        "camera-diffusion-spout",
        "camera-diffusion-window",
        "camera-fal-window",
        "file-diffusion-file",
        "file-fal-file",
        "prompt-window",
        "spout-diffusion-spout",
        "spout-fal-spout",
        "spout-window",
        "test-diffusion-window",
    ];
    assert_eq!(
        names, covered,
        "a new launch text needs a test in this file"
    );
    Ok(())
}

#[test]
fn test_diffusion_window_draws() -> Result<()> {
    start()?;
    let pipeline = parse("test-diffusion-window")?;
    fill(&pipeline, "sink", &counting_sink()?)?;

    run(&pipeline)
}

#[test]
fn prompt_window_draws() -> Result<()> {
    start()?;
    let pipeline = parse("prompt-window")?;
    fill(&pipeline, "sink", &counting_sink()?)?;

    run(&pipeline)
}

#[test]
fn camera_diffusion_window_draws() -> Result<()> {
    start()?;
    let pipeline = parse("camera-diffusion-window")?;
    if !Path::new("/dev/video0").exists() {
        fill(&pipeline, "source", &test_source()?)?;
    }
    fill(&pipeline, "sink", &counting_sink()?)?;

    run(&pipeline)
}

/// Points a processor at the fal app of the tests.
fn direct(pipeline: &gst::Pipeline, app: &FalApp) -> Result<()> {
    let processor = pipeline.by_name("processor").context("no processor")?;
    processor.set_property("run-url", format!("ws://{}", app.address));
    processor.set_property("rest-url", format!("http://{}", app.address));
    processor.set_property("api-key", "id:secret");
    processor.set_property("stun-server", None::<&str>);
    Ok(())
}

#[test]
fn camera_fal_window_shows_the_camera_until_the_app_answers() -> Result<()> {
    start()?;
    let app = FalApp::start(Some("id:secret"))?;
    app.faults(&json!({"rest": {"ready_delay": 60}}))?;
    let pipeline = parse("camera-fal-window")?;
    direct(&pipeline, &app)?;
    if !Path::new("/dev/video0").exists() {
        fill(&pipeline, "source", &test_source()?)?;
    }
    fill(&pipeline, "sink", &counting_sink()?)?;

    run(&pipeline)
}

#[test]
fn file_fal_file_sends_every_picture_there_and_back() -> Result<()> {
    start()?;
    let app = FalApp::start(Some("id:secret"))?;
    let folder = tempfile::tempdir()?;
    let (input, output) = (
        folder.path().join("in.webm"),
        folder.path().join("out.webm"),
    );
    make_file(&input)?;

    let pipeline = parse("file-fal-file")?;
    direct(&pipeline, &app)?;
    for (slot, file) in [("source", &input), ("sink", &output)] {
        let element = pipeline.by_name(slot).context("no slot")?;
        element.set_property("location", file.display().to_string());
    }
    run(&pipeline)?;

    assert_eq!(frames_in(&output)?, FRAMES);
    Ok(())
}

#[test]
fn browser_fal_browser_gives_what_the_app_makes() -> Result<()> {
    start()?;
    let app = FalApp::start(Some("id:secret"))?;
    let pipeline = parse("browser-fal-browser")?;
    direct(&pipeline, &app)?;
    let source = test_source()?;
    fill(&pipeline, "source", &source)?;
    fill(&pipeline, "sink", &counting_sink()?)?;

    run(&pipeline)
}

/// Somebody who shares a picture, under a name that nobody else has.
fn sharing() -> Result<(gst::Pipeline, String)> {
    let name = format!("source of {}", std::process::id());
    let text = format!(
        "videotestsrc is-live=true pattern=ball ! video/x-raw,format=BGRA,width=320,height=240,framerate=30/1 ! spoutsink sender-name=\"{name}\""
    );
    let pipeline = gst::parse::launch(&text)?
        .downcast()
        .map_err(|_| anyhow!("no pipeline"))?;
    Ok((pipeline, name))
}

/// Runs a text whose ends are shared, until [`FRAMES`] of its pictures have been seen.
fn run_shared(pipeline: &gst::Pipeline) -> Result<()> {
    let shown = format!("sink of {}", std::process::id());
    slot::<gst::Element>(pipeline, "sink")?.set_property("sender-name", &shown);
    let text = format!("spoutsrc sender-name=\"{shown}\" num-buffers={FRAMES} ! fakesink");
    let watching = gst::parse::launch(&text)?
        .downcast()
        .map_err(|_| anyhow!("no pipeline"))?;
    pipeline.set_state(gst::State::Playing)?;
    let outcome = run(&watching);
    pipeline.set_state(gst::State::Null)?;
    outcome
}

/// As [`run_shared`], with somebody to share with at the other end.
fn run_between(pipeline: &gst::Pipeline) -> Result<()> {
    let (source, name) = sharing()?;
    slot::<gst::Element>(pipeline, "source")?.set_property("sender-name", &name);
    source.set_state(gst::State::Playing)?;
    let outcome = run_shared(pipeline);
    source.set_state(gst::State::Null)?;
    outcome
}

#[test]
fn spout_diffusion_spout_redraws_between_two_programs() -> Result<()> {
    start()?;
    run_between(&parse("spout-diffusion-spout")?)
}

#[test]
fn camera_diffusion_spout_shares_what_it_draws() -> Result<()> {
    start()?;
    let pipeline = parse("camera-diffusion-spout")?;
    if !Path::new("/dev/video0").exists() {
        fill(&pipeline, "source", &test_source()?)?;
    }

    run_shared(&pipeline)
}

#[test]
fn spout_window_shows_what_is_shared() -> Result<()> {
    start()?;
    let (source, name) = sharing()?;
    let pipeline = parse("spout-window")?;
    slot::<gst::Element>(&pipeline, "source")?.set_property("sender-name", &name);
    fill(&pipeline, "sink", &counting_sink()?)?;
    source.set_state(gst::State::Playing)?;

    let outcome = run(&pipeline);

    source.set_state(gst::State::Null)?;
    outcome
}

fn make_file(file: &Path) -> Result<()> {
    let make = format!(
        "videotestsrc num-buffers={FRAMES} pattern=ball ! video/x-raw,width=320,height=240,framerate=15/1 ! vp8enc deadline=1 ! webmmux ! filesink location={}",
        file.display()
    );
    run(&gst::parse::launch(&make)?
        .downcast()
        .map_err(|_| anyhow!("no pipeline"))?)
}

#[test]
fn file_diffusion_file_redraws_every_picture() -> Result<()> {
    start()?;
    let folder = tempfile::tempdir()?;
    let (input, output) = (
        folder.path().join("in.webm"),
        folder.path().join("out.webm"),
    );
    make_file(&input)?;

    let pipeline = parse("file-diffusion-file")?;
    pipeline
        .by_name("source")
        .context("no source")?
        .set_property("location", input.display().to_string());
    pipeline
        .by_name("sink")
        .context("no sink")?
        .set_property("location", output.display().to_string());
    run(&pipeline)?;

    assert_eq!(frames_in(&output)?, FRAMES);
    Ok(())
}

#[test]
fn browser_diffusion_browser_takes_and_gives_frames() -> Result<()> {
    start()?;
    let pipeline = parse("browser-diffusion-browser")?;
    let source: gst_app::AppSrc = slot(&pipeline, "source")?;
    let sink: gst_app::AppSink = slot(&pipeline, "sink")?;
    let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, 256, 256)
        .fps(30)
        .build()?;
    source.set_caps(Some(&info.to_caps()?));
    pipeline.set_state(gst::State::Playing)?;

    let mut seen = 0;
    for frame in 0..200_u64 {
        let mut buffer = gst::Buffer::with_size(info.size())?;
        buffer
            .get_mut()
            .context("shared")?
            .set_pts(gst::ClockTime::from_mseconds(frame * 33));
        source.push_buffer(buffer)?;
        seen += u32::from(
            sink.try_pull_sample(gst::ClockTime::from_mseconds(300))
                .is_some(),
        );
        if seen == 3 {
            break;
        }
    }
    let wrong = pipeline
        .bus()
        .and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
    pipeline.set_state(gst::State::Null)?;
    ensure!(wrong.is_none(), "{wrong:?}");
    assert_eq!(seen, 3);
    Ok(())
}

fn slot<T: IsA<gst::Element>>(pipeline: &gst::Pipeline, name: &str) -> Result<T> {
    pipeline
        .by_name(name)
        .and_then(|element| element.downcast().ok())
        .with_context(|| format!("no such `{name}`"))
}

fn frames_in(file: &Path) -> Result<u32> {
    let text = format!(
        "filesrc location={} ! matroskademux ! vp8dec ! appsink name=sink sync=false",
        file.display()
    );
    let pipeline: gst::Pipeline = gst::parse::launch(&text)?
        .downcast()
        .map_err(|_| anyhow!("no pipeline"))?;
    let sink: gst_app::AppSink = slot(&pipeline, "sink")?;
    pipeline.set_state(gst::State::Playing)?;
    let mut count = 0;
    while sink.pull_sample().is_ok() {
        count += 1;
    }
    pipeline.set_state(gst::State::Null)?;
    Ok(count)
}

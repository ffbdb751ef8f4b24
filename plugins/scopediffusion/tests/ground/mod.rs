//! What every test of the element stands on.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses its part of it, and a failing helper fails its test"
)]

use std::fs;
use std::path::Path;
use std::sync::Once;

use gst::prelude::*;

pub(crate) const ELEMENT: &str = "scopediffusion";

/// Registers the plugin from the linked library, so that no installed one is in the way.
pub(crate) fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().unwrap();
        gstscopediffusion::plugin_register_static().unwrap();
    });
}

pub(crate) fn caps(format: &str, width: u32, height: u32) -> gst::Caps {
    gst::Caps::builder("video/x-raw")
        .field("format", format)
        .field("width", width as i32)
        .field("height", height as i32)
        .field("framerate", gst::Fraction::new(30, 1))
        .build()
}

/// Frame `n` of a 30 fps stream: a grey ramp with a bright square, so that there is something to redraw.
pub(crate) fn frame(caps: &gst::Caps, n: u64) -> gst::Buffer {
    let info = gst_video::VideoInfo::from_caps(caps).unwrap();
    let (stride, width) = (info.stride()[0] as usize, info.width() as usize);
    let pixel = info.format_info().pixel_stride()[0] as usize;
    let mut data = vec![0u8; info.size()];
    for (y, row) in data.chunks_exact_mut(stride).enumerate() {
        for (x, pixel) in row[..width * pixel].chunks_exact_mut(pixel).enumerate() {
            let square = (width / 4..width / 2).contains(&x) && (8..width / 3).contains(&y);
            pixel.fill(if square {
                230
            } else {
                (60 + (x * 120) / width) as u8
            });
        }
    }
    let mut buffer = gst::Buffer::from_mut_slice(data);
    {
        let buffer = buffer.get_mut().unwrap();
        buffer.set_pts(gst::ClockTime::SECOND * n / 30);
        buffer.set_duration(gst::ClockTime::SECOND / 30);
    }
    buffer
}

/// A harness around a fresh element that keeps one picture for each picture.
pub(crate) fn strict() -> gst_check::Harness {
    init();
    let element = gst::ElementFactory::make(ELEMENT)
        .property_from_str("pacing", "strict")
        .build()
        .unwrap();
    gst_check::Harness::with_element(&element, Some("sink"), Some("src"))
}

/// Runs a launch text to its end and gives the message that ended it.
pub(crate) fn run(text: &str) -> gst::Message {
    init();
    let pipeline = gst::parse::launch(text).unwrap();
    let bus = pipeline.bus().unwrap();
    // An error on the way up is on the bus, which is where it is looked for.
    let _ = pipeline.set_state(gst::State::Playing);
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = bus
        .timed_pop_filtered(gst::ClockTime::from_seconds(60), &ends)
        .expect("the pipeline ends");
    pipeline.set_state(gst::State::Null).unwrap();
    message
}

/// Mean red, green and blue of the last picture a launch text made, each 0 to 255. The text's sink is named `out`.
pub(crate) fn last_picture(text: &str) -> [f64; 3] {
    mean_rgb(&last_sample(text))
}

/// The last sample at the sink `out`, after the pipeline has ended without an error.
pub(crate) fn last_sample(text: &str) -> gst::Sample {
    init();
    let pipeline = gst::parse::launch(text)
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
    let sink = pipeline.by_name("out").unwrap();
    sink.set_property("enable-last-sample", true);
    pipeline.set_state(gst::State::Playing).unwrap();
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = pipeline
        .bus()
        .unwrap()
        .timed_pop_filtered(gst::ClockTime::from_seconds(60), &ends)
        .expect("it ends");
    assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");
    let sample = sink.property::<gst::Sample>("last-sample");
    pipeline.set_state(gst::State::Null).unwrap();
    sample
}

/// Mean red, green and blue of a sample, each 0 to 255.
pub(crate) fn mean_rgb(sample: &gst::Sample) -> [f64; 3] {
    let info = gst_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
    let map = sample.buffer().unwrap().map_readable().unwrap();
    let format = info.format_info();
    let (stride, pixel) = (info.stride()[0] as usize, format.pixel_stride()[0] as usize);
    let (width, height) = (info.width() as usize, info.height() as usize);
    let mut sums = [0f64; 3];
    for row in map.chunks(stride).take(height) {
        for pixel in row[..width * pixel].chunks_exact(pixel) {
            for (sum, offset) in sums.iter_mut().zip(format.poffset()) {
                *sum += f64::from(pixel[*offset as usize]);
            }
        }
    }
    sums.map(|sum| sum / (width * height) as f64)
}

/// The element alone, on this model, with 64×48 RGB frames pushed by hand: one picture for each.
pub(crate) fn harness(model: Option<&str>, set: impl Fn(&gst::Element)) -> gst_check::Harness {
    init();
    let element = gst::ElementFactory::make(ELEMENT)
        .property("model-dir", model)
        .property_from_str("pacing", "strict")
        .build()
        .unwrap();
    set(&element);
    let mut harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
    harness.set_src_caps(caps("RGB", 64, 48));
    harness
}

/// What becomes of one more frame.
pub(crate) fn drawn(harness: &mut gst_check::Harness) -> Vec<u8> {
    let picture = harness
        .push_and_pull(frame(&caps("RGB", 64, 48), 0))
        .unwrap();
    picture.map_readable().unwrap().to_vec()
}

/// A copy of the built-in model to break.
pub(crate) fn copy_of_the_built_in_model() -> tempfile::TempDir {
    let scratch = tempfile::tempdir().unwrap();
    copy(
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scope-tiny/model")),
        scratch.path(),
    );
    scratch
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

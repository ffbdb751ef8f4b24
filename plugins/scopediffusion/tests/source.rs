//! `scopediffusionsrc`: video from a prompt, in time.

#![allow(clippy::unwrap_used, reason = "a helper that fails must fail its test")]

mod ground;

use ground::{init, last_picture, run};
use gst::prelude::*;

const SOURCE: &str = "scopediffusionsrc";
const SMALL: &str = "video/x-raw,format=RGB,width=64,height=48,framerate=30/1";

/// Every buffer of a launch text whose sink is an appsink called `out`.
fn buffers(text: &str) -> Vec<gst::Buffer> {
    init();
    let pipeline = gst::parse::launch(text)
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
    let sink = pipeline.by_name("out").unwrap();
    let sink = sink.downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let pulled = std::iter::from_fn(|| sink.pull_sample().ok());
    let buffers: Vec<_> = pulled.filter_map(|sample| sample.buffer_owned()).collect();
    pipeline.set_state(gst::State::Null).unwrap();
    buffers
}

#[test]
fn strict_makes_every_picture_one_after_another() {
    let buffers = buffers(&format!(
        "{SOURCE} pacing=strict num-buffers=12 ! {SMALL} ! appsink name=out sync=false"
    ));

    assert_eq!(buffers.len(), 12);
    for (n, buffer) in buffers.iter().enumerate() {
        let start = gst::ClockTime::SECOND.mul_div_round(n as u64, 30).unwrap();
        assert_eq!(buffer.pts(), Some(start));
        assert_eq!(buffer.offset(), n as u64);
        assert_eq!(
            buffer.flags().contains(gst::BufferFlags::DISCONT),
            n == 0,
            "{n}"
        );
    }
}

#[test]
fn several_steps_in_flight_lose_no_picture() {
    let buffers = buffers(&format!(
        "{SOURCE} pacing=strict batching=stream denoising-steps=\"<1000,700,400>\" num-buffers=8 ! {SMALL} \
         ! appsink name=out sync=false"
    ));

    let starts: Vec<_> = buffers.iter().map(|buffer| buffer.offset()).collect();
    assert_eq!(starts, (0..8).collect::<Vec<_>>());
}

#[test]
fn live_keeps_time_and_leaves_out_what_it_cannot_make() {
    init();
    // Far more frames a second than the model makes at this size.
    let text = format!(
        "{SOURCE} name=processor num-buffers=12 ! video/x-raw,format=RGB,width=256,height=256,framerate=500/1 \
         ! appsink name=out sync=false"
    );
    let pipeline = gst::parse::launch(&text)
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
    let processor = pipeline.by_name("processor").unwrap();
    let sink = pipeline.by_name("out").unwrap();
    let sink = sink.downcast::<gst_app::AppSink>().unwrap();
    assert_eq!(
        pipeline.set_state(gst::State::Paused),
        Ok(gst::StateChangeSuccess::NoPreroll),
        "it is a live source"
    );
    pipeline.set_state(gst::State::Playing).unwrap();
    let starts: Vec<_> = std::iter::from_fn(|| sink.pull_sample().ok())
        .filter_map(|sample| sample.buffer()?.pts())
        .collect();
    let stats = processor.property::<gst::Structure>("stats");
    pipeline.set_state(gst::State::Null).unwrap();

    assert_eq!(starts.len(), 12);
    assert!(starts.is_sorted_by(|a, b| a < b), "{starts:?}");
    let count = |name: &str| stats.get::<u64>(name).unwrap();
    assert!(count("frames-dropped") > 0, "{stats}");
    assert_eq!(
        count("frames-in"),
        count("frames-out") + count("frames-dropped")
    );
}

#[test]
fn the_prompt_is_drawn() {
    let drawn = |prompt: &str| {
        last_picture(&format!(
            "{SOURCE} pacing=strict prompt=\"{prompt}\" num-buffers=3 \
             ! video/x-raw,format=RGB,width=256,height=256 ! fakesink name=out"
        ))
    };
    let (blueprint, fire) = (drawn("blueprint"), drawn("fire"));

    assert!(blueprint[2] > blueprint[0], "{blueprint:?}");
    assert!(fire[0] > fire[2], "{fire:?}");
}

#[test]
fn without_wishes_downstream_gets_the_size_the_model_likes() {
    init();
    let element = gst::ElementFactory::make(SOURCE)
        .property_from_str("pacing", "strict")
        .build()
        .unwrap();
    let mut harness = gst_check::Harness::with_element(&element, None, Some("src"));
    harness.play();
    harness.pull().unwrap();

    let caps = element.static_pad("src").unwrap().current_caps().unwrap();
    let info = gst_video::VideoInfo::from_caps(&caps).unwrap();

    assert_eq!((info.width(), info.height()), (256, 256));
    assert_eq!(info.fps(), gst::Fraction::new(30, 1));
}

#[test]
fn stopping_does_not_wait_for_the_next_moment() {
    init();
    // A picture every hundred seconds: whoever waited for the next one would fail the test's own limit.
    let text = format!(
        "{SOURCE} ! video/x-raw,format=RGB,width=64,height=48,framerate=1/100 ! fakesink sync=false"
    );
    let pipeline = gst::parse::launch(&text).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));

    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_size_the_model_cannot_work_at_ends_the_pipeline_with_an_error() {
    let message = run(&format!(
        "{SOURCE} ! video/x-raw,format=RGB,width=70,height=50 ! fakesink"
    ));

    let gst::MessageView::Error(error) = message.view() else {
        panic!("{message:?}")
    };
    assert!(error.error().matches(gst::StreamError::Format), "{error:?}");
    let text = error.error().message().to_owned();
    assert!(
        text.contains("70x50") && text.contains("multiple"),
        "{text}"
    );
}

#[test]
fn it_starts_again_after_a_stop() {
    init();
    let text = format!("{SOURCE} num-buffers=2 ! {SMALL} ! fakesink sync=false");
    let pipeline = gst::parse::launch(&text).unwrap();
    for _ in 0..3 {
        pipeline.set_state(gst::State::Playing).unwrap();
        let ends = [gst::MessageType::Eos, gst::MessageType::Error];
        let message = pipeline
            .bus()
            .unwrap()
            .timed_pop_filtered(gst::ClockTime::from_seconds(30), &ends)
            .expect("it ends");
        assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");
        pipeline.set_state(gst::State::Ready).unwrap();
    }
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn saying_video_leaves_it_drawing_from_the_prompt() {
    init();
    let element = gst::ElementFactory::make(SOURCE).build().unwrap();

    let refused = element
        .emit_by_name::<Option<String>>("apply-parameters", &[&r#"{"input_mode": "video"}"#]);

    assert_eq!(refused, None);
    let read = element.property::<String>("parameters");
    assert!(read.contains(r#""input_mode":"text""#), "{read}");
}

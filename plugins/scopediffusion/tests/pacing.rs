//! Keeping time: strict loses nothing, live holds nobody up.

#![allow(clippy::unwrap_used, reason = "a helper that fails must fail its test")]

mod ground;

use std::time::{Duration, Instant};

use ground::{ELEMENT, caps, frame, init, run, strict};
use gst::prelude::*;

fn stat(element: &gst::Element, name: &str) -> u64 {
    element
        .property::<gst::Structure>("stats")
        .get(name)
        .unwrap()
}

#[test]
fn strict_gives_one_picture_for_each_picture() {
    let mut harness = strict();
    let caps = caps("RGB", 64, 48);
    harness.set_src_caps(caps.clone());

    for n in 0..20 {
        let picture = harness.push_and_pull(frame(&caps, n)).unwrap();
        assert_eq!(picture.pts(), frame(&caps, n).pts());
    }

    assert_eq!(harness.buffers_in_queue(), 0);
    let element = harness.element().unwrap();
    assert_eq!(
        (stat(&element, "frames-in"), stat(&element, "frames-out")),
        (20, 20)
    );
    assert_eq!(stat(&element, "frames-dropped"), 0);
}

/// OBS's GStreamer filter pushes one frame with framerate 0/1 and blocks for one picture.
#[test]
fn strict_takes_frames_without_a_rate() {
    let mut harness = strict();
    let mut caps = caps("BGRA", 64, 48);
    caps.get_mut()
        .unwrap()
        .set("framerate", gst::Fraction::new(0, 1));
    harness.set_src_caps(caps.clone());

    for n in 0..3 {
        assert!(harness.push_and_pull(frame(&caps, n)).is_ok());
    }
}

#[test]
fn several_steps_one_after_another_still_give_a_picture_at_once() {
    let mut harness = strict();
    let element = harness.element().unwrap();
    element.set_property_from_str("batching", "sequential");
    element.set_property_from_str("denoising-steps", "<500,250>");
    let caps = caps("RGB", 64, 48);
    harness.set_src_caps(caps.clone());

    for n in 0..4 {
        assert_eq!(
            harness.push_and_pull(frame(&caps, n)).unwrap().pts(),
            frame(&caps, n).pts()
        );
    }
}

#[test]
fn the_stream_batch_delays_keeps_timestamps_and_drains_at_the_end() {
    let mut harness = strict();
    let element = harness.element().unwrap();
    element.set_property_from_str("batching", "stream");
    element.set_property_from_str("denoising-steps", "<700,500,250>");
    let caps = caps("RGB", 64, 48);
    harness.set_src_caps(caps.clone());

    for n in 0..6 {
        harness.push(frame(&caps, n)).unwrap();
    }
    assert_eq!(harness.buffers_in_queue(), 4, "two frames are in flight");
    harness.set_upstream_latency(gst::ClockTime::ZERO);
    assert_eq!(
        harness.query_latency(),
        gst::ClockTime::SECOND.mul_div_ceil(2, 30)
    );
    assert!(harness.push_event(gst::event::Eos::new()));

    for n in 0..6 {
        assert_eq!(harness.pull().unwrap().pts(), frame(&caps, n).pts());
    }
    assert_eq!(harness.try_pull(), None);
}

#[test]
fn frames_that_go_together_keep_their_timestamps() {
    let mut harness = strict();
    let element = harness.element().unwrap();
    element.set_property_from_str("batching", "stream");
    element.set_property_from_str("denoising-steps", "<700,400>");
    element.set_property("frame-buffer", 2u32);
    let caps = caps("RGB", 64, 48);
    harness.set_src_caps(caps.clone());

    for n in 0..7 {
        harness.push(frame(&caps, n)).unwrap();
    }
    assert_eq!(
        harness.buffers_in_queue(),
        4,
        "three frames wait for an eighth"
    );
    assert!(harness.push_event(gst::event::Eos::new()));

    for n in 0..7 {
        assert_eq!(harness.pull().unwrap().pts(), frame(&caps, n).pts());
    }
    assert_eq!(harness.try_pull(), None);
}

#[test]
fn pipelined_pictures_come_one_frame_later_with_their_own_timestamps() {
    let run = |pipelining: bool| {
        let mut harness = strict();
        let element = harness.element().unwrap();
        element.set_property_from_str("denoising-steps", "<700>");
        element.set_property("pipelining", pipelining);
        let caps = caps("RGB", 64, 48);
        harness.set_src_caps(caps.clone());
        for n in 0..5 {
            harness.push(frame(&caps, n)).unwrap();
        }
        let late = 5 - harness.buffers_in_queue();
        harness.set_upstream_latency(gst::ClockTime::ZERO);
        let latency = harness.query_latency();
        assert!(harness.push_event(gst::event::Eos::new()));
        let pictures: Vec<Vec<u8>> = (0..5)
            .map(|n| {
                let picture = harness.pull().unwrap();
                assert_eq!(picture.pts(), frame(&caps, n).pts());
                picture.map_readable().unwrap().to_vec()
            })
            .collect();
        assert_eq!(harness.try_pull(), None);
        (late, latency, pictures)
    };

    let (plain, pipelined) = (run(false), run(true));

    assert_eq!((plain.0, plain.1), (0, Some(gst::ClockTime::ZERO)));
    let one = gst::ClockTime::SECOND.mul_div_ceil(1, 30);
    assert_eq!((pipelined.0, pipelined.1), (1, one));
    assert_eq!(pipelined.2, plain.2);
}

#[test]
fn a_still_scene_keeps_its_rhythm_when_frames_are_left_out() {
    let mut harness = strict();
    let element = harness.element().unwrap();
    element.set_property_from_str("batching", "stream");
    element.set_property_from_str("denoising-steps", "<700,400>");
    element.set_property("similar-image-filter", true);
    let caps = caps("RGB", 64, 48);
    harness.set_src_caps(caps.clone());

    for n in 0..12 {
        harness.push(frame(&caps, n)).unwrap();
    }
    assert!(harness.push_event(gst::event::Eos::new()));

    for n in 0..12 {
        assert_eq!(harness.pull().unwrap().pts(), frame(&caps, n).pts());
    }
}

#[test]
fn a_prompt_said_while_live_frames_flow_is_seen_without_holding_one_up() {
    init();
    let text = format!(
        "videotestsrc is-live=true pattern=smpte ! video/x-raw,format=RGB,width=64,height=64,framerate=30/1 \
         ! {ELEMENT} name=processor noise-scale=0.6 ! appsink name=out sync=false"
    );
    let pipeline = gst::parse::launch(&text)
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
    let (element, sink) = (
        pipeline.by_name("processor").unwrap(),
        pipeline.by_name("out").unwrap(),
    );
    let sink = sink.downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let blueness = || {
        let [red, _, blue] = ground::mean_rgb(&sink.pull_sample().unwrap());
        blue / red.max(1.0)
    };
    let before = blueness();

    let patch = r#"{"prompts": [{"text": "blueprint"}]}"#;
    let refused = element.emit_by_name::<Option<String>>("apply-parameters", &[&patch]);
    assert_eq!(refused, None);

    let seen = (0..300).any(|_| blueness() > before * 1.5);
    pipeline.set_state(gst::State::Null).unwrap();
    assert!(seen, "{before} at first");
}

#[test]
fn timestamps_stay_with_their_pictures_when_the_number_of_steps_changes() {
    let mut harness = strict();
    let element = harness.element().unwrap();
    element.set_property_from_str("batching", "stream");
    element.set_property_from_str("denoising-steps", "<700,500,250>");
    let caps = caps("RGB", 64, 48);
    harness.set_src_caps(caps.clone());
    for n in 0..4 {
        harness.push(frame(&caps, n)).unwrap();
    }
    let early: Vec<_> = (0..2).map(|_| harness.pull().unwrap().pts()).collect();
    assert_eq!(early, [frame(&caps, 0).pts(), frame(&caps, 1).pts()]);

    // The two frames in flight no longer fit: they show the last picture again, at their own times.
    element.set_property_from_str("denoising-steps", "<400>");
    harness.push(frame(&caps, 4)).unwrap();
    for n in 2..5 {
        assert_eq!(harness.pull().unwrap().pts(), frame(&caps, n).pts());
    }

    for n in 5..7 {
        assert_eq!(
            harness.push_and_pull(frame(&caps, n)).unwrap().pts(),
            frame(&caps, n).pts()
        );
    }
}

/// Forty pushes while inference of 512×512 frames runs: the pushes do not wait, the newest frame survives.
#[test]
fn live_never_holds_upstream_and_the_newest_frame_wins() {
    init();
    let element = gst::ElementFactory::make(ELEMENT)
        .property_from_str("pacing", "live")
        .build()
        .unwrap();
    let mut harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    let caps = caps("RGB", 512, 512);
    harness.set_src_caps(caps.clone());

    let pushed: u64 = 40;
    for n in 0..pushed {
        harness.push(frame(&caps, n)).unwrap();
    }
    assert!(harness.push_event(gst::event::Eos::new()));
    let mut pictures = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        match harness.try_pull() {
            Some(picture) => pictures.push(picture.pts()),
            None if element
                .static_pad("src")
                .unwrap()
                .pad_flags()
                .contains(gst::PadFlags::EOS) =>
            {
                break;
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    pictures.extend(std::iter::from_fn(|| harness.try_pull()).map(|picture| picture.pts()));

    assert_eq!(
        *pictures.last().unwrap(),
        frame(&caps, pushed - 1).pts(),
        "the newest frame came out"
    );
    assert!(pictures.is_sorted(), "{pictures:?}");
    let dropped = stat(&element, "frames-dropped");
    assert!(
        dropped > 0,
        "forty frames pushed at once cannot all be drawn"
    );
    assert_eq!(
        pictures.len() as u64 + dropped,
        pushed,
        "every frame is drawn or counted"
    );
    let qos = std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Qos])).count();
    assert_eq!(qos as u64, dropped, "one QOS message for each drop");
    element.set_bus(None::<&gst::Bus>);
}

#[test]
fn live_reports_its_latency_and_adds_it_to_upstreams() {
    init();
    let element = gst::ElementFactory::make(ELEMENT)
        .property_from_str("pacing", "live")
        .build()
        .unwrap();
    let mut harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
    let caps = caps("RGB", 64, 48);
    harness.set_src_caps(caps.clone());
    harness.push_and_pull(frame(&caps, 0)).unwrap();
    let inference = element
        .property::<gst::Structure>("stats")
        .get::<f64>("inference-ms")
        .unwrap();

    harness.set_upstream_latency(gst::ClockTime::from_mseconds(20));
    let latency = harness.query_latency().unwrap();

    let ours = (latency - gst::ClockTime::from_mseconds(20)).nseconds() as f64 / 1e6;
    assert!(
        ours >= inference,
        "{ours} ms reported, {inference} ms needed"
    );
}

#[test]
fn auto_is_live_behind_a_live_source_only() {
    init();
    for (live, expected) in [(true, "live"), (false, "strict")] {
        let text = format!(
            "videotestsrc is-live={live} num-buffers=10 ! video/x-raw,format=RGB,width=512,height=512,framerate=200/1 \
             ! {ELEMENT} name=processor ! fakesink sync=false"
        );
        let pipeline = gst::parse::launch(&text)
            .unwrap()
            .downcast::<gst::Pipeline>()
            .unwrap();
        let element = pipeline.by_name("processor").unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let ends = [gst::MessageType::Eos, gst::MessageType::Error];
        let message = pipeline
            .bus()
            .unwrap()
            .timed_pop_filtered(gst::ClockTime::from_seconds(60), &ends)
            .unwrap();
        assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");

        let drops = stat(&element, "frames-dropped") > 0;

        pipeline.set_state(gst::State::Null).unwrap();
        assert_eq!(drops, expected == "live", "is-live={live}");
    }
}

#[test]
fn stopping_while_a_frame_is_drawn_is_clean() {
    init();
    let text = format!(
        "videotestsrc is-live=true ! video/x-raw,format=RGB,width=512,height=512,framerate=60/1 ! {ELEMENT} pacing=live ! fakesink sync=false"
    );
    let pipeline = gst::parse::launch(&text).unwrap();

    for _ in 0..5 {
        pipeline.set_state(gst::State::Playing).unwrap();
        let started = pipeline.bus().unwrap().timed_pop_filtered(
            gst::ClockTime::from_seconds(20),
            &[
                gst::MessageType::AsyncDone,
                gst::MessageType::Error,
                gst::MessageType::Latency,
            ],
        );
        assert!(started.is_some_and(|message| message.type_() != gst::MessageType::Error));
        pipeline.set_state(gst::State::Ready).unwrap();
    }
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_pipeline_of_other_sizes_works_when_a_size_is_asked_for() {
    let message = run(&format!(
        "videotestsrc num-buffers=3 ! video/x-raw,width=321,height=177 ! videoconvert \
         ! {ELEMENT} width=64 height=64 ! video/x-raw,width=321,height=177 ! fakesink"
    ));

    assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");
}

#[test]
fn without_a_size_asked_for_upstream_is_made_to_scale() {
    let message = run(&format!(
        "videotestsrc num-buffers=3 ! video/x-raw,width=320,height=180 ! videoconvert ! videoscale ! {ELEMENT} ! fakesink"
    ));

    assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");
}

/// Stopped and flushed in the middle of frames that take long, it neither reports an error nor forgets how to draw.
#[test]
fn a_frame_that_is_ended_on_purpose_is_no_error() {
    init();
    for pacing in ["strict", "live"] {
        let text = format!(
            "videotestsrc ! video/x-raw,format=RGB,width=384,height=384,framerate=30/1 \
             ! {ELEMENT} pacing={pacing} denoising-steps=\"<900,500>\" ! appsink name=out sync=false max-buffers=1"
        );
        let pipeline = gst::parse::launch(&text)
            .unwrap()
            .downcast::<gst::Pipeline>()
            .unwrap();
        let sink = pipeline.by_name("out").unwrap();
        let sink = sink.downcast::<gst_app::AppSink>().unwrap();
        for round in 0..3u64 {
            pipeline.set_state(gst::State::Playing).unwrap();
            std::thread::sleep(Duration::from_millis(40 + 70 * round));
            pipeline.set_state(gst::State::Ready).unwrap();
        }
        pipeline.set_state(gst::State::Playing).unwrap();
        sink.pull_sample().unwrap();
        for _ in 0..2 {
            pipeline
                .seek_simple(gst::SeekFlags::FLUSH, gst::ClockTime::ZERO)
                .unwrap();
            sink.pull_sample().unwrap();
        }
        let bus = pipeline.bus().unwrap();
        pipeline.set_state(gst::State::Null).unwrap();
        let error = bus.pop_filtered(&[gst::MessageType::Error]);
        assert!(error.is_none(), "{pacing}: {error:?}");
    }
}

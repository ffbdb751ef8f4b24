//! What every one-in one-out raw video element owes GStreamer, checked on `scopediffusion`.

#![allow(clippy::unwrap_used, reason = "a helper that fails must fail its test")]

mod ground;

use ground::{ELEMENT, caps, frame, init, run, strict};
use gst::prelude::*;

/// Any picture.
const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scope-tiny/contact_sheet.png");

#[test]
fn metadata_and_properties_explain_themselves() {
    init();
    let factory = gst::ElementFactory::find(ELEMENT).unwrap();

    for key in ["long-name", "klass", "description", "author"] {
        assert!(
            factory.metadata(key).is_some_and(|text| !text.is_empty()),
            "{key}"
        );
    }
    let element = factory.create().build().unwrap();
    for spec in element.list_properties().iter() {
        let name = spec.name();
        assert!(
            name.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
            "{name}"
        );
        assert!(
            spec.blurb().is_some_and(|blurb| !blurb.is_empty()),
            "blurb of {name}"
        );
    }
}

#[test]
fn a_thousand_starts_and_stops_leave_nothing_behind() {
    init();
    let element = gst::ElementFactory::make(ELEMENT).build().unwrap();
    element.set_state(gst::State::Ready).unwrap();

    for _ in 0..1000 {
        for state in [gst::State::Playing, gst::State::Ready] {
            element.set_state(state).unwrap();
            assert_eq!(element.state(gst::ClockTime::from_seconds(2)).1, state);
        }
    }
    element.set_state(gst::State::Null).unwrap();

    let gone = element.downgrade();
    drop(element);
    assert!(gone.upgrade().is_none(), "somebody still holds the element");
}

#[test]
fn timestamps_flags_and_metas_survive() {
    let mut harness = strict();
    let caps = caps("RGB", 64, 48);
    harness.set_src_caps(caps.clone());

    for n in 0..5 {
        let mut buffer = frame(&caps, n);
        {
            let buffer = buffer.get_mut().unwrap();
            if n == 0 {
                buffer.set_flags(gst::BufferFlags::DISCONT);
            }
            let reference = gst::Caps::new_empty_simple("timestamp/x-test");
            let moment = gst::ClockTime::from_nseconds(n);
            gst::ReferenceTimestampMeta::add(buffer, &reference, moment, gst::ClockTime::NONE);
        }
        let (pts, duration) = (buffer.pts(), buffer.duration());

        let picture = harness.push_and_pull(buffer).unwrap();

        assert_eq!((picture.pts(), picture.duration()), (pts, duration));
        assert_eq!(picture.flags().contains(gst::BufferFlags::DISCONT), n == 0);
        let meta = picture.meta::<gst::ReferenceTimestampMeta>().unwrap();
        assert_eq!(meta.timestamp(), gst::ClockTime::from_nseconds(n));
    }
}

#[test]
fn every_format_and_a_change_of_size_in_mid_stream_work() {
    init();
    let factory = gst::ElementFactory::find(ELEMENT).unwrap();
    let template = factory.static_pad_templates().iter().next().unwrap().caps();
    let formats = template
        .structure(0)
        .unwrap()
        .get::<gst::List>("format")
        .unwrap();
    let mut harness = strict();

    for format in formats.iter() {
        for (width, height) in [(64, 48), (48, 64)] {
            let caps = caps(format.get().unwrap(), width, height);
            harness.set_src_caps(caps.clone());
            let picture = harness.push_and_pull(frame(&caps, 0)).unwrap();
            assert_eq!(
                picture.size(),
                gst_video::VideoInfo::from_caps(&caps).unwrap().size(),
                "{caps}"
            );
        }
    }
}

/// Everything that reads back must be what was written: a property saved and restored changes nothing.
#[test]
fn live_properties_read_back_what_was_written() {
    init();
    let element = gst::ElementFactory::make(ELEMENT).build().unwrap();
    for (name, text) in [
        ("denoising-steps", "<700,400>"),
        ("guidance-scale", "1.5"),
        ("cfg-type", "initialize"),
        ("delta", "0.5"),
        ("latent-feedback", "0.25"),
        ("noise-controller", "true"),
        ("similar-image-filter", "true"),
        ("similar-image-filter-threshold", "0.5"),
        ("similar-image-filter-max-skip-frame", "3"),
    ] {
        element.set_property_from_str(name, text);
        let value = element.property_value(name).serialize().unwrap();
        let digits = |text: &str| text.replace("(int)", "").replace(' ', "");
        assert_eq!(digits(&value), digits(text), "{name}");
    }

    let said = element.property::<String>("parameters");
    let other = gst::ElementFactory::make(ELEMENT).build().unwrap();
    other.set_property("parameters", &said);
    assert_eq!(other.property::<String>("parameters"), said);
}

/// The same grey picture in every byte order must come out as the same picture: red and blue are not mixed up.
#[test]
fn the_byte_order_does_not_change_the_picture() {
    let picture = |format: &str| {
        let mut harness = strict();
        harness
            .element()
            .unwrap()
            .set_property("prompt", "blueprint");
        let caps = caps(format, 64, 48);
        harness.set_src_caps(caps.clone());
        let buffer = harness.push_and_pull(frame(&caps, 0)).unwrap();
        ground::mean_rgb(&gst::Sample::builder().buffer(&buffer).caps(&caps).build())
    };
    let rgb = picture("RGB");

    assert!(rgb[2] > rgb[0] + 20.0, "blueprint is blue: {rgb:?}");
    for format in [
        "BGR", "RGBA", "BGRA", "ARGB", "ABGR", "RGBx", "BGRx", "xRGB", "xBGR",
    ] {
        assert_eq!(picture(format), rgb, "{format}");
    }
}

#[test]
fn alpha_comes_out_opaque() {
    let mut harness = strict();
    let caps = caps("RGBA", 64, 48);
    harness.set_src_caps(caps.clone());

    let picture = harness.push_and_pull(frame(&caps, 0)).unwrap();

    let map = picture.map_readable().unwrap();
    assert!(map.chunks_exact(4).all(|pixel| pixel[3] == 255));
}

#[test]
fn a_short_buffer_is_skipped_with_a_warning() {
    let mut harness = strict();
    let bus = gst::Bus::new();
    harness.element().unwrap().set_bus(Some(&bus));
    let caps = caps("RGB", 64, 48);
    harness.set_src_caps(caps.clone());

    harness
        .push(gst::Buffer::from_mut_slice(vec![0u8; 10]))
        .unwrap();

    let warning = bus
        .pop_filtered(&[gst::MessageType::Warning])
        .expect("a warning");
    let gst::MessageView::Warning(warning) = warning.view() else {
        unreachable!()
    };
    assert!(
        warning.error().message().contains("10 bytes"),
        "{warning:?}"
    );
    assert!(
        harness.push_and_pull(frame(&caps, 1)).is_ok(),
        "and the stream goes on"
    );
    harness.element().unwrap().set_bus(None::<&gst::Bus>);
}

#[test]
fn a_frame_without_caps_is_not_negotiated() {
    let mut harness = strict();
    harness.play();

    assert_eq!(
        harness.push(frame(&caps("RGB", 64, 48), 0)),
        Err(gst::FlowError::NotNegotiated)
    );
}

#[test]
fn a_flush_resets_and_the_stream_goes_on() {
    let mut harness = strict();
    let caps = caps("RGB", 64, 48);
    harness.set_src_caps(caps.clone());
    harness.push_and_pull(frame(&caps, 0)).unwrap();

    assert!(harness.push_event(gst::event::FlushStart::new()));
    assert_eq!(harness.push(frame(&caps, 1)), Err(gst::FlowError::Flushing));
    assert!(harness.push_event(gst::event::FlushStop::new(true)));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    assert!(harness.push_event(gst::event::Segment::new(&segment)));

    assert!(harness.push_and_pull(frame(&caps, 0)).is_ok());
}

#[test]
fn serialised_events_and_eos_pass_in_order() {
    let mut harness = strict();
    let caps = caps("RGB", 64, 48);
    harness.set_src_caps(caps.clone());
    harness.push(frame(&caps, 0)).unwrap();

    assert!(
        harness.push_event(gst::event::Gap::builder(gst::ClockTime::from_mseconds(33)).build())
    );
    assert!(harness.push_event(gst::event::CustomDownstream::new(
        gst::Structure::new_empty("x-test")
    )));
    assert!(harness.push_event(gst::event::Eos::new()));

    let seen: Vec<_> = std::iter::from_fn(|| harness.try_pull_event())
        .map(|event| event.type_())
        .filter(|kind| !kind.is_sticky() || *kind == gst::EventType::Eos)
        .collect();
    assert_eq!(
        seen,
        [
            gst::EventType::Gap,
            gst::EventType::CustomDownstream,
            gst::EventType::Eos
        ]
    );
    assert_eq!(harness.push(frame(&caps, 1)), Err(gst::FlowError::Eos));
}

#[test]
fn caps_queries_tell_the_sizes_the_model_works_at() {
    let mut harness = strict();
    harness.play();
    let pad = harness.element().unwrap().static_pad("sink").unwrap();

    let all = pad.query_caps(None);

    assert!(!all.is_empty() && !all.is_any());
    assert!(all.can_intersect(&caps("RGB", 256, 256)), "{all}");
    assert!(!all.can_intersect(&caps("RGB", 257, 256)), "{all}");
    assert!(!all.can_intersect(&caps("I420", 256, 256)), "{all}");
    assert!(!pad.query_accept_caps(&gst::Caps::new_empty_simple("audio/x-raw")));
    let filter = gst::Caps::builder("video/x-raw")
        .field("width", 64i32)
        .build();
    for structure in pad.query_caps(Some(&filter)).iter() {
        assert_eq!(structure.get::<i32>("width"), Ok(64));
    }
}

#[test]
fn every_live_property_can_be_set_while_frames_flow() {
    init();
    let text = format!(
        "videotestsrc num-buffers=60 ! video/x-raw,format=RGB,width=64,height=48 ! {ELEMENT} name=processor ! fakesink"
    );
    let pipeline = gst::parse::launch(&text)
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
    let element = pipeline.by_name("processor").unwrap();
    let bus = pipeline.bus().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();

    for round in 0usize.. {
        for spec in element.list_properties().iter() {
            let live = gst::glib::ParamFlags::WRITABLE | gst::PARAM_FLAG_MUTABLE_PLAYING;
            if !spec.flags().contains(live) {
                continue;
            }
            let name = spec.name();
            let even = round % 2 == 0;
            match name {
                "prompt" => element.set_property(name, if even { "night" } else { "comic" }),
                "negative-prompt" => element.set_property(name, if even { "blurry" } else { "" }),
                "noise-scale" => element.set_property(name, if even { 0.3f32 } else { -1.0 }),
                "denoising-steps" => {
                    element.set_property_from_str(name, if even { "<500,250>" } else { "<400>" })
                }
                "seed" => element.set_property(name, round as u64),
                "motion" => element.set_property(name, if even { 0.1f32 } else { 0.0 }),
                "input-mode" => {
                    element.set_property_from_str(name, if even { "text" } else { "video" })
                }
                "paused" | "noise-controller" | "similar-image-filter" => {
                    element.set_property(name, even)
                }
                "guidance-scale" => element.set_property(name, if even { 1.3f32 } else { 1.0 }),
                "cfg-type" => element
                    .set_property_from_str(name, ["none", "full", "self", "initialize"][round % 4]),
                "delta"
                | "latent-feedback"
                | "similar-image-filter-threshold"
                | "colour-transfer"
                | "reference-scale" => element.set_property(name, if even { 0.5f32 } else { 0.9 }),
                "colour-reference" => element.set_property(name, if even { PICTURE } else { "" }),
                // The built-in model takes none, and says so in a warning.
                "reference-images" => element.set_property(name, ""),
                "similar-image-filter-max-skip-frame" => element.set_property(name, 3u32),
                "parameters" => {
                    element.set_property(name, r#"{"prompt_interpolation_method":"slerp"}"#)
                }
                other => panic!("`{other}` is live and this test does not know it"),
            }
        }
        let ends = [
            gst::MessageType::Eos,
            gst::MessageType::Error,
            gst::MessageType::Warning,
        ];
        if let Some(message) = bus.timed_pop_filtered(gst::ClockTime::from_mseconds(5), &ends) {
            assert_eq!(
                message.type_(),
                gst::MessageType::Eos,
                "{:?}",
                message.structure()
            );
            break;
        }
    }
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_flushing_seek_starts_at_the_frame_asked_for() {
    init();
    let text = format!(
        "videotestsrc num-buffers=300 ! video/x-raw,format=RGB,width=64,height=48,framerate=30/1 ! {ELEMENT} ! appsink name=out sync=false"
    );
    let pipeline = gst::parse::launch(&text)
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
    let sink = pipeline
        .by_name("out")
        .unwrap()
        .downcast::<gst_app::AppSink>()
        .unwrap();
    pipeline.set_state(gst::State::Paused).unwrap();
    pipeline.state(gst::ClockTime::from_seconds(10)).0.unwrap();

    let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE;
    pipeline
        .seek_simple(flags, gst::ClockTime::from_seconds(2))
        .unwrap();
    pipeline.state(gst::ClockTime::from_seconds(10)).0.unwrap();

    assert_eq!(
        sink.pull_preroll().unwrap().buffer().unwrap().pts(),
        Some(gst::ClockTime::from_seconds(2))
    );
    pipeline.set_state(gst::State::Null).unwrap();
}

/// Runs pipelines of both pacing modes in a child process under the leaks tracer and reads its log.
#[test]
fn the_leaks_tracer_is_silent() {
    const CHILD: &str = "SCOPE_LEAKS_CHILD";
    if std::env::var_os(CHILD).is_some() {
        for pacing in ["strict", "live"] {
            let message = run(&format!(
                "videotestsrc num-buffers=20 ! video/x-raw,format=RGB,width=64,height=48 ! {ELEMENT} pacing={pacing} ! fakesink"
            ));
            assert_eq!(message.type_(), gst::MessageType::Eos);
        }
        // SAFETY: every GStreamer object of this process is gone, and the process ends here.
        #[allow(unsafe_code, reason = "the tracer reports at deinit")]
        unsafe {
            gst::deinit();
        }
        return;
    }
    let out = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "the_leaks_tracer_is_silent",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD, "1")
        .env("GST_TRACERS", "leaks(check-refs=false)")
        .env("GST_DEBUG", "GST_TRACER:7")
        .env("GST_DEBUG_NO_COLOR", "1")
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{log}");
    assert!(log.contains("GST_TRACER"), "the tracer did not run: {log}");
    let alive: Vec<_> = log
        .lines()
        .filter(|line| line.contains("object-alive,") && !line.contains("new format string"))
        .collect();
    assert!(alive.is_empty(), "{}", alive.join("\n"));
}

//! What every one-in one-out raw video element owes GStreamer, checked on `falwebrtcbin` with nobody at the far end.

#![allow(clippy::unwrap_used, reason = "a helper that fails must fail its test")]

use std::sync::Once;

use gst::prelude::*;
use gst_check::Harness;

/// Nobody listens on the discard port of loopback; nothing else is ever asked for.
const ELEMENT: &str =
    "falwebrtcbin app-id=owner/app auth=none run-url=ws://127.0.0.1:9 rest-url=http://127.0.0.1:9";

fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().unwrap();
        gstfalwebrtc::plugin_register_static().unwrap();
    });
}

/// A source that waits for each output, and the element's fallback `passthrough`.
fn harness() -> Harness {
    with_fallback("passthrough")
}

fn with_fallback(fallback: &str) -> Harness {
    init();
    let mut harness = Harness::new_parse(&format!("{ELEMENT} fallback={fallback}"));
    harness.set_blocking_push_mode();
    harness.play();
    harness
}

fn caps(format: &str, width: i32, height: i32) -> gst::Caps {
    gst::Caps::builder("video/x-raw")
        .field("format", format)
        .field("width", width)
        .field("height", height)
        .field("framerate", gst::Fraction::new(30, 1))
        .build()
}

fn frame(caps: &gst::Caps, n: u64) -> gst::Buffer {
    let info = gst_video::VideoInfo::from_caps(caps).unwrap();
    let mut buffer = gst::Buffer::from_mut_slice(vec![100_u8; info.size()]);
    {
        let buffer = buffer.get_mut().unwrap();
        buffer.set_pts(gst::ClockTime::from_mseconds(33 * n));
        buffer.set_duration(gst::ClockTime::from_mseconds(33));
    }
    buffer
}

#[test]
fn metadata_and_properties_explain_themselves() {
    init();
    let factory = gst::ElementFactory::find("falwebrtcbin").unwrap();
    for key in ["long-name", "klass", "description", "author"] {
        assert!(
            factory.metadata(key).is_some_and(|text| !text.is_empty()),
            "{key}"
        );
    }
    let element = factory.create().build().unwrap();
    for spec in element
        .list_properties()
        .iter()
        .filter(|spec| spec.owner_type() == element.type_())
    {
        let name = spec.name();
        assert!(
            name.chars().all(|c| c.is_ascii_lowercase() || c == '-'),
            "{name}"
        );
        assert!(
            spec.blurb().is_some_and(|blurb| blurb.len() > 10),
            "blurb of {name}"
        );
    }
}

#[test]
fn two_hundred_starts_and_stops_leave_nothing_behind() {
    init();
    let element = gst::parse::launch(ELEMENT).unwrap();
    for _ in 0..200 {
        for state in [gst::State::Playing, gst::State::Ready] {
            element.set_state(state).unwrap();
        }
    }
    element.set_state(gst::State::Null).unwrap();

    let gone = element.downgrade();
    drop(element);
    assert!(gone.upgrade().is_none(), "somebody still holds the element");
}

#[test]
fn the_fallback_keeps_timestamps_flags_and_metas() {
    let mut harness = harness();
    let caps = caps("RGB", 64, 48);
    harness.set_src_caps(caps.clone());

    for n in 0..5 {
        let mut buffer = frame(&caps, n);
        {
            let buffer = buffer.get_mut().unwrap();
            let reference = gst::Caps::new_empty_simple("timestamp/x-test");
            gst::ReferenceTimestampMeta::add(
                buffer,
                &reference,
                gst::ClockTime::from_nseconds(n),
                gst::ClockTime::NONE,
            );
            buffer.set_flags(gst::BufferFlags::MARKER);
        }
        let (pts, duration) = (buffer.pts(), buffer.duration());

        let picture = harness.push_and_pull(buffer).unwrap();

        assert_eq!((picture.pts(), picture.duration()), (pts, duration));
        assert!(picture.flags().contains(gst::BufferFlags::MARKER));
        let meta = picture.meta::<gst::ReferenceTimestampMeta>().unwrap();
        assert_eq!(meta.timestamp(), gst::ClockTime::from_nseconds(n));
    }
}

#[test]
fn every_common_format_and_a_change_of_size_in_mid_stream_pass() {
    for fallback in ["passthrough", "black", "hold"] {
        let mut harness = with_fallback(fallback);
        let mut n = 0;
        for format in [
            "RGB",
            "BGRx",
            "RGBA",
            "I420",
            "NV12",
            "YUY2",
            "GRAY8",
            "P010_10LE",
        ] {
            for (width, height) in [(64, 48), (33, 17), (1, 1)] {
                let caps = caps(format, width, height);
                harness.set_src_caps(caps.clone());
                n += 1;
                let picture = harness.push_and_pull(frame(&caps, n)).unwrap();
                let size = gst_video::VideoInfo::from_caps(&caps).unwrap().size();
                assert_eq!(picture.size(), size, "{fallback} {caps}");
            }
        }
    }
}

#[test]
fn downstream_gets_the_size_and_format_it_asks_for() {
    let mut harness = harness();
    let source = caps("RGB", 64, 48);
    let wanted = caps("I420", 128, 128);
    harness.set_caps(source.clone(), wanted.clone());

    let picture = harness.push_and_pull(frame(&source, 1)).unwrap();

    assert_eq!(
        picture.size(),
        gst_video::VideoInfo::from_caps(&wanted).unwrap().size()
    );
}

#[test]
fn a_frame_before_caps_is_refused() {
    let mut harness = harness();
    let buffer = frame(&caps("RGB", 8, 8), 0);
    assert_eq!(harness.push(buffer), Err(gst::FlowError::NotNegotiated));
}

#[test]
fn a_flush_empties_the_element_and_it_goes_on() {
    let mut harness = harness();
    let caps = caps("RGB", 64, 48);
    harness.set_src_caps(caps.clone());
    harness.push_and_pull(frame(&caps, 50)).unwrap();

    assert!(harness.push_event(gst::event::FlushStart::new()));
    assert!(harness.push_event(gst::event::FlushStop::new(true)));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    assert!(harness.push_event(gst::event::Segment::new(&segment)));

    // Time may start anew behind it.
    let picture = harness.push_and_pull(frame(&caps, 3)).unwrap();
    assert_eq!(picture.pts(), Some(gst::ClockTime::from_mseconds(99)));
}

#[test]
fn events_keep_their_place_among_pictures() {
    let mut harness = harness();
    let caps = caps("RGB", 64, 48);
    harness.set_src_caps(caps.clone());
    let mut tags = gst::TagList::new();
    tags.make_mut()
        .add::<gst::tags::Title>(&"between", gst::TagMergeMode::Append);

    harness.push(frame(&caps, 1)).unwrap();
    assert!(harness.push_event(gst::event::Tag::new(tags)));
    harness.push(frame(&caps, 2)).unwrap();
    assert!(harness.push_event(gst::event::Eos::new()));

    for n in [1, 2] {
        assert_eq!(
            harness.pull().unwrap().pts(),
            Some(gst::ClockTime::from_mseconds(33 * n))
        );
    }
    let kinds: Vec<_> = std::iter::from_fn(|| harness.pull_event().ok().map(|event| event.type_()))
        .take_while(|kind| *kind != gst::EventType::Eos)
        .collect();
    assert!(kinds.contains(&gst::EventType::Tag), "{kinds:?}");
}

#[test]
fn what_cannot_be_set_keeps_its_value() {
    init();
    let element = gst::ElementFactory::make("falwebrtcbin").build().unwrap();
    element.set_property("app-id", "owner/app");
    element.set_property("codecs", "h264");
    element.set_property("parameters", r#"{"a":1}"#);

    element.set_property("app-id", "no-app");
    element.set_property("codecs", "av1");
    element.set_property("parameters", "[1]");

    assert_eq!(element.property::<String>("app-id"), "owner/app");
    assert_eq!(element.property::<String>("codecs"), "h264");
    assert_eq!(element.property::<String>("parameters"), r#"{"a":1}"#);
}

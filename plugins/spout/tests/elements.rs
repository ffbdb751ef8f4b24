//! `spoutsink` and `spoutsrc` together, as pipelines.

#![allow(clippy::unwrap_used, reason = "a helper that fails must fail its test")]

use gst::prelude::*;

mod ground;

use ground::{Receiving, Running, Sending, caps, name};

/// A red pixel and a blue one, half transparent where there is alpha, as each format writes them.
/// Sent as, received as, and both pixels before and after.
type Colours = (
    &'static str,
    &'static str,
    [&'static [u8]; 2],
    [&'static [u8]; 2],
);

const COLOURS: [Colours; 6] = [
    (
        "BGRA",
        "BGRA",
        [&[0, 0, 255, 128], &[255, 0, 0, 128]],
        [&[0, 0, 255, 128], &[255, 0, 0, 128]],
    ),
    (
        "RGBA",
        "RGBA",
        [&[255, 0, 0, 128], &[0, 0, 255, 128]],
        [&[255, 0, 0, 128], &[0, 0, 255, 128]],
    ),
    (
        "BGRx",
        "BGRA",
        [&[0, 0, 255, 7], &[255, 0, 0, 7]],
        [&[0, 0, 255, 255], &[255, 0, 0, 255]],
    ),
    (
        "RGBx",
        "RGBA",
        [&[255, 0, 0, 7], &[0, 0, 255, 7]],
        [&[255, 0, 0, 255], &[0, 0, 255, 255]],
    ),
    (
        "RGB10A2_LE",
        "RGB10A2_LE",
        [&[0xff, 0x03, 0, 0x80], &[0, 0, 0xf0, 0xbf]],
        [&[0xff, 0x03, 0, 0x80], &[0, 0, 0xf0, 0xbf]],
    ),
    (
        "RGBA64_LE",
        "RGBA64_LE",
        [
            &[255, 255, 0, 0, 0, 0, 0, 128],
            &[0, 0, 0, 0, 255, 255, 0, 128],
        ],
        [
            &[255, 255, 0, 0, 0, 0, 0, 128],
            &[0, 0, 0, 0, 255, 255, 0, 128],
        ],
    ),
];

#[test]
fn red_stays_red_and_blue_stays_blue_in_every_format() {
    for (sent, received, [red, blue], [red_out, blue_out]) in COLOURS {
        let name = name();
        // Left half red, right half blue.
        let row = [red.repeat(4), blue.repeat(4)].concat();
        let expected = [red_out.repeat(4), blue_out.repeat(4)].concat().repeat(4);
        let receiving = Receiving::new(&name, "");
        let mut sending = Sending::new(&name, &caps(sent, 8, 4));
        sending.send(row.repeat(4));

        let sample = receiving.sample();

        let structure = sample.caps().unwrap().structure(0).unwrap();
        assert_eq!(structure.get::<&str>("format").unwrap(), received);
        assert_eq!(
            sample.buffer().unwrap().map_readable().unwrap().to_vec(),
            expected,
            "{sent}"
        );
    }
}

/// GStreamer's own converter is the judge of what is red.
#[test]
fn a_converter_behind_the_source_sees_the_colours_that_were_sent() {
    for format in ["BGRA", "RGBA", "BGRx", "RGBx", "RGB10A2_LE", "RGBA64_LE"] {
        let name = name();
        let text = format!(
            "videotestsrc is-live=true pattern=solid-color foreground-color=0xffff2010 ! video/x-raw,format={format},width=16,height=16 ! spoutsink sender-name=\"{name}\""
        );
        let _sending = Running::launch(&text).play();
        let text = format!(
            "spoutsrc sender-name=\"{name}\" ! videoconvert ! video/x-raw,format=ARGB ! appsink name=sink sync=false"
        );
        let receiving = Running::launch(&text).play();
        let sink = receiving
            .element("sink")
            .downcast::<gst_app::AppSink>()
            .unwrap();

        let sample = sink.try_pull_sample(ground::GENEROUS).unwrap();

        let bytes = sample.buffer().unwrap().map_readable().unwrap();
        let near = |value: u8, wanted: u8| value.abs_diff(wanted) <= 1;
        // The converter makes 0xc0 of two bits of full alpha.
        let least = if format == "RGB10A2_LE" { 0xc0 } else { 255 };
        for pixel in bytes.chunks_exact(4) {
            let right = pixel[0] >= least
                && near(pixel[1], 255)
                && near(pixel[2], 0x20)
                && near(pixel[3], 0x10);
            assert!(right, "{format}: {pixel:?}");
        }
    }
}

#[test]
fn caps_change_in_band_and_are_announced() {
    let name = name();
    let receiving = Receiving::new(&name, "");
    let mut sending = Sending::new(&name, &caps("BGRA", 8, 8));
    sending.send(vec![1; 256]);
    let connected = receiving.running.message("spout-connected");
    assert_eq!(connected.get::<&str>("sender").unwrap(), name);
    assert_eq!(connected.get::<u32>("width").unwrap(), 8);
    assert_eq!(receiving.bytes(), vec![1; 256]);

    sending.caps(&caps("RGBA", 16, 4));
    sending.send(vec![2; 256]);

    let resized = receiving.running.message("spout-resized");
    assert_eq!(
        (
            resized.get::<u32>("width").unwrap(),
            resized.get::<u32>("height").unwrap()
        ),
        (16, 4)
    );
    let sample = receiving.sample();
    assert!(sample.caps().unwrap().can_intersect(&caps("RGBA", 16, 4)));
    assert_eq!(receiving.running.stats("source", "connections"), 1);
}

#[test]
fn a_sender_of_unknown_rate_is_received_and_stood_in_for() {
    let name = name();
    let receiving = Receiving::new(&name, "when-lost=hold");
    let mut unknown = caps("BGRA", 8, 8);
    unknown
        .make_mut()
        .set_value("framerate", gst::Fraction::new(0, 1).to_send_value());
    let mut sending = Sending::new(&name, &unknown);
    sending.send(vec![3; 256]);

    let first = receiving.sample();
    drop(sending);
    let second = receiving.sample();

    assert_eq!(first.buffer().unwrap().duration(), None);
    assert!(second.buffer().unwrap().duration() > gst::ClockTime::ZERO.into());
}

#[test]
fn a_sender_that_goes_and_comes_again_is_found_again() {
    let name = name();
    let receiving = Receiving::new(&name, "");
    for round in 1..=3 {
        let mut sending = Sending::new(&name, &caps("BGRA", 8, 8));
        sending.send(vec![round; 256]);
        assert_eq!(receiving.bytes(), vec![round; 256]);
        let current = receiving
            .running
            .element("source")
            .property::<Option<String>>("current-sender");
        assert_eq!(current.as_deref(), Some(name.as_str()));
        drop(sending);
        assert_eq!(
            receiving
                .running
                .message("spout-lost")
                .get::<&str>("sender")
                .unwrap(),
            name
        );
    }
    assert_eq!(receiving.running.stats("source", "connections"), 3);
}

#[test]
fn a_lost_sender_is_stood_in_for_as_asked() {
    for (mode, expected) in [("hold", vec![9; 256]), ("black", [0, 0, 0, 255].repeat(64))] {
        let name = name();
        let receiving = Receiving::new(&name, &format!("when-lost={mode}"));
        let mut sending = Sending::new(&name, &caps("BGRA", 8, 8));
        sending.send(vec![9; 256]);
        assert_eq!(receiving.bytes(), vec![9; 256]);
        drop(sending);

        let (first, second) = (receiving.sample(), receiving.sample());

        let bytes = second.buffer().unwrap().map_readable().unwrap().to_vec();
        assert_eq!(bytes, expected, "{mode}");
        assert!(second.buffer().unwrap().pts() > first.buffer().unwrap().pts());
        let mut again = Sending::new(&name, &caps("BGRA", 8, 8));
        again.send(vec![3; 256]);
        while receiving.bytes() != vec![3; 256] {}
    }
}

#[test]
fn waiting_sends_gaps_and_no_frames() {
    let name = name();
    let receiving = Receiving::new(&name, "");
    let mut sending = Sending::new(&name, &caps("BGRA", 8, 8));
    sending.send(vec![9; 256]);
    receiving.bytes();
    let (told, gaps) = std::sync::mpsc::channel();
    let pad = receiving
        .running
        .element("source")
        .static_pad("src")
        .unwrap();
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if info
            .event()
            .is_some_and(|event| event.type_() == gst::EventType::Gap)
        {
            let _ = told.send(());
        }
        gst::PadProbeReturn::Ok
    });
    drop(sending);

    gaps.recv_timeout(std::time::Duration::from_secs(20))
        .unwrap();

    assert!(receiving.try_sample(0).is_none());
}

#[test]
fn a_lost_sender_can_end_the_stream_or_be_an_error() {
    let name = name();
    let receiving = Receiving::new(&name, "when-lost=eos");
    let failing = Receiving::new(&name, "when-lost=error");
    let mut sending = Sending::new(&name, &caps("BGRA", 8, 8));
    sending.send(vec![9; 256]);
    receiving.bytes();
    failing.bytes();
    // Not before it plays does a pipeline tell of its end.
    let (reached, ..) = receiving.running.pipeline.state(ground::GENEROUS);
    reached.unwrap();

    drop(sending);

    let bus = receiving.running.pipeline.bus().unwrap();
    assert!(
        bus.timed_pop_filtered(ground::GENEROUS, &[gst::MessageType::Eos])
            .is_some()
    );
    let text = failing.running.error();
    assert!(text.contains(&name) && text.contains("is gone"), "{text}");
}

#[test]
fn a_sender_that_never_appears_is_an_error_after_the_timeout() {
    let receiving = Receiving::new(&name(), "connect-timeout=200");

    let text = receiving.running.error();

    assert!(text.contains("did not appear within 200 ms"), "{text}");
}

#[test]
fn a_picture_drawn_into_the_offered_pool_is_not_copied_on_its_way() {
    let name = name();
    let text = format!(
        "videotestsrc is-live=true pattern=ball ! video/x-raw,format=BGRA,width=320,height=240,framerate=60/1 ! spoutsink name=sink sync=false sender-name=\"{name}\""
    );
    let sending = Running::launch(&text).play();
    // Downstream that keeps nothing: on a busy machine an appsink's queue is more than a receiver may hold.
    let text = format!(
        "spoutsrc name=source sender-name=\"{name}\" ! fakesink sync=false enable-last-sample=false"
    );
    let receiving = Running::launch(&text).play();

    let begun = std::time::Instant::now();
    while receiving.stats("source", "frames-received") < 60 {
        assert!(begun.elapsed().as_secs() < 20);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }

    let (sent, lent) = (
        sending.stats("sink", "frames-sent"),
        sending.stats("sink", "frames-lent"),
    );
    assert!(lent + 3 >= sent && lent >= 57, "{lent} of {sent}");
    assert_eq!(sending.stats("sink", "frames-dropped"), 0);
    assert!(sending.stats("sink", "buffers") <= 5);
    assert_eq!(receiving.stats("source", "frames-copied"), 0);
    assert_eq!(sending.element("sink").property::<i32>("receivers"), 1);
}

#[test]
fn downstream_that_hoards_gets_copies_and_the_sender_goes_on() {
    let name = name();
    let receiving = Receiving::new(&name, "");
    let mut sending = Sending::new(&name, &caps("BGRA", 8, 8));
    let mut hoard = Vec::new();
    for round in 1..=10 {
        sending.send(vec![round; 256]);
        hoard.push(receiving.sample());
    }

    assert_eq!(receiving.running.stats("source", "frames-copied"), 8);
    assert_eq!(sending.running.stats("sink", "frames-dropped"), 0);
    for (sample, round) in hoard.iter().zip(1..) {
        assert_eq!(
            sample.buffer().unwrap().map_readable().unwrap().to_vec(),
            vec![round; 256]
        );
    }
}

#[test]
fn a_buffer_that_upstream_keeps_is_not_changed_under_the_receiver() {
    let name = name();
    let text = format!(
        "videotestsrc is-live=true pattern=solid-color foreground-color=0xffffffff ! video/x-raw,format=BGRA,width=64,height=64,framerate=30/1 ! tee name=t ! queue ! spoutsink name=sink sync=false sender-name=\"{name}\" \
         t. ! queue ! videobalance brightness=-1 ! fakesink sync=false"
    );
    let _sending = Running::launch(&text).play();
    let receiving = Receiving::new(&name, "");

    for _ in 0..20 {
        assert_eq!(receiving.bytes(), vec![255; 64 * 64 * 4]);
    }
}

#[test]
fn the_picture_can_be_turned_upside_down() {
    let name = name();
    let receiving = Receiving::new(&name, "flip=true");
    let mut sending = Sending::new(&name, &caps("BGRA", 2, 3));

    sending.send((0..24).collect());

    let expected: Vec<u8> = (16..24).chain(8..16).chain(0..8).collect();
    assert_eq!(receiving.bytes(), expected);
}

#[test]
fn frames_beyond_the_maximum_rate_and_of_equal_content_are_left_out() {
    let name = name();
    let slow = Receiving::new(&name, "max-framerate=1/100");
    let unequal = Receiving::new(&name, "dedupe=content");
    let mut sending = Sending::new(&name, &caps("BGRA", 8, 8));
    sending.send(vec![1; 256]);
    assert_eq!(slow.bytes(), vec![1; 256]);
    assert_eq!(unequal.bytes(), vec![1; 256]);

    sending.send(vec![1; 256]);
    while unequal.running.stats("source", "frames-skipped") < 1 {}
    sending.send(vec![2; 256]);

    assert_eq!(unequal.bytes(), vec![2; 256]);
    // Two frames at once are one to a receiver that comes late.
    let left_out = |what: &str| slow.running.stats("source", what);
    while left_out("frames-skipped") + left_out("frames-missed") < 2 {}
    assert!(slow.try_sample(0).is_none());
}

#[test]
fn the_sender_stays_while_paused_and_in_ready_and_goes_with_null() {
    let name = name();
    let mut sending = Sending::new(&name, &caps("BGRA", 8, 8));
    sending.send(vec![1; 256]);
    let receiving = Receiving::new(&name, "");
    receiving.bytes();
    let pipeline = &sending.running.pipeline;

    for state in [gst::State::Paused, gst::State::Ready] {
        pipeline.set_state(state).unwrap();
        assert!(
            sending
                .running
                .element("sink")
                .property::<Option<String>>("actual-name")
                .is_some()
        );
        assert!(receiving.try_sample(100).is_none());
    }
    assert_eq!(receiving.running.stats("source", "connections"), 1);

    pipeline.set_state(gst::State::Null).unwrap();
    receiving.running.message("spout-lost");
}

#[test]
fn timestamps_are_running_times_of_the_capture_and_rise() {
    let name = name();
    let receiving = Receiving::new(&name, "");
    let mut sending = Sending::new(&name, &caps("BGRA", 8, 8));
    let element = receiving.running.element("source");
    let mut last = None;
    for round in 0..10 {
        let before = element.current_running_time();
        sending.send(vec![round; 256]);
        let sample = receiving.sample();
        let after = element.current_running_time();
        let pts = sample.buffer().unwrap().pts();

        assert!(pts <= after && pts >= last, "{last:?} {pts:?} {after:?}");
        if before.is_some() && round > 0 {
            assert!(pts >= before, "{before:?} {pts:?}");
        }
        last = pts;
    }
    let mut query = gst::query::Latency::new();
    assert!(element.query(&mut query));
    let (live, least, _) = query.result();
    assert!(live && least >= gst::ClockTime::from_mseconds(1));
}

#[test]
fn a_late_source_shows_the_frame_that_lies_there_as_new() {
    let name = name();
    let mut sending = Sending::new(&name, &caps("BGRA", 8, 8));
    sending.send(vec![4; 256]);
    std::thread::sleep(std::time::Duration::from_millis(300));

    let receiving = Receiving::new(&name, "");

    let sample = receiving.sample();
    let element = receiving.running.element("source");
    assert!(sample.buffer().unwrap().pts() <= element.current_running_time());
    assert!(
        sample
            .buffer()
            .unwrap()
            .flags()
            .contains(gst::BufferFlags::DISCONT)
    );
}

#[test]
fn downstream_that_cannot_take_the_caps_is_told_what_to_do() {
    let name = name();
    let mut sending = Sending::new(&name, &caps("BGRA", 8, 8));
    sending.send(vec![4; 256]);
    let text = format!("spoutsrc sender-name=\"{name}\" ! video/x-raw,format=RGBA ! fakesink");
    let receiving = Running::launch(&text).play();

    let text = receiving.error();

    assert!(text.contains("put videoconvert"), "{text}");
}

#[test]
fn both_elements_survive_thirty_state_cycles_and_are_freed() {
    let name = name();
    let text = format!(
        "videotestsrc ! video/x-raw,width=16,height=16 ! spoutsink name=sink sender-name=\"{name}\" spoutsrc name=source sender-name=\"{name}\" ! fakesink"
    );
    let running = Running::launch(&text);
    for _ in 0..30 {
        for state in [
            gst::State::Playing,
            gst::State::Ready,
            gst::State::Playing,
            gst::State::Null,
        ] {
            running.pipeline.set_state(state).unwrap();
        }
    }

    let weak =
        [running.element("sink"), running.element("source")].map(|element| element.downgrade());
    drop(running);
    assert!(weak.iter().all(|weak| weak.upgrade().is_none()));
}

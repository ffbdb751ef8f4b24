//! Frame sync: a sink that waits for its receivers, and not for ever.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a helper that fails must fail its test")]

use std::time::{Duration, Instant};

use texture_share::{Adapter, Backend, Event, SenderName, Target};

mod ground;

use ground::{Running, name};

const GENEROUS: Duration = Duration::from_secs(20);

/// As fast as it goes, but for its receivers.
fn sending(name: &str) -> Running {
    Running::launch(&format!(
        "videotestsrc ! video/x-raw,format=BGRA,width=8,height=8 \
         ! spoutsink name=sink sync=false frame-sync=true sender-name=\"{name}\""
    ))
}

#[test]
fn a_receiver_that_stands_still_is_waited_for_with_a_bound() {
    let name = name();
    let target = Target::Named(SenderName::new(&name).unwrap());
    let directory = texture_share::open(Backend::Auto, Adapter::Auto).unwrap();
    let mut receiver = directory.receiver(target).unwrap();
    let sending = sending(&name).play();
    let begun = Instant::now();
    while !matches!(receiver.next(GENEROUS).unwrap(), Event::Connected(_)) {
        assert!(begun.elapsed() < GENEROUS);
    }

    // It has said hello and never looks at a frame.
    let before = sending.stats("sink", "frames-sent");
    std::thread::sleep(Duration::from_millis(300));
    let sent = sending.stats("sink", "frames-sent") - before;
    assert!(sent < 20, "{sent} frames did not wait");
    while sending.stats("sink", "frames-sent") < before + 1000 {
        assert!(begun.elapsed() < GENEROUS, "the sink waits for ever");
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(receiver);
}

#[test]
fn a_receiver_that_keeps_up_gets_its_frames() {
    let name = name();
    let receiving = Running::launch(&format!(
        "spoutsrc name=source sender-name=\"{name}\" frame-sync=true ! fakesink sync=false"
    ))
    .play();
    let sending = sending(&name).play();
    receiving.message("spout-connected");

    let received = || receiving.stats("source", "frames-received");
    let begun = Instant::now();
    while received() < 300 {
        assert!(begun.elapsed() < GENEROUS);
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(sending);

    // One that is late by more than 67 ms on a busy machine misses some; without frame sync most would be missed.
    let missed = receiving.stats("source", "frames-missed");
    assert!(
        missed < received() / 2,
        "{missed} of {} were missed",
        received()
    );
}

//! Frame sync over shared memory: when a sender's receivers have taken its last frame.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a helper that fails must fail its test")]

use std::time::Duration;

use texture_share::{Event, Picture, Receiver, Sender, Stamp};

mod place;

use place::{place, video};

const GENEROUS: Duration = Duration::from_secs(10);

fn send(sender: &mut dyn Sender, value: u8) {
    let bytes = [value; 64];
    let picture = Picture::of(&bytes, &video(4, 4));
    sender.send(&picture, &Stamp::default()).unwrap();
}

fn take(receiver: &mut dyn Receiver) {
    while !matches!(receiver.next(GENEROUS).unwrap(), Event::Frame(_)) {}
}

#[test]
fn a_gate_opens_when_every_receiver_has_taken_the_frame() {
    let place = place();
    let mut sender = place.sender("step", video(4, 4));
    let gate = sender.gate();
    send(&mut *sender, 1);
    assert!(gate.wait(Duration::ZERO), "nobody is waited for");
    let (mut one, mut other) = (place.receiver("step"), place.any());
    take(&mut *one);
    take(&mut *other);
    assert!(gate.wait(GENEROUS));

    send(&mut *sender, 2);
    assert!(!gate.wait(Duration::from_millis(1)));
    take(&mut *one);
    assert!(!gate.wait(Duration::from_millis(1)));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| gate.wait(GENEROUS));
        take(&mut *other);
        assert!(waiting.join().unwrap());
    });

    send(&mut *sender, 3);
    drop((one, other));
    assert!(gate.wait(GENEROUS), "who is gone is waited for");
}

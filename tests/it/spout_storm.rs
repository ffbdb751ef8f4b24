//! Whatever happens to one side of a share, the other goes on: killed, stopped, resized, a hundred times.
//!
//! One side is the real element in a process of its own; the other is this process, through the same crate, because
//! it must look at every byte and count its own descriptors and threads.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use scope_tests::stage::{GENEROUS, Stage, files};
use texture_share::backend::shm::{Folder, ShmDirectory};
use texture_share::{
    Directory, Event, Picture, PixelFormat, Receiver, Sender, SenderName, SenderWish, Sent, Stamp,
    Target, TextureWish, Video,
};

/// Kills of each side.
const KILLS: u32 = 50;

/// The longest a victim lives, milliseconds: some die before they are born, some while frames flow.
const LIFE: u64 = 220;

fn video(width: u32, height: u32) -> Video {
    Video::new(width, height, PixelFormat::Bgra8)
}

fn directory(stage: &Stage) -> ShmDirectory {
    ShmDirectory::of(Folder::at(&stage.senders()).unwrap())
}

fn sender(stage: &Stage, name: &str, video: &Video) -> Box<dyn Sender> {
    let wish = SenderWish {
        name: SenderName::new(name).unwrap(),
        video: video.clone(),
        make_active: true,
        texture: TextureWish::default(),
    };
    directory(stage).sender(&wish).unwrap()
}

fn receiver(stage: &Stage, name: &str) -> Box<dyn Receiver> {
    let target = Target::Named(SenderName::new(name).unwrap());
    directory(stage).receiver(target).unwrap()
}

fn send(sender: &mut dyn Sender, video: &Video, value: u8) -> Sent {
    let bytes = vec![value; video.frame_len()];
    sender
        .send(&Picture::of(&bytes, video), &Stamp::default())
        .unwrap()
}

/// A moment to kill at.
fn moment(round: u32) -> Duration {
    Duration::from_millis(RandomState::new().hash_one(round) % LIFE)
}

/// Descriptors and threads of this process, and what lies in `/dev/shm`.
fn belongings() -> [usize; 3] {
    ["/proc/self/fd", "/proc/self/task", "/dev/shm"].map(|folder| files(folder.as_ref()))
}

/// Threads end a moment after they are joined.
#[track_caller]
fn are_again(before: [usize; 3]) {
    let begun = Instant::now();
    while belongings() != before {
        assert!(
            begun.elapsed() < GENEROUS,
            "{before:?} before, {:?} after",
            belongings()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn receivers_killed_at_any_moment_harm_neither_the_sender_nor_each_other() {
    let stage = Stage::default();
    // Fills the plugin registry, so that the victims live where it matters.
    stage.launch("fakesrc num-buffers=1 ! fakesink").succeed();
    let video = video(320, 240);
    let before = belongings();
    let mut sender = sender(&stage, "stage", &video);
    let mut witness = receiver(&stage, "stage");
    assert!(matches!(witness.next(GENEROUS), Ok(Event::Connected(_))));
    let (mut value, mut seen) = (0_u8, 0_u64);
    for round in 0..KILLS {
        let victim = stage.launch("spoutsrc sender-name=stage ! videoconvert ! fakesink");
        let until = Instant::now() + moment(round);
        while Instant::now() < until {
            value = value.wrapping_add(1);
            assert_eq!(send(&mut *sender, &video, value), Sent::Copied);
            match witness.next(GENEROUS).unwrap() {
                Event::Frame(frame) => {
                    let bytes = frame.bytes();
                    assert!(
                        bytes.iter().all(|byte| *byte == value),
                        "torn in round {round}"
                    );
                    assert_eq!(frame.missed, 0);
                    seen += 1;
                }
                other => panic!("{other:?}"),
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        victim.kill();
    }

    let begun = Instant::now();
    while sender.receivers() != Some(1) {
        assert!(begun.elapsed() < GENEROUS);
        std::thread::sleep(Duration::from_millis(1));
    }
    let figures = sender.figures();
    assert_eq!(
        (figures.sent, figures.dropped, figures.expelled),
        (seen, 0, 0)
    );
    assert!(figures.buffers <= 6, "{figures:?}");
    drop((sender, witness));
    are_again(before);
    assert_eq!(files(&stage.senders()), 0);
}

#[test]
fn senders_killed_at_any_moment_are_found_again_and_leave_nothing() {
    let stage = Stage::default();
    stage.launch("fakesrc num-buffers=1 ! fakesink").succeed();
    let before = belongings();
    let mut witness = receiver(&stage, "phoenix");
    let mut connections = 0;
    for round in 0..KILLS {
        let victim = stage.launch(
            "videotestsrc is-live=true pattern=solid-color foreground-color=0xff804020 ! video/x-raw,format=BGRA,width=320,height=240,framerate=60/1 ! spoutsink sender-name=phoenix",
        );
        let until = Instant::now() + moment(round);
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            match witness.next(left).unwrap() {
                Event::Frame(frame) => {
                    let bytes = frame.bytes();
                    assert_eq!(bytes.len(), 320 * 240 * 4);
                    assert!(
                        bytes
                            .chunks_exact(4)
                            .all(|pixel| pixel == [0x20, 0x40, 0x80, 0xff])
                    );
                }
                Event::Connected(_) => connections += 1,
                Event::Lost | Event::Idle => {}
                Event::Resized(description) => panic!("{description:?}"),
            }
        }
        victim.kill();
    }
    // None of those deaths has spoiled anything for the next one, nor its name.
    let living = stage.launch("videotestsrc is-live=true ! video/x-raw,format=BGRA,width=64,height=48 ! spoutsink sender-name=phoenix");
    let begun = Instant::now();
    loop {
        match witness.next(GENEROUS).unwrap() {
            Event::Frame(frame) if frame.bytes().len() == 64 * 48 * 4 => break,
            _ => assert!(begun.elapsed() < GENEROUS),
        }
    }
    assert!(
        connections > 5,
        "only {connections} of {KILLS} lived long enough"
    );
    living.kill();
    while !matches!(witness.next(GENEROUS).unwrap(), Event::Lost) {}

    assert_eq!(files(&stage.senders()), 0);
    drop(witness);
    are_again(before);
}

#[test]
fn a_receiver_that_stands_still_costs_the_others_nothing() {
    let stage = Stage::default();
    let video = video(320, 240);
    let mut sender = sender(&stage, "still", &video);
    let stopped = stage.launch("spoutsrc sender-name=still ! fakesink");
    let begun = Instant::now();
    while sender.receivers() == Some(0) {
        assert!(begun.elapsed() < GENEROUS);
        std::thread::sleep(Duration::from_millis(1));
    }
    send(&mut *sender, &video, 1);
    stopped.signal("STOP");
    let mut witness = receiver(&stage, "still");
    assert!(matches!(witness.next(GENEROUS), Ok(Event::Connected(_))));
    assert!(matches!(witness.next(GENEROUS), Ok(Event::Frame(_))));

    for round in 0..500_u32 {
        let value = round.to_le_bytes()[0];
        assert_eq!(send(&mut *sender, &video, value), Sent::Copied);
        assert!(matches!(witness.next(GENEROUS), Ok(Event::Frame(frame)) if frame.missed == 0));
    }

    assert!(sender.figures().buffers <= 6, "{:?}", sender.figures());
    // It wakes up and finds the present, not the past.
    stopped.signal("CONT");
    stopped.kill();
}

#[test]
fn a_storm_of_sizes_reaches_a_real_source_in_order() {
    let stage = Stage::default();
    let first = video(16, 16);
    let mut sender = sender(&stage, "storm", &first);
    let mut receiver = stage.launch("spoutsrc sender-name=storm num-buffers=400 ! videoconvert ! videoscale ! video/x-raw,format=I420,width=32,height=32 ! fakesink");
    let begun = Instant::now();
    let mut round = 0_u32;
    while !receiver.has_ended() {
        assert!(begun.elapsed() < GENEROUS, "round {round}");
        let video = video(16 + round % 97, 16 + round % 89);
        sender.configure(&video).unwrap();
        send(&mut *sender, &video, 7);
        round += 1;
        std::thread::sleep(Duration::from_micros(1500));
    }
    receiver.succeed();
    assert!(sender.figures().buffers <= 5);
}

#[test]
fn a_killed_active_sender_does_not_hide_the_others() {
    let stage = Stage::default();
    let _old = sender(&stage, "old", &video(16, 16));
    let newest = stage.launch("videotestsrc is-live=true ! spoutsink sender-name=newest");
    let directory = directory(&stage);
    let begun = Instant::now();
    while directory
        .active()
        .unwrap()
        .is_none_or(|name| name.as_str() != "newest")
    {
        assert!(begun.elapsed() < GENEROUS);
        std::thread::sleep(Duration::from_millis(10));
    }

    newest.kill();

    let mut receiver = directory.receiver(Target::Active { own: true }).unwrap();
    match receiver.next(GENEROUS).unwrap() {
        Event::Connected(description) => assert_eq!(description.name.as_str(), "old"),
        other => panic!("{other:?}"),
    }
}

//! Senders and receivers over shared memory, in one process, as an application uses them.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a helper that fails must fail its test")]

use std::time::{Duration, Instant};

use texture_share::{
    Description, Directory, Event, Frame, Picture, PixelFormat, Receiver, Sender, Sent, Stamp,
    Target, Video,
};

mod place;

use place::{name, place, video};

const GENEROUS: Duration = Duration::from_secs(10);

fn picture(bytes: &[u8], stride: usize) -> Picture<'_> {
    Picture {
        bytes,
        stride,
        opaque: false,
    }
}

fn send(sender: &mut dyn Sender, len: usize, value: u8) -> Sent {
    let stamp = Stamp {
        captured: u64::from(value),
        presentation: Some(5),
        duration: None,
    };
    let side = (len / 4).isqrt();
    let stride = if side * side * 4 == len {
        side * 4
    } else {
        64 * 4
    };
    let bytes = vec![value; len];
    sender.send(&picture(&bytes, stride), &stamp).unwrap()
}

#[track_caller]
fn connected(receiver: &mut dyn Receiver) -> Description {
    match receiver.next(GENEROUS).unwrap() {
        Event::Connected(description) => description,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn frame(receiver: &mut dyn Receiver) -> Frame {
    match receiver.next(GENEROUS).unwrap() {
        Event::Frame(frame) => frame,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn holds(frame: &Frame, len: usize, value: u8) {
    let pixels = frame.bytes();
    assert_eq!(pixels.len(), len);
    assert!(
        pixels.iter().all(|byte| *byte == value),
        "{} for {value}",
        pixels[0]
    );
}

#[test]
fn a_frame_arrives_with_its_description_and_stamp() {
    let place = place();
    let mut sender = place.sender("Bühne", video(64, 32));
    let mut receiver = place.receiver("Bühne");
    send(&mut *sender, 64 * 32 * 4, 7);

    let description = connected(&mut *receiver);
    assert_eq!(description.name, name("Bühne"));
    assert_eq!(description.video, video(64, 32));
    assert_eq!(description.process, std::process::id());
    let frame = frame(&mut *receiver);
    holds(&frame, 64 * 32 * 4, 7);
    assert_eq!(
        frame.stamp,
        Stamp {
            captured: 7,
            presentation: Some(5),
            duration: None
        }
    );
    assert_eq!(
        (frame.sequence, frame.missed, frame.over_quota),
        (1, 0, false)
    );
}

#[test]
fn the_receiver_may_come_first() {
    let place = place();
    let mut receiver = place.receiver("late");
    assert!(matches!(
        receiver.next(Duration::from_millis(50)),
        Ok(Event::Idle)
    ));

    let mut sender = place.sender("late", video(8, 8));
    assert!(matches!(receiver.next(GENEROUS), Ok(Event::Connected(_))));
    send(&mut *sender, 256, 3);
    holds(&frame(&mut *receiver), 256, 3);
}

#[test]
fn a_late_receiver_sees_the_newest_frame_though_nothing_moves() {
    let place = place();
    let mut sender = place.sender("still", video(8, 8));
    for value in 1..=5 {
        send(&mut *sender, 256, value);
    }

    let mut receiver = place.receiver("still");
    connected(&mut *receiver);
    holds(&frame(&mut *receiver), 256, 5);
}

#[test]
fn a_receiver_that_comes_in_does_not_bring_the_others_their_frame_again() {
    let place = place();
    let mut sender = place.sender("once", video(8, 8));
    let mut first = place.receiver("once");
    connected(&mut *first);
    send(&mut *sender, 256, 1);
    frame(&mut *first);

    let mut second = place.receiver("once");
    connected(&mut *second);
    frame(&mut *second);

    let short = Duration::from_millis(50);
    assert!(matches!(first.next(short), Ok(Event::Idle)));
}

#[test]
fn a_slow_receiver_gets_the_newest_and_learns_what_it_missed() {
    let place = place();
    let mut sender = place.sender("fast", video(8, 8));
    let mut receiver = place.receiver("fast");
    connected(&mut *receiver);
    send(&mut *sender, 256, 1);
    let first = frame(&mut *receiver);

    for value in 2..=200 {
        assert_eq!(send(&mut *sender, 256, value), Sent::Copied);
    }

    holds(&first, 256, 1);
    let newest = frame(&mut *receiver);
    holds(&newest, 256, 200);
    assert_eq!(newest.missed, 198);
    let figures = sender.figures();
    assert_eq!((figures.sent, figures.dropped), (200, 0));
    assert!(figures.buffers <= 5, "{figures:?}");
}

#[test]
fn held_frames_stay_as_they_were_also_when_the_receiver_is_gone() {
    let place = place();
    let mut sender = place.sender("hold", video(8, 8));
    let mut receiver = place.receiver("hold");
    connected(&mut *receiver);
    let mut held = Vec::new();
    for value in 1..=4 {
        send(&mut *sender, 256, value);
        held.push(frame(&mut *receiver));
    }
    assert_eq!(
        held.iter()
            .map(|frame| frame.over_quota)
            .collect::<Vec<_>>(),
        [false, false, true, true]
    );
    drop(receiver);

    for value in 100..=150 {
        send(&mut *sender, 256, value);
    }

    for (frame, value) in held.iter().zip(1..) {
        holds(frame, 256, value);
    }
    drop(held);
    let begun = Instant::now();
    while sender.receivers() != Some(0) {
        assert!(begun.elapsed() < GENEROUS);
        std::thread::yield_now();
    }
}

#[test]
fn a_receiver_that_hoards_costs_frames_only_until_it_is_expelled() {
    let place = place();
    let mut sender = place.sender("hoard", video(8, 8));
    let mut hoarder = place.receiver("hoard");
    let mut other = place.receiver("hoard");
    connected(&mut *hoarder);
    connected(&mut *other);
    let mut held = Vec::new();
    let begun = Instant::now();
    while sender.figures().expelled == 0 {
        send(&mut *sender, 256, 9);
        assert!(sender.figures().buffers <= 6);
        if held.len() < 5 {
            held.push(frame(&mut *hoarder));
        }
        if let Ok(Event::Lost) = other.next(Duration::ZERO) {
            panic!("the wrong one was expelled");
        }
        assert!(begun.elapsed() < GENEROUS);
        std::thread::sleep(Duration::from_millis(1));
    }

    for value in 50..90 {
        assert_eq!(send(&mut *sender, 256, value), Sent::Copied);
        holds(&frame(&mut *other), 256, value);
    }
    // Though expelled, what it holds was not written again.
    held.iter().for_each(|frame| holds(frame, 256, 9));
    assert!(matches!(
        hoarder.next(GENEROUS),
        Ok(Event::Frame(_) | Event::Lost)
    ));
}

#[test]
fn lent_memory_is_shown_without_a_copy_once() {
    let place = place();
    let mut sender = place.sender("lend", video(8, 8));
    let mut receiver = place.receiver("lend");
    connected(&mut *receiver);
    let lender = sender.lender().unwrap();

    let mut loan = lender.lend().unwrap();
    (*loan).as_mut().fill(42);
    let Sent::Lent { ticket } = sender
        .send(&picture((*loan).as_mut(), 32), &Stamp::default())
        .unwrap()
    else {
        panic!("copied")
    };
    let first = frame(&mut *receiver);
    holds(&first, 256, 42);
    assert!(sender.is_shown(ticket));
    assert_eq!(
        sender
            .send(&picture((*loan).as_mut(), 32), &Stamp::default())
            .unwrap(),
        Sent::Copied
    );

    drop((loan, first));
    send(&mut *sender, 256, 1);
    assert!(!sender.is_shown(ticket));
    assert_eq!(sender.figures().lent, 1);
}

#[test]
fn memory_can_be_lent_only_while_there_is_some() {
    let place = place();
    let sender = place.sender("all", video(8, 8));
    let lender = sender.lender().unwrap();

    let loans: Vec<_> = std::iter::from_fn(|| lender.lend()).collect();
    assert_eq!(loans.len(), 4);
    drop(loans);
    assert!(lender.lend().is_some());
}

#[test]
fn a_resize_is_announced_before_its_first_frame_and_no_frame_of_the_old_size_follows() {
    let place = place();
    let mut sender = place.sender("grow", video(8, 8));
    let mut receiver = place.receiver("grow");
    connected(&mut *receiver);
    send(&mut *sender, 256, 1);
    let old = frame(&mut *receiver);

    for side in [16_u32, 4, 100, 32] {
        sender.configure(&video(side, side)).unwrap();
        send(&mut *sender, (side * side * 4) as usize, 2);
    }

    let mut side = 0;
    loop {
        match receiver.next(GENEROUS).unwrap() {
            Event::Resized(description) => side = description.video.width,
            Event::Frame(frame) => {
                holds(&frame, (side * side * 4) as usize, 2);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(side, 32);
    holds(&old, 256, 1);
}

#[test]
fn equal_geometry_changes_nothing() {
    let place = place();
    let mut sender = place.sender("same", video(8, 8));
    let mut receiver = place.receiver("same");
    connected(&mut *receiver);
    let faster = Video {
        framerate: (60, 1),
        ..video(8, 8)
    };

    sender.configure(&faster).unwrap();
    send(&mut *sender, 256, 1);

    assert!(matches!(receiver.next(GENEROUS), Ok(Event::Frame(_))));
    assert_eq!(place.directory.senders().unwrap()[0].video, faster);
}

#[test]
fn taken_names_are_numbered_and_active_follows_spouts_rule() {
    let place = place();
    let first = place.sender("Dup", video(8, 8));
    let second = place.sender("Dup", video(8, 8));
    let third = place.sender("Dup", video(8, 8));
    let names = [&first, &second, &third].map(|sender| sender.name().to_string());
    assert_eq!(names, ["Dup", "Dup_1", "Dup_2"]);
    assert_eq!(place.directory.active().unwrap(), Some(name("Dup_2")));

    assert!(place.directory.set_active(&name("Dup_1")).unwrap());
    assert!(!place.directory.set_active(&name("nobody")).unwrap());
    drop(third);
    assert_eq!(place.directory.active().unwrap(), Some(name("Dup_1")));
    drop(second);
    assert_eq!(place.directory.active().unwrap(), Some(name("Dup")));
    drop(first);
    assert_eq!(place.directory.active().unwrap(), None);
    assert_eq!(place.files(), Vec::<String>::new());
}

#[test]
fn senders_are_listed_by_name_with_size_and_format() {
    let place = place();
    let _b = place.sender("b", Video::new(1920, 1080, PixelFormat::Rgba8));
    let _a = place.sender("a", video(16, 9));

    let found = place.directory.senders().unwrap();

    let seen: Vec<_> = found
        .iter()
        .map(|d| (d.name.as_str(), d.video.width, d.video.format))
        .collect();
    assert_eq!(
        seen,
        [
            ("a", 16, PixelFormat::Bgra8),
            ("b", 1920, PixelFormat::Rgba8)
        ]
    );
}

#[test]
fn a_receiver_without_a_name_stays_with_its_sender_until_that_closes() {
    let place = place();
    let mut one = place.sender("one", video(8, 8));
    let mut receiver = place.any();
    assert_eq!(connected(&mut *receiver).name, name("one"));
    let _two = place.sender("two", video(8, 8));
    send(&mut *one, 256, 1);
    holds(&frame(&mut *receiver), 256, 1);

    drop(one);

    assert!(matches!(receiver.next(GENEROUS), Ok(Event::Lost)));
    assert_eq!(connected(&mut *receiver).name, name("two"));
}

#[test]
fn the_active_link_to_a_dead_sender_hides_nobody() {
    let place = place();
    let _living = place.sender("living", video(8, 8));
    std::fs::remove_file(place.folder.path().join("active")).unwrap();
    std::os::unix::fs::symlink("0123", place.folder.path().join("active")).unwrap();

    assert_eq!(connected(&mut *place.any()).name, name("living"));
    assert_eq!(place.directory.active().unwrap(), Some(name("living")));
}

#[test]
fn a_receiver_may_refuse_to_look_at_its_own_process() {
    let place = place();
    let _own = place.sender("own", video(8, 8));
    let target = Target::Active { own: false };
    let mut receiver = place.directory.receiver(target).unwrap();

    let short = Duration::from_millis(300);
    assert!(matches!(receiver.next(short), Ok(Event::Idle)));
}

#[test]
fn a_waiting_receiver_is_woken() {
    let place = place();
    let mut receiver = place.receiver("never");
    let waker = receiver.waker();
    let begun = Instant::now();

    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(50));
            waker.wake();
        });
        assert!(matches!(receiver.next(GENEROUS), Ok(Event::Idle)));
    });

    assert!(begun.elapsed() < GENEROUS);
}

#[test]
fn twenty_receivers_see_every_last_frame() {
    let place = place();
    let mut sender = place.sender("many", video(8, 8));
    let mut receivers: Vec<_> = (0..20).map(|_| place.receiver("many")).collect();
    for receiver in &mut receivers {
        connected(&mut **receiver);
    }
    assert_eq!(sender.receivers(), Some(20));

    for value in 1..=50 {
        send(&mut *sender, 256, value);
    }

    for receiver in &mut receivers {
        holds(&frame(&mut **receiver), 256, 50);
    }
    assert!(sender.figures().buffers <= 24);
}

#[test]
fn a_short_frame_is_refused_and_nothing_is_lost() {
    let place = place();
    let mut sender = place.sender("short", video(8, 8));

    let error = sender
        .send(&picture(&[0; 100], 32), &Stamp::default())
        .unwrap_err();
    assert!(error.to_string().contains("100 bytes"), "{error}");
    assert_eq!(send(&mut *sender, 256, 1), Sent::Copied);
}

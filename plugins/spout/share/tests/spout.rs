//! The Spout protocol on Windows: as an application uses it, and against objects made by hand as other programs
//! make them. Frames need a `d3d11.dll` that can share textures.

#![cfg(windows)]
#![allow(clippy::unwrap_used, reason = "a helper that fails must fail its test")]
#![allow(unsafe_code, reason = "other programs' objects are made by hand")]

use std::process::Command;
use std::time::{Duration, Instant};

use texture_share::backend::spout::SpoutDirectory;
use texture_share::directory::{SLOT_LEN, SenderList, encode_name};
use texture_share::record::{RECORD_LEN, Record};
use texture_share::{
    Directory, Event, Frame, Picture, PixelFormat, Receiver, Sender, SenderName, SenderWish, Sent,
    ShareError, Stamp, Target, TextureWish, Video,
};
use windows::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows::Win32::System::Memory::{
    CreateFileMappingA, FILE_MAP_ALL_ACCESS, MapViewOfFile, PAGE_READWRITE,
};
use windows::Win32::System::Threading::{CreateMutexA, ReleaseMutex, WaitForSingleObject};
use windows::core::PCSTR;

const GENEROUS: Duration = Duration::from_secs(20);

fn video(width: u32, height: u32) -> Video {
    Video::new(width, height, PixelFormat::Bgra8)
}

fn name(text: &str) -> SenderName {
    SenderName::new(&format!("{text} {}", std::process::id())).unwrap()
}

fn sender(name: &SenderName, video: &Video) -> Box<dyn Sender> {
    let wish = SenderWish {
        name: name.clone(),
        video: video.clone(),
        make_active: true,
        texture: TextureWish::default(),
    };
    SpoutDirectory::default().sender(&wish).unwrap()
}

fn receiver(name: &SenderName) -> Box<dyn Receiver> {
    SpoutDirectory::default()
        .receiver(Target::Named(name.clone()))
        .unwrap()
}

fn send(sender: &mut dyn Sender, video: &Video, value: u8) -> Sent {
    let bytes = vec![value; video.frame_len()];
    sender
        .send(&Picture::of(&bytes, video), &Stamp::default())
        .unwrap()
}

#[track_caller]
fn next(receiver: &mut dyn Receiver) -> Event {
    let begun = Instant::now();
    loop {
        match receiver.next(Duration::from_millis(200)).unwrap() {
            Event::Idle => assert!(begun.elapsed() < GENEROUS, "nothing came"),
            event => return event,
        }
    }
}

#[track_caller]
fn frame_of(receiver: &mut dyn Receiver, value: u8) -> Frame {
    let begun = Instant::now();
    loop {
        match next(receiver) {
            Event::Frame(frame) if frame.bytes().iter().all(|byte| *byte == value) => {
                return frame;
            }
            _ => assert!(begun.elapsed() < GENEROUS, "no frame of {value}"),
        }
    }
}

fn seen(name: &SenderName) -> bool {
    let senders = SpoutDirectory::default().senders().unwrap();
    senders.iter().any(|sender| sender.name == *name)
}

/// A mapping as another program makes it; it lives as long as the process, or until its handle is closed.
fn foreign_map(name: &[u8], len: u32) -> (*mut u8, HANDLE) {
    let name = [name, &[0]].concat();
    let name = PCSTR(name.as_ptr());
    // SAFETY: the name ends in NUL and outlives the call.
    let map =
        unsafe { CreateFileMappingA(INVALID_HANDLE_VALUE, None, PAGE_READWRITE, 0, len, name) }
            .unwrap();
    // SAFETY: the mapping is open.
    let view = unsafe { MapViewOfFile(map, FILE_MAP_ALL_ACCESS, 0, 0, 0) };
    (view.Value.cast(), map)
}

#[test]
fn a_sender_is_listed_active_and_gone_again() {
    let name = name("listed");
    let sender = sender(&name, &video(64, 48));

    assert!(seen(&name));
    assert_eq!(
        SpoutDirectory::default().active().unwrap(),
        Some(name.clone())
    );
    let described = SpoutDirectory::default().senders().unwrap();
    let own = described.iter().find(|sender| sender.name == name).unwrap();
    assert_eq!((own.video.width, own.video.height), (64, 48));
    drop(sender);
    assert!(!seen(&name));
    assert_ne!(SpoutDirectory::default().active().unwrap(), Some(name));
}

#[test]
fn the_record_is_what_other_programs_read() {
    let name = name("record");
    let _sender = sender(&name, &video(64, 48));
    let (record, _map) = foreign_map(name.as_str().as_bytes(), RECORD_LEN as u32);
    // SAFETY: the mapping is as long as the sender made it, a record at least.
    let bytes = unsafe { std::slice::from_raw_parts(record, RECORD_LEN) };

    let record = Record::decode(bytes.first_chunk().unwrap());

    assert!(record.has_texture());
    assert_eq!((record.width, record.height, record.format), (64, 48, 87));
    assert!(String::from_utf8_lossy(&record.description).ends_with(".exe"));
}

#[test]
fn a_frame_arrives_and_a_resize_follows() {
    let name = name("frames");
    let small = video(64, 48);
    let mut sender = sender(&name, &small);
    let mut receiver = receiver(&name);
    send(&mut *sender, &small, 7);
    assert!(matches!(next(&mut *receiver), Event::Connected(of) if of.video == small));
    frame_of(&mut *receiver, 7);

    let large = video(80, 60);
    sender.configure(&large).unwrap();
    send(&mut *sender, &large, 9);

    let begun = Instant::now();
    loop {
        match next(&mut *receiver) {
            Event::Resized(of) => break assert_eq!(of.video, large),
            _ => assert!(begun.elapsed() < GENEROUS),
        }
    }
    let frame = frame_of(&mut *receiver, 9);
    assert_eq!(frame.bytes().len(), large.frame_len());
}

#[test]
fn a_new_size_is_told_with_its_first_picture() {
    let name = name("undrawn");
    let small = video(64, 48);
    let mut sender = sender(&name, &small);
    let mut receiver = receiver(&name);
    // Two, so that it is known to count.
    for value in [7, 8] {
        send(&mut *sender, &small, value);
        frame_of(&mut *receiver, value);
    }

    for side in [80, 96] {
        sender.configure(&video(side, side)).unwrap();
        let idle = receiver.next(Duration::from_millis(300));
        assert!(matches!(idle, Ok(Event::Idle)), "{idle:?}");
    }
    let large = video(96, 96);
    send(&mut *sender, &large, 9);

    assert!(matches!(next(&mut *receiver), Event::Resized(of) if of.video == large));
    let Event::Frame(frame) = next(&mut *receiver) else {
        panic!("no frame");
    };
    assert_eq!(frame.bytes(), vec![9; large.frame_len()]);
}

#[test]
fn equal_geometry_keeps_the_texture() {
    let name = name("equal");
    let video = video(64, 48);
    let mut sender = sender(&name, &video);
    let handle = || {
        let (record, _) = foreign_map(name.as_str().as_bytes(), RECORD_LEN as u32);
        // SAFETY: a record begins with its handle.
        unsafe { record.cast::<u32>().read_unaligned() }
    };
    let before = handle();

    let faster = Video {
        framerate: (60, 1),
        ..video
    };
    sender.configure(&faster).unwrap();

    assert_eq!(handle(), before);
    let small = self::video(32, 32);
    sender.configure(&small).unwrap();
    send(&mut *sender, &small, 1);
    assert_ne!(handle(), before);
}

#[test]
fn counted_frames_come_once() {
    let name = name("count");
    let video = video(16, 16);
    let mut sender = sender(&name, &video);
    let mut receiver = receiver(&name);
    send(&mut *sender, &video, 1);
    frame_of(&mut *receiver, 1);
    send(&mut *sender, &video, 2);
    frame_of(&mut *receiver, 2);

    let short = Duration::from_millis(100);
    assert!(matches!(receiver.next(short), Ok(Event::Idle)));
    for value in 3..=6 {
        send(&mut *sender, &video, value);
    }
    let frame = frame_of(&mut *receiver, 6);
    assert_eq!(frame.missed, 3);
}

#[test]
fn a_closed_sender_is_lost_after_a_moment_of_grace() {
    let name = name("closed");
    let video = video(16, 16);
    let mut first = sender(&name, &video);
    let mut receiver = receiver(&name);
    send(&mut *first, &video, 1);
    frame_of(&mut *receiver, 1);

    drop(first);

    assert!(matches!(next(&mut *receiver), Event::Lost));
    let mut again = sender(&name, &video);
    send(&mut *again, &video, 2);
    assert!(matches!(next(&mut *receiver), Event::Connected(_)));
    frame_of(&mut *receiver, 2);
}

#[test]
fn a_taken_name_is_numbered() {
    let name = name("twin");
    let first = sender(&name, &video(16, 16));
    let second = sender(&name, &video(16, 16));

    assert_eq!(first.name(), &name);
    assert_eq!(second.name(), &name.numbered(1));
}

/// Spout's own library never gets over this: the owner of the mutex died while it held it.
#[test]
fn a_mutex_whose_owner_died_is_taken_over() {
    let name = name("abandoned");
    let video = video(16, 16);
    let mut sender = sender(&name, &video);
    let mut receiver = receiver(&name);
    send(&mut *sender, &video, 1);
    frame_of(&mut *receiver, 1);
    let mutex = format!("{name}_SpoutAccessMutex\0");
    std::thread::spawn(move || {
        // SAFETY: the name ends in NUL and outlives the call; the thread ends while it owns the mutex.
        unsafe {
            let mutex = CreateMutexA(None, false, PCSTR(mutex.as_ptr())).unwrap();
            WaitForSingleObject(mutex, 1000);
        }
    })
    .join()
    .unwrap();

    for value in 2..10 {
        assert_eq!(send(&mut *sender, &video, value), Sent::Copied);
        frame_of(&mut *receiver, value);
    }
}

#[test]
fn a_mutex_that_is_never_let_go_stops_nobody_for_long() {
    let name = name("hung");
    let video = video(16, 16);
    let mut sender = sender(&name, &video);
    let mutex = format!("{name}_SpoutAccessMutex\0");
    let (tell, told) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let hung = std::thread::spawn(move || {
        // SAFETY: the name ends in NUL and outlives the call.
        let mutex = unsafe { CreateMutexA(None, false, PCSTR(mutex.as_ptr())) }.unwrap();
        // SAFETY: the handle is open.
        unsafe { WaitForSingleObject(mutex, 1000) };
        tell.send(()).unwrap();
        let _ = ended.recv();
        // SAFETY: this thread owns it.
        unsafe { ReleaseMutex(mutex) }.unwrap();
    });
    told.recv().unwrap();

    let begun = Instant::now();
    while send(&mut *sender, &video, 2) == Sent::Dropped {
        assert!(begun.elapsed() < GENEROUS);
    }

    assert!(sender.figures().dropped > 0);
    drop(end);
    hung.join().unwrap();
}

/// A list of ten slots, made by a program that knows no better; the registry says 64. Runs in a process of its own,
/// because the first maker of the list decides.
#[test]
fn a_list_smaller_than_the_registry_says_is_lived_with() {
    if std::env::var_os("TEN_SLOTS").is_none() {
        let own = std::env::current_exe().unwrap();
        let test = "a_list_smaller_than_the_registry_says_is_lived_with";
        let mut command = Command::new(own);
        let status = command
            .args(["--exact", test, "--nocapture"])
            .env("TEN_SLOTS", "1")
            .status();
        assert!(status.unwrap().success());
        return;
    }
    let (list, _map) = foreign_map(b"SpoutSenderNames", 10 * SLOT_LEN as u32);
    // SAFETY: the mapping is at least ten slots long.
    unsafe { std::ptr::copy_nonoverlapping(encode_name(b"dead").as_ptr(), list, SLOT_LEN) };

    let senders: Vec<_> = (0..20)
        .map(|count| sender(&name(&format!("many {count:02}")), &video(8, 8)))
        .collect();

    // SAFETY: as above.
    let bytes = unsafe { std::slice::from_raw_parts(list, 10 * SLOT_LEN) };
    let listed = SenderList::decode(bytes);
    assert_eq!(listed.names().count(), 10);
    assert!(!listed.contains(b"dead"));
    // Not listed, but found by who knows the name.
    let mut last = receiver(senders[19].name());
    assert!(matches!(next(&mut *last), Event::Connected(_)));
}

#[test]
fn a_record_that_lies_is_an_error_with_the_senders_name() {
    let name = name("liar");
    let (map, _handle) = foreign_map(name.as_str().as_bytes(), RECORD_LEN as u32);
    let record = Record {
        share_handle: 0x4000_0042,
        width: 64,
        height: 64,
        format: 87,
        usage: 0,
        description: Vec::new(),
        partner_id: 0,
    };
    // SAFETY: the mapping is a record long.
    unsafe { std::ptr::copy_nonoverlapping(record.encode().as_ptr(), map, RECORD_LEN) };
    let mut receiver = receiver(&name);

    let error = receiver.next(GENEROUS).unwrap_err();

    assert!(matches!(error, ShareError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("liar"));
    // Said once; not tried again until the handle changes.
    let short = Duration::from_millis(100);
    assert!(matches!(receiver.next(short), Ok(Event::Idle)));
}

#[test]
fn a_receiver_may_refuse_to_look_at_its_own_process() {
    let name = name("own");
    let _own = sender(&name, &video(8, 8));
    let other = |own| {
        SpoutDirectory::default()
            .receiver(Target::Active { own })
            .unwrap()
    };

    let short = Duration::from_millis(300);
    assert!(matches!(other(false).next(short), Ok(Event::Idle)));
    assert!(matches!(next(&mut *other(true)), Event::Connected(of) if of.name == name));
}

#[test]
fn names_go_through_the_code_page() {
    let umlaut = name("Bühne");
    let sender = sender(&umlaut, &video(8, 8));
    assert_eq!(sender.name(), &umlaut);
    assert!(seen(&umlaut));
}

#[test]
fn half_transparent_rows_without_alpha_go_out_opaque() {
    let name = name("opaque");
    let video = video(2, 2);
    let mut sender = sender(&name, &video);
    let bytes: Vec<u8> = (0..24).collect();
    let picture = Picture {
        bytes: &bytes,
        stride: 12,
        opaque: true,
    };
    sender.send(&picture, &Stamp::default()).unwrap();

    let mut receiver = receiver(&name);
    assert!(matches!(next(&mut *receiver), Event::Connected(_)));
    let Event::Frame(frame) = next(&mut *receiver) else {
        panic!("no frame");
    };
    let expected = [0, 1, 2, 255, 4, 5, 6, 255, 12, 13, 14, 255, 16, 17, 18, 255];
    assert_eq!(frame.bytes(), expected);
}

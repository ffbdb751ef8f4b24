//! Our protocol against `spout-peer`, another program that speaks it; `tests/windows` says where that is.

#![cfg(windows)]
#![allow(clippy::unwrap_used, reason = "a helper that fails must fail its test")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use texture_share::backend::spout::SpoutDirectory;
use texture_share::{
    Directory, Event, Picture, PixelFormat, Receiver, Sender, SenderName, SenderWish, Sent, Stamp,
    Target, TextureWish, Video,
};

const GENEROUS: Duration = Duration::from_secs(30);

struct Peer(Child);

impl Peer {
    fn start(words: &[&str]) -> Self {
        let program =
            std::env::var_os("SPOUT_PEER").expect("run by tests/windows, which sets SPOUT_PEER");
        let mut command = Command::new(program);
        Self(command.args(words).stdout(Stdio::piped()).spawn().unwrap())
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        // One byte at a time: what follows belongs to the next reader.
        BufReader::with_capacity(1, self.0.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn name(text: &str) -> SenderName {
    SenderName::new(&format!("{text}-{}", std::process::id())).unwrap()
}

fn video() -> Video {
    Video::new(64, 48, PixelFormat::Bgra8)
}

fn sender(name: &SenderName, keyed_mutex: bool) -> Box<dyn Sender> {
    let wish = SenderWish {
        name: name.clone(),
        video: video(),
        make_active: true,
        texture: TextureWish {
            device: None,
            keyed_mutex,
        },
    };
    SpoutDirectory::default().sender(&wish).unwrap()
}

fn send(sender: &mut dyn Sender, value: u8) -> Sent {
    let bytes = vec![value; video().frame_len()];
    let picture = Picture::of(&bytes, &video());
    sender.send(&picture, &Stamp::default()).unwrap()
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

#[test]
fn the_peers_frames_arrive_byte_for_byte() {
    for option in ["", "keyed", "uncounted"] {
        let name = name(&format!("theirs{option}"));
        let mut peer = Peer::start(&[
            "send",
            name.as_str(),
            "64",
            "48",
            "frames=1000",
            "fps=50",
            option,
        ]);
        assert_eq!(peer.line(), format!("registered {name}"));
        let mut receiver = SpoutDirectory::default()
            .receiver(Target::Named(name.clone()))
            .unwrap();
        assert!(matches!(next(&mut *receiver), Event::Connected(of) if of.video == video()));
        // The first may be the texture as it was made, before anything was drawn.
        next(&mut *receiver);
        let (mut last, mut different) = (0, 0);
        while different < 10 {
            let Event::Frame(frame) = next(&mut *receiver) else {
                panic!("it was lost");
            };
            let number = frame.bytes()[2];
            for (index, pixel) in frame.bytes().as_chunks::<4>().0.iter().enumerate() {
                let (column, row) = ((index % 64) as u8, (index / 64) as u8);
                assert_eq!(*pixel, [column, row, number, 255]);
            }
            different += u32::from(number != last);
            last = number;
        }
    }
}

#[test]
fn the_peer_reads_our_frames_and_steps_with_them() {
    for keyed in [false, true] {
        let name = name(&format!("ours{keyed}"));
        let mut sender = sender(&name, keyed);
        let gate = sender.gate();
        send(&mut *sender, 0);
        assert!(gate.wait(Duration::ZERO), "nobody is waited for");
        let file = std::env::temp_dir().join(format!("{name}.raw"));
        let mut peer = Peer::start(&[
            "receive",
            name.as_str(),
            file.to_str().unwrap(),
            "frames=10",
            "sync",
        ]);
        let suffix = if keyed { " keyed" } else { "" };
        assert_eq!(peer.line(), format!("opened {name} 64x48 87{suffix}"));

        // From the first frame on, one is sent for each that was taken.
        let mut value = 0;
        let begun = Instant::now();
        while peer.0.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < GENEROUS);
            gate.wait(Duration::from_millis(200));
            value += 1;
            send(&mut *sender, value);
        }

        assert!(peer.line().starts_with("received 10,"));
        let bytes = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        let frames: Vec<_> = bytes.chunks_exact(video().frame_len()).collect();
        assert_eq!(frames.len(), 10);
        for frame in &frames {
            assert!(frame.iter().all(|byte| *byte == frame[0]));
        }
        let numbers: Vec<_> = frames.iter().map(|frame| frame[0]).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    }
}

/// Direct3D says that a texture whose mutex was left behind is of no more use.
#[test]
fn a_texture_whose_mutex_died_with_its_owner_is_made_anew() {
    let name = name("spoilt");
    let mut sender = sender(&name, true);
    send(&mut *sender, 1);
    let mut receiver = SpoutDirectory::default()
        .receiver(Target::Named(name.clone()))
        .unwrap();
    assert!(matches!(next(&mut *receiver), Event::Connected(_)));
    let mut peer = Peer::start(&["die", name.as_str(), "keyed"]);
    assert_eq!(peer.line(), "died holding true");
    peer.0.wait().unwrap();

    assert_eq!(send(&mut *sender, 2), Sent::Dropped);
    assert_eq!(send(&mut *sender, 3), Sent::Copied);
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < GENEROUS);
        match next(&mut *receiver) {
            Event::Frame(frame) if frame.bytes()[0] == 3 => break,
            _ => {}
        }
    }
}

//! Ten minutes of everything at once: random sizes, random deaths, receivers that stand still. Nothing may add up.
//!
//! ```text
//! cargo test -p scope-tests --test it -- --ignored --nocapture soak
//! ```

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use scope_tests::stage::{GENEROUS, Program, Stage, files};
use texture_share::backend::shm::{Folder, ShmDirectory};
use texture_share::{
    Directory, Event, Picture, PixelFormat, SenderName, SenderWish, Sent, Stamp, Target,
    TextureWish, Video,
};

const DURATION: Duration = Duration::from_secs(600);

/// Programs that receive from the sender of this process.
const RECEIVERS: usize = 3;

/// The longest a program lives, milliseconds.
const LIFE: u64 = 4000;

fn random(below: u64) -> u64 {
    RandomState::new().hash_one(()) % below
}

/// What a process has that could add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Belongings {
    descriptors: usize,
    threads: usize,
    shared_memory: usize,
    /// Mapped frames and mailboxes.
    mappings: usize,
}

impl Belongings {
    fn now() -> Self {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        Self {
            descriptors: files("/proc/self/fd".as_ref()),
            threads: files("/proc/self/task".as_ref()),
            shared_memory: files("/dev/shm".as_ref()),
            mappings: maps.matches("memfd:spout").count(),
        }
    }
}

/// Memory of this process that no file backs, KiB: what a leak of ours would raise.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|number| number.parse().ok()).unwrap()
}

/// A program that is killed after a while, whatever it does, and started again.
struct Victim<'a> {
    stage: &'a Stage,
    text: &'static str,
    program: Program,
    until: Instant,
    deaths: u32,
}

impl<'a> Victim<'a> {
    fn new(stage: &'a Stage, text: &'static str) -> Self {
        Self {
            stage,
            text,
            program: stage.launch(text),
            until: Instant::now() + Duration::from_millis(random(LIFE)),
            deaths: 0,
        }
    }

    fn tick(&mut self) {
        match random(400) {
            0 => self.program.signal("STOP"),
            1..=4 => self.program.signal("CONT"),
            _ => {}
        }
        if Instant::now() >= self.until {
            let next = self.stage.launch(self.text);
            std::mem::replace(&mut self.program, next).kill();
            self.until = Instant::now() + Duration::from_millis(random(LIFE));
            self.deaths += 1;
        }
    }
}

#[test]
#[ignore = "takes ten minutes"]
#[expect(clippy::print_stdout, reason = "its figures are for who ran it")]
fn soak_nothing_adds_up() {
    let stage = Stage::default();
    // Fills the plugin registry, so that the victims live where it matters.
    stage.launch("fakesrc num-buffers=1 ! fakesink").succeed();
    let before = Belongings::now();
    let directory = ShmDirectory::of(Folder::at(&stage.senders()).unwrap());
    let name = |name: &str| SenderName::new(name).unwrap();
    let mut video = Video::new(320, 240, PixelFormat::Bgra8);
    let mut sender = directory
        .sender(&SenderWish {
            name: name("soak"),
            video: video.clone(),
            make_active: true,
            texture: TextureWish::default(),
        })
        .unwrap();
    let mut witness = directory.receiver(Target::Named(name("soak"))).unwrap();
    assert!(matches!(witness.next(GENEROUS), Ok(Event::Connected(_))));
    let mut phoenix = directory.receiver(Target::Named(name("phoenix"))).unwrap();
    let mut victims: Vec<_> = (0..RECEIVERS)
        .map(|_| {
            Victim::new(
                &stage,
                "spoutsrc sender-name=soak ! videoconvert ! fakesink",
            )
        })
        .collect();
    victims.push(Victim::new(
        &stage,
        "videotestsrc is-live=true ! video/x-raw,format=BGRA,width=320,height=240,framerate=60/1 ! spoutsink sender-name=phoenix",
    ));

    let begun = Instant::now();
    let (mut value, mut seen, mut resizes, mut reborn, mut most) = (0_u8, 0_u64, 0, 0, 0);
    let mut warm = None;
    while begun.elapsed() < DURATION {
        if random(40) == 0 {
            let side = |least| least + u32::try_from(random(600)).unwrap();
            video = Video::new(side(16), side(16), PixelFormat::Bgra8);
            sender.configure(&video).unwrap();
            resizes += 1;
        }
        value = value.wrapping_add(1);
        let bytes = vec![value; video.frame_len()];
        let sent = sender.send(&Picture::of(&bytes, &video), &Stamp::default());
        // Receivers that stand still may hold everything, until they are expelled.
        let dropped = sent.unwrap() == Sent::Dropped;
        while let Ok(event @ (Event::Frame(_) | Event::Resized(_) | Event::Connected(_))) =
            witness.next(Duration::ZERO)
        {
            if let Event::Frame(frame) = event {
                let bytes = frame.bytes();
                assert!(bytes.iter().all(|byte| *byte == value), "a torn frame");
                assert_eq!(bytes.len(), video.frame_len());
                seen += 1;
            }
        }
        if !dropped {
            assert_eq!(sender.figures().sent, seen, "a frame was not seen");
        }
        while let Ok(event) = phoenix.next(Duration::ZERO) {
            match event {
                Event::Connected(_) => reborn += 1,
                Event::Idle => break,
                Event::Frame(_) | Event::Lost | Event::Resized(_) => {}
            }
        }
        victims.iter_mut().for_each(Victim::tick);
        most = most.max(sender.figures().buffers);
        if warm.is_none() && begun.elapsed() > DURATION / 10 {
            warm = Some(memory());
        }
        std::thread::sleep(Duration::from_millis(15));
    }

    let (warm, after) = (warm.unwrap(), memory());
    let figures = sender.figures();
    let deaths: u32 = victims.iter().map(|victim| victim.deaths).sum();
    drop((victims, sender, witness, phoenix));
    let settled = Instant::now();
    while Belongings::now() != before {
        assert!(
            settled.elapsed() < GENEROUS,
            "{before:?} before, {:?} after",
            Belongings::now()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    println!(
        "{} s, {deaths} deaths, {resizes} sizes, {figures:?}, at most {most} frames of memory, {reborn} times reconnected; \
         memory {warm} KiB after a tenth, {after} KiB at the end; {before:?}",
        DURATION.as_secs()
    );
    assert!(most <= 4 + RECEIVERS + 1, "{most} frames of memory");
    assert!(after < warm + 8 * 1024, "{warm} KiB became {after} KiB");
    assert_eq!(files(&stage.senders()), 0);
}

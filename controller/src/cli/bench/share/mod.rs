//! `gst-scope bench share`: what it costs to hand a frame to another process.
//!
//! A sender and a receiver in processes of their own, by `spoutsink` and `spoutsrc` (once drawing into the memory that
//! `spoutsink` offers, once handing it a frame from elsewhere) and by GStreamer's `shmsink` and `shmsrc`; and beside them
//! what no hop can do without, in turns in the same run: one `memcpy` of a frame of that size, and one wake-up of a
//! process that sleeps in a pipe. A frame is stamped just before it is pushed into the sink and read where it leaves
//! the source, so the figure is the whole hop.

mod peer;
mod report;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::figures::median;
use super::trouble::{Outcome, trouble};
use report::Report;

pub(super) use peer::Args as PeerArgs;
pub(super) use peer::run as run_peer;

/// How much to measure, and where the results go.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Turns of every contender
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each turn
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Only frames of 1920×1080, not of 3840×2160
    #[arg(long)]
    small: bool,
    /// Write the plot here
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write every figure here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Ways to hand a frame over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub(super) enum Way {
    /// `spoutsink`, drawing into the memory it offers
    Pool,
    /// `spoutsink`, from other memory
    Copy,
    /// `shmsink` and `shmsrc`
    Shm,
    /// No frame: eight bytes through a pipe
    Wake,
}

impl Way {
    /// Those that hand over frames.
    const ALL: [Self; 3] = [Self::Pool, Self::Copy, Self::Shm];

    fn name(self) -> &'static str {
        match self {
            Self::Pool => "spout, pool",
            Self::Copy => "spout, copied",
            Self::Shm => "shmsink",
            Self::Wake => "wake-up",
        }
    }

    /// The word of the command line.
    fn word(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Copy => "copy",
            Self::Shm => "shm",
            Self::Wake => "wake",
        }
    }
}

/// What is sent, and how fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Load {
    width: u32,
    height: u32,
    /// Frames a second; 0 is as fast as it goes.
    rate: u32,
}

impl Load {
    const ALL: [Self; 4] = [
        Self::new(1080, 60),
        Self::new(1080, 0),
        Self::new(2160, 60),
        Self::new(2160, 0),
    ];

    const fn new(height: u32, rate: u32) -> Self {
        Self {
            width: height / 9 * 16,
            height,
            rate,
        }
    }

    fn len(self) -> usize {
        self.width as usize * self.height as usize * 4
    }

    fn name(self) -> String {
        match self.rate {
            0 => format!("{}p, free-running", self.height),
            rate => format!("{}p, {rate} fps", self.height),
        }
    }
}

pub(super) fn run(args: &Args) -> Outcome<()> {
    let mut report = Report::default();
    let time = Duration::from_secs(args.seconds.max(1));
    let loads = Load::ALL
        .into_iter()
        .filter(|load| !args.small || load.height == 1080);
    let loads: Vec<_> = loads.collect();
    for round in 1..=args.rounds.max(1) {
        for &load in &loads {
            tracing::info!("round {round}: {}", load.name());
            report.memcpy(load, memcpy(load, time / 4)?);
            if load.rate > 0 {
                report.wake_up(load, &wake_up(load, time)?);
            }
            for way in Way::ALL {
                let (sent, received) = hop(way, load, time)?;
                report.hop(way, load, &sent, &received);
            }
        }
    }
    report.judge();
    report.print(&loads);
    if let Some(file) = &args.svg {
        std::fs::write(file, report.svg())?;
    }
    if let Some(file) = &args.json {
        std::fs::write(file, format!("{:#}\n", report.json(&loads)))?;
    }
    Ok(())
}

/// Milliseconds that one copy of a frame takes at this load; the memory rotates, as frames do.
fn memcpy(load: Load, time: Duration) -> Outcome<f64> {
    let frames = |value: u8| (0..4).map(|_| vec![value; load.len()]).collect::<Vec<_>>();
    let (from, mut to) = (frames(1), frames(2));
    let mut took = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < time || took.len() < 8 {
        if load.rate > 0 {
            std::thread::sleep(Duration::from_secs(1) / load.rate);
        }
        let index = took.len() % 4;
        let start = Instant::now();
        to[index].copy_from_slice(std::hint::black_box(&from[index]));
        std::hint::black_box(&mut to[index]);
        took.push(start.elapsed().as_secs_f64() * 1e3);
    }
    median(&took).ok_or_else(|| trouble("nothing was copied"))
}

/// What a receiver that sleeps in a pipe has to say.
fn wake_up(load: Load, time: Duration) -> Outcome<Value> {
    let (reader, writer) = std::io::pipe()?;
    let place = tempfile::tempdir()?;
    let mut receiver = peer("receive", Way::Wake, load, time, place.path())?;
    let mut receiver = Running(receiver.stdin(reader).spawn()?);
    let mut sender = peer("send", Way::Wake, load, time, place.path())?;
    // Ends when nobody reads any more.
    let _sender = Running(sender.stdout(writer).spawn()?);
    last_line(&mut receiver)
}

/// A process that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already is as good.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// One turn: what the sender and the receiver have to say.
fn hop(way: Way, load: Load, time: Duration) -> Outcome<(Value, Value)> {
    let place = tempfile::tempdir()?;
    let mut receiver = Running(peer("receive", way, load, time, place.path())?.spawn()?);
    let mut sender = Running(peer("send", way, load, time, place.path())?.spawn()?);
    let received = last_line(&mut receiver)?;
    drop(sender.0.stdin.take());
    let sent = last_line(&mut sender)?;
    Ok((sent, received))
}

/// One side of a turn, to be started.
fn peer(role: &str, way: Way, load: Load, time: Duration, place: &Path) -> Outcome<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["bench", "share-peer", role, way.word()])
        .args([load.width, load.height, load.rate].map(|number| number.to_string()))
        .arg(time.as_secs().to_string())
        .arg(place)
        .env("SPOUT_RUNTIME_DIR", place.join("spout"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    Ok(command)
}

fn last_line(process: &mut Running) -> Outcome<Value> {
    let mut text = String::new();
    if let Some(mut out) = process.0.stdout.take() {
        std::io::Read::read_to_string(&mut out, &mut text)?;
    }
    let line = text
        .lines()
        .last()
        .ok_or_else(|| trouble("a peer of the measurement ended without a word"))?;
    Ok(serde_json::from_str(line)?)
}

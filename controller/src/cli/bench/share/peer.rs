//! The two processes of a turn: one pushes frames into a sink, one looks at them behind a source.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use gst::prelude::*;
use serde_json::{Value, json};

use super::Way;
use crate::cli::bench::figures::{median, quantile};
use crate::cli::bench::process::Usage;
use crate::cli::bench::trouble::{Outcome, trouble};

/// Not counted: both sides touch their memory for the first time.
const WARM_UP: Duration = Duration::from_millis(700);

/// The longest wait for the other side.
const PATIENCE: Duration = Duration::from_secs(20);

/// One side of a turn.
#[derive(Debug, clap::Args)]
pub(in crate::cli::bench) struct Args {
    #[arg(value_enum)]
    role: Role,
    #[arg(value_enum)]
    way: Way,
    width: u32,
    height: u32,
    rate: u32,
    seconds: u64,
    place: PathBuf,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Role {
    Send,
    Receive,
}

#[expect(clippy::print_stdout, reason = "the parent process reads it")]
pub(in crate::cli::bench) fn run(args: &Args) -> Outcome<()> {
    gstspout::plugin_register_static()?;
    let said = match (args.role, args.way) {
        (Role::Send, Way::Wake) => return knock(args),
        (Role::Receive, Way::Wake) => be_woken(args)?,
        (Role::Send, _) => send(args)?,
        (Role::Receive, _) => receive(args)?,
    };
    println!("{said}");
    Ok(())
}

fn caps(args: &Args) -> Outcome<gst::Caps> {
    let side = |side: u32| i32::try_from(side).map_err(|_| trouble("the frame is too large"));
    Ok(gst::Caps::builder("video/x-raw")
        .field("format", "BGRA")
        .field("width", side(args.width)?)
        .field("height", side(args.height)?)
        .field("framerate", gst::Fraction::new(side(args.rate)?, 1))
        .build())
}

fn frame_len(args: &Args) -> usize {
    args.width as usize * args.height as usize * 4
}

fn socket(place: &Path) -> String {
    place.join("shm").display().to_string()
}

fn sleep_until_due(begun: Instant, rate: u32, count: u64) -> Outcome<()> {
    let due = begun + Duration::from_secs(1) / rate * u32::try_from(count)?;
    std::thread::sleep(due.saturating_duration_since(Instant::now()));
    Ok(())
}

/// Milliseconds since a stamp was made.
fn since(stamp: [u8; 8]) -> f64 {
    let now = gst::get_timestamp().nseconds();
    now.saturating_sub(u64::from_le_bytes(stamp)) as f64 / 1e6
}

/// Writes the time into a pipe, again and again, until nobody reads it.
fn knock(args: &Args) -> Outcome<()> {
    let begun = Instant::now();
    let mut out = std::io::stdout().lock();
    for count in 0.. {
        sleep_until_due(begun, args.rate.max(1), count)?;
        let stamp = gst::get_timestamp().nseconds().to_le_bytes();
        if out.write_all(&stamp).and_then(|()| out.flush()).is_err() {
            break;
        }
    }
    Ok(())
}

/// Sleeps in a pipe, and tells how long ago what woke it was written.
fn be_woken(args: &Args) -> Outcome<Value> {
    let mut input = std::io::stdin().lock();
    let mut took = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < WARM_UP + Duration::from_secs(args.seconds) {
        let mut stamp = [0; 8];
        input.read_exact(&mut stamp)?;
        if begun.elapsed() > WARM_UP {
            took.push(since(stamp));
        }
    }
    Ok(json!({
        "latency_ms": median(&took),
        "latency_p99_ms": quantile(&took, 0.99),
    }))
}

/// A sink on its own, and the pad that frames are pushed from: no thread between.
struct Entry {
    sink: gst::Element,
    pad: gst::Pad,
}

impl Entry {
    fn new(args: &Args) -> Outcome<Self> {
        let sink = match args.way {
            Way::Pool | Way::Copy | Way::Wake => gst::ElementFactory::make("spoutsink")
                .property("sender-name", "bench")
                .build()?,
            Way::Shm => gst::ElementFactory::make("shmsink")
                .property("socket-path", socket(&args.place))
                .property("shm-size", u32::try_from(8 * frame_len(args))?)
                // With it, shmsink never ends once its last client has gone.
                .property("wait-for-connection", false)
                .build()?,
        };
        for property in ["sync", "async", "enable-last-sample"] {
            sink.set_property(property, false);
        }
        let pad = gst::Pad::builder(gst::PadDirection::Src)
            .name("src")
            .build();
        let entry = sink
            .static_pad("sink")
            .ok_or_else(|| trouble("the sink has no pad"))?;
        pad.link(&entry)?;
        pad.set_active(true)?;
        sink.set_state(gst::State::Playing)?;
        pad.push_event(gst::event::StreamStart::new("bench"));
        pad.push_event(gst::event::Caps::new(&caps(args)?));
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        pad.push_event(gst::event::Segment::new(&segment));
        Ok(Self { sink, pad })
    }

    /// Where frames come from: the sink's offer, or four frames of our own.
    fn pool(&self, args: &Args) -> Outcome<gst::BufferPool> {
        let caps = caps(args)?;
        let offered = || {
            let mut query = gst::query::Allocation::new(Some(&caps), true);
            let answered = self.pad.peer_query(&mut query);
            let (pool, ..) = query.allocation_pools().next()?;
            answered.then_some(pool).flatten()
        };
        let pool = match args.way {
            Way::Pool => offered().ok_or_else(|| trouble("spoutsink offers no pool"))?,
            Way::Copy | Way::Shm | Way::Wake => {
                let pool = gst::BufferPool::new();
                let mut config = pool.config();
                config.set_params(Some(&caps), u32::try_from(frame_len(args))?, 4, 4);
                pool.set_config(config)?;
                pool
            }
        };
        pool.set_active(true)?;
        Ok(pool)
    }
}

fn send(args: &Args) -> Outcome<Value> {
    let entry = Entry::new(args)?;
    let pool = entry.pool(args)?;
    let (tell, ended) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        let mut rest = Vec::new();
        // The parent closes it when the receiver has seen enough, or dies.
        std::io::stdin().read_to_end(&mut rest).ok();
        drop(tell);
    });
    let begun = Instant::now();
    let before = Usage::of(std::process::id())?;
    let mut count = 0_u64;
    while ended.try_recv() == Err(mpsc::TryRecvError::Empty) {
        if args.rate > 0 {
            sleep_until_due(begun, args.rate, count)?;
        }
        let mut buffer = pool.acquire_buffer(None)?;
        let inner = buffer.make_mut();
        inner.set_pts(gst::ClockTime::from_nseconds(count * 16_666_667));
        let mut map = inner.map_writable()?;
        map[..8].copy_from_slice(&gst::get_timestamp().nseconds().to_le_bytes());
        drop(map);
        entry.pad.push(buffer).map_err(trouble)?;
        count += 1;
    }
    let cpu = Usage::of(std::process::id())?.cpu_since(&before);
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    let stats = match args.way {
        Way::Pool | Way::Copy => entry.sink.property::<Option<gst::Structure>>("stats"),
        Way::Shm | Way::Wake => None,
    };
    let figure = |name: &str| stats.as_ref().and_then(|stats| stats.get::<u64>(name).ok());
    let said = json!({
        "cpu_percent": cpu,
        "fps": rate,
        "cpu_ms_a_frame": cpu * 10.0 / rate,
        "buffers": figure("buffers"),
        "dropped": figure("frames-dropped"),
        "lent": figure("frames-lent"),
    });
    entry.sink.set_state(gst::State::Null)?;
    Ok(said)
}

fn receive(args: &Args) -> Outcome<Value> {
    let source = match args.way {
        Way::Pool | Way::Copy | Way::Wake => "spoutsrc sender-name=bench".to_owned(),
        Way::Shm => {
            let path = socket(&args.place);
            let begun = Instant::now();
            while !Path::new(&path).exists() {
                if begun.elapsed() > PATIENCE {
                    return Err(trouble("shmsink did not come up"));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            format!("shmsrc is-live=true socket-path={path} ! {}", caps(args)?)
        }
    };
    let text = format!("{source} ! fakesink name=sink sync=false enable-last-sample=false");
    let pipeline = gst::parse::launch(&text)?
        .downcast::<gst::Pipeline>()
        .map_err(|_| trouble("no pipeline"))?;
    let sink = pipeline.by_name("sink").ok_or_else(|| trouble("no sink"))?;
    let pad = sink.static_pad("sink").ok_or_else(|| trouble("no pad"))?;
    let (tell, told) = mpsc::channel();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(map) = info.buffer().and_then(|buffer| buffer.map_readable().ok())
            && let Some(stamp) = map.first_chunk::<8>()
        {
            // Nobody listens any more once enough was seen.
            tell.send(since(*stamp)).ok();
        }
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Playing)?;
    let next = || {
        told.recv_timeout(PATIENCE)
            .map_err(|_| trouble("no frame came"))
    };
    next()?;
    let warm = Instant::now() + WARM_UP;
    while Instant::now() < warm {
        next()?;
    }
    let before = Usage::of(std::process::id())?;
    let begun = Instant::now();
    let mut took = Vec::new();
    while begun.elapsed() < Duration::from_secs(args.seconds) {
        took.push(next()?);
    }
    let fps = took.len() as f64 / begun.elapsed().as_secs_f64();
    let cpu = Usage::of(std::process::id())?.cpu_since(&before);
    pipeline.set_state(gst::State::Null)?;
    Ok(json!({
        "latency_ms": median(&took),
        "latency_p99_ms": quantile(&took, 0.99),
        "fps": fps,
        "cpu_percent": cpu,
    }))
}

//! `gst-scope bench webrtc`: the whole way of a frame, out of a client and back into it.
//!
//! The client paints the time into its picture and reads it in what returns. What it takes to encode, send and decode
//! without any server is measured in the same round and subtracted: the rest is what a contender **adds**.

use std::path::PathBuf;
use std::time::Duration;

use super::browser;
use super::client::Client;
use super::contender::{Contender, Python, Server};
use super::figures::{Goal, median, quantile};
use super::process::{self, Usage};
use super::report::{Metric, Report};
use super::trouble::{Outcome, trouble};

/// How long the longest wait for a picture may be; a contender that needs more is counted with this.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a server stands still, or a client sends nothing.
const STALL: Duration = Duration::from_secs(2);
/// Offers per contender and round.
const OFFERS: usize = 3;

/// How much to measure, and where the results go.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Turns of every contender
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of steady running in each turn
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Standstills of the server, and silences of the client, in each turn
    #[arg(long, default_value_t = 3)]
    stalls: usize,
    /// Measure only this contender; nothing can be compared then
    #[arg(long, value_enum)]
    only: Option<Contender>,
    /// Also measure the built-in model through headless Chromium
    #[arg(long)]
    browser: bool,
    #[command(flatten)]
    python: Python,
    /// Write the plot here
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write every figure here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Outcome<()> {
    let mut report = Report::default();
    let steady = Duration::from_secs(args.seconds.max(1));
    for round in 1..=args.rounds.max(1) {
        let direct = direct(steady)?;
        report.direct.push(direct);
        let wanted = |contender: &Contender| args.only.is_none_or(|only| only == *contender);
        for contender in Contender::ALL.into_iter().filter(wanted) {
            tracing::info!("round {round}: {}", contender.name());
            if let Err(trouble) = turn(contender, args, steady, direct, &mut report) {
                report
                    .notes
                    .push(format!("{}, round {round}: {trouble}", contender.name()));
            }
        }
    }
    if args.browser {
        match browser::frame_rate(&args.python) {
            Ok(rate) => report.browser = Some(rate),
            Err(trouble) => report.notes.push(format!("browser: {trouble}")),
        }
    }
    report.goals = goals(&report);
    report.print();
    if let Some(file) = &args.svg {
        std::fs::write(file, report.svg())?;
    }
    if let Some(file) = &args.json {
        std::fs::write(file, format!("{:#}\n", report.json()))?;
    }
    Ok(())
}

/// The client alone: median milliseconds from painting to reading.
fn direct(steady: Duration) -> Outcome<f64> {
    let client = Client::connect_directly()?;
    client.first_frame(PATIENCE)?;
    client.watch(Duration::from_secs(1));
    let away = milliseconds(&client.watch(steady).seen);
    median(&away).ok_or_else(|| trouble("the client does not see its own picture"))
}

/// One turn of one contender, everything about it.
fn turn(
    contender: Contender,
    args: &Args,
    steady: Duration,
    direct: f64,
    report: &mut Report,
) -> Outcome<()> {
    let mut note = |metric, value| report.add(contender, metric, value);
    let server = Server::start(contender, &args.python)?;
    note(Metric::Ready, server.ready);
    std::thread::sleep(Duration::from_millis(500));
    note(Metric::Idle, Usage::of(server.id())?.memory);
    if contender == Contender::Scope {
        server.load("passthrough")?;
    }

    let connect = || Client::connect(&server.address, &contender.parameters());
    for _ in 0..OFFERS {
        note(Metric::Connect, connect()?.first_frame(PATIENCE)?);
    }

    let client = connect()?;
    client.first_frame(PATIENCE)?;
    client.watch(Duration::from_millis(1500));
    let before = Usage::of(server.id())?;
    let seen = client.watch(steady);
    let one = Usage::of(server.id())?;
    let away = milliseconds(&seen.seen);
    let latency = median(&away).ok_or_else(|| {
        trouble(format!(
            "no readable picture, {} unreadable",
            seen.unreadable
        ))
    })?;
    note(Metric::Latency, latency);
    note(Metric::Added, latency - direct);
    note(Metric::Slowest, quantile(&away, 0.99).unwrap_or(latency));
    note(
        Metric::Rate,
        (away.len() + seen.unreadable) as f64 / steady.as_secs_f64(),
    );

    // What one more session costs; the first one also pays for what is made once.
    let second = connect()?;
    second.first_frame(PATIENCE)?;
    second.watch(Duration::from_secs(1));
    let two = Usage::of(server.id())?;
    second.watch(steady.min(Duration::from_secs(3)));
    let both = Usage::of(server.id())?;
    note(
        Metric::Cpu,
        (one.cpu_since(&before) + both.cpu_since(&two)) / 3.0,
    );
    note(Metric::Threads, both.threads - one.threads);
    note(Metric::Memory, both.memory - one.memory);
    drop(second);
    client.watch(Duration::from_secs(1));

    let cap = PATIENCE.as_secs_f64() * 1000.0;
    for _ in 0..args.stalls {
        process::signal(server.id(), "STOP")?;
        std::thread::sleep(STALL);
        process::signal(server.id(), "CONT")?;
        note(Metric::Stall, client.until_fresh(PATIENCE).unwrap_or(cap));
        client.watch(Duration::from_secs(2));

        let again = client.after_silence(STALL, PATIENCE);
        note(Metric::Pause, again.unwrap_or(cap));
        client.watch(Duration::from_secs(1));
    }
    Ok(())
}

fn milliseconds(seen: &[super::client::Sighting]) -> Vec<f64> {
    seen.iter()
        .map(|sighting| sighting.away as f64 / 1000.0)
        .collect()
}

/// What was promised, held against what was measured.
fn goals(report: &Report) -> Vec<Goal> {
    use Contender::{Aiortc, Bridge, Scope};
    let figure = |contender, metric| report.median(contender, metric);
    let ratio = |what, metric, other, limit| {
        Goal::ratio(what, figure(Scope, metric), figure(other, metric), limit)
    };
    let own = figure(Scope, Metric::Idle)
        .zip(figure(Bridge, Metric::Idle))
        .map(|(ours, bare)| ours - bare);
    let mut goals = vec![
        ratio("added latency, to aiortc's", Metric::Added, Aiortc, 0.20),
        ratio(
            "added latency, to bare webrtcbin's",
            Metric::Added,
            Bridge,
            1.10,
        ),
        ratio(
            "offer to first frame, to aiortc's",
            Metric::Connect,
            Aiortc,
            1.0,
        ),
        ratio(
            "recovery after the server stalls, to aiortc's",
            Metric::Stall,
            Aiortc,
            1.0,
        ),
        ratio(
            "recovery after the client stalls, to aiortc's",
            Metric::Pause,
            Aiortc,
            1.0,
        ),
        Goal {
            what: "idle memory above GStreamer's own",
            value: own,
            limit: 20.0,
            unit: "MB",
            at_least: false,
        },
        Goal {
            what: "start to ready",
            value: figure(Scope, Metric::Ready),
            limit: 0.25,
            unit: "s",
            at_least: false,
        },
    ];
    if report.browser.is_some() {
        let what = "scope-tiny at 256×256 through Chromium";
        goals.push(Goal {
            what,
            value: report.browser,
            limit: 25.0,
            unit: "fps",
            at_least: true,
        });
    }
    goals
}

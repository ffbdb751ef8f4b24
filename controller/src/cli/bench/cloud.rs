//! `gst-scope bench cloud`: a session whose pictures are made elsewhere, and what happens when that is lost.
//!
//! Two servers of this program: `near` has the client, `far` is its cloud and passes frames through. What the far one
//! adds is the difference to the same session at home, in the same run. Losses are real: the far process is killed.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{Client, Sighting};
use super::contender::Server;
use super::figures::{Goal, median, quantile};
use super::http;
use super::process::Usage;
use super::report::rounded;
use super::trouble::{Outcome, trouble};

/// Longest wait for a picture, a stage or a recovery.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the state is looked at.
const LOOK: Duration = Duration::from_millis(2);
/// The client's own interval between frames, milliseconds.
const INTERVAL: f64 = 1000.0 / 30.0;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Seconds of steady running, at home and in the cloud
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How often the far end is killed and started again
    #[arg(long, default_value_t = 10)]
    losses: usize,
    /// Write every figure here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Default)]
struct Figures {
    stages: Vec<(String, f64)>,
    connect: f64,
    added: f64,
    fail_over: Vec<f64>,
    back: Vec<f64>,
    left_behind: Option<(f64, f64)>,
}

pub(super) fn run(args: &Args) -> Outcome<()> {
    let far = Server::scope(0, None)?;
    far.load("passthrough")?;
    let near = Server::scope(0, Some(&far.address))?;
    near.load("passthrough")?;
    let client = Client::connect(&near.address, &json!({"pipeline_ids": ["passthrough"]}))?;
    client.first_frame(PATIENCE)?;
    let steady = Duration::from_secs(args.seconds.max(1));
    client.watch(Duration::from_secs(1));
    let home = away(&client.watch(steady).seen)?;

    let mut figures = connect(&near)?;
    until_shown(&near, true)?;
    client.watch(Duration::from_secs(2));
    figures.added = away(&client.watch(steady).seen)? - home;

    let port = far.port()?;
    let before = Usage::of(near.id())?;
    let mut far = Some(far);
    for loss in 1..=args.losses {
        tracing::info!("loss {loss} of {}", args.losses);
        until_shown(&near, true)?;
        client.forget();
        // The gap begins with a picture from before it.
        std::thread::sleep(Duration::from_millis(200));
        drop(far.take());
        until_shown(&near, false)?;
        let seen = client.watch_on(Duration::from_millis(300));
        // Two pictures one interval apart have no frame missing between them.
        figures.fail_over.push(longest_gap(&seen) / INTERVAL - 1.0);
        let again = Server::scope(port, None)?;
        again.load("passthrough")?;
        let began = Instant::now();
        until_shown(&near, true)?;
        figures.back.push(began.elapsed().as_secs_f64());
        far = Some(again);
        client.watch(Duration::from_secs(1));
    }
    // What a connection has used goes a moment after it.
    std::thread::sleep(Duration::from_secs(3));
    let after = Usage::of(near.id())?;
    figures.left_behind = Some((after.threads - before.threads, after.files - before.files));
    print(&figures, args)
}

/// Connects and notes when each stage began, milliseconds after the request.
fn connect(near: &Server) -> Outcome<Figures> {
    let began = Instant::now();
    let body = json!({"app_id": "local/scope"});
    http::request(&near.address, "POST", "/api/v1/cloud/connect", &body)?;
    let mut figures = Figures::default();
    loop {
        let status = http::request(&near.address, "GET", "/api/v1/cloud/status", &Value::Null)?;
        let stage = status["stage"].as_str().unwrap_or_default().to_owned();
        let now = began.elapsed().as_secs_f64() * 1000.0;
        if figures.stages.last().is_none_or(|(last, _)| *last != stage) {
            figures.stages.push((stage.clone(), now));
        }
        if stage == "live" {
            figures.connect = now;
            return Ok(figures);
        }
        if began.elapsed() > PATIENCE {
            return Err(trouble(format!("not live within {PATIENCE:?}: {status}")));
        }
        std::thread::sleep(LOOK);
    }
}

/// Waits until the client's picture comes from the cloud, or from home.
fn until_shown(near: &Server, cloud: bool) -> Outcome<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let metrics = http::request(
            &near.address,
            "GET",
            "/api/v1/session/metrics",
            &Value::Null,
        )?;
        let sessions = metrics["sessions"].as_object();
        let shown = sessions
            .and_then(|all| all.values().next())
            .and_then(|session| session["cloud"]["shown"].as_bool());
        if shown == Some(cloud) {
            return Ok(());
        }
        if Instant::now() > end {
            let wanted = if cloud { "the cloud's" } else { "the local" };
            let status = http::request(&near.address, "GET", "/api/v1/cloud/status", &Value::Null)?;
            return Err(trouble(format!(
                "{wanted} picture was not shown within {PATIENCE:?}: {metrics}, {status}"
            )));
        }
        std::thread::sleep(LOOK);
    }
}

/// Median time that frames were away, milliseconds.
fn away(seen: &[Sighting]) -> Outcome<f64> {
    let away: Vec<f64> = seen
        .iter()
        .map(|sighting| sighting.away as f64 / 1000.0)
        .collect();
    median(&away).ok_or_else(|| trouble("no readable picture came back"))
}

/// The longest time between two pictures that came back, milliseconds.
fn longest_gap(seen: &[Sighting]) -> f64 {
    let came: Vec<u64> = seen
        .iter()
        .map(|sighting| sighting.painted + sighting.away)
        .collect();
    let gaps = came.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
    gaps.max().unwrap_or_default() as f64 / 1000.0
}

#[expect(
    clippy::print_stdout,
    reason = "the table is the answer of this command"
)]
fn print(figures: &Figures, args: &Args) -> Outcome<()> {
    for (stage, at) in &figures.stages {
        println!("{stage:20}{:>12} ms", rounded(*at));
    }
    let goal = |what, value, limit, unit| Goal {
        what,
        value,
        limit,
        unit,
        at_least: false,
    };
    let back = quantile(&figures.back, 1.0);
    let goals = [
        goal(
            "latency added to the same session at home",
            Some(figures.added),
            10.0,
            "ms",
        ),
        goal(
            "fail-over, median",
            median(&figures.fail_over),
            3.0,
            "frames",
        ),
        goal(
            "fail-over, worst",
            quantile(&figures.fail_over, 1.0),
            3.0,
            "frames",
        ),
        goal(
            "back after the far end is, median",
            median(&figures.back),
            2.0,
            "s",
        ),
        goal("back after the far end is, worst", back, 2.0, "s"),
        goal(
            "threads left behind",
            figures.left_behind.map(|(threads, _)| threads),
            0.0,
            "",
        ),
        goal(
            "files left open",
            figures.left_behind.map(|(_, files)| files),
            0.0,
            "",
        ),
    ];
    for goal in &goals {
        println!("{}", goal.line());
    }
    println!("{} losses, {} recoveries", args.losses, figures.back.len());
    if let Some(file) = &args.json {
        let data = json!({
            "stages_ms": figures.stages,
            "connect_ms": figures.connect,
            "added_latency_ms": figures.added,
            "fail_over_frames": figures.fail_over,
            "back_s": figures.back,
            "goals": goals.iter().map(Goal::json).collect::<Vec<_>>(),
        });
        std::fs::write(file, format!("{data:#}\n"))?;
    }
    Ok(())
}

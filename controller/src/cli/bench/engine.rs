//! `gst-scope bench engine`: a model inside its element, frame by frame, nothing around it.
//!
//! Three clocks: frame to frame; the engine's own time for a frame; and inside that the bare calls of ONNX Runtime, so
//! that the engine's share beyond its graphs shows.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gst::prelude::*;
use serde_json::{Map, Value, json};

use super::figures::median;
use super::report::rounded;
use super::trouble::{Outcome, trouble};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Seconds at each size
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Sides of the square pictures
    #[arg(long, value_delimiter = ',', default_values_t = [256, 512])]
    sizes: Vec<u32>,
    /// Folder of ONNX graphs; without it, the built-in model
    #[arg(long, value_name = "DIR")]
    model_dir: Option<PathBuf>,
    /// Write every figure here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[expect(
    clippy::print_stdout,
    reason = "the table is the answer of this command"
)]
pub(super) fn run(args: &Args) -> Outcome<()> {
    gstscopediffusion::plugin_register_static()?;
    println!(
        "{:>12}{:>12}{:>12}{:>12}{:>12}{:>16}{:>16}",
        "size",
        "frames/s",
        "ms, frame",
        "ms, engine",
        "ms, graphs",
        "engine/graphs",
        "ms, beyond them"
    );
    let mut results = Map::new();
    for &side in &args.sizes {
        let result = measure(
            args.model_dir.as_deref(),
            side,
            Duration::from_secs(args.seconds.max(1)),
        )?;
        let cell = |key: &str| result[key].as_f64().map_or_else(|| "–".into(), rounded);
        println!(
            "{:>12}{:>12}{:>12}{:>12}{:>12}{:>16}{:>16}",
            format!("{side}×{side}"),
            cell("fps"),
            cell("frame_ms"),
            cell("engine_ms"),
            cell("graphs_ms"),
            result["engine_to_graphs"]
                .as_f64()
                .map_or_else(|| "–".into(), |ratio| format!("{ratio:.3}")),
            cell("beyond_ms")
        );
        results.insert(side.to_string(), result);
    }
    if let Some(file) = &args.json {
        std::fs::write(file, format!("{:#}\n", Value::Object(results)))?;
    }
    Ok(())
}

/// Frames that are not counted: the model's first runs set its memory up.
const WARM_UP: usize = 5;

fn measure(model: Option<&Path>, side: u32, time: Duration) -> Outcome<Value> {
    let text = format!(
        "videotestsrc pattern=ball ! video/x-raw,format=RGB,width={side},height={side},framerate=30/1
        ! scopediffusion name=processor pacing=strict prompt=blueprint ! fakesink name=sink sync=false"
    );
    let pipeline = gst::parse::launch(&text)?
        .downcast::<gst::Pipeline>()
        .map_err(|_| trouble("no pipeline"))?;
    let by_name = |name: &str| {
        pipeline
            .by_name(name)
            .ok_or_else(|| trouble(format!("no {name}")))
    };
    let (processor, sink) = (by_name("processor")?, by_name("sink")?);
    if let Some(model) = model {
        processor.set_property("model-dir", model.display().to_string());
    }
    let (tell, told) = std::sync::mpsc::channel();
    let entry = sink.static_pad("sink").ok_or_else(|| trouble("no pad"))?;
    entry.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        tell.send(Instant::now()).ok();
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Playing)?;
    let next = || {
        told.recv_timeout(Duration::from_secs(60))
            .map_err(|_| trouble("no frame came out of the model"))
    };
    for _ in 0..WARM_UP {
        next()?;
    }
    let (began, mut last) = (Instant::now(), next()?);
    let (mut frames, mut engines, mut graphs) = (Vec::new(), Vec::new(), Vec::new());
    while began.elapsed() < time {
        let now = next()?;
        frames.push((now - last).as_secs_f64() * 1000.0);
        let stats = processor.property::<gst::Structure>("stats");
        engines.extend(stats.get::<f64>("inference-ms").ok());
        graphs.extend(graph_time(&stats));
        last = now;
    }
    pipeline.set_state(gst::State::Null)?;
    let frame = median(&frames).ok_or_else(|| trouble("no frame came out of the model in time"))?;
    let (engine, graphs) = (median(&engines), median(&graphs));
    let both = engine.zip(graphs);
    Ok(json!({
        "fps": 1000.0 / frame,
        "frame_ms": frame,
        "engine_ms": engine,
        "graphs_ms": graphs,
        "engine_to_graphs": both.map(|(engine, graphs)| engine / graphs),
        "beyond_ms": both.map(|(engine, graphs)| engine - graphs),
    }))
}

/// Time in ONNX Runtime a frame, as the element counts and smooths it, milliseconds.
fn graph_time(stats: &gst::Structure) -> Option<f64> {
    ["encode-ms", "denoise-ms", "decode-ms"]
        .into_iter()
        .map(|stage| stats.get::<f64>(stage).ok())
        .sum()
}

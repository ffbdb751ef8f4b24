//! `gst-scope bench engine`: a model inside its element, frame by frame, nothing around it, and what that could cost at
//! best.
//!
//! ```text
//! scopediffusion         frame to frame
//! engine                 the engine's own time for a frame, conversion and scaling included
//! bare ONNX Runtime      inside that, the calls of the model's graphs and nothing else
//! Python, PyTorch        the same graphs with numpy in between; the same architecture as StreamDiffusion runs it
//! roofline               the operations and bytes of the graphs at the rates that this machine shows
//! ```
//!
//! On a GPU, where graphs follow one another without the host, the stages are timed by the GPU's own clock, our small graphs
//! between the networks included; the engine's time is what the host spends on a frame, its one wait included.
//!
//! The last two come from `bench/engine.py` and need `--python`, an interpreter with numpy, onnx and onnxruntime.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gst::prelude::*;
use serde_json::{Map, Value, json};

use super::figures::{Goal, median};
use super::plot::{self, Panel};
use super::report::rounded;
use super::trouble::{Outcome, trouble};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Seconds at each size, for each contender and round
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Rounds; the contenders take turns in each
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Sides of the square pictures
    #[arg(long, value_delimiter = ',', default_values_t = [256, 512])]
    sizes: Vec<u32>,
    /// Folder of ONNX graphs; without it, the built-in model
    #[arg(long, value_name = "DIR")]
    model_dir: Option<PathBuf>,
    /// `auto`, `cpu`, `cuda` or `tensorrt`
    #[arg(long, default_value = "cpu")]
    execution_provider: String,
    /// Set a frame going before the picture of the one before it is taken
    #[arg(long)]
    pipelining: bool,
    /// Python with numpy, onnx and onnxruntime, for the reference and the roofline
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// Also run the architecture in PyTorch on `cuda` (or `cpu`); that Python then needs torch and diffusers
    #[arg(long, value_name = "DEVICE", requires = "python")]
    torch: Option<String>,
    /// Write every figure here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the figures here
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Key in the data and name of a contender, best known first.
const CONTENDERS: [(&str, &str); 6] = [
    ("element", "scopediffusion"),
    ("engine", "engine"),
    ("bare", "bare graphs"),
    ("reference", "Python, numpy"),
    ("torch", "PyTorch"),
    ("roofline", "roofline"),
];
const STAGES: [&str; 4] = ["encode_ms", "denoise_ms", "decode_ms", "frame_ms"];

#[expect(
    clippy::print_stdout,
    reason = "the table is the answer of this command"
)]
pub(super) fn run(args: &Args) -> Outcome<()> {
    if let Some(python) = &args.python {
        // Before minutes are spent on what it is to be compared with.
        has_packages(python, args.torch.is_some())?;
    }
    gstscopediffusion::plugin_register_static()?;
    println!(
        "{:>10}  {:16}{:>10}{:>10}{:>10}{:>10}{:>12}",
        "size", "ms a frame", "encode", "denoise", "decode", "frame", "frames/s"
    );
    let (mut results, mut panels) = (Map::new(), Vec::new());
    for &side in &args.sizes {
        let result = turns(args, side)?;
        for (key, name) in CONTENDERS {
            if let Some(line) = row(&result[key]) {
                println!("{:>10}  {name:16}{line}", format!("{side}×{side}"));
            }
        }
        for goal in goals(&result, side) {
            println!("{:>10}  {}", "", goal.line());
        }
        panels.push(panel(&result, side));
        results.insert(side.to_string(), result);
    }
    if let Some(file) = &args.json {
        std::fs::write(file, format!("{:#}\n", Value::Object(results)))?;
    }
    if let Some(file) = &args.svg {
        std::fs::write(file, plot::draw(&panels))?;
    }
    Ok(())
}

/// The times of a contender as cells, if it was measured.
fn row(times: &Value) -> Option<String> {
    let frame = times["frame_ms"].as_f64()?;
    let cells = STAGES.map(|stage| times[stage].as_f64().map_or_else(|| "–".into(), rounded));
    let cells: String = cells.iter().map(|cell| format!("{cell:>10}")).collect();
    Some(format!("{cells}{:>12}", rounded(1000.0 / frame)))
}

fn goals(result: &Value, side: u32) -> Vec<Goal> {
    let frame = |key: &str| result[key]["frame_ms"].as_f64();
    let (engine, bare) = (frame("engine"), frame("bare"));
    let mut goals = vec![Goal::ratio(
        "the engine, in times of its bare graphs",
        engine,
        bare,
        1.05,
    )];
    if side == 256 {
        goals.push(Goal {
            what: "the engine beyond its bare graphs",
            value: engine.zip(bare).map(|(engine, bare)| engine - bare),
            limit: 2.0,
            unit: "ms",
            at_least: false,
        });
    }
    goals
}

fn panel(result: &Value, side: u32) -> Panel {
    let bar = |(key, name): (&str, &'static str)| {
        let frame = result[key]["frame_ms"].as_f64();
        frame.map(|frame| (name, Some(frame)))
    };
    Panel {
        title: format!("a frame of {side}×{side}, median"),
        unit: "ms",
        bars: CONTENDERS.into_iter().filter_map(bar).collect(),
    }
}

/// All contenders at one size, in turns; medians over the rounds.
fn turns(args: &Args, side: u32) -> Outcome<Value> {
    let time = Duration::from_secs(args.seconds.max(1));
    let mut rounds = Vec::new();
    for _ in 0..args.rounds.max(1) {
        let (mut round, steps) = measure(args, side, time)?;
        if let Some(python) = &args.python {
            let asked = ask(python, args, side, &steps)?;
            round.extend(asked);
        }
        rounds.push(Value::Object(round));
    }
    let mut result = Map::new();
    for (key, _) in CONTENDERS {
        let mut times = Map::new();
        for stage in STAGES {
            let values = rounds.iter().filter_map(|round| round[key][stage].as_f64());
            let values: Vec<f64> = values.collect();
            times.extend(median(&values).map(|value| (stage.to_owned(), json!(value))));
        }
        if !times.is_empty() {
            result.insert(key.into(), Value::Object(times));
        }
    }
    if let Some(roofline) = rounds.last().map(|round| round["roofline"].clone()) {
        for key in ["gflops", "gbytes", "graphs"] {
            if !roofline[key].is_null() {
                result["roofline"][key] = roofline[key].clone();
            }
        }
    }
    Ok(Value::Object(result))
}

/// What `bench/engine.py` imports, and with `--torch` besides.
const PACKAGES: [&str; 3] = ["numpy", "onnx", "onnxruntime"];
const TORCH_PACKAGES: [&str; 2] = ["torch", "diffusers"];

/// Refuses a Python that cannot run `bench/engine.py`, by the packages that it lacks.
fn has_packages(python: &Path, torch: bool) -> Outcome<()> {
    let torch = if torch { &TORCH_PACKAGES[..] } else { &[] };
    let wanted = [&PACKAGES[..], torch].concat();
    let hint = format!(
        "that of `make setup` is for other measurements. Name one that has them: `python3 -m venv target/bench && \
         target/bench/bin/pip install {}` makes target/bench/bin/python, and the environment of `gst-scope model export` \
         (~/.local/share/scope-diffusion/export/bin/python) has them all",
        wanted.join(" ")
    );
    let name = python.display();
    let look = "import importlib.util as u, sys; print(*[n for n in sys.argv[1:] if u.find_spec(n) is None])";
    let looked = Command::new(python)
        .args(["-c", look])
        .args(&wanted)
        .stdin(Stdio::null())
        .output()
        .map_err(|err| trouble(format!("the Python `{name}` does not start: {err}")).hint(&hint))?;
    let lacking = String::from_utf8_lossy(&looked.stdout).trim().to_owned();
    match (looked.status.success(), lacking.as_str()) {
        (true, "") => Ok(()),
        (true, lacking) => {
            let lacking = lacking.replace(' ', ", ");
            Err(trouble(format!("the Python `{name}` lacks {lacking}")).hint(hint))
        }
        (false, _) => Err(trouble(format!("`{name}` is no Python")).hint(hint)),
    }
}

/// What `bench/engine.py` finds out.
fn ask(python: &Path, args: &Args, side: u32, steps: &[i32]) -> Outcome<Map<String, Value>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built_in = here.join("../plugins/scopediffusion/scope-tiny/model");
    let steps: Vec<String> = steps.iter().map(ToString::to_string).collect();
    let mut command = Command::new(python);
    command
        .arg(here.join("bench/engine.py"))
        .arg(args.model_dir.as_ref().unwrap_or(&built_in))
        .args([side.to_string(), args.seconds.max(1).to_string()])
        .args(["--timesteps", &steps.join(",")])
        .stderr(Stdio::inherit());
    if let Some(device) = &args.torch {
        command.args(["--torch", device]);
    }
    let output = command.output()?;
    if !output.status.success() {
        let said = format!("`{}` could not run bench/engine.py", python.display());
        let hint = "what it said stands above; --model-dir must name a folder of ONNX graphs";
        return Err(trouble(said).hint(hint));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Frames that are not counted: the model's first runs set its memory up.
const WARM_UP: usize = 5;

/// The element, the engine and its bare graphs, and the timesteps that they take.
fn measure(args: &Args, side: u32, time: Duration) -> Outcome<(Map<String, Value>, Vec<i32>)> {
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
    if let Some(model) = &args.model_dir {
        processor.set_property("model-dir", model.display().to_string());
    }
    if !["auto", "cpu", "cuda", "tensorrt"].contains(&args.execution_provider.as_str()) {
        let provider = &args.execution_provider;
        return Err(trouble(format!("`{provider}` is no execution provider")));
    }
    processor.set_property_from_str("execution-provider", &args.execution_provider);
    processor.set_property("pipelining", args.pipelining);
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
    let (mut frames, mut engines) = (Vec::new(), Vec::new());
    let mut stages = [(); 3].map(|()| Vec::new());
    while began.elapsed() < time || frames.len() < 3 {
        let now = next()?;
        frames.push((now - last).as_secs_f64() * 1000.0);
        let stats = processor.property::<gst::Structure>("stats");
        engines.extend(stats.get::<f64>("inference-ms").ok());
        for (stage, name) in stages
            .iter_mut()
            .zip(["encode-ms", "denoise-ms", "decode-ms"])
        {
            stage.extend(stats.get::<f64>(name).ok());
        }
        last = now;
    }
    let info = processor.property::<gst::Structure>("model-info");
    let steps = info.get::<gst::Array>("video-steps");
    // The element counts from 1 to 1000, the schedule from 0.
    let step = |step: &gst::glib::SendValue| step.get::<i32>().ok().map(|step| step - 1);
    let steps = steps.map(|steps| steps.iter().filter_map(step).collect());
    pipeline.set_state(gst::State::Null)?;
    let stages = stages.map(|stage| median(&stage));
    let all: Option<f64> = stages.iter().copied().sum();
    let [encode, denoise, decode] = stages;
    let round = json!({
        "element": { "frame_ms": median(&frames) },
        "engine": { "frame_ms": median(&engines) },
        "bare": { "encode_ms": encode, "denoise_ms": denoise, "decode_ms": decode, "frame_ms": all },
    });
    let Value::Object(round) = round else {
        return Err(trouble("no figures"));
    };
    Ok((round, steps.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_python_that_lacks_packages_is_refused_with_one_that_has_them() {
        let folder = tempfile::tempdir().unwrap();
        let packages = folder.path().join("packages");
        let python = folder.path().join("python");
        // The system's, with packages of these names and no others.
        let script = format!(
            "#!/bin/sh\nPYTHONPATH={} exec python3 -S \"$@\"\n",
            packages.display()
        );
        std::fs::write(&python, script).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&python, mode).unwrap();
        let add = |name: &str| std::fs::create_dir_all(packages.join(name)).unwrap();
        add("numpy");
        add("onnx");

        let refusal = has_packages(&python, true).unwrap_err();
        let said = refusal.to_string();
        assert!(
            said.ends_with("lacks onnxruntime, torch, diffusers"),
            "{said}"
        );
        assert!(
            refusal
                .remedy()
                .contains("pip install numpy onnx onnxruntime torch")
        );

        add("onnxruntime");
        has_packages(&python, false).unwrap();
        let nowhere = has_packages(Path::new("/nowhere/python"), false).unwrap_err();
        assert!(nowhere.to_string().contains("does not start"), "{nowhere}");
    }
}

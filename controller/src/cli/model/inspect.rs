//! `gst-scope model inspect`: what a folder is, what it does on this machine, what would make it faster.
//!
//! The element is asked, not the files: what it answers is what it would do in a pipeline.

use std::path::PathBuf;
use std::time::Duration;

use gst::prelude::*;

use super::super::CommandError;

#[derive(Debug, clap::Args)]
pub(super) struct Inspect {
    /// Folder of ONNX graphs; without it, the built-in model
    dir: Option<PathBuf>,
    /// Folder whose autoencoder takes the place of the model's
    #[arg(long, value_name = "DIR")]
    vae_dir: Option<PathBuf>,
    /// `auto`, `cpu`, `cuda` or `tensorrt`
    #[arg(long, default_value = "auto")]
    execution_provider: String,
    /// Frames to time
    #[arg(long, default_value_t = 5)]
    frames: u32,
}

const HINT: &str = "the sentence says what to change; a model is a folder of unet/, text_encoder/, tokenizer/, \
                    vae_encoder/, vae_decoder/ and scheduler/";

#[expect(clippy::print_stdout, reason = "the answer of this command")]
pub(super) fn run(args: &Inspect) -> Result<(), CommandError> {
    let failed = |error: &dyn std::fmt::Display| CommandError::new(&error.to_string(), HINT);
    gst::init().map_err(|error| CommandError::new(&error, "install GStreamer 1.22 or newer"))?;
    gstscopediffusion::plugin_register_static().map_err(|error| failed(&error))?;
    let (info, stats, size) = measure(args).map_err(|error| failed(&error))?;
    println!("{}", facts(&info));
    println!("{}", timing(&stats, size, args.frames));
    for advice in advice(&info) {
        println!("faster: {advice}");
    }
    Ok(())
}

/// Loads the model, lets it draw, and reads what it says of itself.
fn measure(args: &Inspect) -> Result<(gst::Structure, gst::Structure, (u32, u32)), String> {
    let text = "scopediffusion name=processor pacing=strict prompt=night";
    let processor = gst::parse::launch(text).map_err(|error| error.to_string())?;
    for (name, path) in [("model-dir", &args.dir), ("vae-dir", &args.vae_dir)] {
        if let Some(path) = path {
            processor.set_property(name, path.display().to_string());
        }
    }
    if !["auto", "cpu", "cuda", "tensorrt"].contains(&args.execution_provider.as_str()) {
        return Err(format!(
            "`{}` is no execution provider",
            args.execution_provider
        ));
    }
    processor.set_property_from_str("execution-provider", &args.execution_provider);
    let bus = gst::Bus::new();
    processor.set_bus(Some(&bus));
    let ready = processor.set_state(gst::State::Ready);
    let refused = bus.pop_filtered(&[gst::MessageType::Error]);
    processor.set_bus(None::<&gst::Bus>);
    if let Some(gst::MessageView::Error(error)) = refused.as_deref().map(gst::MessageRef::view) {
        processor
            .set_state(gst::State::Null)
            .map_err(|error| error.to_string())?;
        return Err(error.error().message().to_owned());
    }
    ready.map_err(|error| error.to_string())?;
    let info = processor.property::<gst::Structure>("model-info");
    let side = |name: &str| info.get::<u32>(name).ok();
    let usual = if args.dir.is_some() { 512 } else { 256 };
    let size = (
        side("width").unwrap_or(usual),
        side("height").unwrap_or(usual),
    );
    let stats = draw(&processor, size, args.frames)?;
    processor
        .set_state(gst::State::Null)
        .map_err(|error| error.to_string())?;
    Ok((info, stats, size))
}

/// Draws some frames and returns the element's statistics.
fn draw(processor: &gst::Element, size: (u32, u32), frames: u32) -> Result<gst::Structure, String> {
    let text = format!(
        "videotestsrc num-buffers={} pattern=ball ! video/x-raw,format=RGB,width={},height={},framerate=30/1 ! identity",
        frames.max(2),
        size.0,
        size.1
    );
    let failed = |error: gst::glib::BoolError| error.to_string();
    let pipeline = gst::Pipeline::new();
    let source =
        gst::parse::bin_from_description(&text, true).map_err(|error| error.to_string())?;
    let sink = gst::ElementFactory::make("fakesink")
        .build()
        .map_err(failed)?;
    let source: gst::Element = source.upcast();
    pipeline
        .add_many([&source, processor, &sink])
        .map_err(failed)?;
    gst::Element::link_many([&source, processor, &sink]).map_err(failed)?;
    let bus = pipeline.bus().ok_or("no bus")?;
    let started = pipeline.set_state(gst::State::Playing);
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = bus.timed_pop_filtered(
        gst::ClockTime::try_from(Duration::from_secs(600)).ok(),
        &kinds,
    );
    let stats = processor.property::<gst::Structure>("stats");
    pipeline
        .set_state(gst::State::Null)
        .map_err(|error| error.to_string())?;
    match message.as_deref().map(gst::MessageRef::view) {
        Some(gst::MessageView::Eos(_)) => started.map(|_| stats).map_err(|error| error.to_string()),
        Some(gst::MessageView::Error(error)) => Err(error.error().message().to_owned()),
        _ => Err("no picture within ten minutes".into()),
    }
}

fn facts(info: &gst::Structure) -> String {
    let text = |name: &str| info.get::<String>(name).unwrap_or_default();
    let number = |name: &str| info.get::<u32>(name).unwrap_or_default();
    let truth = |name: &str| info.get::<bool>(name).unwrap_or_default();
    let steps = |name: &str| {
        let steps = info.get::<gst::Array>(name);
        let steps = steps.map(|steps| {
            let steps = steps.iter().filter_map(|step| step.get::<i32>().ok());
            steps.map(|step| step.to_string()).collect::<Vec<_>>()
        });
        steps.unwrap_or_default().join(", ")
    };
    let kind = match (truth("turbo"), truth("guidance-embedded")) {
        (_, true) => "distilled, guidance built in",
        (true, _) => "distilled to one step",
        _ => "several steps",
    };
    let sizes = match (info.get::<u32>("width"), info.get::<u32>("height")) {
        (Ok(width), Ok(height)) => format!("{width}×{height} only"),
        _ => format!(
            "multiples of {} up to {}",
            number("size-multiple"),
            number("max-dimension")
        ),
    };
    let autoencoder = match truth("tiny-autoencoder") {
        true => "small, made for live pictures",
        false => "full",
    };
    let batch = match truth("stream-batch") {
        true => "several steps can share a call",
        false => "one step after another",
    };
    let pictures = match truth("reference-images") {
        true => "reference images steer the result, by an IP-Adapter",
        false => "no reference images; colour-transfer only",
    };
    let inputs = info.get::<gst::Array>("lora-inputs");
    let inputs: Vec<String> = inputs
        .iter()
        .flat_map(|names| names.iter())
        .filter_map(|name| name.get::<String>().ok())
        .collect();
    let adapters = match inputs.as_slice() {
        [] => "merged at load; a new scale merges anew beside the stream".to_owned(),
        names => format!(
            "{}: part of it, their scales change with every frame",
            names.join(", ")
        ),
    };
    [
        ("model", text("name")),
        ("family", format!("{} ({kind})", text("family"))),
        ("runs on", text("provider")),
        ("files", files(info)),
        ("sizes", sizes),
        (
            "steps",
            format!(
                "{} for video, {} for text",
                steps("video-steps"),
                steps("text-steps")
            ),
        ),
        ("batching", batch.into()),
        ("autoencoder", autoencoder.into()),
        ("pictures", pictures.into()),
        ("LoRA", adapters),
    ]
    .map(|(name, value)| format!("{name:>12}  {value}"))
    .join("\n")
}

fn timing(stats: &gst::Structure, (width, height): (u32, u32), frames: u32) -> String {
    let took = stats.get::<f64>("inference-ms").unwrap_or_default();
    let rate = if took > 0.0 { 1000.0 / took } else { 0.0 };
    format!(
        "{:>12}  {took:.1} ms a frame at {width}×{height}, {rate:.1} frames a second ({frames} drawn)",
        "here"
    )
}

/// Which files of its graphs are open.
fn files(info: &gst::Structure) -> String {
    let fused = info.get::<gst::Array>("fused");
    let fused: Vec<String> = fused
        .iter()
        .flat_map(|roles| roles.iter())
        .filter_map(|role| role.get().ok())
        .collect();
    let copies = info.get::<bool>("fused-copies").unwrap_or_default();
    let refused = info.get::<String>("fused-refused");
    match (fused.as_slice(), refused) {
        (_, Ok(refused)) => format!("as exported; fused copy not used: {refused}"),
        ([], _) if copies => "as exported; the fused copies are for CUDA alone".into(),
        ([], _) => "as exported".into(),
        (fused, _) => format!("fused for CUDA: {}", fused.join(", ")),
    }
}

/// What would make a model faster, most telling first.
fn advice(info: &gst::Structure) -> Vec<&'static str> {
    let truth = |name: &str| info.get::<bool>(name).unwrap_or_default();
    let custom = info
        .get::<String>("family")
        .is_ok_and(|family| family == "custom");
    let on_cpu = info
        .get::<String>("provider")
        .is_ok_and(|provider| provider == "cpu");
    let mut advice = Vec::new();
    if on_cpu && !custom {
        advice.push("an NVIDIA GPU: install ONNX Runtime for it with `.setup/onnxruntime cuda13`");
    }
    let on_cuda = info
        .get::<String>("provider")
        .is_ok_and(|provider| provider == "cuda");
    if on_cuda && !custom && !truth("fused-copies") {
        advice.push(
            "fused copies of its graphs for CUDA: export it with `gst-scope model export --cuda`",
        );
    }
    if !truth("tiny-autoencoder") && !custom {
        advice.push(
            "a TAESD export as `vae-dir`: its decoder costs a twentieth of the full one's arithmetic",
        );
    }
    if !truth("stream-batch") {
        advice.push(
            "an export whose timestep has one value for each row: several steps then share a call",
        );
    }
    if !truth("turbo") && !truth("guidance-embedded") && !custom {
        advice.push("a distilled model (SD-Turbo, LCM): one to four steps instead of many");
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspected(
        dir: Option<&str>,
    ) -> Result<(gst::Structure, gst::Structure, (u32, u32)), String> {
        gst::init().unwrap();
        gstscopediffusion::plugin_register_static().unwrap();
        measure(&Inspect {
            dir: dir.map(PathBuf::from),
            vae_dir: None,
            execution_provider: "cpu".into(),
            frames: 2,
        })
    }

    #[test]
    fn the_built_in_model_is_told_and_timed() {
        let (info, stats, size) = inspected(None).unwrap();

        let facts = facts(&info);
        assert!(
            facts.contains("scope-tiny") && facts.contains("custom"),
            "{facts}"
        );
        assert!(timing(&stats, size, 2).contains("256×256"));
        assert!(advice(&info).is_empty(), "{:?}", advice(&info));
    }

    #[test]
    fn what_an_export_adds_is_told() {
        let folder = "../plugins/scopediffusion/engine/tests/exported/model";

        let (info, ..) = inspected(Some(folder)).unwrap();

        let facts = facts(&info);
        assert!(facts.contains("ink, oil: part of it"), "{facts}");
        assert!(facts.contains("reference images steer"), "{facts}");
    }

    #[test]
    fn the_files_in_use_are_told_and_fused_copies_advised_on_cuda() {
        gst::init().unwrap();
        let told = |provider: &str, copies: bool, fused: &[&str], refused: Option<&str>| {
            let info = gst::Structure::builder("info")
                .field("provider", provider)
                .field("fused-copies", copies)
                .field("fused", gst::Array::new(fused.iter().copied()))
                .field_if_some("fused-refused", refused)
                .build();
            let advised = advice(&info).iter().any(|advice| advice.contains("--cuda"));
            (files(&info), advised)
        };

        assert_eq!(told("cpu", false, &[], None), ("as exported".into(), false));
        assert_eq!(told("cuda", false, &[], None), ("as exported".into(), true));
        let there = "as exported; the fused copies are for CUDA alone";
        assert_eq!(told("cpu", true, &[], None), (there.into(), false));
        let taken = "fused for CUDA: unet, vae_decoder";
        assert_eq!(
            told("cuda", true, &["unet", "vae_decoder"], None),
            (taken.into(), false)
        );
        let (refused, advised) = told("cuda", true, &[], Some("unet: it is cut short"));
        assert!(
            refused.ends_with("not used: unet: it is cut short") && !advised,
            "{refused}"
        );
    }

    #[test]
    fn a_folder_that_is_no_model_is_refused_in_words() {
        let error = inspected(Some("/nowhere")).unwrap_err();

        assert!(error.contains("/nowhere"), "{error}");
    }
}

//! ParamSpecs ↔ [`Settings`], both directions. Defaults come from the settings alone.

mod live;

use std::path::PathBuf;
use std::sync::LazyLock;

use gst::glib;
use gst::prelude::*;

pub(crate) use self::live::patch_for;
use crate::settings::{self, Settings};

/// Every property of the filter.
pub(crate) static FILTER: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(all);

fn all() -> Vec<glib::ParamSpec> {
    let mut all = fixed();
    all.extend(live::specs());
    all.extend(read_only());
    all
}

/// Every property of the source: what needs video to redraw is left out.
pub(crate) static SOURCE: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
    let of_video = |name: &str| {
        name.starts_with("noise-")
            || name.starts_with("similar-image-filter")
            || name == "input-mode"
    };
    // A ParamSpec belongs to one class, so these are others of the same making.
    all()
        .into_iter()
        .filter(|spec| !of_video(spec.name()))
        .collect()
});

/// What is settled before the element runs.
fn fixed() -> Vec<glib::ParamSpec> {
    let defaults = Settings::default();
    vec![
        glib::ParamSpecString::builder("model-dir")
            .nick("Model folder")
            .blurb("Diffusers-style folder of ONNX graphs; unset is the built-in demo model scope-tiny")
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("vae-dir")
            .nick("Autoencoder folder")
            .blurb("Folder whose vae_encoder/ and vae_decoder/ take the place of the model's, for example a TAESD")
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("loras")
            .nick("Adapters")
            .blurb("LoRA files to merge into the model: a path, or JSON [{\"path\": …, \"scale\": 0.8}]; scales change live by `lora_scales` in `parameters`")
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("execution-provider", defaults.execution_provider)
            .nick("Execution provider")
            .blurb("What runs the model; a wanted provider that is missing is an error, auto falls back to the CPU")
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("device")
            .nick("Device")
            .blurb("Which GPU, counted from 0")
            .maximum(63)
            .default_value(defaults.device)
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("model-cache-dir")
            .nick("Model cache folder")
            .blurb("Folder that keeps optimised graphs and TensorRT engines between starts; unset keeps none. Its files may be removed at any time")
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("onnxruntime-lib")
            .nick("ONNX Runtime library")
            .blurb("Path of libonnxruntime, file or folder; unset searches. The first element to load it decides for the process")
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("pacing", defaults.pacing)
            .nick("Pacing")
            .blurb("Newest frame wins (live), or one picture for each picture (strict)")
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("batching", defaults.batching)
            .nick("Batching")
            .blurb("How several denoising steps run: all in one call with steps - 1 frames of delay, or one after another")
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("frame-buffer")
            .nick("Frame buffer")
            .blurb("Frames that go through the network together: more throughput, more delay")
            .minimum(1)
            .maximum(8)
            .default_value(defaults.frame_buffer)
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder("pipelining")
            .nick("Pipelining")
            .blurb("Set a frame going before the picture of the one before it is taken, so that a GPU does not wait for the host: more throughput there, one more frame of delay everywhere")
            .default_value(defaults.pipelining)
            .mutable_ready()
            .build(),
        size("width", "Width", defaults.width),
        size("height", "Height", defaults.height),
    ]
}

fn size(name: &'static str, nick: &'static str, default: u32) -> glib::ParamSpec {
    glib::ParamSpecUInt::builder(name)
        .nick(nick)
        .blurb("Size the model works at, pixels; frames are scaled to it and back. 0 takes the size of the caps")
        .maximum(4096)
        .default_value(default)
        .mutable_ready()
        .build()
}

fn read_only() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb("frames-in, frames-out, frames-dropped, frames-faulty, inference-ms and of that encode-ms, denoise-ms, decode-ms in the graphs (smoothed), latency, provider, on a GPU vram-used and vram-total (bytes, of all programs); since READY")
            .read_only()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("model-info")
            .nick("Model information")
            .blurb("What the loaded model is and can do, and which provider runs how much of each graph; unset below READY")
            .read_only()
            .build(),
    ]
}

/// Writes a property that is no live control. False if the name is another's.
pub(crate) fn set_fixed(settings: &mut Settings, name: &str, value: &glib::Value) -> bool {
    let path = |value: &glib::Value| {
        value
            .get::<Option<PathBuf>>()
            .ok()
            .flatten()
            .filter(|path| !path.as_os_str().is_empty())
    };
    fn typed<'a, T: glib::value::FromValue<'a>>(value: &'a glib::Value) -> T {
        value
            .get()
            .unwrap_or_else(|_| unreachable!("GObject checks a value against its ParamSpec"))
    }
    match name {
        "model-dir" => settings.model_dir = path(value),
        "vae-dir" => settings.vae_dir = path(value),
        "execution-provider" => settings.execution_provider = typed(value),
        "device" => settings.device = typed(value),
        "model-cache-dir" => settings.model_cache_dir = path(value),
        "onnxruntime-lib" => settings.onnxruntime_lib = path(value),
        "pacing" => settings.pacing = typed(value),
        "batching" => settings.batching = typed(value),
        "frame-buffer" => settings.frame_buffer = typed(value),
        "pipelining" => settings.pipelining = typed(value),
        "width" => settings.width = typed(value),
        "height" => settings.height = typed(value),
        _ => return false,
    }
    true
}

/// Reads a property of the settings. `None` for the read-only ones.
pub(crate) fn get(settings: &Settings, name: &str) -> Option<glib::Value> {
    let path = |path: &Option<PathBuf>| {
        path.as_ref()
            .map(|path| path.to_string_lossy().into_owned())
            .to_value()
    };
    Some(match name {
        "model-dir" => path(&settings.model_dir),
        "vae-dir" => path(&settings.vae_dir),
        "loras" => settings::loras_json(&settings.loras).to_value(),
        "execution-provider" => settings.execution_provider.to_value(),
        "device" => settings.device.to_value(),
        "model-cache-dir" => path(&settings.model_cache_dir),
        "onnxruntime-lib" => path(&settings.onnxruntime_lib),
        "pacing" => settings.pacing.to_value(),
        "batching" => settings.batching.to_value(),
        "frame-buffer" => settings.frame_buffer.to_value(),
        "pipelining" => settings.pipelining.to_value(),
        "width" => settings.width.to_value(),
        "height" => settings.height.to_value(),
        "reference-images" => {
            let images = &settings.sights.images;
            let json = (!images.is_empty()).then(|| serde_json::json!(images).to_string());
            json.to_value()
        }
        "colour-reference" => settings.sights.colours.to_value(),
        _ => return live::get(settings, name),
    })
}

//! ParamSpecs ↔ [`Settings`], both directions. Defaults come from the settings alone.

use std::path::PathBuf;
use std::sync::LazyLock;

use diffusion_engine::{InputMode, Interpolation};
use gst::glib;
use gst::prelude::*;
use serde_json::{Value, json};

use super::settings::{InputModeChoice, Settings};

/// Every property but the read-only ones that describe the running element, see [`read_only`].
pub(crate) static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
    let mut all = fixed();
    all.extend(live());
    all.extend(read_only());
    all
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

/// What may change with every frame.
fn live() -> Vec<glib::ParamSpec> {
    let defaults = Settings::default();
    vec![
        glib::ParamSpecString::builder("prompt")
            .nick("Prompt")
            .blurb("What to draw; several weighted prompts go through `parameters`")
            .mutable_playing()
            .build(),
        glib::ParamSpecString::builder("negative-prompt")
            .nick("Negative prompt")
            .blurb("What to avoid; counts only with models and guidance that use it")
            .mutable_playing()
            .build(),
        glib::ParamSpecFloat::builder("noise-scale")
            .nick("Noise scale")
            .blurb("Noise added to the input: 0.0 keeps the picture, 1.0 ignores it; -1.0 leaves it to denoising-steps")
            .minimum(-1.0)
            .maximum(1.0)
            .default_value(defaults.parameters.noise_scale.unwrap_or(-1.0))
            .mutable_playing()
            .controllable()
            .build(),
        gst::ParamSpecArray::builder("denoising-steps")
            .nick("Denoising steps")
            .blurb("Timesteps to denoise at, 1 to 4 of them, falling, each 1 to 1000; empty takes the model's own")
            .element_spec(
                &glib::ParamSpecInt::builder("timestep")
                    .nick("Timestep")
                    .blurb("Noise level, 1000 is pure noise")
                    .minimum(1)
                    .maximum(1000)
                    .default_value(1)
                    .build(),
            )
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt64::builder("seed")
            .nick("Seed")
            .blurb("Of the noise; the same seed draws the same picture")
            .default_value(defaults.parameters.seed)
            .mutable_playing()
            .controllable()
            .build(),
        glib::ParamSpecFloat::builder("motion")
            .nick("Motion")
            .blurb("How fast text-to-video wanders: 0.0 stands still, 1.0 is a new picture each frame")
            .minimum(0.0)
            .maximum(1.0)
            .default_value(defaults.parameters.motion)
            .mutable_playing()
            .controllable()
            .build(),
        glib::ParamSpecEnum::builder_with_default::<InputModeChoice>("input-mode", defaults.parameters.input_mode.into())
            .nick("Input mode")
            .blurb("Redraw the incoming video, or draw from the prompt alone")
            .mutable_playing()
            .build(),
        glib::ParamSpecBoolean::builder("paused")
            .nick("Paused")
            .blurb("Hold the last picture while frames pass")
            .default_value(defaults.parameters.paused)
            .mutable_playing()
            .build(),
        glib::ParamSpecString::builder("parameters")
            .nick("Parameters")
            .blurb("JSON object of generation controls (prompts with weights, transition, denoising_step_list, …); reads back what is in force")
            .mutable_playing()
            .build(),
    ]
}

fn read_only() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb("frames-in, frames-out, frames-dropped, inference-ms (smoothed), latency, provider; since READY")
            .read_only()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("model-info")
            .nick("Model information")
            .blurb("What the loaded model is and can do; unset below READY")
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
        "execution-provider" => settings.execution_provider = typed(value),
        "device" => settings.device = typed(value),
        "onnxruntime-lib" => settings.onnxruntime_lib = path(value),
        "pacing" => settings.pacing = typed(value),
        "batching" => settings.batching = typed(value),
        "width" => settings.width = typed(value),
        "height" => settings.height = typed(value),
        _ => return false,
    }
    true
}

/// The JSON patch that writing a live property means. `None` for any other name.
pub(crate) fn patch_for(name: &str, value: &glib::Value) -> Option<String> {
    let text = || {
        value
            .get::<Option<String>>()
            .ok()
            .flatten()
            .unwrap_or_default()
    };
    let patch = match name {
        "prompt" => json!({ "prompts": [{ "text": text(), "weight": 1.0 }] }),
        "negative-prompt" => json!({ "negative_prompt": text() }),
        "noise-scale" => match value.get::<f32>().ok()? {
            unset if unset < 0.0 => json!({ "noise_scale": "model" }),
            scale => json!({ "noise_scale": scale }),
        },
        "denoising-steps" => {
            let steps = value.get::<gst::Array>().ok()?;
            let steps: Vec<i32> = steps.iter().filter_map(|step| step.get().ok()).collect();
            if steps.is_empty() {
                json!({ "denoising_step_list": "model" })
            } else {
                json!({ "denoising_step_list": steps })
            }
        }
        "seed" => json!({ "seed": value.get::<u64>().ok()? }),
        "motion" => json!({ "motion": value.get::<f32>().ok()? }),
        "input-mode" => match value.get::<InputModeChoice>().ok()? {
            InputModeChoice::Video => json!({ "input_mode": "video" }),
            InputModeChoice::Text => json!({ "input_mode": "text" }),
        },
        "paused" => json!({ "paused": value.get::<bool>().ok()? }),
        "parameters" => {
            return Some(
                Some(text())
                    .filter(|text| !text.trim().is_empty())
                    .unwrap_or_else(|| "{}".into()),
            );
        }
        _ => return None,
    };
    Some(patch.to_string())
}

/// Reads a property of the settings. `None` for the read-only ones.
pub(crate) fn get(settings: &Settings, name: &str) -> Option<glib::Value> {
    let path = |path: &Option<PathBuf>| {
        path.as_ref()
            .map(|path| path.to_string_lossy().into_owned())
            .to_value()
    };
    let parameters = &settings.parameters;
    Some(match name {
        "model-dir" => path(&settings.model_dir),
        "execution-provider" => settings.execution_provider.to_value(),
        "device" => settings.device.to_value(),
        "onnxruntime-lib" => path(&settings.onnxruntime_lib),
        "pacing" => settings.pacing.to_value(),
        "batching" => settings.batching.to_value(),
        "width" => settings.width.to_value(),
        "height" => settings.height.to_value(),
        "prompt" => parameters
            .prompts
            .first()
            .map(|prompt| prompt.text.as_str())
            .to_value(),
        "negative-prompt" => Some(parameters.negative_prompt.as_str())
            .filter(|text| !text.is_empty())
            .to_value(),
        "noise-scale" => parameters.noise_scale.unwrap_or(-1.0).to_value(),
        "denoising-steps" => {
            let steps = parameters
                .denoising_steps
                .iter()
                .flatten()
                .map(|step| i32::from(*step));
            gst::Array::new(steps).to_value()
        }
        "seed" => parameters.seed.to_value(),
        "motion" => parameters.motion.to_value(),
        "input-mode" => InputModeChoice::from(parameters.input_mode).to_value(),
        "paused" => parameters.paused.to_value(),
        "parameters" => parameters_json(settings).to_string().to_value(),
        _ => return None,
    })
}

/// The denoising steps in the numbers people use, 1 to 1000: one above the engine's timesteps.
fn steps(settings: &Settings) -> impl Iterator<Item = u16> {
    settings
        .parameters
        .denoising_steps
        .iter()
        .flatten()
        .map(|timestep| timestep + 1)
}

/// The live controls as the JSON that `parameters` takes.
fn parameters_json(settings: &Settings) -> Value {
    let parameters = &settings.parameters;
    let prompts: Vec<Value> = parameters
        .prompts
        .iter()
        .map(|prompt| json!({ "text": prompt.text, "weight": prompt.weight }))
        .collect();
    json!({
        "prompts": prompts,
        "prompt_interpolation_method": match parameters.prompt_interpolation {
            Interpolation::Linear => "linear",
            Interpolation::Slerp => "slerp",
        },
        "negative_prompt": parameters.negative_prompt,
        "noise_scale": parameters.noise_scale,
        "denoising_step_list": parameters.denoising_steps.as_ref().map(|_| steps(settings).collect::<Vec<_>>()),
        "seed": parameters.seed,
        "motion": parameters.motion,
        "input_mode": match parameters.input_mode { InputMode::Video => "video", InputMode::Text => "text" },
        "paused": parameters.paused,
    })
}

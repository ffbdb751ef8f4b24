//! The live controls: each a ParamSpec, a patch when written, a value when read.

use diffusion_engine::{InputMode, Interpolation, Parameters};
use gst::glib;
use gst::prelude::*;
use serde_json::{Value, json};

use crate::settings::{CfgTypeChoice, InputModeChoice, Settings};

/// What may change with every frame.
pub(super) fn specs() -> Vec<glib::ParamSpec> {
    let defaults = Settings::default().parameters;
    let filter = defaults.similar_image_filter;
    vec![
        text("prompt", "Prompt", "What to draw; several weighted prompts go through `parameters`"),
        text(
            "negative-prompt",
            "Negative prompt",
            "What to avoid; counts with cfg-type full or initialize and a guidance-scale above 1",
        ),
        number("noise-scale", "Noise scale", (-1.0, 1.0), defaults.noise_scale.unwrap_or(-1.0),
            "Noise added to the input: 0.0 keeps the picture, 1.0 ignores it; -1.0 leaves it to denoising-steps"),
        truth("noise-controller", "Noise controller", defaults.noise_controller,
            "Let the motion in the video choose the noise scale: much motion, little noise"),
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
        number("guidance-scale", "Guidance scale", (0.0, 30.0), defaults.guidance_scale,
            "How far to push towards the prompt; 1 or less is no guidance, turbo models want none"),
        glib::ParamSpecEnum::builder_with_default::<CfgTypeChoice>("cfg-type", defaults.cfg_type.into())
            .nick("Guidance type")
            .blurb("What the prompt is pushed away from when guidance-scale is above 1")
            .mutable_playing()
            .build(),
        number("delta", "Delta", (0.0, 1.0), defaults.delta,
            "Share of the residual noise that counts as negative in cfg-type self and initialize"),
        glib::ParamSpecUInt64::builder("seed")
            .nick("Seed")
            .blurb("Of the noise; the same seed draws the same picture. Several weighted seeds go through `parameters`")
            .default_value(defaults.seed)
            .mutable_playing()
            .controllable()
            .build(),
        number("latent-feedback", "Latent feedback", (0.0, 0.95), defaults.latent_feedback,
            "Share of the picture before that stays in a picture: steadier video, slower change"),
        truth("similar-image-filter", "Similar-image filter", filter.enabled,
            "Do not draw frames that hardly differ from the last one drawn; its picture is shown again"),
        number("similar-image-filter-threshold", "Similar-image filter threshold", (0.0, 1.0), filter.threshold,
            "Cosine similarity from which on frames may be left out; 1.0 leaves out none"),
        glib::ParamSpecUInt::builder("similar-image-filter-max-skip-frame")
            .nick("Similar-image filter, longest run")
            .blurb("Most frames left out in a row")
            .maximum(10_000)
            .default_value(filter.max_skip_frame)
            .mutable_playing()
            .build(),
        text(
            "reference-images",
            "Reference images",
            "Pictures that steer the result beside the prompt: a file, or JSON [\"a.png\", …] of up to 8; for models with an IP-Adapter",
        ),
        number("reference-scale", "Reference scale", (0.0, 2.0), defaults.reference_scale,
            "How much the reference images count: 0.0 is not at all, 1.0 as the adapter was trained"),
        text(
            "colour-reference",
            "Colour reference",
            "Picture whose colours are given to the result, as far as colour-transfer says; for every model",
        ),
        number("colour-transfer", "Colour transfer", (0.0, 1.0), defaults.colour_transfer,
            "How far the result takes on mean and spread of the colours of colour-reference: 0.0 is off, 1.0 wholly"),
        number("motion", "Motion", (0.0, 1.0), defaults.motion,
            "How fast text-to-video wanders: 0.0 stands still, 1.0 is a new picture each frame"),
        glib::ParamSpecEnum::builder_with_default::<InputModeChoice>("input-mode", defaults.input_mode.into())
            .nick("Input mode")
            .blurb("Redraw the incoming video, or draw from the prompt alone")
            .mutable_playing()
            .build(),
        truth("paused", "Paused", defaults.paused, "Hold the last picture while frames pass"),
        text(
            "parameters",
            "Parameters",
            "JSON object of generation controls (prompts with weights, transition, denoising_step_list, …); reads back what is in force",
        ),
    ]
}

fn text(name: &'static str, nick: &'static str, blurb: &'static str) -> glib::ParamSpec {
    glib::ParamSpecString::builder(name)
        .nick(nick)
        .blurb(blurb)
        .mutable_playing()
        .build()
}

fn truth(
    name: &'static str,
    nick: &'static str,
    default: bool,
    blurb: &'static str,
) -> glib::ParamSpec {
    glib::ParamSpecBoolean::builder(name)
        .nick(nick)
        .blurb(blurb)
        .default_value(default)
        .mutable_playing()
        .build()
}

fn number(
    name: &'static str,
    nick: &'static str,
    (least, most): (f32, f32),
    default: f32,
    blurb: &'static str,
) -> glib::ParamSpec {
    glib::ParamSpecFloat::builder(name)
        .nick(nick)
        .blurb(blurb)
        .minimum(least)
        .maximum(most)
        .default_value(default)
        .mutable_playing()
        .controllable()
        .build()
}

/// The JSON patch that writing a live property means. `None` for any other name.
pub(crate) fn patch_for(name: &str, value: &glib::Value) -> Option<String> {
    let text = || foreign_text::lossy(value);
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
        "noise-controller" | "similar-image-filter" | "paused" => {
            json!({ name.replace('-', "_"): value.get::<bool>().ok()? })
        }
        "reference-images" => {
            let text = text();
            let files = match serde_json::from_str::<Value>(text.trim()) {
                Ok(list @ Value::Array(_)) => list,
                Ok(_) | Err(_) if text.is_empty() => json!([]),
                Ok(_) | Err(_) => json!([text]),
            };
            json!({ "vace_ref_images": files })
        }
        "reference-scale" => json!({ "vace_context_scale": value.get::<f32>().ok()? }),
        "colour-reference" => json!({ "colour_reference": text() }),
        "guidance-scale"
        | "colour-transfer"
        | "delta"
        | "latent-feedback"
        | "similar-image-filter-threshold"
        | "motion" => json!({ name.replace('-', "_"): value.get::<f32>().ok()? }),
        "similar-image-filter-max-skip-frame" => {
            json!({ name.replace('-', "_"): value.get::<u32>().ok()? })
        }
        "cfg-type" => json!({ "cfg_type": value.get::<CfgTypeChoice>().ok()?.word() }),
        "seed" => json!({ "seed": value.get::<u64>().ok()? }),
        "input-mode" => match value.get::<InputModeChoice>().ok()? {
            InputModeChoice::Video => json!({ "input_mode": "video" }),
            InputModeChoice::Text => json!({ "input_mode": "text" }),
        },
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

/// Reads a live control. `None` for any other name.
pub(super) fn get(settings: &Settings, name: &str) -> Option<glib::Value> {
    let parameters = &settings.parameters;
    let filter = parameters.similar_image_filter;
    Some(match name {
        "prompt" => parameters
            .prompts
            .first()
            .map(|prompt| prompt.text.as_str())
            .to_value(),
        "negative-prompt" => Some(parameters.negative_prompt.as_str())
            .filter(|text| !text.is_empty())
            .to_value(),
        "noise-scale" => parameters.noise_scale.unwrap_or(-1.0).to_value(),
        "noise-controller" => parameters.noise_controller.to_value(),
        "denoising-steps" => gst::Array::new(steps(parameters).map(i32::from)).to_value(),
        "guidance-scale" => parameters.guidance_scale.to_value(),
        "cfg-type" => CfgTypeChoice::from(parameters.cfg_type).to_value(),
        "delta" => parameters.delta.to_value(),
        "reference-scale" => parameters.reference_scale.to_value(),
        "colour-transfer" => parameters.colour_transfer.to_value(),
        "seed" => parameters.seed.to_value(),
        "latent-feedback" => parameters.latent_feedback.to_value(),
        "similar-image-filter" => filter.enabled.to_value(),
        "similar-image-filter-threshold" => filter.threshold.to_value(),
        "similar-image-filter-max-skip-frame" => filter.max_skip_frame.to_value(),
        "motion" => parameters.motion.to_value(),
        "input-mode" => InputModeChoice::from(parameters.input_mode).to_value(),
        "paused" => parameters.paused.to_value(),
        "parameters" => as_json(settings).to_string().to_value(),
        _ => return None,
    })
}

/// The denoising steps in the numbers people use, 1 to 1000: one above the engine's timesteps.
fn steps(parameters: &Parameters) -> impl Iterator<Item = u16> {
    let steps = parameters.denoising_steps.iter().flatten();
    steps.map(|timestep| timestep + 1)
}

/// The number as people write it: 0.98, where the widened bits would read 0.9800000190734863.
fn decimal(number: f32) -> Value {
    number
        .to_string()
        .parse::<f64>()
        .map_or(Value::Null, Value::from)
}

/// The live controls as the JSON that `parameters` takes.
fn as_json(settings: &Settings) -> Value {
    let parameters = &settings.parameters;
    let method = |method: Interpolation| match method {
        Interpolation::Linear => "linear",
        Interpolation::Slerp => "slerp",
    };
    let prompts = parameters.prompts.iter();
    let prompts: Vec<Value> = prompts
        .map(|prompt| json!({ "text": prompt.text, "weight": decimal(prompt.weight) }))
        .collect();
    let seeds = parameters.seeds.iter();
    let seeds: Vec<Value> = seeds
        .map(|seed| json!({ "seed": seed.seed, "weight": decimal(seed.weight) }))
        .collect();
    let filter = parameters.similar_image_filter;
    json!({
        "prompts": prompts,
        "prompt_interpolation_method": method(parameters.prompt_interpolation),
        "negative_prompt": parameters.negative_prompt,
        "noise_scale": parameters.noise_scale.map(decimal),
        "noise_controller": parameters.noise_controller,
        "denoising_step_list": parameters.denoising_steps.as_ref().map(|_| steps(parameters).collect::<Vec<_>>()),
        "guidance_scale": decimal(parameters.guidance_scale),
        "cfg_type": CfgTypeChoice::from(parameters.cfg_type).word(),
        "delta": decimal(parameters.delta),
        "do_add_noise": parameters.add_noise,
        "seed": parameters.seed,
        "seeds": seeds,
        "seed_interpolation_method": method(parameters.seed_interpolation),
        "latent_feedback": decimal(parameters.latent_feedback),
        "similar_image_filter": filter.enabled,
        "similar_image_filter_threshold": decimal(filter.threshold),
        "similar_image_filter_max_skip_frame": filter.max_skip_frame,
        "vace_ref_images": settings.sights.images,
        "vace_context_scale": decimal(parameters.reference_scale),
        "colour_reference": settings.sights.colours,
        "colour_transfer": decimal(parameters.colour_transfer),
        "motion": decimal(parameters.motion),
        "transition_frames_per_step": parameters.transition_frames_per_step,
        "input_mode": match parameters.input_mode { InputMode::Video => "video", InputMode::Text => "text" },
        "paused": parameters.paused,
    })
}

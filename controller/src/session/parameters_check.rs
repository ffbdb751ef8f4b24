//! What each known key allows.

use serde_json::Value;

/// Longest list of prompts, steps or adapters.
const MOST_ITEMS: usize = 100;
/// Longest text of one prompt, bytes.
const LONGEST_TEXT: usize = 20_000;

/// The shape of one key's value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    Bool,
    Text,
    Texts,
    Object,
    /// A number within both ends.
    Number(f64, f64),
    /// A list of whole numbers within both ends.
    Integers(i64, i64),
    OneOf(&'static [&'static str]),
    /// A list of `{text, weight}`.
    Prompts,
    /// A list of `{path, scale}`.
    Adapters,
    Transition,
}

const INTERPOLATION: &[&str] = &["linear", "slerp"];
const BEATS: &[&str] = &["none", "beat", "bar", "2_bar", "4_bar"];

/// The rule for a known key.
pub(super) fn rule_of(key: &str) -> Option<Rule> {
    Some(match key {
        "input_mode" => Rule::OneOf(&["text", "video"]),
        "prompts" => Rule::Prompts,
        "prompt_interpolation_method" => Rule::OneOf(INTERPOLATION),
        "transition" => Rule::Transition,
        "denoising_step_list" => Rule::Integers(0, 1000),
        "noise_scale" => Rule::Number(0.0, 1.0),
        "guidance_scale" => Rule::Number(0.0, 30.0),
        "delta" | "similar_image_filter_threshold" | "motion" | "colour_transfer" => {
            Rule::Number(0.0, 1.0)
        }
        "latent_feedback" => Rule::Number(0.0, 0.95),
        "cfg_type" => Rule::OneOf(&["none", "full", "self", "initialize"]),
        "negative_prompt" => Rule::Text,
        "similar_image_filter" | "do_add_noise" => Rule::Bool,
        "kv_cache_attention_bias" => Rule::Number(0.01, 1.0),
        "vace_context_scale" => Rule::Number(0.0, 2.0),
        "lookahead_ms" => Rule::Number(0.0, 60_000.0),
        "lora_scales" => Rule::Adapters,
        "quantize_mode" | "beat_cache_reset_rate" => Rule::OneOf(BEATS),
        "noise_controller"
        | "manage_cache"
        | "reset_cache"
        | "vace_enabled"
        | "vace_use_input_video"
        | "paused"
        | "recording"
        | "produces_video"
        | "produces_audio"
        | "_quantized" => Rule::Bool,
        "first_frame_image" | "last_frame_image" | "colour_reference" | "node_id" => Rule::Text,
        "vace_ref_images" | "images" | "pipeline_ids" | "source_track_order" => Rule::Texts,
        "ctrl_input" | "graph" | "output_sinks" | "input_source" | "modulations"
        | "spout_sender" | "spout_receiver" => Rule::Object,
        _ => return None,
    })
}

impl Rule {
    pub(super) fn check(self, key: &str, value: &Value) -> Result<(), String> {
        // The processor's word for "as the model has it": takes back what was said.
        if matches!(key, "noise_scale" | "denoising_step_list") && value == "model" {
            return Ok(());
        }
        let refuse =
            |wanted: String| Err(format!("`{key}` must be {wanted}, not {}", shown(value)));
        match self {
            Self::Bool if value.is_boolean() => Ok(()),
            Self::Bool => refuse("true or false".into()),
            Self::Text
                if value
                    .as_str()
                    .is_some_and(|text| text.len() <= LONGEST_TEXT) =>
            {
                Ok(())
            }
            Self::Text => refuse("a text".into()),
            Self::Texts if items(value).is_some_and(|list| list.iter().all(Value::is_string)) => {
                Ok(())
            }
            Self::Texts => refuse("a list of texts".into()),
            Self::Object if value.is_object() => Ok(()),
            Self::Object => refuse("an object".into()),
            Self::Number(low, high) => match value.as_f64() {
                Some(number) if (low..=high).contains(&number) => Ok(()),
                _ => refuse(format!("a number from {low} to {high}")),
            },
            Self::Integers(low, high) => {
                let fits = |item: &Value| {
                    item.as_i64()
                        .is_some_and(|number| (low..=high).contains(&number))
                };
                match items(value) {
                    Some(list) if list.iter().all(fits) => Ok(()),
                    _ => refuse(format!("a list of whole numbers from {low} to {high}")),
                }
            }
            Self::OneOf(names) => match value.as_str() {
                Some(name) if names.contains(&name) => Ok(()),
                _ => refuse(format!("one of {}", names.join(", "))),
            },
            Self::Prompts => each(key, value, "a list of {text, weight}", |item| {
                let text = item.get("text")?.as_str()?;
                let weight = item.get("weight").map_or(Some(1.0), Value::as_f64)?;
                (text.len() <= LONGEST_TEXT && weight >= 0.0).then_some(())
            }),
            Self::Adapters => each(
                key,
                value,
                "a list of {path, scale}, scale from -10 to 10",
                |item| {
                    item.get("path")?.as_str()?;
                    let scale = item.get("scale")?.as_f64()?;
                    (-10.0..=10.0).contains(&scale).then_some(())
                },
            ),
            Self::Transition => transition(key, value),
        }
    }
}

fn transition(key: &str, value: &Value) -> Result<(), String> {
    let Some(fields) = value.as_object() else {
        return Err(format!("`{key}` must be an object, not {}", shown(value)));
    };
    let targets = fields.get("target_prompts").unwrap_or(&Value::Null);
    Rule::Prompts.check("transition.target_prompts", targets)?;
    if let Some(method) = fields
        .get("temporal_interpolation_method")
        .filter(|method| !method.is_null())
    {
        Rule::OneOf(INTERPOLATION).check("transition.temporal_interpolation_method", method)?;
    }
    match fields.get("num_steps") {
        Some(steps) if !steps.is_null() && steps.as_u64().is_none_or(|steps| steps > 100_000) => {
            Err(format!(
                "`transition.num_steps` must be a whole number from 0, not {}",
                shown(steps)
            ))
        }
        _ => Ok(()),
    }
}

fn items(value: &Value) -> Option<&Vec<Value>> {
    value.as_array().filter(|list| list.len() <= MOST_ITEMS)
}

fn each(
    key: &str,
    value: &Value,
    wanted: &str,
    fits: impl Fn(&Value) -> Option<()>,
) -> Result<(), String> {
    let list =
        items(value).ok_or_else(|| format!("`{key}` must be {wanted}, not {}", shown(value)))?;
    list.iter().enumerate().try_for_each(|(index, item)| {
        fits(item)
            .ok_or_else(|| format!("`{key}` must be {wanted}; item {index} is {}", shown(item)))
    })
}

/// A value short enough for a sentence.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 {
        return format!("`{text}`");
    }
    format!("`{}…`", text.chars().take(60).collect::<String>())
}

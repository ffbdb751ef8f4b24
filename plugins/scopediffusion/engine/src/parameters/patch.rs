//! A partial update of the parameters, as remote people say it: a flat JSON object, Scope's keys.
//!
//! Parsed once, strictly: whatever a [`Patch`] holds is in range. A wrong value is refused with a
//! sentence naming key, value and range. Keys that mean nothing here are collected, not refused,
//! because Scope's page sends one object to every kind of model.

use serde_json::{Map, Value};

use super::{
    InputMode, Interpolation, MAX_PROMPTS, MAX_STEPS, MAX_TEXT, MAX_WEIGHT, STEP_LIST,
    WeightedPrompt,
};
use crate::error::EngineError;

/// Longest patch that is looked at, bytes.
const LONGEST_PATCH: usize = 1 << 20;

/// A gradual change of prompts.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// The prompts to arrive at.
    pub target_prompts: Vec<WeightedPrompt>,
    /// Steps on the way; 0 is at once. A step lasts several frames, see
    /// [`super::Parameters::transition_frames_per_step`].
    pub num_steps: u16,
    /// The way between the two embeddings.
    pub interpolation: Interpolation,
}

/// Some of the parameters with new values; all of them in range.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Patch {
    pub(crate) prompts: Option<Vec<WeightedPrompt>>,
    pub(crate) negative_prompt: Option<String>,
    pub(crate) prompt_interpolation: Option<Interpolation>,
    pub(crate) transition: Option<Transition>,
    /// `Some(None)` leaves the steps to the model.
    pub(crate) denoising_steps: Option<Option<Vec<u16>>>,
    /// `Some(None)` leaves the noise to the denoising steps.
    pub(crate) noise_scale: Option<Option<f32>>,
    pub(crate) seed: Option<u64>,
    pub(crate) input_mode: Option<InputMode>,
    pub(crate) paused: Option<bool>,
    pub(crate) motion: Option<f32>,
    pub(crate) transition_frames_per_step: Option<u16>,
    pub(crate) add_noise: Option<bool>,
    pub(crate) reset: bool,
    ignored: Vec<String>,
}

impl Patch {
    /// Reads a flat JSON object.
    ///
    /// Keys: `prompts` (list of `{text, weight}` or of texts) or `prompt`, `negative_prompt`,
    /// `prompt_interpolation_method`, `transition`, `denoising_step_list`, `noise_scale`, `seed` or
    /// `base_seed`, `input_mode`, `paused`, `reset_cache`, `manage_cache`, `motion`,
    /// `transition_frames_per_step`, `do_add_noise`. `null` counts as not said; the text `"model"`
    /// for `noise_scale` or `denoising_step_list` takes back what was said.
    ///
    /// # Errors
    ///
    /// [`EngineError::BadParameter`] naming the first key that is wrong.
    pub fn from_json(text: &str) -> Result<Self, EngineError> {
        if text.len() > LONGEST_PATCH {
            return Err(bad(
                "patch",
                &format!("{} bytes long", text.len()),
                "at most 1 MiB",
            ));
        }
        let value: Value = serde_json::from_str(text)
            .map_err(|error| bad("patch", &format!("not JSON ({error})"), "a JSON object"))?;
        let Value::Object(entries) = value else {
            return Err(bad("patch", &shown(&value), "a JSON object"));
        };
        Self::from_entries(&entries)
    }

    /// Keys that were given but mean nothing to this engine.
    #[must_use]
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// Whether the patch says nothing that the engine understands.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let silent = Self {
            ignored: self.ignored.clone(),
            ..Self::default()
        };
        *self == silent
    }

    fn from_entries(entries: &Map<String, Value>) -> Result<Self, EngineError> {
        let mut patch = Self::default();
        let (mut prompt, mut base_seed) = (None, None);
        for (key, value) in entries.iter().filter(|(_, value)| !value.is_null()) {
            match key.as_str() {
                "prompts" => patch.prompts = Some(prompts(key, value)?),
                "prompt" => prompt = Some(prompts(key, value)?),
                "negative_prompt" => patch.negative_prompt = Some(line(key, value)?),
                "prompt_interpolation_method" => {
                    patch.prompt_interpolation = Some(interpolation(key, value)?);
                }
                "transition" => patch.transition = Some(transition(value)?),
                "denoising_step_list" => {
                    patch.denoising_steps = Some(unless_model(value, |value| steps(key, value))?);
                }
                "noise_scale" => {
                    let scale = |value: &Value| number(key, value, 0.0, 1.0);
                    patch.noise_scale = Some(unless_model(value, scale)?);
                }
                "seed" => patch.seed = Some(whole(key, value, u64::MAX)?),
                "base_seed" => base_seed = Some(whole(key, value, u64::MAX)?),
                "input_mode" => patch.input_mode = Some(input_mode(key, value)?),
                "paused" => patch.paused = Some(truth(key, value)?),
                "reset_cache" => patch.reset = truth(key, value)?,
                // Rows in flight are always dropped when they no longer fit: nothing to manage.
                "manage_cache" => _ = truth(key, value)?,
                "motion" => patch.motion = Some(number(key, value, 0.0, 1.0)?),
                "transition_frames_per_step" => {
                    let frames = whole(key, value, 1000)?;
                    patch.transition_frames_per_step = Some(frames as u16);
                }
                "do_add_noise" => patch.add_noise = Some(truth(key, value)?),
                _ => patch.ignored.push(key.clone()),
            }
        }
        patch.prompts = patch.prompts.or(prompt);
        patch.seed = patch.seed.or(base_seed);
        Ok(patch)
    }
}

fn prompts(key: &str, value: &Value) -> Result<Vec<WeightedPrompt>, EngineError> {
    let alone = |text| WeightedPrompt { text, weight: 1.0 };
    match value {
        Value::String(_) => Ok(vec![alone(line(key, value)?)]),
        Value::Array(items) if items.len() <= MAX_PROMPTS => items
            .iter()
            .map(|item| match item {
                Value::Object(entries) => {
                    let text = entries.get("text").unwrap_or(&Value::Null);
                    let weight = match entries.get("weight").filter(|weight| !weight.is_null()) {
                        Some(weight) => number(&format!("{key}.weight"), weight, 0.0, MAX_WEIGHT)?,
                        None => 1.0,
                    };
                    Ok(WeightedPrompt {
                        text: line(&format!("{key}.text"), text)?,
                        weight,
                    })
                }
                other => Ok(alone(line(key, other)?)),
            })
            .collect(),
        Value::Array(items) => Err(bad(
            key,
            &format!("a list of {}", items.len()),
            "at most 32 prompts",
        )),
        other => Err(bad(key, &shown(other), "a list of {text, weight}")),
    }
}

fn transition(value: &Value) -> Result<Transition, EngineError> {
    let Value::Object(entries) = value else {
        return Err(bad(
            "transition",
            &shown(value),
            "an object with target_prompts",
        ));
    };
    let entry = |key: &str| entries.get(key).filter(|value| !value.is_null());
    let target = entry("target_prompts").unwrap_or(&Value::Null);
    let num_steps = match entry("num_steps") {
        Some(steps) => whole("transition.num_steps", steps, 1000)? as u16,
        None => 4,
    };
    let interpolation = match entry("temporal_interpolation_method") {
        Some(method) => interpolation("transition.temporal_interpolation_method", method)?,
        None => Interpolation::Linear,
    };
    let target_prompts = prompts("transition.target_prompts", target)?;
    Ok(Transition {
        target_prompts,
        num_steps,
        interpolation,
    })
}

/// `None` for the text `"model"`, which leaves the choice to the model; else what `read` makes of it.
fn unless_model<T>(
    value: &Value,
    read: impl Fn(&Value) -> Result<T, EngineError>,
) -> Result<Option<T>, EngineError> {
    if value.as_str() == Some("model") {
        Ok(None)
    } else {
        read(value).map(Some)
    }
}

/// Timesteps from Scope's list: one below each number, 0 at least.
fn steps(key: &str, value: &Value) -> Result<Vec<u16>, EngineError> {
    let refuse = || bad(key, &shown(value), STEP_LIST);
    let items = value
        .as_array()
        .filter(|items| (1..=MAX_STEPS).contains(&items.len()));
    let mut steps = Vec::with_capacity(MAX_STEPS);
    for item in items.ok_or_else(refuse)? {
        let number = whole(key, item, 1000).map_err(|_| refuse())?;
        steps.push(number.saturating_sub(1) as u16);
    }
    if steps.is_sorted_by(|a, b| a >= b) {
        Ok(steps)
    } else {
        Err(refuse())
    }
}

fn interpolation(key: &str, value: &Value) -> Result<Interpolation, EngineError> {
    match value.as_str() {
        Some("linear") => Ok(Interpolation::Linear),
        Some("slerp") => Ok(Interpolation::Slerp),
        _ => Err(bad(key, &shown(value), "\"linear\" or \"slerp\"")),
    }
}

fn input_mode(key: &str, value: &Value) -> Result<InputMode, EngineError> {
    match value.as_str() {
        Some("video") => Ok(InputMode::Video),
        Some("text") => Ok(InputMode::Text),
        _ => Err(bad(key, &shown(value), "\"video\" or \"text\"")),
    }
}

fn line(key: &str, value: &Value) -> Result<String, EngineError> {
    match value.as_str() {
        Some(text) if text.chars().count() <= MAX_TEXT => Ok(text.to_string()),
        Some(text) => {
            let length = text.chars().count();
            Err(bad(
                key,
                &format!("{length} characters long"),
                "at most 4000 characters",
            ))
        }
        None => Err(bad(key, &shown(value), "a text")),
    }
}

fn truth(key: &str, value: &Value) -> Result<bool, EngineError> {
    value
        .as_bool()
        .ok_or_else(|| bad(key, &shown(value), "true or false"))
}

fn number(key: &str, value: &Value, least: f32, most: f32) -> Result<f32, EngineError> {
    let fits = |number: &f64| (f64::from(least)..=f64::from(most)).contains(number);
    match value.as_f64().filter(fits) {
        Some(number) => Ok(number as f32),
        None => Err(bad(
            key,
            &shown(value),
            &format!("a number from {least} to {most}"),
        )),
    }
}

/// A whole number from 0 to `most`; `42.0` counts as one, because JavaScript writes it so.
fn whole(key: &str, value: &Value, most: u64) -> Result<u64, EngineError> {
    let exact = |number: f64| {
        (number.fract() == 0.0 && (0.0..9e15).contains(&number)).then_some(number as u64)
    };
    let number = value.as_u64().or_else(|| value.as_f64().and_then(exact));
    match number.filter(|number| *number <= most) {
        Some(number) => Ok(number),
        None => Err(bad(
            key,
            &shown(value),
            &format!("a whole number from 0 to {most}"),
        )),
    }
}

fn bad(key: &str, value: &str, expected: &str) -> EngineError {
    EngineError::BadParameter {
        key: key.into(),
        value: value.into(),
        expected: expected.into(),
    }
}

/// A value as JSON, short enough for one line.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(json: &str) -> String {
        Patch::from_json(json).expect_err(json).to_string()
    }

    #[test]
    fn prompts_may_be_a_text_texts_or_weighted_texts() {
        let prompts = |json: &str| Patch::from_json(json).unwrap().prompts.unwrap();

        assert_eq!(
            prompts(r#"{"prompt": "a"}"#),
            prompts(r#"{"prompts": ["a"]}"#)
        );
        let weighted = prompts(r#"{"prompts": [{"text": "a", "weight": 0.5}, {"text": "b"}]}"#);
        assert_eq!(
            weighted[0],
            WeightedPrompt {
                text: "a".into(),
                weight: 0.5
            }
        );
        assert_eq!(weighted[1].weight, 1.0);
    }

    #[test]
    fn refusals_name_key_value_and_range() {
        assert_eq!(
            refusal(r#"{"noise_scale": 1.5}"#),
            "parameter `noise_scale` is 1.5, expected a number from 0 to 1"
        );
        assert_eq!(
            refusal(r#"{"denoising_step_list": [250, 750]}"#),
            "parameter `denoising_step_list` is [250,750], expected a list of 1 to 4 falling whole \
             numbers from 0 to 1000"
        );
        assert!(refusal(r#"{"seed": -1}"#).contains("whole number from 0"));
        assert!(refusal(r#"{"prompts": [{"weight": 1}]}"#).contains("`prompts.text` is null"));
        assert!(
            refusal(r#"{"prompts": [{"text": "a", "weight": -1}]}"#).contains("prompts.weight")
        );
        assert!(refusal(r#"{"transition": {}}"#).contains("transition.target_prompts"));
        assert!(refusal("[]").contains("a JSON object"));
        assert!(refusal(r#"{"noise_scale": NaN}"#).contains("not JSON"));
    }

    #[test]
    fn huge_lists_and_texts_are_refused() {
        let many = format!(r#"{{"prompts": [{}"a"]}}"#, r#""a","#.repeat(32));
        assert!(refusal(&many).contains("a list of 33"));
        let steps = format!(r#"{{"denoising_step_list": [{}1]}}"#, "1,".repeat(10_000));
        assert!(refusal(&steps).len() < 300, "the value is shortened");
        let long = format!(r#"{{"prompt": "{}"}}"#, "x".repeat(4001));
        assert!(refusal(&long).contains("4001 characters"));
    }

    #[test]
    fn the_word_model_takes_back_what_was_said() {
        let json = r#"{"noise_scale": "model", "denoising_step_list": "model"}"#;
        let patch = Patch::from_json(json).unwrap();

        assert_eq!(
            (patch.noise_scale, patch.denoising_steps),
            (Some(None), Some(None))
        );
        assert!(refusal(r#"{"noise_scale": "loud"}"#).contains("noise_scale"));
    }

    #[test]
    fn unknown_keys_are_tolerated_and_listed() {
        let patch = Patch::from_json(r#"{"seed": 1, "kv_cache_attention_bias": 0.3}"#).unwrap();

        assert_eq!(patch.ignored(), ["kv_cache_attention_bias"]);
        assert!(!patch.is_empty());
    }

    #[test]
    fn null_counts_as_not_said() {
        let patch = Patch::from_json(r#"{"seed": null, "noise_scale": null}"#).unwrap();

        assert!(patch.is_empty() && patch.ignored().is_empty());
    }

    #[test]
    fn seed_wins_over_base_seed_and_prompts_over_prompt() {
        let json = r#"{"seed": 1, "base_seed": 2, "prompt": "a", "prompts": ["b"]}"#;
        let patch = Patch::from_json(json).unwrap();

        assert_eq!(patch.seed, Some(1));
        assert_eq!(patch.prompts.unwrap()[0].text, "b");
    }

    /// Every key with every sort of value, so that most cases get past the JSON parser.
    fn any_patch() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_string()),
            any::<bool>().prop_map(|b| b.to_string()),
            any::<f64>().prop_map(|f| format!("{f:e}")),
            (-2000_i64..2000).prop_map(|i| i.to_string()),
            "[a-z ]{0,5}".prop_map(|s| format!("{s:?}")),
        ];
        let value = leaf.prop_recursive(2, 12, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6)
                    .prop_map(|items| format!("[{}]", items.join(","))),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!(
                    r#"{{"text": {a}, "weight": {b}, "target_prompts": [{a}], "num_steps": {b}}}"#
                )),
            ]
        });
        let key = prop_oneof![
            Just("prompts"),
            Just("prompt"),
            Just("negative_prompt"),
            Just("transition"),
            Just("prompt_interpolation_method"),
            Just("denoising_step_list"),
            Just("noise_scale"),
            Just("seed"),
            Just("base_seed"),
            Just("paused"),
            Just("input_mode"),
            Just("motion"),
            Just("manage_cache"),
            Just("reset_cache"),
            Just("transition_frames_per_step"),
        ];
        proptest::collection::vec((key, value), 0..4).prop_map(|entries| {
            let lines: Vec<_> = entries.iter().map(|(k, v)| format!("{k:?}: {v}")).collect();
            format!("{{{}}}", lines.join(","))
        })
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_without_panic(text in ".{0,200}") {
            let _ = Patch::from_json(&text);
        }

        #[test]
        fn what_is_accepted_is_always_in_range(json in any_patch()) {
            if let Ok(patch) = Patch::from_json(&json) {
                prop_assert!(crate::Parameters::default().apply(&patch).is_ok(), "{}", json);
            }
        }
    }
}

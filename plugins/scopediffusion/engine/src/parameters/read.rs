//! JSON values → values in range, or a refusal that names key, value and range.

use serde_json::Value;

use super::patch::Transition;
use super::{
    CfgType, InputMode, Interpolation, MAX_PROMPTS, MAX_SEEDS, MAX_STEPS, MAX_TEXT, MAX_WEIGHT,
    STEP_LIST, WeightedPrompt, WeightedSeed,
};
use crate::error::EngineError;
use crate::reference::MOST_IMAGES;

/// Adapters that a model can have, and the largest scale of one.
const MAX_LORAS: usize = 16;
const MAX_LORA: f32 = 10.0;

/// Steps of the grid that indices count on: every 20th timestep of 1000.
///
/// Source: diffusers, scheduling_lcm.py, `original_inference_steps`.
const GRID: u64 = 50;

pub(super) fn prompts(key: &str, value: &Value) -> Result<Vec<WeightedPrompt>, EngineError> {
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

pub(super) fn transition(value: &Value) -> Result<Transition, EngineError> {
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
pub(super) fn unless_model<T>(
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
pub(super) fn steps(key: &str, value: &Value) -> Result<Vec<u16>, EngineError> {
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

/// Timesteps from StreamDiffusion's list of indices into a grid of `grid` inference steps.
pub(super) fn index_steps(key: &str, value: &Value, grid: u64) -> Result<Vec<u16>, EngineError> {
    let expected = format!("a list of 1 to 4 rising whole numbers from 0 to below {grid}");
    let refuse = || bad(key, &shown(value), &expected);
    let items = value
        .as_array()
        .filter(|items| (1..=MAX_STEPS).contains(&items.len()));
    let mut steps = Vec::with_capacity(MAX_STEPS);
    for item in items.ok_or_else(refuse)? {
        let index = whole(key, item, grid.saturating_sub(1)).map_err(|_| refuse())?;
        // Below: grid is 1 to 50 and index below it, so the place on the grid of 50 is too.
        let place = index * GRID / grid.max(1);
        steps.push((999 - 20 * place.min(GRID - 1)) as u16);
    }
    if steps.is_sorted_by(|a, b| a >= b) && grid > 0 {
        Ok(steps)
    } else {
        Err(refuse())
    }
}

pub(super) fn seeds(key: &str, value: &Value) -> Result<Vec<WeightedSeed>, EngineError> {
    let expected = "a list of at most 16 {seed, weight}";
    let items = value.as_array().filter(|items| items.len() <= MAX_SEEDS);
    let read = |item: &Value| match item {
        Value::Object(entries) => {
            let seed = entries.get("seed").unwrap_or(&Value::Null);
            let weight = match entries.get("weight").filter(|weight| !weight.is_null()) {
                Some(weight) => number(&format!("{key}.weight"), weight, 0.0, MAX_WEIGHT)?,
                None => 1.0,
            };
            let seed = whole(&format!("{key}.seed"), seed, u64::MAX)?;
            Ok(WeightedSeed { seed, weight })
        }
        other => Ok(WeightedSeed {
            seed: whole(key, other, u64::MAX)?,
            weight: 1.0,
        }),
    };
    let items = items.ok_or_else(|| bad(key, &shown(value), expected))?;
    items.iter().map(read).collect()
}

/// Adapters with their scales, as Scope says it.
pub(super) fn lora_scales(key: &str, value: &Value) -> Result<Vec<(String, f32)>, EngineError> {
    let expected = "a list of at most 16 {path, scale}";
    let items = value.as_array().filter(|items| items.len() <= MAX_LORAS);
    let items = items.ok_or_else(|| bad(key, &shown(value), expected))?;
    let read = |item: &Value| {
        let path = line(&format!("{key}.path"), &item["path"])?;
        let scale = number(&format!("{key}.scale"), &item["scale"], -MAX_LORA, MAX_LORA)?;
        Ok((path, scale))
    };
    items.iter().map(read).collect()
}

/// Files, as many as a network can be shown.
pub(super) fn paths(key: &str, value: &Value) -> Result<Vec<String>, EngineError> {
    let expected = format!("a list of at most {MOST_IMAGES} files");
    let items = value.as_array().filter(|items| items.len() <= MOST_IMAGES);
    let items = items.ok_or_else(|| bad(key, &shown(value), &expected))?;
    items.iter().map(|item| line(key, item)).collect()
}

pub(super) fn cfg_type(key: &str, value: &Value) -> Result<CfgType, EngineError> {
    match value.as_str() {
        Some("none") => Ok(CfgType::None),
        Some("full") => Ok(CfgType::Full),
        Some("self") => Ok(CfgType::SelfNegative),
        Some("initialize") => Ok(CfgType::Initialize),
        _ => Err(bad(
            key,
            &shown(value),
            "\"none\", \"full\", \"self\" or \"initialize\"",
        )),
    }
}

pub(super) fn interpolation(key: &str, value: &Value) -> Result<Interpolation, EngineError> {
    match value.as_str() {
        Some("linear") => Ok(Interpolation::Linear),
        Some("slerp") => Ok(Interpolation::Slerp),
        _ => Err(bad(key, &shown(value), "\"linear\" or \"slerp\"")),
    }
}

pub(super) fn input_mode(key: &str, value: &Value) -> Result<InputMode, EngineError> {
    match value.as_str() {
        Some("video") => Ok(InputMode::Video),
        Some("text") => Ok(InputMode::Text),
        _ => Err(bad(key, &shown(value), "\"video\" or \"text\"")),
    }
}

pub(super) fn line(key: &str, value: &Value) -> Result<String, EngineError> {
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

pub(super) fn truth(key: &str, value: &Value) -> Result<bool, EngineError> {
    value
        .as_bool()
        .ok_or_else(|| bad(key, &shown(value), "true or false"))
}

pub(super) fn number(key: &str, value: &Value, least: f32, most: f32) -> Result<f32, EngineError> {
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
pub(super) fn whole(key: &str, value: &Value, most: u64) -> Result<u64, EngineError> {
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

pub(super) fn bad(key: &str, value: &str, expected: &str) -> EngineError {
    EngineError::BadParameter {
        key: key.into(),
        value: value.into(),
        expected: expected.into(),
    }
}

/// A value as JSON, short enough for one line.
pub(super) fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

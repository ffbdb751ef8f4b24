//! A parameter patch: is every value one, and where does each key go?
//!
//! Pure. A patch is a flat object. Keys that are about the session itself stay here; everything else, known or not,
//! goes to the processors, which know their own. Ranges are Scope's, section 2.5 of its interface: the same check
//! holds for an offer's initial parameters, for REST and, unlike Scope, for the data channel.

use serde_json::Value;

use super::Parameters;
use check::Rule;

#[path = "parameters_check.rs"]
mod check;

/// Most keys in one patch.
const MOST_KEYS: usize = 512;
/// Largest patch, bytes of JSON; references to images are paths, so a real one is far below.
pub const LARGEST: usize = 64 * 1024;

/// Kept by the session, never a processor's business.
const LOCAL: [&str; 22] = [
    "_quantized",
    "bar_position",
    "beat_cache_reset_rate",
    "beat_count",
    "beat_phase",
    "bpm",
    "graph",
    "input_source",
    "is_playing",
    "lookahead_ms",
    "modulations",
    "node_id",
    "output_sinks",
    "pipeline_ids",
    "produces_audio",
    "produces_video",
    "quantize_mode",
    "recording",
    "source_track_order",
    "spout_receiver",
    "spout_sender",
    "type",
];

/// Consumed by the next frame: nothing to remember, and nothing to show later.
const ONE_SHOT: [&str; 8] = [
    "_quantized",
    "first_frame_image",
    "images",
    "last_frame_image",
    "lora_scales",
    "node_id",
    "reset_cache",
    "vace_ref_images",
];

/// A checked patch, sorted by who acts on it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Routed {
    /// Only this node's processor gets it; none means all.
    pub node_id: Option<String>,
    /// Hold or go on.
    pub paused: Option<bool>,
    /// Other pipelines in place of the present ones.
    pub pipeline_ids: Option<Vec<String>>,
    /// What the processors get; may be empty.
    pub processor: Parameters,
    /// What the session remembers.
    pub remembered: Parameters,
}

/// Checks every value with a known key; nulls count as absent.
///
/// # Errors
///
/// A sentence that names the key, what it allows and what came.
pub fn check(patch: &Parameters) -> Result<(), String> {
    if patch.len() > MOST_KEYS {
        return Err(format!(
            "{} parameters in one message; {MOST_KEYS} are allowed",
            patch.len()
        ));
    }
    patch
        .iter()
        .filter(|(_, value)| !value.is_null())
        .try_for_each(|(key, value)| {
            check::rule_of(key).map_or(Ok(()), |rule: Rule| rule.check(key, value))
        })
}

/// Reads a data-channel message.
///
/// # Errors
///
/// Why it is no patch, or which value is out of range.
pub fn read(text: &str) -> Result<Parameters, String> {
    if text.len() > LARGEST {
        return Err(format!(
            "the message is {} bytes long; {LARGEST} are allowed",
            text.len()
        ));
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(patch)) => check(&patch).map(|()| patch),
        Ok(_) => Err("the message is not a JSON object".into()),
        Err(error) => Err(format!("the message is not JSON: {error}")),
    }
}

/// Sorts a checked patch.
pub fn route(patch: &Parameters) -> Routed {
    let mut routed = Routed::default();
    for (key, value) in patch.iter().filter(|(_, value)| !value.is_null()) {
        match (key.as_str(), value) {
            ("node_id", Value::String(node)) => routed.node_id = Some(node.clone()),
            ("paused", Value::Bool(paused)) => routed.paused = Some(*paused),
            ("pipeline_ids", Value::Array(ids)) if !ids.is_empty() => {
                let ids = ids.iter().filter_map(Value::as_str);
                routed.pipeline_ids = Some(ids.map(str::to_owned).collect());
            }
            _ => {}
        }
        if !LOCAL.contains(&key.as_str()) {
            routed.processor.insert(key.clone(), value.clone());
        }
        if !ONE_SHOT.contains(&key.as_str()) {
            routed.remembered.insert(key.clone(), value.clone());
        }
    }
    // The names of Scope's documents for what its code calls otherwise.
    rename(
        &mut routed.remembered,
        "spout_receiver",
        "input_source",
        |mut spout| {
            spout["source_type"] = "spout".into();
            spout["source_name"] = spout.get("name").cloned().unwrap_or_default();
            spout
        },
    );
    rename(
        &mut routed.remembered,
        "spout_sender",
        "output_sinks",
        |spout| serde_json::json!({"spout": spout}),
    );
    // New prompts without a transition end a running one, so the two never disagree.
    if routed.remembered.contains_key("prompts") && !routed.remembered.contains_key("transition") {
        routed.remembered.insert("transition".into(), Value::Null);
    }
    routed
}

/// Adds what a patch leaves behind to what is known; a null forgets.
pub fn remember(known: &mut Parameters, remembered: &Parameters) {
    for (key, value) in remembered {
        if value.is_null() {
            known.remove(key);
        } else {
            known.insert(key.clone(), value.clone());
        }
    }
}

fn rename(map: &mut Parameters, from: &str, to: &str, change: impl Fn(Value) -> Value) {
    if let Some(value) = map.remove(from).filter(Value::is_object) {
        map.entry(to).or_insert_with(|| change(value));
    }
}

#[cfg(test)]
#[path = "parameters_tests.rs"]
mod tests;

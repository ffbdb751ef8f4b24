//! The live controls of a diffusion model, as fields of its schema. Names are those of `parameters`.

use serde_json::{Map, Value, json};

use crate::library::loras;
use crate::library::models::Home;

/// Every live control, for clients that draw what they find.
///
/// - `references`: the model takes reference images.
pub(super) fn generation(home: &Home, references: bool) -> Map<String, Value> {
    let mut fields = Map::new();
    for part in [noise(home), guidance(), steadiness(), pictures(references)] {
        match part {
            Value::Object(part) => fields.extend(part),
            _ => unreachable!("written as objects below"),
        }
    }
    if home.takes_loras() {
        fields.insert("lora_merge_mode".into(), merge_mode());
    }
    fields
}

fn merge_mode() -> Value {
    json!({
        "type": "string", "default": loras::MERGED, "enum": [loras::MERGED, loras::BESIDE], "title": "LoRA merge mode",
        "description": "A wish; the model decides. A LoRA that it was exported with takes new scales with every frame \
                        (runtime_peft); any other is merged into its weights (permanent_merge), and a new scale merges it \
                        anew beside the stream. `loaded_lora_adapters` of the status says which way each was taken",
    })
}

fn noise(home: &Home) -> Value {
    let noise_scale = match home {
        Home::BuiltIn => json!(0.4),
        Home::Nothing | Home::Folder(_) => json!(0.7),
    };
    json!({
        "noise_scale": {
            "anyOf": [{ "type": "number", "minimum": 0.0, "maximum": 1.0 }, { "type": "null" }],
            "default": noise_scale, "title": "Noise scale",
            "description": "How far the picture may leave the input: 0 keeps it, 1 ignores it",
            "ui": { "component": "noise", "order": 10, "modes": ["video"], "modulatable": true, "modulatable_min": 0.0, "modulatable_max": 1.0 },
        },
        "denoising_steps": {
            "anyOf": [{ "type": "array", "items": { "type": "integer", "minimum": 1, "maximum": 1000 }, "maxItems": 4 }, { "type": "null" }],
            "default": null, "title": "Denoising steps",
            "description": "Noise levels to work down from, falling, 1 to 1000; empty takes the model's own",
            "ui": { "component": "denoising_steps", "order": 11 },
        },
        "noise_controller": {
            "type": "boolean", "default": false, "title": "Noise controller",
            "description": "Let the motion in the video choose the noise scale",
            "ui": { "order": 14, "modes": ["video"] },
        },
        "motion": {
            "type": "number", "default": 0.02, "minimum": 0.0, "maximum": 1.0, "title": "Motion",
            "description": "How fast pictures made from nothing wander: 0 stands still, 1 is a new picture each frame",
            "ui": { "order": 13, "modes": ["text"], "modulatable": true, "modulatable_min": 0.0, "modulatable_max": 1.0 },
        },
        "base_seed": {
            "type": "integer", "default": 42, "minimum": 0, "title": "Seed",
            "description": "The same seed draws the same picture",
            "ui": { "order": 12 },
        },
        "do_add_noise": {
            "type": "boolean", "default": true, "title": "Noise between steps",
            "description": "Add noise between the denoising steps",
        },
    })
}

fn guidance() -> Value {
    json!({
        "guidance_scale": {
            "type": "number", "default": 1.0, "minimum": 0.0, "maximum": 30.0, "title": "Guidance scale",
            "description": "How far to push towards the prompt; 1 or less is no guidance, turbo models want none",
            "ui": { "order": 20, "modulatable": true, "modulatable_min": 1.0, "modulatable_max": 3.0 },
        },
        "cfg_type": {
            "type": "string", "enum": ["none", "full", "self", "initialize"], "default": "self", "title": "Guidance type",
            "description": "What the prompt is pushed away from: the negative prompt (full, initialize) or residual noise (self)",
            "ui": { "order": 21 },
        },
        "negative_prompt": {
            "type": "string", "default": "", "title": "Negative prompt",
            "description": "What to avoid; counts with guidance type full or initialize",
            "ui": { "order": 22 },
        },
        "delta": {
            "type": "number", "default": 1.0, "minimum": 0.0, "maximum": 1.0, "title": "Delta",
            "description": "Share of the residual noise that counts as negative in guidance type self and initialize",
        },
    })
}

fn steadiness() -> Value {
    json!({
        "latent_feedback": {
            "type": "number", "default": 0.0, "minimum": 0.0, "maximum": 0.95, "title": "Latent feedback",
            "description": "Share of the picture before that stays in a picture: steadier video, slower change",
            "ui": { "order": 30, "modulatable": true, "modulatable_min": 0.0, "modulatable_max": 0.95 },
        },
        "similar_image_filter": {
            "type": "boolean", "default": false, "title": "Similar-image filter",
            "description": "Do not draw frames that hardly differ from the last one drawn",
            "ui": { "order": 31, "modes": ["video"] },
        },
        "similar_image_filter_threshold": {
            "type": "number", "default": 0.98, "minimum": 0.0, "maximum": 1.0, "title": "Similar-image filter threshold",
            "description": "Cosine similarity from which on frames may be left out",
        },
        "similar_image_filter_max_skip_frame": {
            "type": "integer", "default": 10, "minimum": 0, "maximum": 10000, "title": "Similar-image filter, longest run",
            "description": "Most frames left out in a row",
        },
    })
}

/// Pictures beside the frames; reference images only where the model takes any.
fn pictures(references: bool) -> Value {
    let mut fields = json!({
        "colour_reference": {
            "anyOf": [{ "type": "string" }, { "type": "null" }], "default": null, "title": "Colour reference",
            "description": "Picture among the assets whose colours are given to the result",
        },
        "colour_transfer": {
            "type": "number", "default": 0.0, "minimum": 0.0, "maximum": 1.0, "title": "Colour transfer",
            "description": "How far the result takes on the colours of the colour reference; nothing else of it",
        },
    });
    if references {
        fields["vace_context_scale"] = json!({
            "type": "number", "default": 1.0, "minimum": 0.0, "maximum": 2.0, "title": "Reference scale",
            "description": "How much the reference images (vace_ref_images) count",
            "ui": { "component": "vace", "order": 40, "modulatable": true, "modulatable_min": 0.0, "modulatable_max": 2.0 },
        });
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The processor itself is asked: a field that it would refuse or ignore is no control.
    #[test]
    fn every_field_is_a_parameter_that_the_processor_takes_with_its_default() {
        gst::init().unwrap();
        gstscopediffusion::plugin_register_static().unwrap();
        let element = gst::ElementFactory::make("scopediffusion").build().unwrap();
        for (name, field) in generation(&Home::BuiltIn, true) {
            let wire = match name.as_str() {
                "denoising_steps" => "denoising_step_list",
                "base_seed" => "seed",
                name => name,
            };
            let patch = json!({ wire: field["default"] }).to_string();

            let refused: Option<String> =
                gst::prelude::ObjectExt::emit_by_name(&element, "apply-parameters", &[&patch]);

            assert_eq!(refused, None, "{patch}");
            let read: String = gst::prelude::ObjectExt::property(&element, "parameters");
            let read: Value = serde_json::from_str(&read).unwrap();
            let read = read
                .get(wire)
                .unwrap_or_else(|| panic!("{wire} is not known"));
            match (read.as_f64(), field["default"].as_f64()) {
                (Some(read), Some(default)) => assert!((read - default).abs() < 1e-6, "{wire}"),
                _ => assert_eq!(*read, field["default"], "{wire}"),
            }
        }
    }
}

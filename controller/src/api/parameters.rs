//! Scope's parameters: which values a request may set them to.
//!
//! Checked in an offer and in a REST update, as in Scope; the data channel is the session's own affair. Unknown keys
//! are let through: they may be a model's own. Only what was sent is passed on, so nothing is reset unasked.

use serde_json::{Map, Value};

use super::issue::Issue;
use super::shape::{Field, Shape, check_fields, optional, required};
use crate::session::Parameters;

const INTERPOLATION: Shape = Shape::OneOf(&["linear", "slerp"]);
const BEATS: Shape = Shape::OneOf(&["none", "beat", "bar", "2_bar", "4_bar"]);
const PROMPTS: Shape = Shape::List(&Shape::Fields(&[
    required("text", Shape::Text),
    optional("weight", Shape::Number(0.0, f64::MAX)),
]));
/// Takes back what was said of noise or steps.
const MODELS_OWN: &str = "model";
const PATHS: Shape = Shape::List(&Shape::Text);

const KNOWN: &[Field] = &[
    optional("input_mode", Shape::OneOf(&["text", "video"])),
    optional("prompts", PROMPTS),
    optional("prompt_interpolation_method", INTERPOLATION),
    optional(
        "transition",
        Shape::Fields(&[
            required("target_prompts", PROMPTS),
            optional("num_steps", Shape::Whole(0.0, 1e6)),
            optional("temporal_interpolation_method", INTERPOLATION),
        ]),
    ),
    optional(
        "denoising_step_list",
        Shape::WordOr(MODELS_OWN, &Shape::List(&Shape::Whole(-1e6, 1e6))),
    ),
    optional(
        "noise_scale",
        Shape::WordOr(MODELS_OWN, &Shape::Number(0.0, 1.0)),
    ),
    optional("noise_controller", Shape::Flag),
    optional("manage_cache", Shape::Flag),
    optional("reset_cache", Shape::Flag),
    optional("kv_cache_attention_bias", Shape::Number(0.01, 1.0)),
    optional(
        "lora_scales",
        Shape::List(&Shape::Fields(&[
            required("path", Shape::Text),
            required("scale", Shape::Number(-10.0, 10.0)),
        ])),
    ),
    optional("vace_enabled", Shape::Flag),
    optional("vace_use_input_video", Shape::Flag),
    optional("vace_ref_images", PATHS),
    optional("vace_context_scale", Shape::Number(0.0, 2.0)),
    optional("colour_transfer", Shape::Number(0.0, 1.0)),
    optional("colour_reference", Shape::Text),
    optional("first_frame_image", Shape::Text),
    optional("last_frame_image", Shape::Text),
    optional("images", PATHS),
    optional("ctrl_input", Shape::Object),
    optional("paused", Shape::Flag),
    optional("pipeline_ids", Shape::List(&Shape::Text)),
    optional(
        "graph",
        Shape::Fields(&[
            required(
                "nodes",
                Shape::List(&Shape::Fields(&[
                    required("id", Shape::Text),
                    required(
                        "type",
                        Shape::OneOf(&["source", "pipeline", "sink", "record", "node"]),
                    ),
                    optional("pipeline_id", Shape::Text),
                    optional("node_type_id", Shape::Text),
                    optional("source_mode", Shape::Text),
                ])),
            ),
            optional(
                "edges",
                Shape::List(&Shape::Fields(&[
                    optional("from", Shape::Text),
                    optional("from_node", Shape::Text),
                    required("to_node", Shape::Text),
                    optional("to_port", Shape::Text),
                    optional("kind", Shape::OneOf(&["stream", "parameter"])),
                ])),
            ),
        ]),
    ),
    optional("node_id", Shape::Text),
    optional("recording", Shape::Flag),
    optional("output_sinks", Shape::Object),
    optional("input_source", Shape::Object),
    optional("produces_video", Shape::Flag),
    optional("produces_audio", Shape::Flag),
    optional("source_track_order", Shape::List(&Shape::Text)),
    optional("quantize_mode", BEATS),
    optional("lookahead_ms", Shape::Number(0.0, f64::MAX)),
    optional("modulations", Shape::Object),
    optional("beat_cache_reset_rate", BEATS),
];

/// The parameters as sent, without nulls, or every complaint about them.
pub(super) fn read(mut sent: Map<String, Value>, loc: &[Value]) -> Result<Parameters, Vec<Issue>> {
    sent.retain(|_, value| !value.is_null());
    let issues = check_fields(KNOWN, &sent, loc);
    if issues.is_empty() {
        Ok(sent)
    } else {
        Err(issues)
    }
}

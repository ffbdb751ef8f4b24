//! What a model says about itself, in the JSON of `GET /api/v1/pipelines/schemas`.
//!
//! Clients draw their controls from it: a field with a `ui` object becomes a control, the others do not. Flags say
//! what is true of this program, so no client offers what would be ignored. `prompt_suggestions`, `model_info` and
//! `unusable` are our extensions.

mod fields;

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::facts::{self, Facts};
use super::models::{Home, Model};
use crate::processor::Fit;

/// The styles `scope-tiny` was trained on.
const TINY_STYLES: &str =
    include_str!("../../../plugins/scopediffusion/scope-tiny/model/styles.json");

/// A model and what is known of it.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) model: Model,
    /// By its files, or why it cannot be used.
    pub(super) told: Result<Facts, String>,
    /// By loading it, if it is loaded.
    pub(super) shown: Option<Facts>,
}

/// The body of `GET /api/v1/pipelines/schemas`: what can be loaded, and which folders cannot.
pub(super) fn schemas(models: &[Described]) -> Value {
    let unusable = models.iter().filter_map(|described| {
        let reason = described.told.as_ref().err()?;
        let model = &described.model;
        Some(json!({ "id": model.id, "name": name(model), "reason": reason }))
    });
    let schemas = usable(models).map(|usable| (usable.model.id.clone(), schema(&usable)));
    json!({
        "pipelines": schemas.collect::<Map<_, _>>(),
        "unusable": unusable.collect::<Vec<_>>(),
    })
}

/// The body of `GET /api/v1/nodes/definitions`: the same models as boxes of a node editor.
pub(super) fn node_definitions(models: &[Described]) -> Value {
    let port = |name: &str, kind: &str| json!({ "name": name, "port_type": kind, "required": false, "description": "", "default_value": null });
    let node = |usable: Usable<'_>| {
        let model = usable.model;
        let prompts = (!is_passthrough(model)).then(|| port("prompts", "string"));
        let inputs: Vec<_> = [port("video", "video")]
            .into_iter()
            .chain(prompts)
            .collect();
        json!({
            "node_type_id": model.id,
            "display_name": name(model),
            "category": "pipeline",
            "description": description(model),
            "inputs": inputs,
            "outputs": [port("video", "video")],
            "params": [],
            "continuous": false,
            "pipeline_meta": schema(&usable),
            "plugin_name": null,
        })
    };
    json!({ "nodes": usable(models).map(node).collect::<Vec<_>>() })
}

/// A model that can be loaded.
struct Usable<'d> {
    model: &'d Model,
    told: &'d Facts,
    shown: Option<&'d Facts>,
}

impl Usable<'_> {
    /// Whether it can be shown reference images.
    fn takes_references(&self) -> bool {
        self.told.get("reference_images") == Some(&Value::Bool(true))
    }
}

fn usable(models: &[Described]) -> impl Iterator<Item = Usable<'_>> {
    models.iter().filter_map(|described| {
        Some(Usable {
            model: &described.model,
            told: described.told.as_ref().ok()?,
            shown: described.shown.as_ref(),
        })
    })
}

fn schema(usable: &Usable<'_>) -> Value {
    let model = usable.model;
    let generates = !is_passthrough(model);
    let mut schema = json!({
        "id": model.id,
        "name": name(model),
        "description": description(model),
        "version": env!("CARGO_PKG_VERSION"),
        "supported_modes": if generates { json!(["video", "text"]) } else { json!(["video"]) },
        "default_mode": "video",
        "supports_prompts": generates,
        "default_temporal_interpolation_method": "linear",
        "default_temporal_interpolation_steps": 0,
        "default_spatial_interpolation_method": "linear",
        "docs_url": null,
        "estimated_vram_gb": null,
        // Nothing to fetch: what is listed is on disk.
        "requires_models": false,
        "supports_lora": model.home.takes_loras(),
        "supports_vace": usable.takes_references(),
        "supports_cache_management": false,
        "supports_kv_cache_bias": false,
        "supports_quantization": false,
        "min_dimension": if generates { 16 } else { 1 },
        "recommended_quantization_vram_threshold": null,
        "modified": false,
        "produces_video": true,
        "produces_audio": false,
        "usage": [],
        "inputs": ["video"],
        "outputs": ["video"],
        "config_schema": config_schema(usable),
        "mode_defaults": if generates { json!({ "text": { "noise_scale": null } }) } else { json!({}) },
        "plugin_name": null,
        "model_info": generates.then(|| facts::joined(usable.told, usable.shown)),
    });
    if model.home == Home::BuiltIn {
        schema["prompt_suggestions"] = suggestions();
    }
    schema
}

fn suggestions() -> Value {
    serde_json::from_str(TINY_STYLES).expect("styles.json is part of the program and tested")
}

fn is_passthrough(model: &Model) -> bool {
    model.home == Home::Nothing
}

fn name(model: &Model) -> String {
    match &model.home {
        Home::BuiltIn => "Scope Tiny".into(),
        Home::Nothing => "Passthrough".into(),
        Home::Folder(folder) => folder.file_name().map_or_else(
            || model.id.clone(),
            |name| name.to_string_lossy().into_owned(),
        ),
    }
}

fn description(model: &Model) -> String {
    match &model.home {
        Home::BuiltIn => {
            "A small model inside the program: live styles on any CPU, nothing to fetch".into()
        }
        Home::Nothing => "Returns the picture as it came".into(),
        Home::Folder(folder) => match class_name(folder) {
            Some(class) => format!("{class}, from the models folder"),
            None => "From the models folder".into(),
        },
    }
}

/// What diffusers calls the pipeline in `model_index.json`.
fn class_name(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(folder.join("model_index.json")).ok()?;
    let index: Value = serde_json::from_str(&text).ok()?;
    Some(
        index
            .get("_class_name")?
            .as_str()?
            .chars()
            .take(80)
            .collect(),
    )
}

fn config_schema(usable: &Usable<'_>) -> Value {
    let model = usable.model;
    let (width, height) = facts::usual_size(&model.home, usable.told);
    let is_fixed = usable.told.contains_key("width");
    let size = |title: &str, side: u32, order: u32| {
        let (low, high) = if is_fixed { (side, side) } else { (16, 2048) };
        json!({
            "type": "integer", "title": title, "default": side, "minimum": low, "maximum": high, "multipleOf": 16,
            "description": "Picture size the model works at, pixels",
            "ui": { "component": "resolution", "order": order, "is_load_param": true },
        })
    };
    let mut properties = Map::new();
    if !is_passthrough(model) {
        properties.insert("width".into(), size("Width", width, 0));
        properties.insert("height".into(), size("Height", height, 1));
        let fit = json!({
            "type": "string", "title": "Fit", "default": "crop", "enum": Fit::WORDS.map(|(word, _)| word),
            "description": "How a picture of another shape gets the model's size: its edges cut off, black bars, or stretched",
            "ui": { "order": 2, "is_load_param": true },
        });
        properties.insert("fit".into(), fit);
        properties.extend(fields::generation(&model.home, usable.takes_references()));
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name(model),
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_model_suggests_prompts_for_every_style() {
        let styles = suggestions()["styles"].as_array().unwrap().clone();

        assert!(!styles.is_empty());
        assert!(styles.iter().all(|style| style["prompts"][0].is_string()));
    }

    fn described(folder: &Path, told: &Value) -> Described {
        Described {
            model: Model {
                id: "sd".into(),
                home: Home::Folder(folder.into()),
            },
            told: Ok(told.as_object().unwrap().clone()),
            shown: None,
        }
    }

    fn only(described: Described) -> Value {
        schemas(&[described])["pipelines"]["sd"].clone()
    }

    #[test]
    fn a_folder_is_described_by_its_model_index() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("model_index.json"),
            r#"{"_class_name":"StableDiffusionPipeline"}"#,
        )
        .unwrap();

        assert_eq!(
            only(described(folder.path(), &json!({})))["description"],
            "StableDiffusionPipeline, from the models folder"
        );
    }

    #[test]
    fn reference_images_are_offered_where_the_model_takes_them() {
        let schema = |takes: bool| {
            only(described(
                Path::new("/sd"),
                &json!({ "reference_images": takes }),
            ))
        };
        let scale =
            |schema: &Value| schema["config_schema"]["properties"]["vace_context_scale"].clone();
        let (without, with) = (schema(false), schema(true));

        assert_eq!(
            (&without["supports_vace"], &with["supports_vace"]),
            (&json!(false), &json!(true))
        );
        assert!(scale(&without).is_null() && scale(&with).is_object());
    }

    #[test]
    fn the_only_size_of_an_export_is_the_only_one_offered() {
        let told = json!({ "width": 384, "height": 640 });

        let schema = only(described(Path::new("/sd"), &told));

        let width = &schema["config_schema"]["properties"]["width"];
        assert_eq!(
            [&width["default"], &width["minimum"], &width["maximum"]],
            [384; 3]
        );
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_told_with_its_reason_and_not_offered() {
        let told = Err("model file `unet/model.onnx` is missing; copy it".into());
        let broken = Described {
            told,
            ..described(Path::new("/models/sd"), &json!({}))
        };

        let schemas = schemas(&[broken]);

        assert_eq!(
            schemas,
            json!({ "pipelines": {}, "unusable": [{
                "id": "sd", "name": "sd", "reason": "model file `unet/model.onnx` is missing; copy it",
            }] })
        );
    }

    #[test]
    fn a_broken_model_index_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("model_index.json"), "{").unwrap();

        assert_eq!(
            only(described(folder.path(), &json!({})))["description"],
            "From the models folder"
        );
    }
}

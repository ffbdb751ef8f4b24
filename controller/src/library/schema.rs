//! What a model says about itself, in the JSON of `GET /api/v1/pipelines/schemas`.
//!
//! Clients draw their controls from it: a field with a `ui` object becomes a control, the others do not. Flags say
//! what is true of this program, so no client offers what would be ignored. `prompt_suggestions` is our extension.

mod fields;

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::models::{Home, Model};
use crate::processor::Fit;

/// The styles `scope-tiny` was trained on.
const TINY_STYLES: &str =
    include_str!("../../../plugins/scopediffusion/scope-tiny/model/styles.json");

/// The body of `GET /api/v1/pipelines/schemas`.
pub fn schemas(models: &[Model]) -> Value {
    let schemas = models.iter().map(|model| (model.id.clone(), schema(model)));
    json!({ "pipelines": schemas.collect::<Map<_, _>>() })
}

/// The body of `GET /api/v1/nodes/definitions`: the same models as boxes of a node editor.
pub fn node_definitions(models: &[Model]) -> Value {
    let port = |name: &str, kind: &str| json!({ "name": name, "port_type": kind, "required": false, "description": "", "default_value": null });
    let node = |model: &Model| {
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
            "pipeline_meta": schema(model),
            "plugin_name": null,
        })
    };
    json!({ "nodes": models.iter().map(node).collect::<Vec<_>>() })
}

fn schema(model: &Model) -> Value {
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
        "supports_vace": model.home.takes_references(),
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
        "config_schema": config_schema(model),
        "mode_defaults": if generates { json!({ "text": { "noise_scale": null } }) } else { json!({}) },
        "plugin_name": null,
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

fn config_schema(model: &Model) -> Value {
    let side = model.home.default_size();
    let size = |title: &str, order: u32| {
        json!({
            "type": "integer", "title": title, "default": side, "minimum": 16, "maximum": 2048, "multipleOf": 16,
            "description": "Picture size the model works at, pixels",
            "ui": { "component": "resolution", "order": order, "is_load_param": true },
        })
    };
    let mut properties = Map::new();
    if !is_passthrough(model) {
        properties.insert("width".into(), size("Width", 0));
        properties.insert("height".into(), size("Height", 1));
        let fit = json!({
            "type": "string", "title": "Fit", "default": "crop", "enum": Fit::WORDS.map(|(word, _)| word),
            "description": "How a picture of another shape gets the model's size: its edges cut off, black bars, or stretched",
            "ui": { "order": 2, "is_load_param": true },
        });
        properties.insert("fit".into(), fit);
        properties.extend(fields::generation(&model.home));
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

    #[test]
    fn a_folder_is_described_by_its_model_index() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("model_index.json"),
            r#"{"_class_name":"StableDiffusionPipeline"}"#,
        )
        .unwrap();
        let model = Model {
            id: "sd".into(),
            home: Home::Folder(folder.path().into()),
        };

        assert_eq!(
            schema(&model)["description"],
            "StableDiffusionPipeline, from the models folder"
        );
    }

    #[test]
    fn reference_images_are_offered_where_there_is_an_image_encoder() {
        let folder = tempfile::tempdir().unwrap();
        let model = Model {
            id: "sd".into(),
            home: Home::Folder(folder.path().into()),
        };
        let scale =
            |schema: &Value| schema["config_schema"]["properties"]["vace_context_scale"].clone();
        let without = schema(&model);

        fs::create_dir(folder.path().join("image_encoder")).unwrap();
        fs::write(folder.path().join("image_encoder/model.onnx"), "").unwrap();
        let with = schema(&model);

        assert_eq!(
            (&without["supports_vace"], &with["supports_vace"]),
            (&json!(false), &json!(true))
        );
        assert!(scale(&without).is_null() && scale(&with).is_object());
    }

    #[test]
    fn a_broken_model_index_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("model_index.json"), "{").unwrap();
        let model = Model {
            id: "sd".into(),
            home: Home::Folder(folder.path().into()),
        };

        assert_eq!(schema(&model)["description"], "From the models folder");
    }
}

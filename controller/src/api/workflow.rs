//! Whether what a saved workflow names is here: pipelines, LoRAs, plugins. Nothing is changed or fetched.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use super::AppState;
use super::error::ApiError;
use super::extract::JsonObject;
use super::issue::Issue;
use super::shape::{Field, Shape, check_fields, optional, required};
use crate::library::Library;
use crate::library::loras;

const NODE: &[Field] = &[
    optional("node_type_id", Shape::Text),
    optional("pipeline_id", Shape::Text),
    optional("source", Shape::Object),
    optional(
        "loras",
        Shape::List(&Shape::Fields(&[required("filename", Shape::Text)])),
    ),
];
const WORKFLOW: &[Field] = &[
    optional("nodes", Shape::List(&Shape::Fields(NODE))),
    // What it was called at first.
    optional("pipelines", Shape::List(&Shape::Fields(NODE))),
    optional("min_scope_version", Shape::Text),
];
/// More than any workflow has.
const MOST_NODES: usize = 150;
const MOST_LORAS: usize = 100;

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/api/v1/workflow/resolve", post(resolve))
}

async fn resolve(
    State(state): State<AppState>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ApiError> {
    let nodes = read(&body)?;
    let look = move || resolved(&nodes, &state.library);
    let looked = tokio::task::spawn_blocking(look).await;
    looked
        .map(Json)
        .map_err(|err| ApiError::internal("workflow_failed", err.to_string()))
}

fn read(body: &Map<String, Value>) -> Result<Vec<Value>, ApiError> {
    let mut issues = check_fields(WORKFLOW, body, &["body".into()]);
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let mut nodes = list(body.get("nodes"));
    nodes.extend(list(body.get("pipelines")));
    let too_long = |list: &[Value], most| list.len() > most;
    if too_long(&nodes, MOST_NODES)
        || (nodes.iter()).any(|node| too_long(&list(node.get("loras")), MOST_LORAS))
    {
        let sentence = format!("{MOST_NODES} nodes with {MOST_LORAS} LoRAs each are the most");
        issues.push(Issue::value_error(vec!["body".into()], sentence));
    }
    if issues.is_empty() {
        Ok(nodes)
    } else {
        Err(issues.into())
    }
}

fn resolved(nodes: &[Value], library: &Library) -> Value {
    let schemas = library.schemas();
    let listed = loras::listing(&library.catalogue.lora_dir());
    let files: Vec<&Value> = listed["lora_files"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    let mut items = Vec::new();
    let text = |value: &Value, key: &str| value[key].as_str().map(str::to_owned);
    for node in nodes {
        if let Some(id) = text(node, "pipeline_id").or_else(|| text(node, "node_type_id")) {
            let broken = schemas["unusable"].as_array().into_iter().flatten();
            let reason = broken.into_iter().find(|broken| broken["id"] == *id);
            items.push(if schemas["pipelines"][&id].is_object() {
                item("pipeline", &id, None)
            } else {
                let reason = reason.and_then(|broken| broken["reason"].as_str());
                let advice = "put its folder into the models folder";
                item("pipeline", &id, reason.or(Some(advice)))
            });
        }
        if let Some(plugin) = text(&node["source"], "plugin_name") {
            let reason = "there are no plugins here; models are folders of ONNX graphs";
            items.push(item("plugin", &plugin, Some(reason)));
        }
        for lora in node["loras"].as_array().into_iter().flatten() {
            let Some(name) = text(lora, "filename") else {
                continue;
            };
            let is_here = files.iter().any(|file| is_called(file, &name));
            let reason = "put the file into the folder `lora` of the models folder";
            items.push(item("lora", &name, (!is_here).then_some(reason)));
        }
    }
    items.sort_by_key(Value::to_string);
    items.dedup();
    let can_apply = items.iter().all(|item| item["status"] == "ok");
    json!({ "can_apply": can_apply, "items": items, "warnings": [] })
}

/// A workflow names a file with or without its ending, and with a folder or without.
fn is_called(file: &Value, name: &str) -> bool {
    let path = std::path::Path::new(name);
    let stem = path.file_stem().map(|stem| stem.to_string_lossy());
    file["name"].as_str() == stem.as_deref()
}

fn item(kind: &str, name: &str, missing: Option<&str>) -> Value {
    json!({
        "kind": kind,
        "name": name,
        "status": if missing.is_some() { "missing" } else { "ok" },
        "detail": missing,
        "action": null,
        "can_auto_resolve": false,
    })
}

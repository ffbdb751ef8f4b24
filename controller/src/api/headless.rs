//! The session without a client: a source of the server's, models, and outputs of the server's.

use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::AppState;
use super::error::ApiError;
use super::extract::JsonObject;
use super::issue::Issue;
use super::parameters;
use super::route;
use super::shape::{Shape, check_fields, optional};
use crate::library::binding::{self, BindingError};
use crate::library::loader::{Loader, Phase};
use crate::library::node_graph::Stop;
use crate::library::wish::Wish;
use crate::session::Parameters;

/// How long models that a graph names may load.
const LOADING: Duration = Duration::from_secs(300);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(50);

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/v1/session/start", post(start))
        .route("/api/v1/session/stop", post(stop))
}

async fn stop(State(state): State<AppState>) -> Result<Json<Value>, ApiError> {
    if state.sessions.stop().await {
        return Ok(Json(
            json!({ "status": "ok", "message": "The headless session was stopped" }),
        ));
    }
    Err(ApiError::not_found(
        "no_headless_session",
        "No active headless session",
        "start one with POST /api/v1/session/start",
    ))
}

async fn start(
    State(state): State<AppState>,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ApiError> {
    let Request {
        mut sent,
        node_parameters,
        of_graph,
    } = read(body)?;
    let route = route::read(&mut sent)?;
    let stops = route.chain.as_deref().unwrap_or_default();
    if of_graph && stops.is_empty() {
        return Err(ApiError::bad_request(
            "no_pipeline",
            "Graph must contain at least one pipeline or custom node",
            "put a pipeline node between source and sink; `passthrough` changes nothing",
        ));
    }
    if of_graph {
        load(&state.library.loader, stops).await?;
    }
    let cloud_mode = state.cloud.is_wanted();
    let input_mode = if route.takes_input { "video" } else { "text" };
    let mut reply = json!({ "status": "ok", "input_mode": input_mode, "cloud_mode": cloud_mode });
    if of_graph {
        let ids: Vec<_> = stops.iter().map(|stop| &stop.pipeline_id).collect();
        reply["graph"] = true.into();
        reply["pipeline_ids"] = json!(ids);
        reply["sink_node_ids"] = json!(route.sinks);
        reply["source_node_ids"] = json!(route.sources);
    } else {
        reply["pipeline_id"] = stops.first().map(|stop| stop.pipeline_id.as_str()).into();
    }
    let wanted = route.wanted(sent, node_parameters, &state.library.loader, &state.cloud)?;
    state.sessions.start(wanted).await?;
    Ok(Json(reply))
}

/// What a body says.
struct Request {
    /// All of it, as an offer's initial parameters would say it.
    sent: Parameters,
    node_parameters: Vec<(String, Parameters)>,
    of_graph: bool,
}

fn read(mut body: Map<String, Value>) -> Result<Request, ApiError> {
    let here: [Value; 1] = ["body".into()];
    body.retain(|_, value| !value.is_null());
    let fields = [
        optional("pipeline_id", Shape::Text),
        optional("input_mode", Shape::Text),
        optional("parameters", Shape::Object),
        optional("node_parameters", Shape::Object),
    ];
    let mut issues = check_fields(&fields, &body, &here);
    let of_graph = body.contains_key("graph");
    if of_graph == body.contains_key("pipeline_id") {
        let sentence = "send either `pipeline_id` or `graph`";
        issues.push(Issue::value_error(here.to_vec(), sentence));
    }
    let mut object = |key: &str| match body.remove(key) {
        Some(Value::Object(object)) => object,
        Some(_) | None => Map::new(),
    };
    let (mut sent, nodes) = (object("parameters"), object("node_parameters"));
    if let Some(Value::String(id)) = body.remove("pipeline_id") {
        body.insert("pipeline_ids".into(), json!([id]));
    }
    // The keys beside `parameters` win over those inside; of those only these count.
    for key in ["pipeline_ids", "graph"] {
        sent.remove(key);
    }
    let known = [
        "pipeline_ids",
        "graph",
        "input_mode",
        "prompts",
        "input_source",
    ];
    let named = body
        .into_iter()
        .filter(|(key, _)| known.contains(&key.as_str()));
    sent.extend(named);
    let is_fed = |sent: &Parameters| {
        let source = sent.get("input_source");
        of_graph || source.and_then(|source| source.get("enabled")) == Some(&true.into())
    };
    if !sent.contains_key("input_mode") && !is_fed(&sent) {
        sent.insert("input_mode".into(), "text".into());
    }
    let sent = parameters::read(sent, &here).map_err(|more| issues.extend(more));
    let mut node_parameters = Vec::new();
    for (node, patch) in nodes {
        let loc = ["body".into(), "node_parameters".into(), node.clone().into()];
        match patch {
            Value::Object(patch) => match parameters::read(patch, &loc) {
                Ok(patch) => node_parameters.push((node, patch)),
                Err(more) => issues.extend(more),
            },
            other => issues.push(Issue::new(
                "dict_type",
                loc.to_vec(),
                "Input should be an object",
                &other,
            )),
        }
    }
    match sent {
        Ok(sent) if issues.is_empty() => Ok(Request {
            sent,
            node_parameters,
            of_graph,
        }),
        _ => Err(issues.into()),
    }
}

/// Loads what is not loaded yet, and waits for it.
async fn load(loader: &Loader, stops: &[Stop]) -> Result<(), ApiError> {
    match binding::bind(Some(stops), loader) {
        Ok(_) => return Ok(()),
        // Somebody else's load; what comes after it is seen then.
        Err(BindingError::Loading) => settled(loader).await,
        Err(BindingError::NotLoaded(_)) => {}
    }
    if binding::bind(Some(stops), loader).is_err() {
        let wish = |stop: &Stop| Wish {
            node_id: stop.node_id.clone(),
            pipeline_id: stop.pipeline_id.clone(),
            load_params: None,
        };
        loader.load(stops.iter().map(wish).collect());
        settled(loader).await;
    }
    Ok(())
}

async fn settled(loader: &Loader) {
    let end = Instant::now() + LOADING;
    while matches!(loader.status().phase, Phase::Loading(_)) && Instant::now() < end {
        tokio::time::sleep(LOOK).await;
    }
}

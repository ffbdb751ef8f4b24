//! An offer's body, read into what a session needs: description, parameters and the chain of processors.

use axum::http::StatusCode;
use serde_json::{Map, Value};

use super::error::ApiError;
use super::parameters;
use super::shape::{Shape, check_fields, optional, required};
use crate::library::loader::{Loaded, Loader, Phase};
use crate::library::models::PASSTHROUGH;
use crate::library::node_graph::{self, Chain, Stop};
use crate::processor::Processor;
use crate::session::{Offer, Parameters};

/// Reads and checks a body; nothing is started yet.
pub(super) fn read(mut body: Map<String, Value>, loader: &Loader) -> Result<Offer, ApiError> {
    let fields = [
        required("sdp", Shape::Text),
        required("type", Shape::Text),
        optional("initialParameters", Shape::Object),
    ];
    let mut issues = check_fields(&fields, &body, &["body".into()]);
    let sent = match body.remove("initialParameters") {
        Some(Value::Object(sent)) => sent,
        Some(_) | None => Map::new(),
    };
    let loc = ["body".into(), "initialParameters".into()];
    let sent = parameters::read(sent, &loc).map_err(|more| issues.extend(more));
    let (Ok(sent), true) = (sent, issues.is_empty()) else {
        return Err(issues.into());
    };

    let (chain, takes_input) = chain(&sent)?;
    let (processors, mut initial_parameters) = bind(chain, loader)?;
    initial_parameters.extend(sent);
    let sdp = body
        .get("sdp")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    Ok(Offer {
        sdp,
        initial_parameters,
        processors,
        takes_input,
    })
}

/// The models a client asked for; `None` leaves it to what is loaded.
fn chain(sent: &Parameters) -> Result<(Option<Vec<Stop>>, bool), ApiError> {
    let wants_video = sent.get("input_mode").and_then(Value::as_str) != Some("text");
    if let Some(graph) = sent.get("graph").and_then(Value::as_object) {
        let Chain { stops, has_source } = node_graph::read(graph).map_err(|errors| {
            ApiError::bad_request(
                "invalid_graph",
                format!("Invalid graph: {}", errors.join("; ")),
                "join a source, pipelines and a sink by stream edges",
            )
        })?;
        return Ok((Some(stops), has_source && wants_video));
    }
    let ids = sent.get("pipeline_ids").and_then(Value::as_array);
    let stop = |id: &str| Stop {
        node_id: id.to_owned(),
        pipeline_id: id.to_owned(),
    };
    let stops: Vec<_> = ids
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(stop)
        .collect();
    Ok(((!stops.is_empty()).then_some(stops), wants_video))
}

/// Finds the loaded model of each stop. The first parameters are those that came with the loads.
fn bind(
    chain: Option<Vec<Stop>>,
    loader: &Loader,
) -> Result<(Vec<Processor>, Parameters), ApiError> {
    let needs_none = |stops: &[Stop]| stops.iter().all(|stop| stop.pipeline_id == PASSTHROUGH);
    let phase = loader.status().phase;
    if let (Phase::Loading(_), false) = (&phase, chain.as_deref().is_some_and(needs_none)) {
        return Err(ApiError::bad_request(
            "pipeline_loading",
            "the pipeline is still loading",
            "wait until GET /api/v1/pipeline/status says loaded",
        ));
    }
    let loaded = loader.loaded();
    let Some(stops) = chain else {
        return if loaded.is_empty() {
            Err(not_loaded(&phase))
        } else {
            Ok(collect(&loaded))
        };
    };
    let bound: Option<Vec<_>> = stops.iter().map(|stop| find(stop, &loaded)).collect();
    bound
        .map(|bound| collect(&bound))
        .ok_or_else(|| not_loaded(&phase))
}

fn collect(chain: &[Loaded]) -> (Vec<Processor>, Parameters) {
    let processors = chain
        .iter()
        .map(|loaded| loaded.processor().clone())
        .collect();
    let parameters = chain
        .iter()
        .flat_map(|loaded| loaded.parameters().clone())
        .collect();
    (processors, parameters)
}

/// Under the model's name as key, else under the node's id, else any of that model; passthrough needs no loading.
fn find(stop: &Stop, loaded: &[Loaded]) -> Option<Loaded> {
    let of_model = |loaded: &&Loaded| loaded.pipeline_id() == stop.pipeline_id;
    let mut named = [&stop.pipeline_id, &stop.node_id].into_iter();
    let by_key = named.find_map(|key| {
        loaded
            .iter()
            .filter(of_model)
            .find(|loaded| loaded.node_id() == key)
    });
    let found = by_key.or_else(|| loaded.iter().find(of_model)).cloned();
    found.or_else(|| (stop.pipeline_id == PASSTHROUGH).then(|| Loaded::passthrough(&stop.node_id)))
}

fn not_loaded(phase: &Phase) -> ApiError {
    let hint = match phase {
        Phase::Failed(reason) => format!("the last load failed: {reason}"),
        Phase::NotLoaded | Phase::Loading(_) | Phase::Loaded => {
            "load it with POST /api/v1/pipeline/load and wait for GET /api/v1/pipeline/status"
                .into()
        }
    };
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "pipeline_not_loaded",
        "Pipeline not loaded. Please load pipeline first.",
        hint,
    )
}

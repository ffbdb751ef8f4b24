//! An offer's body, read into what a session needs: description, parameters and the chain of processors.

use serde_json::{Map, Value};

use super::error::ApiError;
use super::parameters;
use super::shape::{Shape, check_fields, optional, required};
use crate::cloud::Cloud;
use crate::library::binding::{self, BindingError};
use crate::library::loader::Loader;
use crate::library::node_graph::{self, Chain, Stop};
use crate::session::{Offer, Parameters, RecordNode, Wanted};

/// Reads and checks a body; nothing is started yet.
///
/// With the cloud connected, a model that is not loaded here is no error: the cloud may have it.
pub(super) fn read(
    mut body: Map<String, Value>,
    loader: &Loader,
    cloud: &Cloud,
) -> Result<Offer, ApiError> {
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

    let Route {
        chain,
        takes_input,
        records,
    } = route(&sent)?;
    let (processors, mut initial_parameters, local) = match binding::bind(chain.as_deref(), loader)
    {
        Ok((processors, parameters)) => (processors, parameters, true),
        Err(_) if cloud.is_wanted() => (Vec::new(), Parameters::new(), false),
        Err(error) => return Err(refused(&error)),
    };
    initial_parameters.extend(sent);
    let sdp = body
        .get("sdp")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    Ok(Offer {
        sdp,
        wanted: Wanted {
            initial_parameters,
            processors,
            local,
            takes_input,
            records,
        },
    })
}

/// The way of the frames that a client asked for.
struct Route {
    /// `None` leaves it to what is loaded.
    chain: Option<Vec<Stop>>,
    takes_input: bool,
    records: Vec<RecordNode>,
}

fn route(sent: &Parameters) -> Result<Route, ApiError> {
    let wants_video = sent.get("input_mode").and_then(Value::as_str) != Some("text");
    if let Some(graph) = sent.get("graph").and_then(Value::as_object) {
        let Chain {
            stops,
            has_source,
            records,
        } = node_graph::read(graph).map_err(|errors| {
            ApiError::bad_request(
                "invalid_graph",
                format!("Invalid graph: {}", errors.join("; ")),
                "join a source, pipelines and a sink by stream edges",
            )
        })?;
        return Ok(Route {
            chain: Some(stops),
            takes_input: has_source && wants_video,
            records,
        });
    }
    let ids = sent.get("pipeline_ids").and_then(Value::as_array);
    let stops: Vec<_> = ids
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(Stop::of)
        .collect();
    Ok(Route {
        chain: (!stops.is_empty()).then_some(stops),
        takes_input: wants_video,
        records: Vec::new(),
    })
}

/// In words for whoever offered.
fn refused(error: &BindingError) -> ApiError {
    let (code, hint) = match error {
        BindingError::Loading => (
            "pipeline_loading",
            "wait until GET /api/v1/pipeline/status says loaded".to_owned(),
        ),
        BindingError::NotLoaded(Some(reason)) => (
            "pipeline_not_loaded",
            format!("the last load failed: {reason}"),
        ),
        BindingError::NotLoaded(None) => (
            "pipeline_not_loaded",
            "load it with POST /api/v1/pipeline/load and wait for GET /api/v1/pipeline/status"
                .to_owned(),
        ),
    };
    ApiError::bad_request(code, error.to_string(), hint)
}

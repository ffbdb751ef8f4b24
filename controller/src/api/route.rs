//! The way of the frames that parameters ask for: from which source, through which models, to which sinks.

use serde_json::{Value, json};

use super::error::ApiError;
use crate::cloud::Cloud;
use crate::library::binding::{self, BindingError};
use crate::library::loader::Loader;
use crate::library::node_graph::{self, Chain, Stop};
use crate::session::{Parameters, RecordNode, Wanted};

/// The sink of a session without a node graph, as Scope calls it.
const SINK: &str = "output";

/// A way, read and checked.
pub(super) struct Route {
    /// `None` leaves it to what is loaded.
    pub(super) chain: Option<Vec<Stop>>,
    pub(super) takes_input: bool,
    pub(super) records: Vec<RecordNode>,
    pub(super) sinks: Vec<String>,
    pub(super) sources: Vec<String>,
}

/// Reads checked parameters. Sources and sinks of a node graph that are the server's own are written into
/// `input_source` and `output_sinks`, unless these stand there already.
pub(super) fn read(sent: &mut Parameters) -> Result<Route, ApiError> {
    let wants_video = sent.get("input_mode").and_then(Value::as_str) != Some("text");
    if let Some(graph) = sent.get("graph").and_then(Value::as_object) {
        let chain = node_graph::read(graph).map_err(|errors| {
            ApiError::bad_request(
                "invalid_graph",
                format!("Invalid graph: {}", errors.join("; ")),
                "join a source, pipelines and a sink by stream edges",
            )
        })?;
        let Chain {
            stops,
            has_source,
            server_source,
            records,
            sinks,
            sources,
            shared_as,
        } = chain;
        if let Some(source) = server_source {
            let source = json!({
                "enabled": true,
                "source_type": source.mode,
                "source_name": source.name,
                "flip_vertical": source.flipped,
            });
            sent.entry("input_source").or_insert(source);
        }
        if let Some(name) = shared_as {
            let sinks = json!({ "spout": { "enabled": true, "name": name } });
            sent.entry("output_sinks").or_insert(sinks);
        }
        return Ok(Route {
            chain: Some(stops),
            takes_input: has_source && wants_video,
            records,
            sinks,
            sources,
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
        sinks: vec![SINK.into()],
        sources: Vec::new(),
    })
}

impl Route {
    /// What a session on this way needs: the loaded models of its chain, and what was `sent` over what came with them.
    ///
    /// With the cloud connected, a model that is not loaded here is no error: the cloud may have it.
    pub(super) fn wanted(
        self,
        sent: Parameters,
        node_parameters: Vec<(String, Parameters)>,
        loader: &Loader,
        cloud: &Cloud,
    ) -> Result<Wanted, ApiError> {
        let bound = binding::bind(self.chain.as_deref(), loader);
        let (processors, mut initial_parameters, local) = match bound {
            Ok((processors, loaded)) => (processors, loaded, true),
            Err(_) if cloud.is_wanted() => (Vec::new(), Parameters::new(), false),
            Err(error) => return Err(refused(&error)),
        };
        initial_parameters.extend(sent);
        Ok(Wanted {
            initial_parameters,
            processors,
            local,
            takes_input: self.takes_input,
            records: self.records,
            sinks: self.sinks,
            node_parameters,
        })
    }
}

/// In words for whoever asked.
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

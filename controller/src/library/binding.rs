//! From the models a client names to the loaded ones: the processors of its chain.

use super::loader::{Loaded, Loader, Phase};
use super::models::PASSTHROUGH;
use super::node_graph::Stop;
use crate::processor::Processor;
use crate::session::{Models, Parameters};

/// Why a chain cannot be bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindingError {
    /// A load is going on.
    #[error("the pipeline is still loading")]
    Loading,
    /// Something named is not loaded; why, when the last load failed.
    #[error("Pipeline not loaded. Please load pipeline first.")]
    NotLoaded(Option<String>),
}

/// Finds the loaded model of each stop; without stops, all that is loaded. The parameters are those that came with the
/// loads.
///
/// # Errors
///
/// When one is not loaded, or not yet.
pub fn bind(
    chain: Option<&[Stop]>,
    loader: &Loader,
) -> Result<(Vec<Processor>, Parameters), BindingError> {
    let needs_none = |stops: &[Stop]| stops.iter().all(|stop| stop.pipeline_id == PASSTHROUGH);
    let phase = loader.status().phase;
    if let (Phase::Loading(_), false) = (&phase, chain.is_some_and(needs_none)) {
        return Err(BindingError::Loading);
    }
    let not_loaded = || {
        BindingError::NotLoaded(match phase {
            Phase::Failed(reason) => Some(reason),
            Phase::NotLoaded | Phase::Loading(_) | Phase::Loaded => None,
        })
    };
    let loaded = loader.loaded();
    let Some(stops) = chain else {
        return if loaded.is_empty() {
            Err(not_loaded())
        } else {
            Ok(collect(&loaded))
        };
    };
    let bound: Option<Vec<_>> = stops.iter().map(|stop| find(stop, &loaded)).collect();
    bound.map(|bound| collect(&bound)).ok_or_else(not_loaded)
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

impl Models for Loader {
    fn bind(&self, pipeline_ids: &[String]) -> Result<(Vec<Processor>, Parameters), String> {
        let stops: Vec<Stop> = pipeline_ids.iter().map(|id| Stop::of(id)).collect();
        bind(Some(&stops), self).map_err(|error| match &error {
            BindingError::NotLoaded(Some(reason)) => {
                format!("{error} The last load failed: {reason}")
            }
            BindingError::NotLoaded(None) | BindingError::Loading => error.to_string(),
        })
    }
}

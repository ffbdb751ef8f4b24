//! What others may read of a session while its actor runs.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use serde_json::Value;

use super::lanes::Lanes;
use super::metrics::{self, Link};
use super::recordings::Recordings;
use super::{Parameters, Wanted, parameters};
use crate::media::handover::Handover;

/// One session's readable side; its actor writes, the registry reads.
#[derive(Debug)]
pub(super) struct State {
    pub(super) born: Instant,
    /// What the client is sent; `None` without a client.
    codec: Option<&'static str>,
    /// A node graph's sinks.
    pub(super) sinks: Vec<String>,
    known: Mutex<Parameters>,
    link: Mutex<Link>,
    pub(super) handover: OnceLock<Arc<Handover>>,
    pub(super) lanes: OnceLock<Arc<Lanes>>,
    pub(super) recordings: OnceLock<Arc<Recordings>>,
}

impl State {
    pub(super) fn new(codec: Option<&'static str>, wanted: &Wanted) -> Self {
        let mut known = Parameters::new();
        let initial = parameters::route(&wanted.initial_parameters);
        parameters::remember(&mut known, &initial.remembered);
        Self {
            born: Instant::now(),
            codec,
            sinks: wanted.sinks.clone(),
            known: Mutex::new(known),
            link: Mutex::default(),
            handover: OnceLock::new(),
            lanes: OnceLock::new(),
            recordings: OnceLock::new(),
        }
    }

    pub(super) fn parameters(&self) -> Parameters {
        self.known.lock().unwrap().clone()
    }

    pub(super) fn remember(&self, remembered: &Parameters) {
        parameters::remember(&mut self.known.lock().unwrap(), remembered);
    }

    pub(super) fn set_link(&self, link: Link) {
        *self.link.lock().unwrap() = link;
    }

    pub(super) fn metrics(&self) -> Value {
        let meter = self
            .handover
            .get()
            .map(|handover| handover.meter())
            .unwrap_or_default();
        let stats = self
            .lanes
            .get()
            .map(|lanes| lanes.stats())
            .unwrap_or_default();
        let relay = self.lanes.get().and_then(|lanes| lanes.cloud_stats());
        let link = *self.link.lock().unwrap();
        let recordings = self.recordings.get();
        let recordings = recordings.map(|recordings| recordings.figures());
        let mut shape = metrics::shape(
            &meter,
            link,
            self.codec,
            &self.parameters(),
            &stats,
            relay.as_ref(),
            self.born.elapsed(),
        );
        shape["recordings"] = recordings.unwrap_or_default().into();
        shape
    }
}

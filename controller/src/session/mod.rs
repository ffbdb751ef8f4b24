//! Sessions: one stream each, with a remote peer or without.
//!
//! This file is the contract between the REST edge (`api/`) and the sessions themselves: data in, data out,
//! no GStreamer type. The edge holds `Arc<dyn Sessions>`, so its tests need no media.

mod actor;
mod building;
mod lanes;
mod metrics;
mod outbox;
pub mod parameters;
mod pictures;
mod recordings;
pub mod registry;
mod remote;
mod shares;
mod state;
mod watchdog;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use crate::cloud::Cloud;
use crate::library::assets::Assets;
use crate::library::shelf::Shelf;
use crate::media::Still;
use crate::processor::Processor;

pub use recordings::RecordingError;

/// Id of the session without a client.
pub const HEADLESS: &str = "headless";

/// A flat JSON object of Scope parameter keys.
pub type Parameters = Map<String, Value>;

/// A browser's offer, already checked for shape.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The session description, as the client sent it.
    pub sdp: String,
    /// What is to run.
    pub wanted: Wanted,
}

/// What a session is to run.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Parameters to begin with, without nulls.
    pub initial_parameters: Parameters,
    /// The processors between source and sink, in order; empty passes frames through.
    pub processors: Vec<Processor>,
    /// False when what was asked for is not loaded here and only the cloud can do it.
    pub local: bool,
    /// False for text-to-video: frames are made from nothing.
    pub takes_input: bool,
    /// Where a node graph wants to record.
    pub records: Vec<RecordNode>,
    /// A node graph's sinks; the picture has no other name than theirs.
    pub sinks: Vec<String>,
    /// Parameters of single processors, by node.
    pub node_parameters: Vec<(String, Parameters)>,
}

/// A node graph's `record` node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordNode {
    /// The node's id.
    pub id: String,
    /// What leads to it; `None` is something between two processors, which cannot be recorded.
    pub tap: Option<Tap>,
}

/// What is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tap {
    /// What the client sees.
    Picture,
    /// What comes in, before any processor.
    Input,
}

/// What the client gets back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Our description, with every candidate and `a=end-of-candidates` inside.
    pub sdp: String,
    /// Key for later candidates, metrics and closing: a UUID.
    pub session_id: String,
}

/// One trickled candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The `candidate:` line; `None` or empty is end-of-candidates.
    pub candidate: Option<String>,
    /// Which m-line by name.
    pub sdp_mid: Option<String>,
    /// Which m-line by position.
    pub sdp_m_line_index: Option<u32>,
}

/// Why a session refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// No session of that id, or it has ended.
    #[error("session `{0}` not found")]
    NotFound(String),
    /// The description cannot be answered: not SDP, or nothing in it we can speak.
    #[error("the offer cannot be answered: {0}")]
    BadOffer(String),
    /// A parameter value is out of its range or of the wrong type.
    #[error("{0}")]
    BadParameter(String),
    /// A candidate line is not one.
    #[error("invalid ICE candidate: {0}")]
    BadCandidate(String),
    /// A pipeline could not be built or started: a missing element, a processor that refused.
    #[error("the session could not start: {0}")]
    Failed(String),
    /// The session without a client runs already.
    #[error("the headless session is running already")]
    Running,
    /// More sessions than the configuration allows.
    #[error("{0} sessions are open, which is the limit")]
    TooMany(usize),
}

/// The loaded models as a session sees them.
pub trait Models: Send + Sync + fmt::Debug {
    /// The processors of these pipelines, in order, and the parameters that came with their loads.
    ///
    /// # Errors
    ///
    /// A sentence that names what is not loaded.
    fn bind(&self, pipeline_ids: &[String]) -> Result<(Vec<Processor>, Parameters), String>;
}

/// Where sessions find what they need while they run.
#[derive(Debug, Clone)]
pub struct Furniture {
    /// Processors that may take the place of others.
    pub models: Arc<dyn Models>,
    /// The same, elsewhere.
    pub cloud: Cloud,
    /// Where they record to.
    pub shelf: Arc<Shelf>,
    /// Files that may be a source.
    pub assets: Assets,
}

/// The sessions as the REST edge sees them.
///
/// Every method is quick except [`Sessions::open`], which returns when the answer is complete.
pub trait Sessions: Send + Sync + fmt::Debug {
    /// What sessions need besides. Said once, before the first offer.
    fn furnish(&self, furniture: Furniture);

    /// Answers an offer and starts the session's pipeline.
    fn open(&self, offer: Offer) -> BoxFuture<'_, Result<Answer, SessionError>>;

    /// Starts the one session without a client; its id is [`HEADLESS`].
    fn start(&self, wanted: Wanted) -> BoxFuture<'_, Result<(), SessionError>>;

    /// Ends it; false when there is none.
    fn stop(&self) -> BoxFuture<'_, bool>;

    /// The picture in view as a file: that of the first session with a client, else of the one without.
    ///
    /// # Errors
    ///
    /// A sentence: there is none, or no sink of that name.
    fn picture(
        &self,
        sink_node_id: Option<String>,
        still: Still,
    ) -> BoxFuture<'_, Result<Vec<u8>, String>>;

    /// Hands trickled candidates over. An empty list succeeds for any id.
    fn add_candidates(
        &self,
        id: &str,
        candidates: Vec<Candidate>,
    ) -> BoxFuture<'_, Result<(), SessionError>>;

    /// Ends a session; `stream_stopped` goes out first. An unknown id is no error.
    fn close(&self, id: &str) -> BoxFuture<'_, ()>;

    /// Applies a patch to every live session and tells their clients (`parameters_updated`).
    ///
    /// The patch is checked before anything is touched: a bad value changes no session.
    fn apply_parameters(&self, patch: Parameters) -> BoxFuture<'_, Result<(), SessionError>>;

    /// What the first live session runs with; empty without one.
    fn parameters(&self) -> Parameters;

    /// Figures of every live session by id, in the shape of `GET /api/v1/session/metrics`.
    fn metrics(&self) -> Map<String, Value>;

    /// Begins to record a session, or what leads to one of its record nodes. False when that goes on already.
    fn start_recording(
        &self,
        id: &str,
        node_id: Option<String>,
    ) -> BoxFuture<'_, Result<bool, RecordingError>>;

    /// Ends a recording; the file is complete then. False when there is none.
    fn stop_recording(
        &self,
        id: &str,
        node_id: Option<String>,
    ) -> BoxFuture<'_, Result<bool, RecordingError>>;

    /// The newest recording of a session, also of one that has ended. One that goes on is completed and goes on in
    /// another file.
    fn recording(
        &self,
        id: &str,
        node_id: Option<String>,
    ) -> BoxFuture<'_, Result<PathBuf, RecordingError>>;

    /// Ends all sessions, within a second.
    fn shutdown(&self) -> BoxFuture<'_, ()>;
}

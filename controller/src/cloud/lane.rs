//! One connection to the app: a processor element in a pipeline of its own.
//!
//! Decision: the element carries token, socket and negotiation itself, as under `gst-launch-1.0`; the controller hands
//! it the key once, by a property that cannot be read, and swaps whose frames go through it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::wish::Target;
use crate::media::MediaError;
use crate::media::event::{self, Event};
use crate::media::handover::Handover;
use crate::media::inlet::Inlet;
use crate::media::processing::{self, Processing};
use crate::media::switch::Lane;
use crate::processor::{Fit, Processor};
use crate::session::Parameters;

/// A connection, used by one session at a time or standing by.
#[derive(Debug)]
pub(crate) struct CloudLane {
    processing: Processing,
    door: Arc<Inlet>,
    taken: AtomicBool,
    heard: Arc<Mutex<Heard>>,
}

/// What the element's messages told.
#[derive(Debug, Default)]
struct Heard {
    /// The last failure.
    trouble: Option<String>,
    /// What the app runs on.
    hardware: Option<Value>,
}

impl CloudLane {
    /// Builds and starts it; returns before anything is connected.
    pub(super) fn start(target: &Target) -> Result<Self, MediaError> {
        let mut properties = vec![
            ("app-id", target.app_id.clone()),
            // A picture that does not come is replaced by ours, not by the element's.
            ("fallback", "none".to_owned()),
        ];
        properties.extend(target.properties.clone());
        let processor = Processor {
            node_id: "cloud".into(),
            pipeline_id: target.app_id.clone(),
            factory: Some(target.factory()),
            properties,
            size: None,
            fit: Fit::default(),
        };
        let (events, mut news) = mpsc::unbounded_channel();
        let built = Processing::build(
            processing::CLOUD,
            &[processor],
            true,
            &target.parameters,
            &events,
        )?;
        let Some((processing, Some(door))) = built else {
            return Err(MediaError::Pipeline("the cloud lane has no door".into()));
        };
        if let Some(key) = &target.api_key {
            processing.set_secret("api-key", key)?;
        }
        if !target.turn_servers.is_empty() {
            processing.set_secrets("turn-servers", &target.turn_servers)?;
        }
        processing
            .start()
            .map_err(|error| event::reason(&mut news).map_or(error, MediaError::Pipeline))?;
        let heard = Arc::<Mutex<Heard>>::default();
        tokio::spawn(listen(news, heard.clone(), processing.exit()));
        let lane = Self {
            processing,
            door: Arc::new(door),
            taken: AtomicBool::new(false),
            heard,
        };
        lane.show_black();
        Ok(lane)
    }

    /// Reserves it; false if another session has it.
    pub(super) fn take(&self) -> bool {
        !self.taken.swap(true, Ordering::AcqRel)
    }

    /// Frees it for another session.
    pub(super) fn release(&self) {
        self.processing.disconnect();
        self.show_black();
        self.taken.store(false, Ordering::Release);
    }

    pub(super) fn is_taken(&self) -> bool {
        self.taken.load(Ordering::Acquire)
    }

    /// Sends a session's frames through it from now on, with everything that was said so far.
    pub(crate) fn attach(&self, handover: &Arc<Handover>, falls_back: bool, known: &Parameters) {
        if let Err(refusal) = self.apply(known) {
            tracing::warn!(refusal, "the cloud refused what was said before");
        }
        self.processing.connect(Lane::Cloud, handover);
        handover.attach_cloud(self.door.clone(), falls_back);
    }

    /// Forwards a patch.
    ///
    /// # Errors
    ///
    /// The processor's refusal, in its words.
    pub(crate) fn apply(&self, patch: &Parameters) -> Result<(), String> {
        if patch.is_empty() {
            return Ok(());
        }
        self.processing.apply(None, patch)
    }

    /// How far the connection has come, in the element's word.
    pub(crate) fn stage(&self) -> String {
        self.processing.text("stage").unwrap_or_default()
    }

    /// The element's own figures.
    pub(crate) fn figures(&self) -> Map<String, Value> {
        match self.processing.stats().remove("cloud") {
            Some(Value::Object(figures)) => figures,
            _ => Map::new(),
        }
    }

    /// The last failure, in the element's words: of these figures of its, or else of its messages.
    pub(super) fn trouble(&self, figures: &Map<String, Value>) -> Option<String> {
        let reason = figures
            .get("reason")
            .and_then(Value::as_str)
            .map(str::to_owned);
        reason.or_else(|| self.heard.lock().unwrap().trouble.clone())
    }

    /// What the app says it runs on; few do.
    pub(super) fn hardware(&self) -> Option<Value> {
        self.heard.lock().unwrap().hardware.clone()
    }

    /// Ends the connection and frees everything; blocks for a moment.
    pub(super) fn stop(&self) {
        self.processing.stop();
    }

    /// Gives the far end something to look at while nobody streams.
    fn show_black(&self) {
        self.door.show_black();
    }
}

/// Remembers what went wrong and what the app runs on, and tells the session at once when the app is no longer reached.
async fn listen(
    mut news: mpsc::UnboundedReceiver<Event>,
    heard: Arc<Mutex<Heard>>,
    exit: processing::Exit,
) {
    while let Some(event) = news.recv().await {
        match event {
            Event::Failed(reason) | Event::ProcessorStopped(reason) => {
                tracing::warn!(reason, "the cloud connection failed");
                heard.lock().unwrap().trouble = Some(reason);
            }
            Event::Hardware(told) => heard.lock().unwrap().hardware = Some(told),
            Event::Stage(stage) => {
                tracing::info!(stage, "the cloud connection");
                if stage != "live"
                    && let Some((_, handover)) = processing::connected(&exit)
                {
                    handover.lose_cloud();
                }
            }
            _ => {}
        }
    }
}

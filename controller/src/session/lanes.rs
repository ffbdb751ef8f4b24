//! The processors of one session, put in and taken away while frames flow.
//!
//! Everything here may block while elements load or stop, so the actor calls it from threads of its own.

use std::sync::{Arc, Mutex};

use serde_json::{Map, Value};

use super::Parameters;
use super::metrics::Relay;
use crate::cloud::Cloud;
use crate::cloud::lane::CloudLane;
use crate::media::MediaError;
use crate::media::event::Events;
use crate::media::handover::Handover;
use crate::media::processing::{self, Processing};
use crate::media::switch::Lane;
use crate::processor::Processor;

/// One session's processors around its handover.
#[derive(Debug)]
pub(super) struct Lanes {
    handover: Arc<Handover>,
    events: Events,
    takes_input: bool,
    home: Mutex<Home>,
    /// Held while the cloud lane changes, so that two changes do not cross.
    cloud: Mutex<Option<Taken>>,
}

/// A cloud lane in use, and whom to give it back to.
#[derive(Debug)]
struct Taken {
    lane: Arc<CloudLane>,
    cloud: Cloud,
    generation: u64,
}

/// The local chain, and how often it was asked to change.
#[derive(Debug, Default)]
struct Home {
    /// `None` passes frames through.
    chain: Option<Arc<Processing>>,
    asked: u64,
    ended: bool,
    /// False when the client asked for something that only the cloud has.
    able: bool,
}

impl Lanes {
    /// `chain` is already connected to the handover.
    pub(super) fn new(
        handover: Arc<Handover>,
        events: Events,
        takes_input: bool,
        chain: Option<Processing>,
        able: bool,
    ) -> Self {
        let home = Home {
            chain: chain.map(Arc::new),
            able,
            ..Home::default()
        };
        Self {
            handover,
            events,
            takes_input,
            home: Mutex::new(home),
            cloud: Mutex::new(None),
        }
    }

    /// Starts the first chain; blocks while it loads.
    pub(super) fn start(&self) -> Result<(), MediaError> {
        let chain = self.chain();
        chain.map_or(Ok(()), |chain| chain.start())
    }

    /// Puts other processors in place of the local ones. They are loaded before the old ones go, so the picture never
    /// stops; of two changes the later one wins. Blocks while a processor loads.
    ///
    /// # Errors
    ///
    /// Why the new chain does not run; the old one goes on.
    pub(super) fn swap_home(
        &self,
        processors: &[Processor],
        initial: &Parameters,
    ) -> Result<(), MediaError> {
        let turn = {
            let mut home = self.home.lock().unwrap();
            home.asked += 1;
            home.asked
        };
        let built = Processing::build(
            processing::LOCAL,
            processors,
            self.takes_input,
            initial,
            &self.events,
        )?;
        let (chain, door) = built.map_or((None, None), |(chain, door)| (Some(chain), door));
        if let Some(chain) = &chain {
            chain.start()?;
        }
        let old = {
            let mut home = self.home.lock().unwrap();
            if home.asked != turn || home.ended {
                return Ok(());
            }
            if let Some(chain) = &chain {
                chain.connect(Lane::Home, &self.handover);
            }
            self.handover.set_home(door);
            home.able = true;
            std::mem::replace(&mut home.chain, chain.map(Arc::new))
        };
        if let Some(old) = old {
            old.disconnect();
            old.stop();
        }
        Ok(())
    }

    /// Takes a cloud lane, changes to a newer one, or gives it back, as `cloud` wants; `known` goes with it. Blocks for
    /// a moment.
    pub(super) fn follow_cloud(&self, cloud: &Cloud, known: &Parameters) {
        let mut taken = self.cloud.lock().unwrap();
        let generation = *cloud.changes().borrow();
        if taken
            .as_ref()
            .is_some_and(|taken| taken.generation == generation)
        {
            return;
        }
        let able = {
            let home = self.home.lock().unwrap();
            if home.ended {
                return;
            }
            home.able
        };
        if let Some(old) = taken.take() {
            self.handover.detach_cloud();
            old.cloud.give_back(&old.lane);
        }
        if let Some(lane) = cloud.take() {
            lane.attach(&self.handover, cloud.falls_back() && able, known);
            *taken = Some(Taken {
                lane,
                cloud: cloud.clone(),
                generation,
            });
        }
    }

    /// Hands a patch to the processors (or the one of this node), here and in the cloud: whoever takes over next knows
    /// it already.
    ///
    /// - `own`: the patch with files of this machine in it, for the processors here, or why there is none.
    ///
    /// # Errors
    ///
    /// The first refusal of a processor in view, in its words.
    pub(super) fn apply(
        &self,
        node_id: Option<&str>,
        patch: &Parameters,
        own: Result<Parameters, String>,
    ) -> Result<(), String> {
        let lane = {
            let taken = self.cloud.lock().unwrap();
            taken.as_ref().map(|taken| taken.lane.clone())
        };
        let there = lane.map_or(Ok(()), |lane| lane.apply(patch));
        let here = self.chain().map_or(Ok(()), |chain| {
            own.and_then(|patch| chain.apply(node_id, &patch))
        });
        match self.handover.shown() {
            Some(Lane::Cloud) => there,
            Some(Lane::Home) | None => here,
        }
    }

    /// The processors' own figures, by node.
    pub(super) fn stats(&self) -> Map<String, Value> {
        self.chain().map(|chain| chain.stats()).unwrap_or_default()
    }

    /// The cloud lane's figures, and whether its pictures are in view; `None` without one.
    pub(super) fn cloud_stats(&self) -> Option<Relay> {
        let lane = self.cloud.try_lock().ok()?.as_ref()?.lane.clone();
        Some(Relay {
            stage: lane.stage(),
            shown: self.handover.shown() == Some(Lane::Cloud),
            figures: lane.figures(),
        })
    }

    /// Stops everything; blocks while a processor loads or works.
    pub(super) fn stop(&self) {
        let chain = {
            let mut home = self.home.lock().unwrap();
            home.ended = true;
            home.chain.take()
        };
        let taken = self.cloud.lock().unwrap().take();
        if let Some(taken) = taken {
            self.handover.detach_cloud();
            taken.cloud.give_back(&taken.lane);
        }
        if let Some(chain) = chain {
            chain.stop();
        }
    }

    fn chain(&self) -> Option<Arc<Processing>> {
        self.home.lock().unwrap().chain.clone()
    }
}

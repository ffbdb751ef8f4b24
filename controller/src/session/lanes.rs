//! The processors of one session, put in and taken away while frames flow.
//!
//! Everything here may block while elements load or stop, so the actor calls it from threads of its own.

use std::sync::{Arc, Mutex};

use serde_json::{Map, Value};

use super::Parameters;
use crate::media::MediaError;
use crate::media::event::Events;
use crate::media::handover::Handover;
use crate::media::processing::Processing;
use crate::media::switch::Lane;
use crate::processor::Processor;

/// One session's processors around its handover.
#[derive(Debug)]
pub(super) struct Lanes {
    handover: Arc<Handover>,
    events: Events,
    takes_input: bool,
    home: Mutex<Home>,
}

/// The local chain, and how often it was asked to change.
#[derive(Debug, Default)]
struct Home {
    /// `None` passes frames through.
    chain: Option<Arc<Processing>>,
    asked: u64,
    ended: bool,
}

impl Lanes {
    /// `chain` is already connected to the handover.
    pub(super) fn new(
        handover: Arc<Handover>,
        events: Events,
        takes_input: bool,
        chain: Option<Processing>,
    ) -> Self {
        let home = Home {
            chain: chain.map(Arc::new),
            ..Home::default()
        };
        Self {
            handover,
            events,
            takes_input,
            home: Mutex::new(home),
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
        let built = Processing::build(processors, self.takes_input, initial, &self.events)?;
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
            std::mem::replace(&mut home.chain, chain.map(Arc::new))
        };
        if let Some(old) = old {
            old.disconnect();
            old.stop();
        }
        Ok(())
    }

    /// Hands a patch to the processors (or the one of this node).
    ///
    /// # Errors
    ///
    /// The first refusal, in the processor's words.
    pub(super) fn apply(&self, node_id: Option<&str>, patch: &Parameters) -> Result<(), String> {
        self.chain()
            .map_or(Ok(()), |chain| chain.apply(node_id, patch))
    }

    /// The processors' own figures, by node.
    pub(super) fn stats(&self) -> Map<String, Value> {
        self.chain().map(|chain| chain.stats()).unwrap_or_default()
    }

    /// Stops everything; blocks while a processor loads or works.
    pub(super) fn stop(&self) {
        let chain = {
            let mut home = self.home.lock().unwrap();
            home.ended = true;
            home.chain.take()
        };
        if let Some(chain) = chain {
            chain.stop();
        }
    }

    fn chain(&self) -> Option<Arc<Processing>> {
        self.home.lock().unwrap().chain.clone()
    }
}

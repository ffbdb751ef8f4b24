//! A picture on its way to the host.

use std::sync::Arc;

use super::super::bound::Failure;
use super::super::queue::{Event, Queue};
use super::super::slot::{Shore, Slot};
use super::super::trouble;
use super::clock::{self, Clock, Span};
use crate::engine::Spent;
use crate::error::EngineError;

/// Memory that a picture comes to, and when it will be there.
#[derive(Debug)]
pub(crate) struct Landing {
    bytes: Shore,
    fault: Shore,
    /// On a device, when both are there.
    done: Option<Event>,
    spans: Vec<Span>,
    spent: Spent,
    #[cfg(test)]
    latent: Vec<f32>,
    /// Last, so that it outlives what it made.
    queue: Option<Arc<Queue>>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        if let Some(done) = &self.done {
            // The device may still write to our memory. An error has nobody to be told.
            let _ = done.wait();
        }
    }
}

impl Landing {
    /// Room for a picture and its fault.
    pub(super) fn new(
        bytes: &Slot,
        fault: &Slot,
        queue: Option<Arc<Queue>>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            bytes: Shore::of(bytes)?,
            fault: Shore::of(fault)?,
            done: match &queue {
                Some(queue) => Some(Event::new(queue)?),
                None => None,
            },
            spans: clock::room(),
            spent: Spent::default(),
            #[cfg(test)]
            latent: Vec::new(),
            queue,
        })
    }

    /// Sets the way of a picture here going.
    pub(super) fn take_off(
        &mut self,
        bytes: &Slot,
        fault: &Slot,
        clock: &mut Clock,
    ) -> Result<(), Failure> {
        clock.hand_over(&mut self.spans, &mut self.spent);
        bytes.send(&mut self.bytes)?;
        fault.send(&mut self.fault)?;
        match (&self.done, &self.queue) {
            (Some(done), Some(queue)) => done.record(queue),
            _ => Ok(()),
        }
    }

    pub(super) fn is_of(&self, queue: Option<&Arc<Queue>>) -> bool {
        self.queue.as_ref().map(Arc::as_ptr) == queue.map(Arc::as_ptr)
    }

    /// Waits for the picture: its bytes `[H, W, 3]`, whether all of its values were numbers, and what
    /// the graphs took since the picture before it.
    ///
    /// # Errors
    ///
    /// [`EngineError::DeviceLost`] if the device has failed meanwhile.
    pub(crate) fn wait(&mut self) -> Result<(&[u8], bool, Spent), EngineError> {
        let settled = self.settle();
        settled.map_err(|reason| trouble::of_run("vae_decoder", &reason))?;
        let sound = self.fault.bytes() == 0.0_f32.to_ne_bytes();
        Ok((self.bytes.bytes(), sound, self.spent))
    }

    fn settle(&mut self) -> Result<(), Failure> {
        let Some(done) = &self.done else {
            return Ok(());
        };
        done.wait()?;
        self.spent = Spent::default();
        clock::add_up(&self.spans, &mut self.spent)
    }
}

#[cfg(test)]
impl Landing {
    /// Remembers what the decoder was given, as a clean latent.
    pub(super) fn keep_latent(&mut self, given: &mut Slot, scaling: f32) {
        given.fetch().expect("it can be copied");
        if let Some(queue) = &self.queue {
            queue.wait().expect("the device works");
        }
        let (_, values) = given.read().expect("it holds numbers");
        self.latent.clear();
        self.latent
            .extend(values.iter().map(|value| value * scaling));
    }

    pub(crate) fn latent(&self) -> &[f32] {
        &self.latent
    }
}

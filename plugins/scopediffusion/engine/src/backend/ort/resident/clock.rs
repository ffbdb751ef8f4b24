//! How long the stages of a frame take where they run.

use std::sync::Arc;
use std::time::Instant;

use super::super::bound::Failure;
use super::super::queue::{Event, Queue};
use crate::engine::Spent;

/// What time is spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Encode,
    Denoise,
    Decode,
}

/// A stretch of work on a device, from one event to another.
#[derive(Debug)]
pub(super) struct Span {
    stage: Stage,
    from: Event,
    to: Event,
}

/// Most stretches that are remembered: frames that never become a picture do not pile up.
const MOST_SPANS: usize = 64;

/// Notes what is set going; the time is known once the device has done it.
#[derive(Debug)]
pub(super) struct Clock {
    queue: Option<Arc<Queue>>,
    free: Vec<Event>,
    began: Option<Event>,
    spans: Vec<Span>,
    /// On the CPU, where calls end when the work is done.
    since: Instant,
    spent: Spent,
}

impl Clock {
    pub(super) fn new(queue: Option<Arc<Queue>>) -> Result<Self, Failure> {
        Ok(Self {
            queue,
            free: Vec::new(),
            began: None,
            spans: Vec::with_capacity(MOST_SPANS),
            since: Instant::now(),
            spent: Spent::default(),
        })
    }

    pub(super) fn time(
        &mut self,
        stage: Stage,
        work: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.begin()?;
        work()?;
        self.end(stage)
    }

    pub(super) fn begin(&mut self) -> Result<(), Failure> {
        self.since = Instant::now();
        if let Some(began) = self.began.take() {
            // Something failed in between.
            self.free.push(began);
        }
        if self.queue.is_some() {
            self.began = Some(self.mark()?);
        }
        Ok(())
    }

    pub(super) fn end(&mut self, stage: Stage) -> Result<(), Failure> {
        if self.queue.is_none() {
            let took = self.since.elapsed();
            *place(&mut self.spent, stage) += took;
            return Ok(());
        }
        let to = self.mark()?;
        match self.began.take() {
            Some(from) if self.spans.len() < MOST_SPANS => {
                self.spans.push(Span { stage, from, to });
            }
            began => {
                self.free.push(to);
                self.free.extend(began);
            }
        }
        Ok(())
    }

    /// What was noted so far, in exchange for what has been looked at.
    pub(super) fn hand_over(&mut self, spans: &mut Vec<Span>, spent: &mut Spent) {
        for span in spans.drain(..) {
            self.free.extend([span.from, span.to]);
        }
        std::mem::swap(&mut self.spans, spans);
        *spent = std::mem::take(&mut self.spent);
    }

    fn mark(&mut self) -> Result<Event, Failure> {
        let queue = self.queue.as_ref().ok_or("there is no device")?;
        let event = match self.free.pop() {
            Some(event) => event,
            None => Event::new(queue)?,
        };
        event.record(queue)?;
        Ok(event)
    }
}

/// Adds up what the device took; all of it must be done.
pub(super) fn add_up(spans: &[Span], spent: &mut Spent) -> Result<(), Failure> {
    for span in spans {
        *place(spent, span.stage) += span.to.since(&span.from)?;
    }
    Ok(())
}

/// Memory for the spans of a picture.
pub(super) fn room() -> Vec<Span> {
    Vec::with_capacity(MOST_SPANS)
}

fn place(spent: &mut Spent, stage: Stage) -> &mut std::time::Duration {
    match stage {
        Stage::Encode => &mut spent.encode,
        Stage::Denoise => &mut spent.denoise,
        Stage::Decode => &mut spent.decode,
    }
}

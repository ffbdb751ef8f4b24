//! The way back: from the far end to downstream.

use std::sync::Arc;
use std::time::Duration;

use super::super::correlate::{Correlation, Origin};
use super::super::inlet::{Inlet, Sent};
use super::super::picture::Picture;
use super::{Flow, Frame, Manner};

/// Returned pictures kept until it is known what they were made from.
const UNDECIDED: usize = 18;

impl Flow {
    /// A sink that keeps time takes a picture `latency` after its own time: those that are back sooner must wait, on
    /// top of the `size` that were asked for.
    pub(crate) fn hold_for(&self, latency: Duration, size: usize) {
        if self.manner() != Manner::Live {
            return;
        }
        let gap = self.meter.lock().unwrap().input.gap();
        let early = gap
            .filter(|gap| !gap.is_zero())
            .map_or(0.0, |gap| latency.as_secs_f64() / gap.as_secs_f64());
        self.output.set_capacity(size + early.ceil() as usize);
    }

    /// A way to the far end stands: pictures go there from now on.
    pub(crate) fn connect(&self, inlet: Arc<Inlet>) {
        let mut state = self.state.lock().unwrap();
        state.inlet = Some(inlet);
        state.spacing.reset();
        state.correlation = Correlation::default();
        state.undecided.clear();
        state.misfit = false;
        // Its decoder has seen nothing yet.
        state.needs_key = true;
        state.asks_key = state
            .form
            .as_ref()
            .is_some_and(|form| form.codec().is_some());
        let now = self.now();
        state.patience.restart(now);
        self.send_again(&mut state, now);
        self.changed.notify_all();
    }

    /// The far end is gone: the fallback begins with the next input.
    pub(crate) fn disconnect(&self) {
        let mut state = self.state.lock().unwrap();
        state.inlet = None;
        state.undecided.clear();
        state.returned_at = None;
        self.changed.notify_all();
        drop(state);
        self.meter.lock().unwrap().round_trip.clear();
    }

    /// A picture's first packet leaves.
    pub(crate) fn leaving(&self, timestamp: u32, sent: Sent) {
        self.state.lock().unwrap().correlation.sent(timestamp, sent);
        self.count(|meter, now| meter.sent.count(now));
    }

    /// A picture is back.
    pub(crate) fn returned(&self, picture: Picture, timestamp: u32) {
        let now = self.now();
        self.meter.lock().unwrap().returned.count(now);
        let mut out = Vec::new();
        let manner = {
            let mut state = self.state.lock().unwrap();
            if state.inlet.is_none() {
                return;
            }
            state.returned = Some(picture.clone());
            state.returned_at = Some(now);
            state.patience.heard(now);
            match state.correlation.returned(timestamp) {
                Origin::Undecided if state.undecided.len() < UNDECIDED => {
                    state.spacing.returned_unknown();
                    state.undecided.push((picture, timestamp));
                }
                Origin::Known(sent) => {
                    for (earlier, timestamp) in std::mem::take(&mut state.undecided) {
                        out.push((earlier, state.correlation.settle(timestamp)));
                    }
                    if !sent.repeated {
                        let trip = now.saturating_sub(sent.at);
                        self.meter.lock().unwrap().round_trip.add(trip);
                    }
                    state.spacing.returned(now, sent.number);
                    out.push((picture, Some(sent)));
                }
                Origin::Undecided | Origin::Unknown => {
                    state.spacing.returned_unknown();
                    let earlier = std::mem::take(&mut state.undecided);
                    out.extend(earlier.into_iter().map(|(picture, _)| (picture, None)));
                    out.push((picture, None));
                }
            }
            state.manner
        };
        match manner {
            Manner::Lockstep => return,
            Manner::Patient => return self.returned_in_order(now, out),
            Manner::Live => {}
        }
        for (picture, sent) in out {
            // Repetitions say nothing new to downstream.
            if sent.is_some_and(|sent| sent.repeated || sent.number == 0) {
                continue;
            }
            let (pts, duration) = sent.map_or((None, None), |sent| (sent.pts, sent.duration));
            // Flushing: nobody wants it any more.
            self.show(
                Frame {
                    picture: Some(picture),
                    pts,
                    duration,
                },
                manner,
            )
            .ok();
        }
    }
}

//! What falls due.

use std::time::Instant;

use super::{Negotiation, State};
use crate::error::FalError;
use crate::signalling::dialect::wma;
use crate::signalling::message::ClientMessage;
use crate::stage::Stage;

impl Negotiation {
    /// When to hand in [`super::Input::Timeout`] next.
    pub fn next_timeout(&self) -> Option<Instant> {
        let state = match self.state {
            State::AwaitingReady { speak_at } => speak_at,
            State::AwaitingIceServers { until } => Some(until),
            State::Opening
            | State::AwaitingOffer
            | State::AwaitingAnswer
            | State::Negotiated { .. } => None,
            State::Finished => return None,
        };
        let budget = (self.stage != Stage::Live).then_some(self.deadline);
        [state, budget, self.heartbeat_at]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn look_at_the_time(&mut self, now: Instant) {
        if self.next_timeout().is_none_or(|due| due > now) {
            return;
        }
        if self.stage != Stage::Live && self.deadline <= now {
            let error = FalError::TimedOut {
                stage: self.stage,
                budget: self.config.budget,
                hint: std::mem::take(&mut self.hint),
            };
            return self.fail(error);
        }
        match self.state {
            State::AwaitingReady { speak_at: Some(at) } if at <= now => {
                self.speak_first(self.config.initial_input.clone());
            }
            State::AwaitingIceServers { until } if until <= now => self.make_offer(Vec::new()),
            State::Opening
            | State::AwaitingReady { .. }
            | State::AwaitingIceServers { .. }
            | State::AwaitingOffer
            | State::AwaitingAnswer
            | State::Negotiated { .. }
            | State::Finished => {}
        }
        if self.heartbeat_at.is_some_and(|at| at <= now) {
            self.heartbeat_at = Some(now + wma::HEARTBEAT);
            let session_id = self.session_id();
            self.say(&ClientMessage::Heartbeat { session_id });
        }
    }
}

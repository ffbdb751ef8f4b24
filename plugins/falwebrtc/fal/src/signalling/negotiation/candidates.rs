//! Candidates both ways: kept until the answer, passed on behind it.

use super::{Negotiation, Output, State};
use crate::signalling::ice::IceCandidate;
use crate::signalling::message::ClientMessage;

/// Candidates kept for later, each way. No peer has so many.
const MOST_CANDIDATES: usize = 256;

impl Negotiation {
    pub(super) fn local_candidate(&mut self, candidate: Option<IceCandidate>) {
        // Behind the end nothing is heard; in a whole offer they all are already.
        if self.local_done || self.whole() {
            return;
        }
        self.local_done = candidate.is_none();
        match self.state {
            State::Negotiated { .. } => self.say_candidate(candidate),
            State::AwaitingOffer | State::AwaitingAnswer => {
                if candidate.is_none() || self.local.len() < MOST_CANDIDATES {
                    self.local.push(candidate);
                }
            }
            State::Opening
            | State::AwaitingReady { .. }
            | State::AwaitingIceServers { .. }
            | State::Finished => {}
        }
    }

    pub(super) fn say_candidate(&mut self, candidate: Option<IceCandidate>) {
        let session_id = self.session_id();
        self.say(&ClientMessage::Candidate {
            candidate,
            session_id,
        });
    }

    pub(super) fn session_id(&self) -> Option<String> {
        match &self.state {
            State::Negotiated { session_id } => session_id.clone(),
            State::Opening
            | State::AwaitingReady { .. }
            | State::AwaitingIceServers { .. }
            | State::AwaitingOffer
            | State::AwaitingAnswer
            | State::Finished => None,
        }
    }

    pub(super) fn remote_candidate(&mut self, candidate: Option<IceCandidate>) {
        if matches!(self.state, State::Negotiated { .. }) {
            self.outputs.push_back(match candidate {
                Some(candidate) => Output::AddCandidate(candidate),
                None => Output::RemoteCandidatesDone,
            });
        } else if self.remote.len() < MOST_CANDIDATES {
            self.remote.push(candidate);
        }
    }
}

//! A negotiation on a stage of its own: simulated time, everything drained after each step.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test program uses what it needs, and a helper that fails must fail its test"
)]

use std::time::{Duration, Instant};

use fal_client::{
    Encoding, IceCandidate, Input, Negotiation, NegotiationConfig, Output, Parameters, RawMessage,
};

/// A negotiation and its clock.
pub(crate) struct Scene {
    negotiation: Negotiation,
    now: Instant,
}

impl Scene {
    pub(crate) fn new(config: NegotiationConfig) -> Self {
        let now = Instant::now();
        Self {
            negotiation: Negotiation::new(config, now),
            now,
        }
    }

    /// Hands one thing in and takes everything out.
    pub(crate) fn tell(&mut self, input: Input) -> Vec<Output> {
        self.negotiation.handle(self.now, input);
        std::iter::from_fn(|| self.negotiation.poll()).collect()
    }

    /// Lets time go by, stopping at every timeout on the way as an owner would.
    pub(crate) fn after(&mut self, time: Duration) -> Vec<Output> {
        let end = self.now + time;
        let mut outputs = Vec::new();
        while let Some(due) = self.negotiation.next_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            outputs.extend(self.tell(Input::Timeout));
        }
        self.now = end;
        outputs
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.negotiation.next_timeout()
    }
}

pub(crate) fn json(text: &str) -> Input {
    Input::Message(RawMessage::Text(text.into()))
}

pub(crate) fn msgpack(text: &str) -> Input {
    Input::Message(Encoding::Msgpack.encode(&serde_json::from_str(text).unwrap()))
}

/// An answer in text JSON with more fields behind its SDP.
pub(crate) fn answer(more: &str) -> Input {
    json(&format!(r#"{{"type":"answer","sdp":"v=0 a"{more}}}"#))
}

pub(crate) fn candidate(number: u16) -> IceCandidate {
    let line = format!("candidate:{number} 1 UDP 1 192.0.2.1 9 typ host");
    IceCandidate::new(&line, Some("0".into()), Some(0)).unwrap()
}

pub(crate) fn object(text: &str) -> Parameters {
    serde_json::from_str(text).unwrap()
}

//! What a pump tells its owner.

use std::time::{Duration, Instant};

use crate::error::FalError;
use crate::signalling::RawMessage;
use crate::stage::Stage;

/// Something happened. `attempt` counts from 1; what belongs to an earlier attempt than the last is old.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A stage begins.
    Stage(StageReport),
    /// The socket is open: begin a negotiation and, when it asks, a peer connection.
    Opened {
        /// Which attempt.
        attempt: u32,
        /// When it began: the negotiation's budget counts from here.
        started: Instant,
    },
    /// The app said something.
    Message {
        /// Which attempt.
        attempt: u32,
        /// As it came.
        message: RawMessage,
    },
    /// The socket is closed. Close negotiation and peer connection, and answer with [`super::Pump::failed`] if the
    /// negotiation knows better why; without an answer the attempt counts as lost all the same.
    Closed {
        /// Which attempt.
        attempt: u32,
        /// WebSocket close code; 1006 when the connection just broke.
        code: Option<u16>,
        /// Its reason, often empty.
        reason: String,
    },
}

/// Where the connection stands.
#[derive(Debug, Clone, PartialEq)]
pub struct StageReport {
    /// The stage that begins.
    pub stage: Stage,
    /// Which attempt.
    pub attempt: u32,
    /// Time since the attempt began.
    pub elapsed: Duration,
    /// Why, for [`Stage::Reconnecting`] and [`Stage::Failed`].
    pub error: Option<FalError>,
    /// Time until the next attempt, for [`Stage::Reconnecting`].
    pub wait: Option<Duration>,
}

//! The newest log lines, told to whoever uses this program as a cloud.
//!
//! Nothing is kept for a client: each round takes from the log itself what came since, so one that reads slowly misses
//! lines and costs no memory.

use std::sync::Arc;
use std::time::Duration;

use fal_client::signalling::ServerMessage;
use tokio::time::{MissedTickBehavior, interval};

use super::socket::Outbox;
use crate::log::Ring;

/// How often.
const ROUND: Duration = Duration::from_millis(500);
/// Lines a round; older ones are left out.
const MOST_LINES: usize = 200;
/// Lines in one message.
const LINES: usize = 50;

/// The feed of one client, from now on.
#[derive(Debug)]
pub(super) struct LogFeed {
    logs: Arc<Ring>,
    outbox: Outbox,
    offset: u64,
}

impl LogFeed {
    /// Begins after what is in the log now.
    pub(super) fn new(logs: Arc<Ring>, outbox: Outbox) -> Self {
        let (_, offset) = logs.tail(0, 0);
        Self {
            logs,
            outbox,
            offset,
        }
    }

    /// Tells until it is dropped.
    pub(super) async fn run(mut self) {
        let mut round = interval(ROUND);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            round.tick().await;
            let (lines, offset) = self.logs.tail(MOST_LINES, self.offset);
            self.offset = offset;
            for lines in lines.chunks(LINES) {
                let message = ServerMessage::Logs {
                    lines: lines.to_vec(),
                };
                // No room: lines are the first thing to leave out.
                self.outbox.try_say(&message);
            }
        }
    }
}

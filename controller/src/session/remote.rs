//! The client of a session: its connection, what is said to it, and whether it is still there.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;
use webrtc_live::bitrate::Bitrate;

use super::metrics::Link;
use super::outbox::Outbox;
use super::state::State;
use super::watchdog::Watchdog;
use crate::media::MediaError;
use crate::media::event::{Event, Events};
use crate::media::handover::Handover;
use crate::media::peer::Peer;
use crate::media::switch::Lane;

/// Packets in one round that must have been video: reports alone are fewer.
const SURELY_VIDEO: u64 = 10;
/// Video that comes in but cannot be decoded for this long needs a key frame asked for again.
const UNDECODED: Duration = Duration::from_millis(700);
/// A round that comes this late means that the program stood still (a suspended laptop, a debugger).
const STOOD_STILL: Duration = Duration::from_millis(1200);
/// Rounds after that in which the client gets a key frame unasked: its own request may wait behind hundreds of NACKs.
const RESCUE_ROUNDS: u32 = 4;
/// The last message gets this long to leave.
const FAREWELL: Duration = Duration::from_millis(150);

/// One client, as its session's actor sees it.
#[derive(Debug)]
pub(super) struct Remote {
    peer: Peer,
    outbox: Outbox,
    watchdog: Watchdog,
    bitrate: Option<Bitrate>,
    packets: u64,
    last_round: Duration,
    rescue: u32,
    link: Link,
}

impl Remote {
    /// `now` is the time since the session began, here and below.
    pub(super) fn new(peer: Peer, now: Duration) -> Self {
        Self {
            peer,
            outbox: Outbox::default(),
            watchdog: Watchdog::default(),
            bitrate: None,
            packets: 0,
            last_round: now,
            rescue: 0,
            link: Link::default(),
        }
    }

    pub(super) fn start(
        &self,
        handover: &Arc<Handover>,
        events: &Events,
    ) -> Result<(), MediaError> {
        self.peer.start(handover, events)
    }

    pub(super) async fn answer(&self, sdp: &str) -> Result<String, MediaError> {
        self.peer.answer(sdp).await
    }

    /// Blocks until GStreamer's threads have ended.
    pub(super) fn stop(&self) {
        self.peer.stop();
    }

    /// Checked candidates, as (mid, m-line, text).
    pub(super) fn add_candidates(&self, candidates: &[(Option<String>, Option<u32>, String)]) {
        for (mid, index, candidate) in candidates {
            self.peer
                .add_candidate(self.peer.plan.line_of(mid.as_deref(), *index), candidate);
        }
    }

    /// Says it on the data channel, or keeps it until there is one.
    pub(super) fn post(&mut self, message: &Value) {
        if let Some(text) = self.outbox.post(message) {
            self.peer.channel.send(&text);
        }
    }

    /// News of the connection.
    pub(super) fn hear(&mut self, event: &Event, now: Duration) {
        match event {
            Event::Connected => {
                tracing::info!("the client is connected");
                self.peer.settle_latency();
                self.peer.send_key_frame();
            }
            Event::Latency => self.peer.settle_latency(),
            Event::ChannelOpened => {
                for text in self.outbox.opened() {
                    self.peer.channel.send(&text);
                }
            }
            Event::ChannelClosed => {
                self.outbox.closed();
                self.watchdog.hung_up(now);
            }
            Event::HungUp => self.watchdog.hung_up(now),
            _ => {}
        }
    }

    /// The regular round, `tick` after the last one; gives the reason when the client is gone.
    pub(super) fn look_after(
        &mut self,
        handover: &Handover,
        state: &State,
        tick: Duration,
    ) -> Option<&'static str> {
        let now = state.born.elapsed();
        let packets = self.peer.packets();
        let came = packets - std::mem::replace(&mut self.packets, packets);
        self.watchdog.packets(now, packets);
        self.follow_receiver(handover, state, now);
        self.rescue_after_standstill(now);
        // A picture that is held for the cloud must answer key frame requests, too. One whose client sends nothing must
        // not: the receiver would learn that frames come twice a second, and be late for the next ones.
        let held = handover.shown() == Some(Lane::Cloud)
            && handover.last_output().is_some_and(|last| now > last + tick);
        if handover.is_paused() || held {
            handover.repeat();
        }
        if !handover.is_paused() && self.peer.plan.input.is_some() && came >= SURELY_VIDEO {
            let last = handover.last_input().unwrap_or_default();
            if now.saturating_sub(last) > UNDECODED {
                self.peer.ask_key_frame();
            }
        }
        self.watchdog.verdict(now)
    }

    /// After a standstill both sides have lost packets; ours need not wait for the client to find that out.
    fn rescue_after_standstill(&mut self, now: Duration) {
        let since = now.saturating_sub(std::mem::replace(&mut self.last_round, now));
        if since > STOOD_STILL {
            self.rescue = RESCUE_ROUNDS;
        }
        if self.rescue > 0 {
            self.rescue -= 1;
            self.peer.send_key_frame();
        }
    }

    fn follow_receiver(&mut self, handover: &Handover, state: &State, now: Duration) {
        let Some((width, height)) = handover.size() else {
            return;
        };
        let fresh = self.bitrate.is_none();
        let bitrate = self
            .bitrate
            .get_or_insert_with(|| Bitrate::for_size(width, height));
        let before = bitrate.get();
        bitrate.resize(width, height);
        let report = self.peer.report();
        let rate = bitrate.report(now, &report);
        if fresh || rate != before {
            self.peer.set_bitrate(rate);
        }
        self.link.bitrate = rate;
        // Reports are rarer than this round; until the next one the last one holds.
        self.link.round_trip = report.round_trip.or(self.link.round_trip);
        self.link.loss = report.loss.or(self.link.loss);
        state.set_link(self.link);
    }

    /// Waits until everything said has left, for a moment.
    pub(super) async fn part(&self) {
        let sent = async {
            // SCTP takes it from the buffer first, then to the network in its own thread.
            while self.peer.channel.buffered() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        };
        timeout(FAREWELL, sent).await.ok();
    }
}

//! A source that can wait, a file: every picture goes there and comes back, in order, or it is said which did not.

use std::sync::MutexGuard;
use std::time::Duration;

use super::super::inlet::Sent;
use super::super::output::{Flushing, Item};
use super::super::patience::AHEAD;
use super::super::picture::Picture;
use super::{Flow, Frame, Manner, State};

/// First wait for the last picture before another is sent behind it; then twice as long each time, up to the second.
const NUDGE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));

impl Flow {
    /// Pictures that may wait for the encoder where `size` was asked for: a patient stream loses none there, and may send
    /// some again.
    pub(crate) fn waiting_for_encoder(&self, size: usize) -> usize {
        match self.manner() {
            Manner::Patient => size.max(4 * AHEAD),
            Manner::Live | Manner::Lockstep => size,
        }
    }

    /// How long a packet may be waited for, where `latency` was asked for: a patient stream would rather wait than send
    /// a picture again.
    pub(crate) fn patient_latency(&self, latency: Duration) -> Duration {
        match self.manner() {
            Manner::Patient => latency.max(Duration::from_secs(2)),
            Manner::Live | Manner::Lockstep => latency,
        }
    }

    /// Returned pictures never wait for downstream, or a paused pipeline would hold up the end of a connection; those
    /// who send wait instead, and so there is room for all that are under way.
    pub(super) fn make_room_for_patience(&self) {
        self.output.set_capacity(2 * AHEAD);
    }

    /// Downstream took a frame.
    pub(crate) fn made_room(&self) {
        self.changed.notify_all();
    }

    pub(super) fn wait_for_room<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
    ) -> Result<MutexGuard<'a, State>, Flushing> {
        loop {
            if state.flushing {
                return Err(Flushing);
            }
            let room = self.output.has_room_for(AHEAD) && state.patience.has_room();
            if room && state.inlet.is_some() {
                return Ok(state);
            }
            state = self.changed.wait(state).unwrap();
        }
    }

    /// Pictures came back, each with what it was made from, where that is known.
    pub(super) fn returned_in_order(&self, now: Duration, back: Vec<(Picture, Option<Sent>)>) {
        let mut state = self.state.lock().unwrap();
        for (picture, sent) in back {
            match sent {
                Some(sent) => state.patience.returned(now, sent.number, sent.at, picture),
                // An app that keeps timestamps and sends one that is none of ours made it of nothing of ours.
                None if state.correlation.keeps_timestamps() => {}
                None => state.patience.returned_unknown(now, picture),
            }
        }
        self.send_again(&mut state, now);
        self.let_out(&mut state);
    }

    /// Does something about pictures that are long in coming. Called now and then.
    pub(crate) fn look_after(&self) {
        let mut state = self.state.lock().unwrap();
        // Downstream that stands still is no far end that lost something.
        if state.inlet.is_none() || !self.output.has_room_for(AHEAD) {
            return;
        }
        let now = self.now();
        // Until it is known what comes back, more must: an app that leaves pictures out may have had all it will get.
        let unknown = !state.patience.is_done() && state.correlation.is_open();
        if unknown && now.saturating_sub(state.patience.moved().max(state.last_sent)) > NUDGE.0 {
            return nudge(&state, now);
        }
        if state.patience.is_stuck(now) {
            // Perhaps the far end never saw a picture that stands alone.
            if let Some(inlet) = &state.inlet {
                inlet.ask_key_frame();
            }
            self.send_again(&mut state, now);
            self.let_out(&mut state);
        }
    }

    /// Sends what is missing; nothing here waits.
    pub(super) fn send_again(&self, state: &mut State, now: Duration) {
        let Some(inlet) = state.inlet.clone() else {
            return;
        };
        for (_, (material, sent)) in state.patience.due(now) {
            // A part of an encoded stream means nothing twice; what another form has waits for its own connection.
            if material.codec().is_none() && inlet.takes(&material) {
                inlet.push(material, Sent { at: now, ..sent });
            }
        }
    }

    /// Lets out what is next, and is back. The queue behind takes it at once: room was made before it was sent.
    fn let_out(&self, state: &mut State) {
        while let Some(((_, sent), picture)) = state.patience.ready() {
            let frame = Frame {
                picture: Some(picture),
                pts: sent.pts,
                duration: sent.duration,
            };
            // Flushing: nobody wants it any more.
            self.output.push(Item::Frame(frame)).ok();
        }
        self.changed.notify_all();
    }

    /// The end of a patient stream: waits for what is still under way, without a connection no longer than `alone`. The
    /// oldest is sent again meanwhile, because a jitter buffer gives one out only when another follows.
    pub(crate) fn drain(&self, alone: Duration) {
        let mut state = self.state.lock().unwrap();
        if state.manner != Manner::Patient {
            return;
        }
        let mut connected = self.now();
        let (mut nudge_at, mut wait, mut seen) = (connected, NUDGE.0, Duration::ZERO);
        while !state.flushing && !state.patience.is_done() {
            let now = self.now();
            if state.inlet.is_some() {
                connected = now;
            } else if now.saturating_sub(connected) > alone {
                break;
            }
            let moved = state.patience.moved() != seen;
            let helps = state.patience.is_last() || !state.correlation.keeps_timestamps();
            if (moved && helps) || now >= nudge_at {
                seen = state.patience.moved();
                wait = if moved {
                    NUDGE.0
                } else {
                    (wait * 2).min(NUDGE.1)
                };
                nudge_at = now + wait;
                nudge(&state, now);
            }
            let pause = Duration::from_millis(20);
            state = self.changed.wait_timeout(state, pause).unwrap().0;
        }
        state.patience.give_up();
        self.let_out(&mut state);
    }

    /// Timestamps of the pictures that were lost for good, told once.
    pub(crate) fn take_lost(&self) -> Vec<Option<gst::ClockTime>> {
        let lost = self.state.lock().unwrap().patience.take_lost();
        self.meter.lock().unwrap().lost_pictures += lost.len() as u64;
        lost.into_iter().map(|(_, sent)| sent.pts).collect()
    }
}

/// Sends the oldest that is not back again, for a jitter buffer that waits for more, or an app that left it out.
fn nudge(state: &State, now: Duration) {
    if let Some(inlet) = state.inlet.as_ref().filter(|inlet| !inlet.is_busy())
        && let Some((material, sent)) = state.patience.oldest()
        && material.codec().is_none()
        && inlet.takes(&material)
    {
        inlet.push(
            material,
            Sent {
                at: now,
                repeated: true,
                ..sent
            },
        );
    }
}

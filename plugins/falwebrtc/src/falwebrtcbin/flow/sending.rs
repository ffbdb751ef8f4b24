//! The way out: room for those who can wait, and pictures that are sent only so that the stream lives.

use std::sync::MutexGuard;
use std::time::Duration;

use gst_video::VideoInfo;

use super::super::inlet::Sent;
use super::super::material::Material;
use super::super::output::Flushing;
use super::super::picture;
use super::{Flow, Manner, State};

/// A patient source may be so many pictures ahead: the far end's jitter buffer holds one until the next comes, and a
/// few are needed to recognise the first.
const AHEAD: u64 = 8;
/// A picture that did not come back by then is lost, for a patient source.
const LOST: Duration = Duration::from_secs(2);

impl Flow {
    /// Pictures that may wait for the encoder where `size` was asked for: a patient stream loses none there.
    pub(crate) fn waiting_for_encoder(&self, size: usize) -> usize {
        match self.manner() {
            Manner::Patient => size.max(AHEAD as usize),
            Manner::Live | Manner::Lockstep => size,
        }
    }

    /// Returned pictures never wait for downstream, or a paused pipeline would hold up the end of a connection; those
    /// who send wait instead, and so there is room for all that are under way.
    pub(super) fn make_room_for_patience(&self) {
        self.output.set_capacity(2 * AHEAD as usize);
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
            // Downstream that stands still is no far end that lost something.
            let room = self.output.has_room_for(AHEAD as usize);
            if !room {
                state.moved = self.now();
            }
            let stuck = self.now().saturating_sub(state.moved) > LOST;
            if room && state.inlet.is_some() && (state.number < state.back + AHEAD || stuck) {
                if stuck {
                    state.back = state.number;
                    state.moved = self.now();
                }
                return Ok(state);
            }
            state = self
                .changed
                .wait_timeout(state, Duration::from_millis(100))
                .unwrap()
                .0;
        }
    }

    /// The end of a patient stream: waits for what is still under way. The last picture is sent again meanwhile,
    /// because a jitter buffer gives one out only when another follows.
    pub(crate) fn drain(&self) {
        let mut state = self.state.lock().unwrap();
        if state.manner != Manner::Patient {
            return;
        }
        let begun = self.now();
        while !state.flushing && state.inlet.is_some() && state.back < state.number {
            if self.now().saturating_sub(begun.max(state.moved)) > LOST {
                break;
            }
            state = self
                .changed
                .wait_timeout(state, Duration::from_millis(50))
                .unwrap()
                .0;
            drop(state);
            self.repeat();
            state = self.state.lock().unwrap();
        }
    }

    /// Sends the last picture again; black if there was none.
    pub(crate) fn repeat(&self) {
        let now = self.now();
        let (inlet, last) = {
            let mut state = self.state.lock().unwrap();
            state.last_sent = now;
            (state.inlet.clone(), state.last_input.clone())
        };
        let Some(inlet) = inlet.filter(|inlet| !inlet.is_busy()) else {
            return;
        };
        let last = last.or_else(|| {
            let info = VideoInfo::builder(gst_video::VideoFormat::I420, 320, 240)
                .build()
                .ok()?;
            let picture = picture::black(&info).ok()?;
            Some((
                Material::Raw(picture),
                Sent {
                    number: 0,
                    pts: None,
                    duration: None,
                    at: now,
                    repeated: true,
                },
            ))
        });
        // A part of an encoded stream means nothing twice.
        if let Some((picture, sent)) = last
            && picture.codec().is_none()
            && inlet.takes(&picture)
        {
            inlet.push(
                picture,
                Sent {
                    at: now,
                    repeated: true,
                    ..sent
                },
            );
        }
    }

    /// How long ago a picture was handed to the encoder last.
    pub(crate) fn since_sent(&self) -> Duration {
        self.now()
            .saturating_sub(self.state.lock().unwrap().last_sent)
    }
}

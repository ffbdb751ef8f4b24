//! The meeting point of upstream, downstream and the far end. Nothing here waits for the network, with one exception
//! that a pipeline asks for: [`Manner::Patient`].
//!
//! Locks: `state` is held for a moment, never over a call out; `meter` may be taken inside it, not the reverse.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::correlate::Correlation;
use super::inlet::{Inlet, Sent};
use super::material::{Form, Material};
use super::meter::Meter;
use super::output::{Flushing, Item, Output};
use super::patience::Patience;
use super::picture::Picture;
use super::settings::Fallback;
use super::spacing::Spacing;

mod patient;
mod returning;
mod sending;

/// How pictures in and pictures out belong together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Manner {
    /// A live source: returned pictures come out when they come in; while none do, each input gives the fallback.
    #[default]
    Live,
    /// A source that waits for its output (an editor's effect slot): one output for each input, at once.
    Lockstep,
    /// A source that can wait and no fallback (a file): every picture there and back.
    Patient,
}

/// Silence of the far end shorter than this is covered by its last picture, whatever the fallback.
const HICCUP: Duration = Duration::from_secs(1);
/// Bounds of the silence that counts as one.
const SILENCE: (Duration, Duration) = (Duration::from_millis(100), HICCUP);
/// What goes out.
#[derive(Debug)]
pub(crate) struct Frame {
    /// None is black.
    pub(crate) picture: Option<Picture>,
    /// None is now.
    pub(crate) pts: Option<gst::ClockTime>,
    pub(crate) duration: Option<gst::ClockTime>,
}

#[derive(Debug, Default)]
struct State {
    manner: Manner,
    fallback: Fallback,
    inlet: Option<Arc<Inlet>>,
    correlation: Correlation<Sent>,
    undecided: Vec<(Picture, u32)>,
    spacing: Spacing,
    number: u64,
    /// Of a patient stream: what is under way.
    patience: Patience<(Material, Sent), Picture>,
    /// Of upstream.
    form: Option<Form>,
    /// An encoded stream lost a picture, or its reader is new: nothing but a picture that stands alone helps.
    needs_key: bool,
    /// Upstream is to be asked for one.
    asks_key: bool,
    /// The link was built for another form.
    misfit: bool,
    last_input: Option<(Material, Sent)>,
    last_sent: Duration,
    returned: Option<Picture>,
    returned_at: Option<Duration>,
    last_out: Option<gst::ClockTime>,
    flushing: bool,
}

/// The meeting point.
#[derive(Debug)]
pub(crate) struct Flow {
    born: Instant,
    state: Mutex<State>,
    meter: Mutex<Meter>,
    changed: Condvar,
    pub(crate) output: Output<Frame, gst::Event>,
}

impl Flow {
    pub(crate) fn new() -> Self {
        Self {
            born: Instant::now(),
            state: Mutex::default(),
            meter: Mutex::default(),
            changed: Condvar::new(),
            output: Output::default(),
        }
    }

    /// Time since the element was made: the clock of everything in here.
    pub(crate) fn now(&self) -> Duration {
        self.born.elapsed()
    }

    /// Forgets the stream before; `bound` is the longest round trip that is not acted on.
    pub(crate) fn begin(&self, fallback: Fallback, capacity: usize, bound: Option<Duration>) {
        *self.state.lock().unwrap() = State {
            fallback,
            spacing: Spacing::new(bound),
            ..State::default()
        };
        *self.meter.lock().unwrap() = Meter::default();
        self.output.set_capacity(capacity);
    }

    pub(crate) fn set_fallback(&self, fallback: Fallback) {
        self.state.lock().unwrap().fallback = fallback;
    }

    pub(crate) fn set_manner(&self, live: bool) {
        let mut state = self.state.lock().unwrap();
        state.manner = match (live, state.fallback) {
            (true, _) => Manner::Live,
            (false, Fallback::None) => Manner::Patient,
            (false, _) => Manner::Lockstep,
        };
        if state.manner == Manner::Patient {
            self.make_room_for_patience();
        }
    }

    /// Upstream's stream has this form from here on.
    pub(crate) fn set_form(&self, form: Form) {
        self.state.lock().unwrap().form = Some(form);
    }

    pub(crate) fn form(&self) -> Option<Form> {
        self.state.lock().unwrap().form.clone()
    }

    /// Somebody cannot decode an encoded stream any more.
    pub(crate) fn want_key(&self) {
        self.state.lock().unwrap().asks_key = true;
    }

    /// Whether upstream is to be asked for a picture that stands alone, told once.
    pub(crate) fn take_key_wish(&self) -> bool {
        std::mem::take(&mut self.state.lock().unwrap().asks_key)
    }

    /// Whether the link was built for another form than upstream's, told once.
    pub(crate) fn take_misfit(&self) -> bool {
        std::mem::take(&mut self.state.lock().unwrap().misfit)
    }

    pub(crate) fn manner(&self) -> Manner {
        self.state.lock().unwrap().manner
    }

    pub(crate) fn meter(&self) -> Meter {
        self.meter.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Meter, Duration)) {
        change(&mut self.meter.lock().unwrap(), self.now());
    }

    /// A picture from upstream.
    pub(crate) fn input(&self, buffer: gst::Buffer) -> Result<(), Flushing> {
        let now = self.now();
        self.meter.lock().unwrap().input.count(now);
        let mut state = self.state.lock().unwrap();
        if state.manner == Manner::Patient {
            state = self.wait_for_room(state)?;
        }
        let Some(form) = &state.form else {
            return Ok(());
        };
        let material = Material::new(buffer, form);
        let now = self.now();
        state.number += 1;
        let (pts, duration) = (material.buffer().pts(), material.buffer().duration());
        let sent = Sent {
            number: state.number,
            pts,
            duration,
            at: now,
            repeated: false,
        };
        state.last_input = Some((material.clone(), sent));
        if state.manner == Manner::Patient {
            let what = (material.clone(), sent);
            state.patience.sends(now, sent.number, what);
        }
        let was_connected = state.inlet.is_some();
        let inlet = admit(&mut state, &material, sent, now);
        let shown = self.shown_for(&mut state, &material, now);
        let manner = state.manner;
        drop(state);

        let left_out = was_connected && inlet.is_none();
        let displaced = inlet.is_some_and(|inlet| inlet.push(material.clone(), sent));
        if displaced && material.codec().is_some() {
            let mut state = self.state.lock().unwrap();
            (state.needs_key, state.asks_key) = (true, true);
        }
        self.meter.lock().unwrap().dropped += u64::from(displaced || left_out);
        match shown {
            Some(picture) => self.show(
                Frame {
                    picture,
                    pts,
                    duration,
                },
                manner,
            ),
            None => Ok(()),
        }
    }

    /// What an input gives at once: nothing, black (`Some(None)`), or a picture.
    fn shown_for(
        &self,
        state: &mut State,
        input: &Material,
        now: Duration,
    ) -> Option<Option<Picture>> {
        if state.manner == Manner::Patient {
            return None;
        }
        let silence = state.returned_at.map(|at| now.saturating_sub(at));
        let lockstep = state.manner == Manner::Lockstep;
        let patience = {
            let meter = self.meter.lock().unwrap();
            let gap = meter
                .input
                .gap()
                .unwrap_or_default()
                .max(meter.returned.gap().unwrap_or_default());
            (gap * 3).clamp(SILENCE.0, SILENCE.1)
        };
        match silence {
            Some(silence) if silence < patience && !lockstep => None,
            Some(silence) if silence < HICCUP && state.fallback != Fallback::None => {
                Some(state.returned.clone())
            }
            _ => {
                let shown = match state.fallback {
                    Fallback::None => return None,
                    // What is encoded cannot be shown.
                    Fallback::Passthrough => input.picture().or_else(|| state.returned.clone()),
                    Fallback::Hold => state.returned.clone(),
                    Fallback::Black => None,
                };
                self.meter.lock().unwrap().fallback += 1;
                Some(shown)
            }
        }
    }

    /// The size of what comes from upstream.
    pub(crate) fn size(&self) -> Option<(u32, u32)> {
        let state = self.state.lock().unwrap();
        state
            .last_input
            .as_ref()
            .and_then(|(material, _)| material.size())
    }

    /// Lets a frame out, unless a later one was let out before.
    fn show(&self, frame: Frame, manner: Manner) -> Result<(), Flushing> {
        {
            let mut state = self.state.lock().unwrap();
            if let (Some(last), Some(pts)) = (state.last_out, frame.pts)
                && pts <= last
            {
                drop(state);
                self.meter.lock().unwrap().dropped += 1;
                return Ok(());
            }
            state.last_out = frame.pts.or(state.last_out);
        }
        match manner {
            Manner::Live | Manner::Patient => {
                let displaced = self.output.push(Item::Frame(frame))?;
                self.meter.lock().unwrap().dropped += u64::from(displaced);
                Ok(())
            }
            Manner::Lockstep => self.output.push_waiting(frame),
        }
    }

    /// The stream jumps: what is under way belongs to the past.
    pub(crate) fn set_flushing(&self, flushing: bool) {
        let mut state = self.state.lock().unwrap();
        state.flushing = flushing;
        state.last_out = None;
        state.undecided.clear();
        state.correlation = Correlation::default();
        state.patience = Patience::default();
        self.changed.notify_all();
        drop(state);
        self.output.set_flushing(flushing);
    }

    /// Timestamps start anew with a segment.
    pub(crate) fn new_segment(&self) {
        self.state.lock().unwrap().last_out = None;
    }

    /// Whether returned pictures carry the timestamps of those they were made from.
    pub(crate) fn keeps_timestamps(&self) -> bool {
        self.state.lock().unwrap().correlation.keeps_timestamps()
    }

    /// Pictures a second that `max-latency` lets through, where it holds any back.
    pub(crate) fn limit(&self) -> Option<f64> {
        self.state.lock().unwrap().spacing.limit(self.now())
    }

    /// Since when nothing has come from upstream.
    pub(crate) fn since_input(&self) -> Duration {
        let state = self.state.lock().unwrap();
        let last = state.last_input.as_ref().map(|(_, sent)| sent.at);
        self.now().saturating_sub(last.unwrap_or_default())
    }
}

/// The way for this picture, unless it is to be left out.
fn admit(state: &mut State, material: &Material, sent: Sent, now: Duration) -> Option<Arc<Inlet>> {
    let inlet = state.inlet.clone()?;
    if !inlet.takes(material) {
        state.misfit = true;
        return None;
    }
    if state.needs_key && !material.stands_alone() {
        return None;
    }
    state.needs_key = false;
    // Of an encoded stream no picture can be left out.
    let whole = state.manner == Manner::Patient || material.codec().is_some();
    if !whole && !state.spacing.admits(now, sent.number) {
        return None;
    }
    state.last_sent = now;
    Some(inlet)
}

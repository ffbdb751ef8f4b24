//! The meeting point of upstream, downstream and the far end. Nothing here waits for the network, with one exception
//! that a pipeline asks for: [`Manner::Patient`].
//!
//! Locks: `state` is held for a moment, never over a call out; `meter` may be taken inside it, not the reverse.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use gst_video::VideoInfo;

use super::correlate::{Correlation, Origin};
use super::inlet::{Inlet, Sent};
use super::meter::Meter;
use super::output::{Flushing, Item, Output};
use super::picture::Picture;
use super::settings::Fallback;
use super::spacing::Spacing;

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

/// A patient source may be so many pictures ahead: the far end's jitter buffer holds one until the next comes, and a
/// few are needed to recognise the first.
const AHEAD: u64 = 8;
/// A picture that did not come back by then is lost, for a patient source.
const LOST: Duration = Duration::from_secs(2);
/// Silence of the far end shorter than this is covered by its last picture, whatever the fallback.
const HICCUP: Duration = Duration::from_secs(1);
/// Bounds of the silence that counts as one.
const SILENCE: (Duration, Duration) = (Duration::from_millis(100), HICCUP);
/// Returned pictures kept until it is known what they were made from.
const UNDECIDED: usize = 18;

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
    /// The newest picture that is known to be back, in a patient stream.
    back: u64,
    moved: Duration,
    last_input: Option<(Picture, Sent)>,
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

    /// A sink that keeps time takes a picture `latency` after its own time: those that are back sooner must wait, on
    /// top of the `size` that were asked for.
    pub(crate) fn hold_for(&self, latency: Duration, size: usize) {
        let gap = self.meter.lock().unwrap().input.gap();
        let early = gap
            .filter(|gap| !gap.is_zero())
            .map_or(0.0, |gap| latency.as_secs_f64() / gap.as_secs_f64());
        self.output.set_capacity(size + early.ceil() as usize);
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
    }

    /// Pictures that may wait for the encoder where `size` was asked for: a patient stream loses none there.
    pub(crate) fn waiting_for_encoder(&self, size: usize) -> usize {
        match self.manner() {
            Manner::Patient => size.max(AHEAD as usize),
            Manner::Live | Manner::Lockstep => size,
        }
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
    pub(crate) fn input(&self, picture: Picture) -> Result<(), Flushing> {
        let now = self.now();
        self.meter.lock().unwrap().input.count(now);
        let mut state = self.state.lock().unwrap();
        if state.manner == Manner::Patient {
            state = self.wait_for_room(state)?;
        }
        let now = self.now();
        state.number += 1;
        let (pts, duration) = (picture.buffer.pts(), picture.buffer.duration());
        let sent = Sent {
            number: state.number,
            pts,
            duration,
            at: now,
            repeated: false,
        };
        state.last_input = Some((picture.clone(), sent));
        let admitted = state.manner == Manner::Patient || state.spacing.admits(now);
        let inlet = state.inlet.clone().filter(|_| admitted);
        if inlet.is_some() {
            state.last_sent = now;
        }
        let shown = self.shown_for(&mut state, &picture, now);
        let manner = state.manner;
        drop(state);

        let sends = inlet.is_some();
        let displaced = inlet.is_some_and(|inlet| inlet.push(picture, sent));
        let lost = displaced || (!admitted && !sends);
        self.meter.lock().unwrap().dropped += u64::from(lost);
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
        input: &Picture,
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
                    Fallback::Passthrough => Some(input.clone()),
                    Fallback::Hold => state.returned.clone(),
                    Fallback::Black => None,
                };
                self.meter.lock().unwrap().fallback += 1;
                Some(shown)
            }
        }
    }

    fn wait_for_room<'a>(
        &'a self,
        mut state: std::sync::MutexGuard<'a, State>,
    ) -> Result<std::sync::MutexGuard<'a, State>, Flushing> {
        loop {
            if state.flushing {
                return Err(Flushing);
            }
            let stuck = self.now().saturating_sub(state.moved) > LOST;
            if state.inlet.is_some() && (state.number < state.back + AHEAD || stuck) {
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
            let picture = super::picture::black(&info).ok()?;
            Some((
                picture,
                Sent {
                    number: 0,
                    pts: None,
                    duration: None,
                    at: now,
                    repeated: true,
                },
            ))
        });
        if let Some((picture, sent)) = last {
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

    /// The size of what comes from upstream.
    pub(crate) fn size(&self) -> Option<(u32, u32)> {
        let state = self.state.lock().unwrap();
        state
            .last_input
            .as_ref()
            .map(|(picture, _)| (picture.info.width(), picture.info.height()))
    }

    /// A way to the far end stands: pictures go there from now on.
    pub(crate) fn connect(&self, inlet: Arc<Inlet>) {
        let mut state = self.state.lock().unwrap();
        state.inlet = Some(inlet);
        state.correlation = Correlation::default();
        state.undecided.clear();
        state.back = state.number;
        state.moved = self.now();
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
            match state.correlation.returned(timestamp) {
                Origin::Undecided if state.undecided.len() < UNDECIDED => {
                    state.undecided.push((picture, timestamp));
                }
                Origin::Known(sent) => {
                    for (earlier, timestamp) in std::mem::take(&mut state.undecided) {
                        out.push((earlier, state.correlation.settle(timestamp)));
                    }
                    if !sent.repeated {
                        let trip = now.saturating_sub(sent.at);
                        let gap = {
                            let mut meter = self.meter.lock().unwrap();
                            meter.round_trip.add(trip);
                            meter.returned.gap().unwrap_or_default()
                        };
                        state.spacing.measured(now, trip, gap);
                    }
                    out.push((picture, Some(sent)));
                }
                Origin::Undecided | Origin::Unknown => {
                    let earlier = std::mem::take(&mut state.undecided);
                    out.extend(earlier.into_iter().map(|(picture, _)| (picture, None)));
                    out.push((picture, None));
                }
            }
            state.manner
        };
        if manner == Manner::Lockstep {
            return;
        }
        let back: Vec<_> = out
            .iter()
            .map(|(_, sent)| sent.map(|sent| sent.number))
            .collect();
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
        // Only now: whoever waits for the last one lets the end of the stream out behind it.
        let mut state = self.state.lock().unwrap();
        for number in back {
            state.back = number
                .unwrap_or(state.back + 1)
                .max(state.back)
                .min(state.number);
        }
        state.moved = now;
        self.changed.notify_all();
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
            Manner::Live => {
                let displaced = self.output.push(Item::Frame(frame))?;
                self.meter.lock().unwrap().dropped += u64::from(displaced);
                Ok(())
            }
            Manner::Lockstep | Manner::Patient => self.output.push_waiting(frame),
        }
    }

    /// The stream jumps: what is under way belongs to the past.
    pub(crate) fn set_flushing(&self, flushing: bool) {
        let mut state = self.state.lock().unwrap();
        state.flushing = flushing;
        state.last_out = None;
        state.undecided.clear();
        state.correlation = Correlation::default();
        state.back = state.number;
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
        self.state.lock().unwrap().spacing.limit()
    }

    /// Since when nothing has come from upstream.
    pub(crate) fn since_input(&self) -> Duration {
        let state = self.state.lock().unwrap();
        let last = state.last_input.as_ref().map(|(_, sent)| sent.at);
        self.now().saturating_sub(last.unwrap_or_default())
    }
}

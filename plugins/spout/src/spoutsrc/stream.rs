//! The stream's thread: events of the receiver in, buffers out.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use texture_share::{Adapter, Description, Event, Frame, Receiver, ShareError, Target};

use super::frames::{Frames, sample};
use super::imp::{CAT, SpoutSrc};
use super::messages;
use super::properties::{Dedupe, Settings, WhenLost};
use super::timing::{Pace, Timing};
use crate::errors;

/// The longest wait between two looks at the settings, and between two gaps.
const TICK: Duration = Duration::from_millis(100);

/// How often a sender that breaks the protocol is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// How long a stand-in is seen when the sender's rate is unknown.
const STAND_IN: gst::ClockTime = gst::ClockTime::from_mseconds(33);

/// What exists between start and stop.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) receiver: Box<dyn Receiver>,
    target: Target,
    /// Where textures are to lie, if pictures stay on the graphics card.
    pub(super) adapter: Adapter,
    /// The sender, while it is there.
    pub(super) sender: Option<Description>,
    /// Since when it is not.
    alone: Instant,
    pub(super) frames: Option<Frames>,
    timing: Timing,
    pace: Pace,
    /// The last frame, kept only where it may be needed again.
    pub(super) last: Option<gst::Buffer>,
    pub(super) sampled: Option<u64>,
    /// When the last buffer or gap went out, running time.
    pushed: Option<gst::ClockTime>,
    pub(super) warned: Option<String>,
}

impl Stream {
    pub(super) fn new(receiver: Box<dyn Receiver>, target: Target, adapter: Adapter) -> Self {
        Self {
            receiver,
            target,
            adapter,
            sender: None,
            alone: Instant::now(),
            frames: None,
            timing: Timing::default(),
            pace: Pace::default(),
            last: None,
            sampled: None,
            pushed: None,
            warned: None,
        }
    }

    /// How long a stand-in is seen.
    fn stand_in_duration(&self) -> gst::ClockTime {
        let known = self.frames.as_ref().and_then(Frames::duration);
        known
            .unwrap_or(STAND_IN)
            .max(gst::ClockTime::from_mseconds(4))
    }

    fn wait(&self, settings: &Settings) -> Duration {
        let stands_in = matches!(settings.when_lost, WhenLost::Hold | WhenLost::Black);
        match self.sender.is_none() && stands_in && self.frames.is_some() {
            true => Duration::from(self.stand_in_duration()).min(TICK),
            false => TICK,
        }
    }

    pub(super) fn sender_name(&self) -> String {
        let sender = self.sender.as_ref();
        sender.map_or_else(
            || "the sender".into(),
            |sender| format!("sender `{}`", sender.name),
        )
    }

    fn target_name(&self) -> String {
        match &self.target {
            Target::Active { .. } => "an active sender".into(),
            Target::Named(name) => format!("sender `{name}`"),
        }
    }
}

impl SpoutSrc {
    /// The next buffer.
    pub(super) fn produce(&self, stream: &mut Stream) -> Result<gst::Buffer, gst::FlowError> {
        loop {
            if self.flushing.load(Ordering::Acquire) {
                return Err(gst::FlowError::Flushing);
            }
            let settings = self.settings.lock().unwrap().clone();
            self.follow_downstream(stream, &settings)?;
            let buffer = match stream.receiver.next(stream.wait(&settings)) {
                Ok(Event::Connected(sender)) => {
                    self.meet(stream, sender, "spout-connected", &settings)?
                }
                Ok(Event::Resized(sender)) => {
                    self.meet(stream, sender, "spout-resized", &settings)?
                }
                Ok(Event::Frame(frame)) => self.take(stream, frame, &settings)?,
                Ok(Event::Lost) => self.lose(stream, &settings)?,
                Ok(Event::Idle) => None,
                Err(error) => self.complain(stream, &error),
            };
            if let Some(buffer) = buffer {
                return Ok(buffer);
            }
            if stream.sender.is_none()
                && let Some(buffer) = self.stand_in(stream, &settings)?
            {
                return Ok(buffer);
            }
        }
    }

    pub(super) fn fail(&self, message: gst::ErrorMessage) -> gst::FlowError {
        self.post_error_message(message);
        gst::FlowError::Error
    }

    pub(super) fn post(&self, message: gst::Message) {
        // A message nobody is there to receive is no loss.
        let _ = self.obj().post_message(message);
    }

    fn take(
        &self,
        stream: &mut Stream,
        frame: Frame,
        settings: &Settings,
    ) -> Result<Option<gst::Buffer>, gst::FlowError> {
        let arrived = gst::get_timestamp().nseconds();
        let Some(frames) = &stream.frames else {
            return Ok(None);
        };
        let interval = u64::try_from(settings.shortest_interval().as_nanos()).unwrap_or(u64::MAX);
        let mut skipped = !stream.pace.admits(arrived, interval);
        if !skipped && settings.dedupe == Dedupe::Content && frame.pixels.is_some() {
            let sampled = sample(frame.bytes());
            skipped = stream.sampled.replace(sampled) == Some(sampled);
        }
        let now = self.obj().current_running_time().unwrap_or_default();
        let placed = stream
            .timing
            .place(frame.stamp.captured, arrived, now.nseconds());
        // One that was drawn on the graphics card just before it was to be turned over stays as it is.
        let copies = frame.pixels.is_some() && (settings.flip || frame.over_quota);
        {
            let mut status = self.status.lock().unwrap();
            status.received += 1;
            status.missed += frame.missed;
            status.skipped += u64::from(skipped);
            status.copied += u64::from(copies && !skipped);
            status.by_gpu += u64::from(frame.pixels.is_none() && !skipped);
            if let Some(latency) = placed.latency {
                status.latency = gst::ClockTime::from_nseconds(latency);
            }
        }
        if placed.latency.is_some() {
            let element = self.obj();
            self.post(gst::message::Latency::builder().src(&*element).build());
        }
        if skipped {
            return Ok(None);
        }
        let (sequence, missed) = (frame.sequence, frame.missed);
        let mut buffer = match copies {
            true => frames.copy(&frame, settings.flip)?,
            false => frames.wrap(frame).ok_or(gst::FlowError::Error)?,
        };
        let at = gst::ClockTime::from_nseconds(placed.at);
        {
            let buffer = buffer.make_mut();
            buffer.set_pts(at);
            buffer.set_duration(frames.duration());
            buffer.set_offset(sequence);
            buffer.set_offset_end(sequence + 1);
            if missed > 0 || stream.pushed.is_none() {
                buffer.set_flags(gst::BufferFlags::DISCONT);
            }
        }
        stream.pushed = Some(at);
        stream.last = (settings.when_lost == WhenLost::Hold).then(|| buffer.clone());
        Ok(Some(buffer))
    }

    fn lose(
        &self,
        stream: &mut Stream,
        settings: &Settings,
    ) -> Result<Option<gst::Buffer>, gst::FlowError> {
        let Some(sender) = stream.sender.take().map(|sender| sender.name) else {
            return Ok(None);
        };
        gst::info!(CAT, imp = self, "sender `{sender}` is gone");
        stream.alone = Instant::now();
        self.status.lock().unwrap().sender = None;
        let element = self.obj();
        self.post(messages::lost(element.upcast_ref(), sender.as_str()));
        match settings.when_lost {
            WhenLost::Eos => Err(gst::FlowError::Eos),
            WhenLost::Error => Err(self.fail(gst::error_msg!(
                gst::ResourceError::Read,
                (
                    "sender `{sender}` is gone; start it again, or set `when-lost` to something else than `error`"
                )
            ))),
            WhenLost::Wait | WhenLost::Hold | WhenLost::Black => Ok(None),
        }
    }

    /// What goes out while there is no sender, when it is time for it.
    fn stand_in(
        &self,
        stream: &mut Stream,
        settings: &Settings,
    ) -> Result<Option<gst::Buffer>, gst::FlowError> {
        if let Some(limit) = settings
            .connect_timeout()
            .filter(|limit| stream.alone.elapsed() >= *limit)
        {
            return Err(self.fail(gst::error_msg!(
                gst::ResourceError::NotFound,
                (
                    "{} did not appear within {} ms; start it, see who is there with gst-device-monitor-1.0, or raise `connect-timeout`",
                    stream.target_name(),
                    limit.as_millis()
                )
            )));
        }
        // Only what was there can be stood in for, and a gap needs caps and a segment before it.
        let (Some(frames), Some(pushed)) = (&stream.frames, stream.pushed) else {
            return Ok(None);
        };
        let now = self.obj().current_running_time().unwrap_or_default();
        let (buffer, duration) = match (settings.when_lost, &stream.last) {
            (WhenLost::Hold, Some(last)) => (Some(last.copy()), stream.stand_in_duration()),
            (WhenLost::Black, _) => (Some(frames.black()?), stream.stand_in_duration()),
            _ => (None, gst::ClockTime::from_mseconds(TICK.as_millis() as u64)),
        };
        let due = pushed + duration;
        if now < due {
            return Ok(None);
        }
        stream.pushed = Some(now);
        let Some(mut buffer) = buffer else {
            let gap = gst::event::Gap::builder(due).duration(now - due).build();
            // Refused only while flushing or after the end of the stream.
            let _ = self.obj().src_pad().push_event(gap);
            return Ok(None);
        };
        let inner = buffer.make_mut();
        inner.set_pts(now);
        inner.set_dts(gst::ClockTime::NONE);
        inner.set_duration(duration);
        Ok(Some(buffer))
    }

    /// A sender that breaks the protocol, or a directory that cannot be read: said once, tried again.
    fn complain(&self, stream: &mut Stream, error: &ShareError) -> Option<gst::Buffer> {
        let sentence = errors::sentence(error);
        if stream.warned.as_ref() != Some(&sentence) {
            gst::element_imp_warning!(self, gst::ResourceError::Read, ("{sentence}"));
            stream.warned = Some(sentence);
        }
        let until = Instant::now() + RETRY;
        while Instant::now() < until && !self.flushing.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }
}

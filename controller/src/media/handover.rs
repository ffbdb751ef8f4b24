//! Frames from one pipeline to the next, the newest first.
//!
//! Appsinks call in from streaming threads, appsrcs ask when they want a frame: a second frame that comes before the
//! first was taken replaces it and is counted. Nothing here waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;

use super::meter::Meter;

/// The door into a pipeline: an appsrc that is fed one frame at a time, when it asks.
///
/// Trap: appsrc can drop old buffers by itself (`leaky-type`), but 1.22 then drops a caps change that waits among
/// them too, and the frames of a new size go on under the old caps.
#[derive(Debug)]
pub(crate) struct Inlet {
    source: gst_app::AppSrc,
    slot: Arc<Mutex<Slot>>,
    nominal_rate: Option<gst::Fraction>,
}

/// What waits at the door.
#[derive(Debug, Default)]
struct Slot {
    waiting: Option<Frame>,
    /// The pipeline asked and found nothing.
    hungry: bool,
}

/// A decoded or processed frame with its caps.
#[derive(Debug, Clone)]
struct Frame {
    caps: gst::Caps,
    buffer: gst::Buffer,
}

impl Inlet {
    /// `nominal_rate` replaces the frame rate in the caps, for encoders that refuse the 0/1 of a live stream.
    pub(crate) fn new(source: gst_app::AppSrc, nominal_rate: Option<gst::Fraction>) -> Self {
        let slot = Arc::<Mutex<Slot>>::default();
        let asked = slot.clone();
        let need_data = move |source: &gst_app::AppSrc, _: u32| {
            let waiting = {
                let mut slot = asked.lock().unwrap();
                slot.hungry = slot.waiting.is_none();
                slot.waiting.take()
            };
            if let Some(frame) = waiting {
                feed(source, frame, nominal_rate);
            }
        };
        source.set_callbacks(
            gst_app::AppSrcCallbacks::builder()
                .need_data(need_data)
                .build(),
        );
        Self {
            source,
            slot,
            nominal_rate,
        }
    }

    /// Hands a frame in, stamped with this pipeline's running time; true when a frame was lost by it, the older one
    /// that nobody had taken, or this one when the pipeline does not run.
    fn push(&self, frame: &mut Frame) -> bool {
        let Some(now) = self.source.current_running_time() else {
            return true;
        };
        let buffer = frame.buffer.make_mut();
        buffer.set_pts(now);
        buffer.set_dts(None);
        buffer.set_duration(None);
        {
            let mut slot = self.slot.lock().unwrap();
            if !std::mem::take(&mut slot.hungry) {
                return slot.waiting.replace(frame.clone()).is_some();
            }
        }
        feed(&self.source, frame.clone(), self.nominal_rate);
        false
    }
}

/// Gives the pipeline what it asked for. Sizes may change at any time (browsers adapt theirs): an appsrc takes equal
/// caps for no change, and sends others in order with the frames.
fn feed(source: &gst_app::AppSrc, frame: Frame, nominal_rate: Option<gst::Fraction>) {
    let Frame { mut caps, buffer } = frame;
    if let Some(rate) = nominal_rate {
        caps.make_mut().set("framerate", rate);
    }
    source.set_caps(Some(&caps));
    // Refused only by a pipeline that is being stopped.
    source.push_buffer(buffer).ok();
}

/// The meeting point of one session's pipelines.
#[derive(Debug)]
pub(crate) struct Handover {
    born: Instant,
    meter: Mutex<Meter>,
    paused: AtomicBool,
    encoder: Inlet,
    processors: Option<Inlet>,
    last: Mutex<Option<Frame>>,
}

impl Handover {
    /// With processors, decoded frames go through them; without, straight to the encoder.
    pub(crate) fn new(born: Instant, encoder: Inlet, processors: Option<Inlet>) -> Self {
        Self {
            born,
            meter: Mutex::default(),
            paused: AtomicBool::new(false),
            encoder,
            processors,
            last: Mutex::new(None),
        }
    }

    /// A frame from the decoder.
    pub(crate) fn decoded(&self, sample: &gst::Sample) {
        let Some(mut frame) = Frame::take(sample) else {
            return;
        };
        self.count_input();
        if self.is_paused() {
            return;
        }
        match &self.processors {
            Some(processors) if processors.push(&mut frame) => {
                self.meter.lock().unwrap().dropped += 1
            }
            Some(_) => {}
            None => self.encode(frame),
        }
    }

    /// A frame that entered the processors by another way than [`Self::decoded`].
    pub(crate) fn count_input(&self) {
        let now = self.born.elapsed();
        let mut meter = self.meter.lock().unwrap();
        if meter.input.total() == 0 {
            tracing::debug!(after = ?now, "the first frame came in");
        }
        meter.input.count(now);
    }

    /// A frame from the processors, `age` after it went in.
    pub(crate) fn processed(&self, sample: &gst::Sample, age: Option<Duration>) {
        let Some(frame) = Frame::take(sample) else {
            return;
        };
        if let Some(age) = age {
            self.meter.lock().unwrap().processing.add(age);
        }
        if !self.is_paused() {
            self.encode(frame);
        }
    }

    /// A frame left the encoder, `age` after it went in.
    pub(crate) fn encoded(&self, age: Duration) {
        let mut meter = self.meter.lock().unwrap();
        if meter.encoding.is_empty() {
            tracing::debug!(after = ?self.born.elapsed(), "the first frame is on its way");
        }
        meter.encoding.add(age);
    }

    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Sends the last picture again, so that a held stream still answers key frame requests.
    pub(crate) fn repeat(&self) {
        let last = self.last.lock().unwrap().clone();
        if let Some(mut frame) = last {
            self.encoder.push(&mut frame);
        }
    }

    /// Size of the picture that goes to the encoder.
    pub(crate) fn size(&self) -> Option<(u32, u32)> {
        let last = self.last.lock().unwrap().clone()?;
        let structure = last.caps.structure(0)?;
        let side = |name| {
            structure
                .get::<i32>(name)
                .ok()
                .and_then(|side| u32::try_from(side).ok())
        };
        Some((side("width")?, side("height")?))
    }

    /// When the last frame came in, since the session began.
    pub(crate) fn last_input(&self) -> Option<Duration> {
        self.meter.lock().unwrap().input.last()
    }

    pub(crate) fn meter(&self) -> Meter {
        self.meter.lock().unwrap().clone()
    }

    fn encode(&self, mut frame: Frame) {
        let replaced = self.encoder.push(&mut frame);
        let now = self.born.elapsed();
        {
            let mut meter = self.meter.lock().unwrap();
            meter.output.count(now);
            meter.dropped += u64::from(replaced);
        }
        self.last.lock().unwrap().replace(frame);
    }
}

impl Frame {
    fn take(sample: &gst::Sample) -> Option<Self> {
        Some(Self {
            caps: sample.caps_owned()?,
            buffer: sample.buffer_owned()?,
        })
    }
}

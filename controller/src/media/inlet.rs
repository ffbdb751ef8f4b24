//! The door into a pipeline: an appsrc that is fed one frame at a time, when it asks.

use std::sync::{Arc, Mutex};

use gst::prelude::*;

use super::marks::Marks;

/// The door itself. A second frame that comes before the first was taken replaces it; nothing here waits.
///
/// Trap: appsrc can drop old buffers by itself (`leaky-type`), but 1.22 then drops a caps change that waits among
/// them too, and the frames of a new size go on under the old caps.
pub(crate) struct Inlet {
    source: gst_app::AppSrc,
    slot: Arc<Mutex<Slot>>,
    adapt: Arc<Adapt>,
    marks: Arc<Marks>,
}

/// Sees each frame's caps before they enter, and may change them.
type Adapt = dyn Fn(&mut gst::Caps) + Send + Sync;

impl std::fmt::Debug for Inlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Inlet").field(&self.source).finish()
    }
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
pub(crate) struct Frame {
    pub(super) caps: gst::Caps,
    pub(super) buffer: gst::Buffer,
    /// The RTP timestamp it came with, if it came that way.
    pub(super) mark: Option<u32>,
}

/// A way out of the handover.
pub(crate) trait Door: std::fmt::Debug + Send + Sync {
    /// Takes a frame without ever waiting; true when a frame was lost by it.
    fn push(&self, frame: &mut Frame) -> bool;
}

impl Frame {
    pub(super) fn take(sample: &gst::Sample, mark: Option<u32>) -> Option<Self> {
        Some(Self {
            caps: sample.caps_owned()?,
            buffer: sample.buffer_owned()?,
            mark,
        })
    }

    /// Width and height, pixels.
    pub(super) fn size(&self) -> Option<(u32, u32)> {
        let structure = self.caps.structure(0)?;
        let side = |name| {
            structure
                .get::<i32>(name)
                .ok()
                .and_then(|side| u32::try_from(side).ok())
        };
        Some((side("width")?, side("height")?))
    }
}

impl Inlet {
    /// A door that takes frames as they are.
    pub(crate) fn new(source: gst_app::AppSrc) -> Self {
        Self::adapting(source, |_| {})
    }

    /// A door whose pipeline wants each frame's caps said differently.
    pub(crate) fn adapting(
        source: gst_app::AppSrc,
        adapt: impl Fn(&mut gst::Caps) + Send + Sync + 'static,
    ) -> Self {
        let adapt: Arc<Adapt> = Arc::new(adapt);
        // By default 200 000 bytes are a full queue; a single frame is larger.
        source.set_max_bytes(0);
        let slot = Arc::<Mutex<Slot>>::default();
        let (asked, adapted) = (slot.clone(), adapt.clone());
        let need_data = move |source: &gst_app::AppSrc, _: u32| {
            let waiting = {
                let mut slot = asked.lock().unwrap();
                slot.hungry = slot.waiting.is_none();
                slot.waiting.take()
            };
            if let Some(frame) = waiting {
                feed(source, frame, &*adapted);
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
            adapt,
            marks: Arc::default(),
        }
    }

    /// The marks of the frames that came in, by the time they were given.
    pub(crate) fn marks(&self) -> Arc<Marks> {
        self.marks.clone()
    }

    /// Hands one black picture in, 512 pixels square.
    pub(crate) fn show_black(&self) {
        let Ok(video) =
            gst_video::VideoInfo::builder(gst_video::VideoFormat::Rgb, 512, 512).build()
        else {
            return;
        };
        let Ok(caps) = video.to_caps() else { return };
        let buffer = gst::Buffer::from_slice(vec![0_u8; video.size()]);
        self.push(&mut Frame {
            caps,
            buffer,
            mark: None,
        });
    }
}

impl Door for Inlet {
    /// Stamps the frame with this pipeline's running time. Lost is the older one that nobody had taken, or this one
    /// when the pipeline does not run.
    fn push(&self, frame: &mut Frame) -> bool {
        let Some(now) = self.source.current_running_time() else {
            return true;
        };
        if let Some(mark) = frame.mark {
            self.marks.note(now.nseconds(), mark);
        }
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
        feed(&self.source, frame.clone(), &*self.adapt);
        false
    }
}

/// Gives the pipeline what it asked for. Sizes may change at any time (browsers adapt theirs): an appsrc takes equal
/// caps for no change, and sends others in order with the frames.
fn feed(source: &gst_app::AppSrc, frame: Frame, adapt: &Adapt) {
    let Frame {
        mut caps, buffer, ..
    } = frame;
    adapt(&mut caps);
    source.set_caps(Some(&caps));
    // Refused only by a pipeline that is being stopped.
    source.push_buffer(buffer).ok();
}

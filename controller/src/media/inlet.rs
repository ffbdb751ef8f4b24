//! The door into a pipeline: an appsrc that is fed one frame at a time, when it asks.

use std::sync::Arc;

use gst::prelude::*;
use webrtc_live::Feed;

use super::marks::Marks;

/// The door itself. A second frame that comes before the first was taken replaces it; nothing here waits.
#[derive(Debug)]
pub(crate) struct Inlet {
    feed: Feed<Frame>,
    marks: Arc<Marks>,
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
        // Sizes may change at any time (browsers adapt theirs): an appsrc takes equal caps for no change, and sends
        // others in order with the frames.
        let give = move |source: &gst_app::AppSrc, mut frame: Frame| {
            adapt(&mut frame.caps);
            source.set_caps(Some(&frame.caps));
            // Refused only by a pipeline that is being stopped.
            source.push_buffer(frame.buffer).ok();
        };
        Self {
            feed: Feed::new(source, 1, give),
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
        let Some(now) = self.feed.source().current_running_time() else {
            return true;
        };
        if let Some(mark) = frame.mark {
            self.marks.note(now.nseconds(), mark);
        }
        let buffer = frame.buffer.make_mut();
        buffer.set_pts(now);
        buffer.set_dts(None);
        buffer.set_duration(None);
        self.feed.push(frame.clone())
    }
}

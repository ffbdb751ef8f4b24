//! Pictures from and to other applications on this machine, through `spoutsrc` and `spoutsink`.

use std::sync::Arc;

use gst::prelude::*;
use tokio::sync::mpsc;

use super::event::{self, Event};
use super::handover::{Handover, Source};
use super::inlet::Inlet;
use webrtc_live::{MediaError, make, outlet, set};

/// What a running share tells.
pub(crate) type News = mpsc::UnboundedReceiver<Event>;

/// Another application's picture, as the source of a session.
#[derive(Debug)]
pub(crate) struct Received {
    pipeline: gst::Pipeline,
}

/// A session's picture, shared with other applications.
#[derive(Debug)]
pub(crate) struct Shared {
    pipeline: gst::Pipeline,
}

impl Received {
    /// Receives from the sender of this name, or whichever is active for an empty one; it need not exist yet.
    pub(crate) fn start(
        sender_name: &str,
        handover: &Arc<Handover>,
    ) -> Result<(Self, News), MediaError> {
        let pipeline = gst::Pipeline::new();
        let source = make("spoutsrc")?;
        set(&source, "sender-name", sender_name)?;
        let crossing = Arc::downgrade(handover);
        let sink = outlet(move |sample| {
            if let Some(handover) = crossing.upgrade() {
                handover.decoded(Source::Share, &sample, None);
            }
        });
        sink.set_caps(Some(&gst::Caps::new_empty_simple("video/x-raw")));
        let received = Self { pipeline };
        received
            .pipeline
            .add_many([&source, sink.upcast_ref::<gst::Element>()])?;
        source.link(&sink)?;
        let news = play(&received.pipeline)?;
        Ok((received, news))
    }
}

impl Shared {
    /// Shares under this name; somebody else's living sender of that name makes it `_1`, `_2` and so on.
    pub(crate) fn start(sender_name: &str) -> Result<(Self, Inlet, News), MediaError> {
        let pipeline = gst::Pipeline::new();
        let source = gst_app::AppSrc::builder()
            .is_live(true)
            .format(gst::Format::Time)
            .build();
        let (convert, sink) = (make("videoconvert")?, make("spoutsink")?);
        set(&sink, "sender-name", sender_name)?;
        set(&sink, "sync", "false")?;
        // Where PipeWire does not run this is a line in the log, and nothing else.
        set(&sink, "pipewire", "true")?;
        let shared = Self { pipeline };
        shared
            .pipeline
            .add_many([source.upcast_ref(), &convert, &sink])?;
        gst::Element::link_many([source.upcast_ref(), &convert, &sink])?;
        let news = play(&shared.pipeline)?;
        Ok((shared, Inlet::new(source), news))
    }
}

/// Starts a pipeline; a refusal is told in the words of the element that refused.
fn play(pipeline: &gst::Pipeline) -> Result<News, MediaError> {
    let (events, mut news) = mpsc::unbounded_channel();
    event::watch(pipeline, events);
    match pipeline.set_state(gst::State::Playing) {
        Ok(_) => Ok(news),
        Err(error) => {
            Err(event::reason(&mut news).map_or_else(|| error.into(), MediaError::Pipeline))
        }
    }
}

fn stop(pipeline: &gst::Pipeline) {
    if pipeline.set_state(gst::State::Null).is_err() {
        tracing::warn!("a sharing pipeline did not stop");
    }
    if let Some(bus) = pipeline.bus() {
        bus.unset_sync_handler();
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        stop(&self.pipeline);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        stop(&self.pipeline);
    }
}

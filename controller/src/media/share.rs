//! Pictures from and to other applications on this machine, through `spoutsrc` and `spoutsink`.

use std::sync::Arc;

use gst::prelude::*;

use super::error::{MediaError, make, set};
use super::event::{self, Events};
use super::handover::{Handover, Source};
use super::inlet::Inlet;

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
        events: Events,
    ) -> Result<Self, MediaError> {
        let pipeline = gst::Pipeline::new();
        let source = make("spoutsrc")?;
        set(&source, "sender-name", sender_name)?;
        let sink = gst_app::AppSink::builder()
            .caps(&gst::Caps::new_empty_simple("video/x-raw"))
            .sync(false)
            .async_(false)
            .max_buffers(1)
            .drop(true)
            .enable_last_sample(false)
            .build();
        let crossing = Arc::downgrade(handover);
        sink.set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    if let Some(handover) = crossing.upgrade() {
                        handover.decoded(Source::Share, &sample);
                    }
                    Ok(gst::FlowSuccess::Ok)
                })
                .build(),
        );
        let received = Self { pipeline };
        event::watch(&received.pipeline, events);
        received
            .pipeline
            .add_many([&source, sink.upcast_ref::<gst::Element>()])?;
        source.link(&sink)?;
        received.pipeline.set_state(gst::State::Playing)?;
        Ok(received)
    }
}

impl Shared {
    /// Shares under this name; somebody else's living sender of that name makes it `_1`, `_2` and so on.
    pub(crate) fn start(sender_name: &str, events: Events) -> Result<(Self, Inlet), MediaError> {
        let pipeline = gst::Pipeline::new();
        let source = gst_app::AppSrc::builder()
            .is_live(true)
            .format(gst::Format::Time)
            .build();
        let (convert, sink) = (make("videoconvert")?, make("spoutsink")?);
        set(&sink, "sender-name", sender_name)?;
        set(&sink, "sync", "false")?;
        let shared = Self { pipeline };
        event::watch(&shared.pipeline, events);
        shared
            .pipeline
            .add_many([source.upcast_ref(), &convert, &sink])?;
        gst::Element::link_many([source.upcast_ref(), &convert, &sink])?;
        shared.pipeline.set_state(gst::State::Playing)?;
        Ok((shared, Inlet::new(source)))
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

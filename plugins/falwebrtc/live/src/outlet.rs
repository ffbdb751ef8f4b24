//! The way out of a pipeline.

use gst::prelude::*;

use crate::error::{MediaError, make};

/// An appsink for raw video that hands over the newest frame and keeps none; `take` gets every frame, in the streaming
/// thread.
pub fn outlet(take: impl Fn(gst::Sample) + Send + 'static) -> gst_app::AppSink {
    let sink = gst_app::AppSink::builder()
        .caps(&gst::Caps::new_empty_simple("video/x-raw"))
        .sync(false)
        .async_(false)
        .max_buffers(1)
        .drop(true)
        .enable_last_sample(false)
        .build();
    sink.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                take(sink.pull_sample().map_err(|_| gst::FlowError::Eos)?);
                Ok(gst::FlowSuccess::Ok)
            })
            .build(),
    );
    sink
}

/// Lets a pad of webrtcbin's run out: one that nobody takes would stop the whole receiver with not-linked.
///
/// # Errors
///
/// GStreamer refuses.
pub fn discard(bin: &impl IsA<gst::Bin>, pad: &gst::Pad) -> Result<(), MediaError> {
    let sink = make("fakesink")?;
    for property in ["sync", "async", "enable-last-sample"] {
        sink.set_property(property, false);
    }
    bin.as_ref().add(&sink)?;
    sink.sync_state_with_parent()?;
    if let Some(entry) = sink.static_pad("sink") {
        pad.link(&entry)?;
    }
    Ok(())
}

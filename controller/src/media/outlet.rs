//! The way out of a pipeline: an appsink that hands over the newest frame and keeps none.

/// An appsink for raw video; `take` gets every frame, in the streaming thread.
pub(super) fn outlet(take: impl Fn(gst::Sample) + Send + 'static) -> gst_app::AppSink {
    let sink = gst_app::AppSink::builder()
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

//! A picture that a model draws for other programs lies in shared memory from the start.

use anyhow::{Context, Result, ensure};
use gst::prelude::*;

#[test]
fn what_scopediffusion_draws_for_spoutsink_is_never_copied() -> Result<()> {
    gst::init()?;
    gstscopediffusion::plugin_register_static()?;
    gstspout::plugin_register_static()?;
    for drawing in [
        "videotestsrc num-buffers=8 ! video/x-raw,format=BGRA,width=64,height=64 ! scopediffusion pacing=strict",
        "scopediffusionsrc pacing=strict num-buffers=8 width=64 height=64",
    ] {
        let name = format!("no-copy-{}", std::process::id());
        let text = format!("{drawing} ! spoutsink name=sink sync=false sender-name={name}");
        let pipeline = gst::parse::launch(&text)?
            .downcast::<gst::Pipeline>()
            .ok()
            .context("not a pipeline")?;
        let sink = pipeline.by_name("sink").context("no sink")?;
        pipeline.set_state(gst::State::Playing)?;
        let ends = [gst::MessageType::Eos, gst::MessageType::Error];
        let end = pipeline
            .bus()
            .context("no bus")?
            .timed_pop_filtered(gst::ClockTime::from_seconds(60), &ends)
            .context("it does not end")?;
        ensure!(end.type_() == gst::MessageType::Eos, "{end:?}");

        let stats = sink.property::<gst::Structure>("stats");

        pipeline.set_state(gst::State::Null)?;
        let (sent, lent) = (
            stats.get::<u64>("frames-sent")?,
            stats.get::<u64>("frames-lent")?,
        );
        ensure!(
            (sent, lent) == (8, 8),
            "{drawing}: {lent} of {sent} were not copied"
        );
    }
    Ok(())
}

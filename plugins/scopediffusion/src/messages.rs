//! Element messages: what an application learns without asking.

use std::time::Duration;

use diffusion_engine::Facts;

/// `model-loading`, field `stage`: a sentence for people, several while a model loads.
pub(crate) fn model_loading(element: &gst::Element, stage: &str) -> gst::Message {
    element_message(
        element,
        gst::Structure::builder("model-loading")
            .field("stage", stage)
            .build(),
    )
}

/// `model-ready`: the model is loaded; fields `name`, `provider` and `took-ms`.
pub(crate) fn model_ready(element: &gst::Element, facts: &Facts, took: Duration) -> gst::Message {
    element_message(
        element,
        gst::Structure::builder("model-ready")
            .field("name", facts.name.as_str())
            .field("provider", facts.provider.as_str())
            .field("took-ms", milliseconds(took))
            .build(),
    )
}

/// `provider-fallback`: `execution-provider=auto` had to take the CPU; fields `provider` and `reason`.
pub(crate) fn provider_fallback(
    element: &gst::Element,
    provider: &str,
    reason: &str,
) -> gst::Message {
    element_message(
        element,
        gst::Structure::builder("provider-fallback")
            .field("provider", provider)
            .field("reason", reason)
            .build(),
    )
}

/// `model-warm`: the graphs have run at this size, and the first frame will be as fast as the others; fields `width`,
/// `height`, `when` (`before-caps`, on the way to PAUSED, or `at-caps`) and `took-ms`.
pub(crate) fn model_warm(
    element: &gst::Element,
    (width, height): (u32, u32),
    when: &str,
    took: Duration,
) -> gst::Message {
    element_message(
        element,
        gst::Structure::builder("model-warm")
            .field("width", width)
            .field("height", height)
            .field("when", when)
            .field("took-ms", milliseconds(took))
            .build(),
    )
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// `processor-stopped`, field `reason`: no more pictures will come; an ERROR message with the same reason follows.
pub(crate) fn processor_stopped(element: &gst::Element, reason: &str) -> gst::Message {
    element_message(
        element,
        gst::Structure::builder("processor-stopped")
            .field("reason", reason)
            .build(),
    )
}

fn element_message(element: &gst::Element, structure: gst::Structure) -> gst::Message {
    gst::message::Element::builder(structure)
        .src(element)
        .build()
}

/// A QOS message for a frame that a newer one displaced.
pub(crate) fn dropped(
    element: &gst::Element,
    segment: &gst::FormattedSegment<gst::ClockTime>,
    frame: &gst::Buffer,
    (processed, dropped): (u64, u64),
) -> gst::Message {
    gst::message::Qos::builder(true)
        .src(element)
        .running_time(segment.to_running_time(frame.pts()))
        .stream_time(segment.to_stream_time(frame.pts()))
        .timestamp(frame.pts())
        .duration(frame.duration())
        .stats(
            gst::GenericFormattedValue::from(gst::format::Buffers::from_u64(processed)),
            gst::GenericFormattedValue::from(gst::format::Buffers::from_u64(dropped)),
        )
        .build()
}

/// Name of the structure that tells what a model is.
pub(crate) const MODEL: &str = "application/x-scopediffusion-model";

/// Property `model-info`: what was found in the model's files.
pub(crate) fn model_info(facts: &Facts) -> gst::Structure {
    gst::Structure::builder(MODEL)
        .field("name", facts.name.as_str())
        .field("family", facts.family.name())
        .field("prediction-type", facts.prediction)
        .field("text-encoders", facts.text_encoders as u64)
        .field("provider", facts.provider.as_str())
        .field("latent-channels", facts.latent_channels as u64)
        .field("size-multiple", facts.size_multiple)
        .field("stream-batch", facts.batchable)
        .field("turbo", facts.turbo)
        .field("guidance-embedded", facts.guidance_embedded)
        .field("tiny-autoencoder", facts.tiny_autoencoder)
        .field("reference-images", facts.reference_images)
        .field("lora-inputs", gst::Array::new(&facts.lora_inputs))
        .field("token-width", facts.token_width as u64)
        .field("scale-factor", facts.scale_factor)
        .field("max-dimension", facts.max_dimension)
        .field("video-steps", steps(&facts.default_video_steps))
        .field("text-steps", steps(&facts.default_text_steps))
        .field_if_some("width", facts.fixed_size.map(|size| size.0))
        .field_if_some("height", facts.fixed_size.map(|size| size.1))
        .field_if_some("rows", facts.fixed_rows.map(|rows| rows as u64))
        .field_if_some("provider-fallback", facts.fallback.as_deref())
        .field("graphs", graphs(facts))
        .field("fused-copies", facts.has_fused)
        .field("fused", gst::Array::new(facts.fused.iter().copied()))
        .field_if_some("fused-refused", fused_refused(facts))
        .build()
}

/// Why copies of graphs for CUDA are not used, if any are not.
fn fused_refused(facts: &Facts) -> Option<String> {
    let refused = facts.fused_refused.iter();
    let refused = refused.map(|(role, reason)| format!("{role}: {reason}"));
    let refused = refused.collect::<Vec<_>>().join("; ");
    (!refused.is_empty()).then_some(refused)
}

/// Who runs which graph: `unet = "cuda 780, cpu 12"`, numbers of operations.
fn graphs(facts: &Facts) -> gst::Structure {
    let mut graphs = gst::Structure::new_empty("graphs");
    for (role, placement) in &facts.placement {
        let said = placement.iter().map(|(provider, operations)| {
            let provider = provider.trim_end_matches("ExecutionProvider");
            format!("{} {operations}", provider.to_lowercase())
        });
        graphs.set(role.replace('_', "-"), said.collect::<Vec<_>>().join(", "));
    }
    graphs
}

/// Denoising steps in the numbers people use, 1 to 1000.
pub(crate) fn steps(timesteps: &[u16]) -> gst::Array {
    gst::Array::new(timesteps.iter().map(|timestep| i32::from(*timestep) + 1))
}

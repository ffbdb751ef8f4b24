//! Element messages: what an application learns without asking.

use std::time::Duration;

/// `connection-stage`: `stage`, nanoseconds `elapsed` since this attempt began, `attempt` counted from 1, and where
/// there is one the `reason` it came to this with a `remedy`.
pub(crate) fn stage(
    element: &gst::Element,
    stage: &str,
    elapsed: Duration,
    attempt: u64,
    reason: Option<(&str, &str)>,
) -> gst::Message {
    let mut structure = gst::Structure::builder("connection-stage")
        .field("stage", stage)
        .field(
            "elapsed",
            u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX),
        )
        .field("attempt", attempt);
    if let Some((reason, remedy)) = reason {
        structure = structure.field("reason", reason).field("remedy", remedy);
    }
    message(element, structure.build())
}

/// `processor-stopped`, field `reason`: no more pictures will come; an ERROR message with the same reason follows.
pub(crate) fn processor_stopped(element: &gst::Element, reason: &str) -> gst::Message {
    message(
        element,
        gst::Structure::builder("processor-stopped")
            .field("reason", reason)
            .build(),
    )
}

/// `app-notice`: the app said something besides pictures; `kind` and, where it has one, its `text`.
pub(crate) fn notice(element: &gst::Element, kind: &str, text: Option<&str>) -> gst::Message {
    let structure = gst::Structure::builder("app-notice")
        .field("kind", kind)
        .field_if_some("text", text);
    message(element, structure.build())
}

/// `frames-lost`: pictures of a stream that can wait that never came back, by their `timestamps`, nanoseconds; a WARNING
/// message with the same follows.
pub(crate) fn lost(element: &gst::Element, timestamps: &[Option<gst::ClockTime>]) -> gst::Message {
    let known = timestamps.iter().flatten().map(|time| time.nseconds());
    let structure = gst::Structure::builder("frames-lost")
        .field("count", timestamps.len() as u64)
        .field("timestamps", gst::Array::new(known));
    message(element, structure.build())
}

fn message(element: &gst::Element, structure: gst::Structure) -> gst::Message {
    gst::message::Element::builder(structure)
        .src(element)
        .build()
}

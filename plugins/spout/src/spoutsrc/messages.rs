//! Element messages: what an application learns without asking.

use texture_share::Description;

fn message(element: &gst::Element, structure: gst::Structure) -> gst::Message {
    gst::message::Element::builder(structure)
        .src(element)
        .build()
}

/// `spout-connected` or `spout-resized`: which sender, and what it sends.
pub(super) fn of_sender(
    element: &gst::Element,
    what: &str,
    sender: &Description,
    caps: &gst::Caps,
) -> gst::Message {
    let structure = gst::Structure::builder(what)
        .field("sender", sender.name.as_str())
        .field("width", sender.video.width)
        .field("height", sender.video.height)
        .field("caps", caps)
        .field("process", sender.process)
        .field("program", sender.program.as_str())
        .build();
    message(element, structure)
}

/// `spout-lost`: the sender is gone.
pub(super) fn lost(element: &gst::Element, sender: &str) -> gst::Message {
    let structure = gst::Structure::builder("spout-lost")
        .field("sender", sender)
        .build();
    message(element, structure)
}

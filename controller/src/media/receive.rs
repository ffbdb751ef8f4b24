//! The browser's picture: from webrtcbin's pad to decoded frames.

use std::sync::Arc;

use gst::prelude::*;
use webrtc_live::codec::{self, Hardware};
use webrtc_live::{MediaError, discard, outlet, rtp};

use super::event::{Event, Events};
use super::handover::{Handover, Source};
use super::marks::Marks;

/// Decodes what comes on the input line and lets everything else run out.
///
/// Trap: a panic in `pad-added` aborts the process, so every failure becomes an event.
pub(crate) fn on_pads(
    webrtcbin: &gst::Element,
    input: Option<usize>,
    handover: &Arc<Handover>,
    events: &Events,
) {
    let (handover, events) = (handover.clone(), events.clone());
    webrtcbin.connect_pad_added(move |webrtcbin, pad| {
        if pad.direction() != gst::PadDirection::Src {
            return;
        }
        let Some(pipeline) = webrtcbin.parent().and_downcast::<gst::Pipeline>() else {
            return;
        };
        let built = if input.is_some() && line_of(pad) == input {
            decode(&pipeline, pad, &handover)
        } else {
            discard(&pipeline, pad)
        };
        if let Err(error) = built {
            events.send(Event::Failed(error.to_string())).ok();
        }
    });
}

/// The m-line a pad of webrtcbin belongs to.
fn line_of(pad: &gst::Pad) -> Option<usize> {
    let transceiver = pad.property::<Option<gst_webrtc::WebRTCRTPTransceiver>>("transceiver")?;
    usize::try_from(transceiver.mlineindex()).ok()
}

fn decode(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    handover: &Arc<Handover>,
) -> Result<(), MediaError> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let encoding = caps
        .structure(0)
        .and_then(|rtp| rtp.get::<String>("encoding-name").ok())
        .unwrap_or_default();
    let mut elements = codec::decoders(&encoding, Hardware::Avoided)?;
    let marks = Arc::new(Marks::default());
    let (handover, known) = (handover.clone(), marks.clone());
    let sink = outlet(move |sample| {
        let mark = sample
            .buffer()
            .and_then(gst::BufferRef::pts)
            .and_then(|time| known.of(time.nseconds()));
        handover.decoded(Source::Client, &sample, mark);
    });
    elements.push(sink.upcast());
    codec::add_linked(pipeline, &elements)?;
    for element in elements.iter().rev() {
        element.sync_state_with_parent()?;
    }
    let entry = elements[0]
        .static_pad("sink")
        .ok_or_else(|| MediaError::Missing("a depayloader's sink pad".into()))?;
    rtp::on_packets(&entry, move |packet| {
        if let (Some(time), Some(stamp)) = (packet.pts(), rtp::timestamp(packet)) {
            marks.note(time.nseconds(), stamp);
        }
    });
    pad.link(&entry)?;
    Ok(())
}

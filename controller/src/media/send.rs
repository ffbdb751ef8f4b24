//! Our picture: from frames to webrtcbin.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use gst::prelude::*;
use webrtc_live::codec::{Encoder, Hardware, add_linked, after_encoder, payloader};
use webrtc_live::{Codec, MediaError, make, rtp};

use super::codec;
use super::handover::Handover;
use super::inlet::Inlet;
use super::marks::Stamps;
use super::offer::Plan;

/// Identifier of the transport-wide sequence number extension.
const TRANSPORT_CC: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// Identifier of the colour space extension. VP8 cannot say its colours by itself: without this, what a browser draws
/// on a canvas (BT.709) is taken for BT.601 here, and what we send for whatever it likes best there. Payloaders and
/// depayloaders do the rest by themselves once it stands in their caps.
const COLOR_SPACE: &str = "http://www.webrtc.org/experiments/rtp-hdrext/color-space";

/// The sending branch of one peer.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) encoder: Encoder,
    /// Told about each encoded frame's age, once there is one to tell.
    pub(crate) handover: Arc<OnceLock<Weak<Handover>>>,
}

/// Builds appsrc ► encoder ► payloader in `pipeline` and links it to `webrtcbin`.
///
/// Trap: webrtcbin 1.22 has no transceiver until `create-answer`, so this must happen before the offer is set; the
/// transceiver made here is bound to the offer's m-line by the number in the pad's name.
pub(crate) fn build(
    pipeline: &gst::Pipeline,
    webrtcbin: &gst::Element,
    plan: &Plan,
    ssrc: u32,
) -> Result<(Sender, Inlet), MediaError> {
    let source = gst_app::AppSrc::builder()
        .is_live(true)
        .format(gst::Format::Time)
        .build();
    let form = make("capsfilter")?;
    form.set_property("caps", codec::taken_as_decoded());
    let encoder = Encoder::new(plan.codec, Hardware::Avoided)?;
    let payloader = payloader(plan.codec, plan.payload, ssrc)?;
    let rtp = make("capsfilter")?;
    rtp.set_property("caps", rtp_caps(plan, Some(ssrc)));

    let mut elements = vec![
        source.clone().upcast(),
        make("videoconvertscale")?,
        form.clone(),
        encoder.element.clone(),
    ];
    elements.extend(after_encoder(plan.codec)?);
    elements.extend([payloader.clone(), rtp.clone()]);
    add_linked(pipeline, &elements)?;

    let entry = webrtcbin
        .request_pad_simple(&format!("sink_{}", plan.output))
        .ok_or_else(|| {
            MediaError::Negotiation(format!("m-line {} cannot carry our picture", plan.output))
        })?;
    let exit = rtp
        .static_pad("src")
        .ok_or_else(|| MediaError::Missing("a capsfilter's pad".into()))?;
    exit.link(&entry)?;
    prefer(&entry, plan);

    let handover: Arc<OnceLock<Weak<Handover>>> = Arc::default();
    report_age(&payloader, &source, handover.clone());
    let inlet = Inlet::adapting(source, adaption(plan.codec, form));
    if plan.keeps_timestamps
        && let Some(pad) = payloader.static_pad("src")
    {
        let (marks, stamps) = (inlet.marks(), Mutex::new(Stamps::default()));
        rtp::restamp(&pad, move |time, own| {
            let mark = time.and_then(|time| marks.of(time.nseconds()));
            stamps.lock().unwrap().next(own, mark)
        });
    }
    Ok((Sender { encoder, handover }, inlet))
}

/// What the encoder wants to hear of each frame, and how the frame is to be converted for it.
fn adaption(codec: Codec, form: gst::Element) -> impl Fn(&mut gst::Caps) + Send + Sync {
    let was_drawn = AtomicBool::new(false);
    move |caps| {
        // A processor draws in RGB; a client's picture comes in YUV, in colours that only it knows, and leaves so.
        let drawn = caps
            .structure(0)
            .and_then(|frame| frame.get::<&str>("format").ok())
            .is_some_and(|format| format.contains("RGB") || format.contains("BGR"));
        if was_drawn.swap(drawn, Ordering::Relaxed) != drawn {
            let wanted = if drawn {
                codec::drawn(codec)
            } else {
                codec::taken_as_decoded()
            };
            form.set_property("caps", wanted);
        }
        // openh264enc refuses the 0/1 of a live stream; VP8 would round its timestamps to a nominal rate.
        if codec == Codec::H264 {
            caps.make_mut().set("framerate", gst::Fraction::new(30, 1));
        }
    }
}

/// What we want to say about the output line.
fn prefer(entry: &gst::Pad, plan: &Plan) {
    let Some(transceiver) =
        entry.property::<Option<gst_webrtc::WebRTCRTPTransceiver>>("transceiver")
    else {
        return;
    };
    let direction = if plan.input == Some(plan.output) {
        gst_webrtc::WebRTCRTPTransceiverDirection::Sendrecv
    } else {
        gst_webrtc::WebRTCRTPTransceiverDirection::Sendonly
    };
    transceiver.set_direction(direction);
    // Without NACK 3 % loss costs seconds of delay; with it, a retransmission.
    transceiver.set_property("do-nack", true);
    transceiver.set_property("codec-preferences", rtp_caps(plan, None));
}

/// The RTP format.
///
/// Traps: the SSRC must stand in the pad's caps, or with NACK 1.22 answers `a=ssrc-group:FID 0 …` and Chrome decodes
/// but never shows a frame. Without the transport-cc extension in the answer Chrome gets no feedback and stays at
/// 300 kbit/s. A `profile-level-id` here would make rtph264pay refuse what the encoder really wrote.
fn rtp_caps(plan: &Plan, ssrc: Option<u32>) -> gst::Caps {
    let mut caps = gst::Structure::builder("application/x-rtp")
        .field("media", "video")
        .field("clock-rate", 90_000)
        .field("encoding-name", plan.codec.encoding_name())
        .field("payload", i32::from(plan.payload));
    if plan.codec == Codec::H264 {
        caps = caps.field("packetization-mode", "1");
    }
    if let Some(ssrc) = ssrc {
        caps = caps.field("ssrc", ssrc);
    }
    if let Some(id) = plan.transport_cc {
        caps = caps.field(format!("extmap-{id}"), TRANSPORT_CC);
    }
    if let Some(id) = plan.color_space {
        caps = caps.field(format!("extmap-{id}"), COLOR_SPACE);
    }
    gst::Caps::builder_full().structure(caps.build()).build()
}

/// Measures each frame's time from the encoder's door to its first packet.
fn report_age(
    payloader: &gst::Element,
    source: &gst_app::AppSrc,
    handover: Arc<OnceLock<Weak<Handover>>>,
) {
    let Some(pad) = payloader.static_pad("src") else {
        return;
    };
    let source = source.downgrade();
    let last = std::sync::Mutex::new(None);
    pad.add_probe(
        gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST,
        move |_, info| {
            let stamp = match &info.data {
                Some(gst::PadProbeData::Buffer(buffer)) => buffer.pts(),
                Some(gst::PadProbeData::BufferList(list)) => {
                    list.get(0).and_then(|buffer| buffer.pts())
                }
                _ => None,
            };
            let first = std::mem::replace(&mut *last.lock().unwrap(), stamp) != stamp;
            let now = source
                .upgrade()
                .and_then(|source| source.current_running_time());
            let told = handover.get().and_then(Weak::upgrade);
            if let (true, Some(stamp), Some(now), Some(handover)) = (first, stamp, now, told) {
                handover.encoded(Duration::from(now.saturating_sub(stamp)));
            }
            gst::PadProbeReturn::Ok
        },
    );
}

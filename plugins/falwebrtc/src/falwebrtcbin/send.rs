//! Our picture: from the inlet to webrtcbin.

use std::sync::Arc;

use gst::prelude::*;

use webrtc_live::codec::{self, Encoder, Hardware};
use webrtc_live::{Codec, MediaError, make, rtp, set_if_there};

use super::inlet::{Inlet, Sent};

/// Told of each picture as its first packet leaves: RTP timestamp, what it is, bits.
pub(crate) type Leaving = dyn Fn(u32, Sent) + Send + Sync;

/// Told of every packet's size, bits.
pub(crate) type Packets = dyn Fn(u64) + Send + Sync;

/// The sending branch of one link.
#[derive(Debug)]
pub(crate) struct Sender {
    /// None when upstream's stream is encoded.
    pub(crate) encoder: Option<Encoder>,
    pub(crate) inlet: Arc<Inlet>,
}

impl Sender {
    /// Builds appsrc ► encoder ► payloader (without encoder where there is nothing to `encode`) in `bin` and links it to `webrtcbin`, after the answer chose the codec.
    pub(crate) fn new(
        bin: &gst::Bin,
        webrtcbin: &gst::Element,
        (codec, ssrc): (Codec, u32),
        encode: Option<Hardware>,
        capacity: usize,
        leaving: Arc<Leaving>,
        packets: Arc<Packets>,
    ) -> Result<Self, MediaError> {
        let source = gst_app::AppSrc::builder()
            .name("pictures")
            .is_live(true)
            .format(gst::Format::Time)
            .build();
        source.set_max_buffers(1);
        let encoder = encode
            .map(|hardware| Encoder::new(codec, hardware))
            .transpose()?;
        let payloader = codec::payloader(codec, payload_type(codec), ssrc)?;
        let form = make("capsfilter")?;
        form.set_property("caps", rtp_caps(codec, ssrc));

        let mut elements = vec![source.clone().upcast()];
        match &encoder {
            Some(encoder) => {
                elements.extend([make("videoconvertscale")?, even()?, encoder.element.clone()]);
                elements.extend(codec::after_encoder(codec)?);
            }
            None if codec == Codec::H264 => elements.push(make("h264parse")?),
            None => {}
        }
        elements.extend([payloader.clone(), form.clone()]);
        codec::add_linked(bin, &elements)?;

        let exit = form
            .static_pad("src")
            .ok_or_else(|| MediaError::Missing("a capsfilter's pad".into()))?;
        exit.link(&entry(webrtcbin)?)?;
        let inlet = Arc::new(Inlet::new(
            source,
            capacity,
            encode.is_none().then_some(codec),
        ));
        watch(&payloader, inlet.clone(), leaving, packets);
        for element in elements.iter().rev() {
            element.sync_state_with_parent()?;
        }
        Ok(Self { encoder, inlet })
    }
}

/// Odd sizes exist (a window capture); 4:2:0 encoders and decoders disagree about the last row of one. What a far end's
/// decoder takes for granted where the stream does not say is BT.601.
fn even() -> Result<gst::Element, MediaError> {
    let even = make("capsfilter")?;
    set_if_there(
        &even,
        "caps",
        "video/x-raw,format={I420,NV12},width=[2,8192,2],height=[2,8192,2],colorimetry=bt601",
    );
    Ok(even)
}

/// Where our stream goes in. 1.22 makes the pad itself when the answer is set, newer ones wait to be asked.
fn entry(webrtcbin: &gst::Element) -> Result<gst::Pad, MediaError> {
    let free = webrtcbin
        .sink_pads()
        .into_iter()
        .find(|pad| !pad.is_linked());
    free.or_else(|| webrtcbin.request_pad_simple("sink_0"))
        .ok_or_else(|| {
            MediaError::Negotiation("the answer has no line that takes our picture".into())
        })
}

/// The RTP format as offered. A `profile-level-id` here would make rtph264pay refuse what the encoder really wrote.
///
/// Trap: without the SSRC webrtcbin offers retransmission and does not say of what, and what it sends again is thrown
/// away at the far end: 3 % loss then costs seconds of delay.
pub(crate) fn rtp_caps(codec: Codec, ssrc: u32) -> gst::Caps {
    let mut caps = gst::Structure::builder("application/x-rtp")
        .field("media", "video")
        .field("clock-rate", 90_000)
        .field("encoding-name", codec.encoding_name())
        .field("payload", i32::from(payload_type(codec)))
        .field("ssrc", ssrc);
    if codec == Codec::H264 {
        caps = caps.field("packetization-mode", "1");
    }
    gst::Caps::builder_full().structure(caps.build()).build()
}

/// Reads the RTP timestamp that each picture really got, and counts bits.
fn watch(
    payloader: &gst::Element,
    inlet: Arc<Inlet>,
    leaving: Arc<Leaving>,
    packets: Arc<Packets>,
) {
    let Some(pad) = payloader.static_pad("src") else {
        return;
    };
    let see = move |packet: &gst::BufferRef| {
        packets(packet.size() as u64 * 8);
        // Only a picture's first packet finds it still inside.
        let Some(sent) = packet.pts().and_then(|stamp| inlet.entered_at(stamp)) else {
            return;
        };
        if let Some(timestamp) = rtp::timestamp(packet) {
            leaving(timestamp, sent);
        }
    };
    rtp::on_packets(&pad, see);
}

/// What we offer a codec under.
pub(crate) fn payload_type(codec: Codec) -> u8 {
    match codec {
        Codec::Vp8 => 96,
        Codec::H264 => 98,
    }
}

//! Encoders and decoders, set for live video on few cores.

use gst::prelude::*;

use super::error::{MediaError, make, set};
use super::offer::Codec;

/// Cores are shared with a model, so every codec gets one thread.
///
/// Trap: `vp8enc` and `vp8dec` with two threads spin against everything else on a busy machine, and are 4 to 80
/// times slower than with one. A positive `cpu-used` adapts to a share of the processor; negative ones stay put.
const VP8_ENCODER: &[(&str, &str)] = &[
    ("threads", "1"),
    ("cpu-used", "-8"),
    ("deadline", "1"),
    ("lag-in-frames", "0"),
    ("end-usage", "cbr"),
    ("error-resilient", "default"),
    ("keyframe-max-dist", "3000"),
    ("buffer-size", "1000"),
    ("buffer-initial-size", "500"),
    ("buffer-optimal-size", "600"),
    ("min-quantizer", "4"),
    ("max-quantizer", "56"),
    ("static-threshold", "1"),
];

const OPENH264_ENCODER: &[(&str, &str)] = &[
    ("rate-control", "bitrate"),
    ("complexity", "low"),
    ("usage-type", "camera"),
    ("gop-size", "3000"),
    ("multi-thread", "1"),
    ("slice-mode", "n-slices"),
    ("num-slices", "1"),
];

const X264_ENCODER: &[(&str, &str)] = &[
    ("tune", "zerolatency"),
    ("speed-preset", "ultrafast"),
    ("key-int-max", "3000"),
    ("threads", "1"),
];

/// A burst of requests (every lost packet makes one) needs one key frame, not ten.
const KEY_FRAMES_APART: gst::ClockTime = gst::ClockTime::from_mseconds(250);

/// The codecs this machine can both make and read, in our order.
pub(crate) fn able() -> Vec<Codec> {
    let has = |names: &[&str]| {
        names
            .iter()
            .any(|name| gst::ElementFactory::find(name).is_some())
    };
    let mut able = Vec::new();
    if has(&["vp8enc"]) && has(&["vp8dec"]) {
        able.push(Codec::Vp8);
    }
    if has(&["openh264enc", "x264enc"]) && has(&["avdec_h264", "openh264dec"]) {
        able.push(Codec::H264);
    }
    able
}

/// An encoder and what it calls its bit rate.
#[derive(Debug, Clone)]
pub(crate) struct Encoder {
    pub(crate) element: gst::Element,
    unit: u32,
    property: &'static str,
}

impl Encoder {
    pub(crate) fn new(codec: Codec) -> Result<Self, MediaError> {
        let (element, settings, property, unit) = match codec {
            Codec::Vp8 => (make("vp8enc")?, VP8_ENCODER, "target-bitrate", 1),
            // The BSD licensed one first: x264 makes the whole process GPL.
            Codec::H264 => match make("openh264enc") {
                Ok(element) => (element, OPENH264_ENCODER, "bitrate", 1),
                Err(_) => (make("x264enc")?, X264_ENCODER, "bitrate", 1000),
            },
        };
        for (property, value) in settings {
            set(&element, property, value)?;
        }
        set(
            &element,
            "min-force-key-unit-interval",
            &KEY_FRAMES_APART.nseconds().to_string(),
        )?;
        Ok(Self {
            element,
            unit,
            property,
        })
    }

    /// Follows the receiver; takes effect on the next frame.
    pub(crate) fn set_bitrate(&self, bits_per_second: u32) {
        // Cannot fail: the property was chosen with the element.
        set(
            &self.element,
            self.property,
            &(bits_per_second / self.unit).to_string(),
        )
        .ok();
    }
}

/// How drawn pictures go to the encoder: 4:2:0, in the colour matrix that a browser assumes where the stream does not
/// say. Neither VP8 nor what openh264enc writes says it; browsers take BT.601 for the one and BT.709 for the other.
pub(crate) fn drawn(codec: Codec) -> gst::Caps {
    let colorimetry = match codec {
        Codec::Vp8 => "bt601",
        Codec::H264 => "bt709",
    };
    even()
        .field("format", "I420")
        .field("colorimetry", colorimetry)
        .build()
}

/// How decoded pictures go to the encoder: unchanged, if their size allows it.
pub(crate) fn taken_as_decoded() -> gst::Caps {
    even().build()
}

/// Odd sizes exist (a window capture); 4:2:0 encoders and browsers' decoders disagree about the last row of one.
fn even() -> gst::caps::Builder<gst::caps::NoFeature> {
    let side = || gst::IntRange::with_step(2, 8192, 2);
    gst::Caps::builder("video/x-raw")
        .field("width", side())
        .field("height", side())
}

/// What stands between the encoder and the payloader.
pub(crate) fn after_encoder(codec: Codec) -> Result<Vec<gst::Element>, MediaError> {
    match codec {
        Codec::Vp8 => Ok(Vec::new()),
        Codec::H264 => {
            let profile = make("capsfilter")?;
            set(
                &profile,
                "caps",
                "video/x-h264,profile=constrained-baseline",
            )?;
            Ok(vec![profile, make("h264parse")?])
        }
    }
}

/// The payloader of a codec. Packets stay small enough for any path with SRTP and header extensions on top.
pub(crate) fn payloader(codec: Codec, payload: u8, ssrc: u32) -> Result<gst::Element, MediaError> {
    let element = match codec {
        Codec::Vp8 => {
            let element = make("rtpvp8pay")?;
            set(&element, "picture-id-mode", "15-bit")?;
            element
        }
        Codec::H264 => {
            let element = make("rtph264pay")?;
            set(&element, "config-interval", "-1")?;
            set(&element, "aggregate-mode", "zero-latency")?;
            element
        }
    };
    set(&element, "mtu", "1200")?;
    set(&element, "pt", &payload.to_string())?;
    set(&element, "ssrc", &ssrc.to_string())?;
    Ok(element)
}

/// From RTP of this encoding to raw frames, in linking order; the depayloader asks for a key frame by itself when
/// it has lost the thread.
pub(crate) fn decoders(encoding: &str) -> Result<Vec<gst::Element>, MediaError> {
    let (names, thread): (&[&str], _) = match encoding {
        "VP8" => (&["rtpvp8depay", "vp8dec"], "threads"),
        "H264" => (&["rtph264depay", "h264parse"], ""),
        other => return Err(MediaError::Negotiation(format!("no decoder for {other}"))),
    };
    let mut elements = names
        .iter()
        .map(|name| make(name))
        .collect::<Result<Vec<_>, _>>()?;
    set(&elements[0], "request-keyframe", "true")?;
    set(&elements[0], "wait-for-keyframe", "true")?;
    if thread.is_empty() {
        elements.push(match make("avdec_h264") {
            Ok(decoder) => {
                set(&decoder, "max-threads", "1")?;
                decoder
            }
            Err(_) => make("openh264dec")?,
        });
    } else {
        set(&elements[1], thread, "1")?;
    }
    Ok(elements)
}

/// Adds elements to a bin and links them in order.
pub(crate) fn add_linked(
    bin: &impl IsA<gst::Bin>,
    elements: &[gst::Element],
) -> Result<(), MediaError> {
    bin.as_ref().add_many(elements)?;
    Ok(gst::Element::link_many(elements)?)
}

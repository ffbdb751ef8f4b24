//! Encoders and decoders, set for live video on few cores.

use gst::prelude::*;

use crate::error::{MediaError, make, set_if_there};

/// A video codec that every WebRTC peer knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// VP8.
    Vp8,
    /// H.264, constrained baseline.
    H264,
}

impl Codec {
    /// All of them, the one that costs least first.
    pub const ALL: [Self; 2] = [Self::Vp8, Self::H264];

    /// As it stands in RTP caps and SDP.
    pub fn encoding_name(self) -> &'static str {
        match self {
            Self::Vp8 => "VP8",
            Self::H264 => "H264",
        }
    }

    /// As a user writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Vp8 => "vp8",
            Self::H264 => "h264",
        }
    }

    /// Of its caps.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Vp8 => "video/x-vp8",
            Self::H264 => "video/x-h264",
        }
    }

    /// Reads a user's list, e.g. `vp8,h264`.
    ///
    /// # Errors
    ///
    /// A sentence with what can be said.
    pub fn list(text: &str) -> Result<Vec<Self>, String> {
        let mut codecs = Vec::new();
        for word in text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
        {
            let codec = Self::ALL
                .into_iter()
                .find(|codec| codec.word().eq_ignore_ascii_case(word))
                .ok_or_else(|| {
                    format!("`{word}` is no codec; write vp8, h264, or both with a comma")
                })?;
            if !codecs.contains(&codec) {
                codecs.push(codec);
            }
        }
        if codecs.is_empty() {
            return Err("at least one codec is needed: vp8, h264, or both with a comma".into());
        }
        Ok(codecs)
    }

    /// Whether this machine can both make and read it.
    pub fn is_possible(self) -> bool {
        !factories(self, gst::ElementFactoryType::VIDEO_ENCODER).is_empty()
            && !factories(self, gst::ElementFactoryType::DECODER).is_empty()
    }
}

/// Whether an encoder may be one of the machine's hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hardware {
    /// Where there is some, it comes first.
    Preferred,
    /// Software only: every format, size and number of streams.
    Avoided,
}

/// Cores are shared, so every software codec gets one thread.
///
/// Trap: `vp8enc` and `vp8dec` with two threads spin against everything else on a busy machine, and are 4 to 80
/// times slower than with one. A positive `cpu-used` adapts to a share of the processor; negative ones stay put.
///
/// What an element's version lacks is left as it is: names changed, and several families share a prefix.
const LIVE_SETTINGS: [(&str, &[(&str, &str)]); 11] = [
    (
        "vp8enc",
        &[
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
        ],
    ),
    (
        "openh264enc",
        &[
            ("rate-control", "bitrate"),
            ("complexity", "low"),
            ("usage-type", "camera"),
            ("gop-size", "3000"),
            ("multi-thread", "1"),
            ("slice-mode", "n-slices"),
            ("num-slices", "1"),
        ],
    ),
    (
        "x264enc",
        &[
            ("tune", "zerolatency"),
            ("speed-preset", "ultrafast"),
            ("key-int-max", "3000"),
            ("threads", "1"),
        ],
    ),
    (
        "nv",
        &[
            ("preset", "low-latency-hq"),
            ("tune", "ultra-low-latency"),
            ("zerolatency", "true"),
            ("rc-mode", "cbr"),
            ("gop-size", "-1"),
            ("bframes", "0"),
        ],
    ),
    (
        "va",
        &[
            ("rate-control", "cbr"),
            ("key-int-max", "1024"),
            ("b-frames", "0"),
            ("target-usage", "6"),
        ],
    ),
    (
        "qsv",
        &[
            ("rate-control", "cbr"),
            ("low-latency", "true"),
            ("b-frames", "0"),
            ("target-usage", "6"),
        ],
    ),
    (
        "msdk",
        &[
            ("rate-control", "cbr"),
            ("async-depth", "1"),
            ("gop-size", "3000"),
            ("b-frames", "0"),
        ],
    ),
    (
        "mf",
        &[
            ("rc-mode", "cbr"),
            ("low-latency", "true"),
            ("gop-size", "3000"),
            ("bframes", "0"),
        ],
    ),
    (
        "amf",
        &[
            ("usage", "ultra-low-latency"),
            ("rate-control", "cbr"),
            ("gop-size", "3000"),
        ],
    ),
    (
        "vtenc",
        &[
            ("realtime", "true"),
            ("allow-frame-reordering", "false"),
            ("max-keyframe-interval", "3000"),
        ],
    ),
    ("vp8dec", &[("threads", "1")]),
];

/// Families of encoders that are known to work live. The rest (libav's wrappers of absent hardware) may start and then
/// refuse every picture.
const LIVE_ENCODERS: [&str; 12] = [
    "vp8enc",
    "openh264enc",
    "x264enc",
    "nv",
    "va",
    "qsv",
    "msdk",
    "v4l2",
    "vtenc",
    "mf",
    "amf",
    "d3d1",
];

/// A burst of requests (every lost packet makes one) needs one key frame, not ten.
const KEY_FRAMES_APART: gst::ClockTime = gst::ClockTime::from_mseconds(250);

/// Factories of this kind for this codec, the one to try first at the front.
fn factories(codec: Codec, kind: gst::ElementFactoryType) -> Vec<gst::ElementFactory> {
    let caps = gst::Caps::new_empty_simple(codec.media_type());
    let fits = |factory: &gst::ElementFactory| {
        if kind == gst::ElementFactoryType::VIDEO_ENCODER {
            let name = factory.name();
            factory.can_src_any_caps(&caps)
                && LIVE_ENCODERS.iter().any(|known| name.starts_with(known))
        } else {
            factory.can_sink_any_caps(&caps)
        }
    };
    // Trap: decoders for pictures with transparency rank high, and take nothing but those.
    let opaque = |factory: &gst::ElementFactory| !factory.name().contains("alpha");
    let all = gst::ElementFactory::factories_with_type(kind, gst::Rank::MARGINAL);
    let mut fitting: Vec<_> = all.into_iter().filter(opaque).filter(fits).collect();
    fitting.sort_by_key(|factory| std::cmp::Reverse(preference(factory)));
    fitting
}

fn is_hardware(factory: &gst::ElementFactory) -> bool {
    factory
        .metadata("klass")
        .is_some_and(|klass| klass.contains("Hardware"))
}

/// Hardware first, then by rank, which `GST_PLUGIN_FEATURE_RANK` can change.
fn preference(factory: &gst::ElementFactory) -> (bool, gst::Rank) {
    let rank = match (factory.name().as_str(), factory.rank()) {
        // Unless the user raises it: x264 makes the whole process GPL, the others do not.
        ("x264enc", gst::Rank::PRIMARY) => gst::Rank::MARGINAL - 1,
        (_, rank) => rank,
    };
    (is_hardware(factory), rank)
}

/// The first of these that starts on this machine: hardware may be listed and yet absent.
fn start(
    codec: Codec,
    kind: gst::ElementFactoryType,
    hardware: Hardware,
) -> Result<gst::Element, MediaError> {
    for factory in factories(codec, kind) {
        if hardware == Hardware::Avoided && is_hardware(&factory) {
            continue;
        }
        let Ok(element) = factory.create().build() else {
            continue;
        };
        if element.set_state(gst::State::Ready).is_ok() {
            element.set_state(gst::State::Null)?;
            for (name, settings) in LIVE_SETTINGS {
                if factory.name().starts_with(name) {
                    for (property, value) in settings {
                        set_if_there(&element, property, value);
                    }
                }
            }
            return Ok(element);
        }
        element.set_state(gst::State::Null)?;
    }
    Err(MediaError::NoCodec(codec.word().into()))
}

/// An encoder and what it calls its bit rate.
#[derive(Debug, Clone)]
pub struct Encoder {
    /// The encoder.
    pub element: gst::Element,
    property: Option<&'static str>,
    unit: u32,
}

impl Encoder {
    /// The first that starts, set for live video.
    ///
    /// # Errors
    ///
    /// None of this machine's encoders starts.
    pub fn new(codec: Codec, hardware: Hardware) -> Result<Self, MediaError> {
        let element = start(codec, gst::ElementFactoryType::VIDEO_ENCODER, hardware)?;
        set_if_there(
            &element,
            "min-force-key-unit-interval",
            &KEY_FRAMES_APART.nseconds().to_string(),
        );
        let name = element
            .factory()
            .map(|factory| factory.name().to_string())
            .unwrap_or_default();
        let (property, unit) = match name.as_str() {
            "vp8enc" => ("target-bitrate", 1),
            "openh264enc" => ("bitrate", 1),
            // Every other encoder with this property counts in kbit/s.
            _ => ("bitrate", 1000),
        };
        let property = element.find_property(property).map(|_| property);
        Ok(Self {
            element,
            property,
            unit,
        })
    }

    /// Follows the receiver; takes effect on the next frame.
    pub fn set_bitrate(&self, bits_per_second: u32) {
        if let Some(property) = self.property {
            set_if_there(
                &self.element,
                property,
                &(bits_per_second / self.unit).to_string(),
            );
        }
    }
}

/// What stands between the encoder and the payloader.
///
/// # Errors
///
/// It is not installed.
pub fn after_encoder(codec: Codec) -> Result<Vec<gst::Element>, MediaError> {
    match codec {
        Codec::Vp8 => Ok(Vec::new()),
        Codec::H264 => {
            let profile = make("capsfilter")?;
            set_if_there(
                &profile,
                "caps",
                "video/x-h264,profile=constrained-baseline",
            );
            Ok(vec![profile, make("h264parse")?])
        }
    }
}

/// The payloader of a codec, for this payload type and source. Packets stay small enough for any path with SRTP and header extensions on top.
///
/// # Errors
///
/// It is not installed.
pub fn payloader(codec: Codec, payload: u8, ssrc: u32) -> Result<gst::Element, MediaError> {
    let element = match codec {
        Codec::Vp8 => {
            let element = make("rtpvp8pay")?;
            set_if_there(&element, "picture-id-mode", "15-bit");
            element
        }
        Codec::H264 => {
            let element = make("rtph264pay")?;
            // The far end ignores parameter sets in the SDP: they must stand in the stream.
            set_if_there(&element, "config-interval", "-1");
            set_if_there(&element, "aggregate-mode", "zero-latency");
            element
        }
    };
    set_if_there(&element, "mtu", "1200");
    set_if_there(&element, "pt", &payload.to_string());
    set_if_there(&element, "ssrc", &ssrc.to_string());
    Ok(element)
}

/// From RTP of this encoding to raw frames, in linking order; the depayloader asks for a key frame by itself when
/// it has lost the thread.
///
/// # Errors
///
/// We do not know this encoding, or none of this machine's decoders starts.
pub fn decoders(encoding: &str, hardware: Hardware) -> Result<Vec<gst::Element>, MediaError> {
    let codec = Codec::ALL
        .into_iter()
        .find(|codec| codec.encoding_name() == encoding)
        .ok_or_else(|| MediaError::NoCodec(encoding.to_owned()))?;
    let mut elements = match codec {
        Codec::Vp8 => vec![make("rtpvp8depay")?],
        Codec::H264 => vec![make("rtph264depay")?, make("h264parse")?],
    };
    for (property, value) in [("request-keyframe", "true"), ("wait-for-keyframe", "true")] {
        set_if_there(&elements[0], property, value);
    }
    let decoder = start(codec, gst::ElementFactoryType::DECODER, hardware)?;
    // libav: frame threads cost a frame of delay each.
    set_if_there(&decoder, "max-threads", "1");
    elements.push(decoder);
    Ok(elements)
}

/// Adds elements to a bin and links them in order.
///
/// # Errors
///
/// GStreamer refuses.
pub fn add_linked(bin: &impl IsA<gst::Bin>, elements: &[gst::Element]) -> Result<(), MediaError> {
    bin.as_ref().add_many(elements)?;
    Ok(gst::Element::link_many(elements)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_the_users_order() {
        assert_eq!(
            Codec::list("h264, VP8,h264"),
            Ok(vec![Codec::H264, Codec::Vp8])
        );
        for wrong in ["", " , ", "av1", "vp8,mpeg"] {
            assert!(Codec::list(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn both_codecs_start_here() {
        gst::init().unwrap();
        for codec in Codec::ALL {
            assert!(codec.is_possible());
            for hardware in [Hardware::Preferred, Hardware::Avoided] {
                Encoder::new(codec, hardware).unwrap().set_bitrate(700_000);
                let decoders = decoders(codec.encoding_name(), hardware).unwrap();
                assert!(decoders.len() > 1);
            }
        }
    }
}

//! The form in which pictures go to an encoder, and which codecs there are.

use webrtc_live::Codec;

/// The codecs this machine can both make and read, in our order.
pub(crate) fn able() -> Vec<Codec> {
    let all = Codec::ALL.into_iter();
    all.filter(|codec| codec.is_possible()).collect()
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

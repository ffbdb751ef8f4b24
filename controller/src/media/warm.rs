//! What is slow once per process, done before the first client comes.

use gst::prelude::*;

use super::error::make;

/// Factories of a session; the first element of each loads a shared library.
const FACTORIES: [&str; 12] = [
    "webrtcbin",
    "nicesrc",
    "dtlssrtpenc",
    "sctpenc",
    "rtpbin",
    "rtpvp8pay",
    "rtph264pay",
    "vp8enc",
    "openh264enc",
    "avdec_h264",
    "videoconvertscale",
    "appsrc",
];

/// Loads the plugins and makes the process's DTLS certificate (a 2048 bit RSA key), in a thread of its own.
pub(crate) fn up() {
    let work = || {
        for name in FACTORIES {
            // What is missing is reported by the session that needs it.
            make(name).ok();
        }
        if let Ok(decoder) = make("dtlsdec") {
            // Reading it makes it.
            decoder.property::<Option<String>>("pem");
        }
    };
    std::thread::Builder::new()
        .name("warm-up".into())
        .spawn(work)
        .ok();
}

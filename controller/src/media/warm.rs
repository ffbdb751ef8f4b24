//! What is slow once per process, done before the first client comes.

use gst::prelude::*;

use super::error::make;

/// Factories of a session; the first element of each loads a shared library. Not `avdec_h264`: it brings 30 MB of
/// libraries along, and nearly all clients speak VP8.
const FACTORIES: [&str; 11] = [
    "webrtcbin",
    "nicesrc",
    "dtlssrtpenc",
    "sctpenc",
    "rtpbin",
    "rtpvp8pay",
    "rtph264pay",
    "vp8enc",
    "openh264enc",
    "videoconvertscale",
    "appsrc",
];

/// Loads the plugins and makes the process's DTLS certificate, each in a thread of its own.
pub(crate) fn up() {
    begin("warm-up", || {
        for name in FACTORIES {
            // What is missing is reported by the session that needs it.
            make(name).ok();
        }
    });
    // A 2048 bit RSA key takes as long as all the rest, and at times thrice as long.
    begin("certificate", || {
        if let Ok(decoder) = make("dtlsdec") {
            // Reading it makes it.
            decoder.property::<Option<String>>("pem");
        }
    });
}

fn begin(name: &str, work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().name(name.into());
    // Without a thread the first client does it, and waits for it.
    thread.spawn(work).ok();
}

//! The cloud path: `falwebrtcbin` against an aiortc app of the same kind as fal's, one file per area.

use std::sync::Once;

mod application;
mod dialects;
mod encoded;
mod fallback;
mod faults;
mod hardware;
mod limits;
mod lost;
mod patient;
mod relayed;
mod tidy;

/// Grey of 60 in RGB, as luma; and the same inverted by the app.
const SENT: f64 = 67.0;
const RETURNED: f64 = 188.0;

fn start() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().unwrap();
        gstfalwebrtc::plugin_register_static().unwrap();
    });
}

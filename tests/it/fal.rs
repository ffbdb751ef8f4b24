//! The cloud path: `falwebrtcbin` against an aiortc app of the same kind as fal's, one file per area.

use std::sync::Once;

mod dialects;

/// Grey of 60 in RGB, as luma, inverted by the app.
const RETURNED: f64 = 188.0;

fn start() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().unwrap();
        gstfalwebrtc::plugin_register_static().unwrap();
    });
}

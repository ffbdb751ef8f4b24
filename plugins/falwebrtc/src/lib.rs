//! The `falwebrtc` plugin: live video through a fal app, by WebRTC.
//!
//! A skin over the pure crate `fal-client`: this side speaks GStreamer (pads, encoders, webrtcbin, messages), that side
//! knows fal (keys, tokens, addresses, the five signalling dialects).

use gst::glib;

mod falwebrtcbin;

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    falwebrtcbin::register(plugin)
}

gst::plugin_define!(
    falwebrtc,
    env!("CARGO_PKG_DESCRIPTION"),
    plugin_init,
    concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
    "MIT/X11",
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    "https://gstreamer.freedesktop.org",
    env!("BUILD_REL_DATE")
);

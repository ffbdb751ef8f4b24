//! The `spout` plugin: live video by name between applications on one machine.
//!
//! A skin over the pure crate `texture-share`: this side speaks GStreamer (caps, timestamps, states, messages), that
//! side finds senders and carries frames. On Windows the protocol is Spout's; on Linux the same elements, names and
//! properties work over shared memory.

use gst::glib;

#[cfg_attr(not(windows), path = "d3d11/none.rs")]
mod d3d11;
mod device;
mod device_provider;
mod errors;
mod sharing;
mod spoutsink;
mod spoutsrc;
mod text;
mod video;

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    spoutsink::register(plugin)?;
    spoutsrc::register(plugin)?;
    device_provider::register(plugin)
}

gst::plugin_define!(
    spout,
    env!("CARGO_PKG_DESCRIPTION"),
    plugin_init,
    concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
    "MIT/X11",
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    "https://gstreamer.freedesktop.org",
    env!("BUILD_REL_DATE")
);

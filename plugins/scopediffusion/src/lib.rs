//! The `scopediffusion` plugin: live video through a diffusion model.
//!
//! A skin over the pure crate `diffusion-engine`: this side speaks GStreamer (caps, timestamps, states, messages),
//! that side does the mathematics. The built-in demo model `scope-tiny` is embedded.

use gst::glib;

mod caps;
mod errors;
mod frame;
mod messages;
mod models;
mod newest;
mod pool;
mod processor;
mod properties;
mod scopediffusion;
mod scopediffusionsrc;
mod settings;
mod sights;
mod skin;
mod stats;
mod stream;
mod survey;
mod warm;

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    scopediffusion::register(plugin)?;
    scopediffusionsrc::register(plugin)
}

gst::plugin_define!(
    scopediffusion,
    env!("CARGO_PKG_DESCRIPTION"),
    plugin_init,
    concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
    "MIT/X11",
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    "https://gstreamer.freedesktop.org",
    env!("BUILD_REL_DATE")
);

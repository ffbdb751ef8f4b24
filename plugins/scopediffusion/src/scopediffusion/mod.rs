//! `scopediffusion`: raw video in, the same video redrawn by a diffusion model out.
//!
//! ```text
//! gst-launch-1.0 v4l2src ! videoconvert ! videoscale ! video/x-raw,width=256,height=256 \
//!     ! scopediffusion prompt="blueprint" ! videoconvert ! autovideosink
//! ```
//!
//! Two ways to keep time, property `pacing`: `live` infers on a thread of its own, takes the newest frame and counts
//! what it drops; `strict` gives exactly one picture for each picture, however long it takes.

use gst::glib;
use gst::prelude::*;

mod drawing;
mod imp;
mod pads;
mod queries;
mod queue;

glib::wrapper! {
    /// The element.
    pub struct ScopeDiffusion(ObjectSubclass<imp::ScopeDiffusion>) @extends gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "scopediffusion",
        gst::Rank::NONE,
        ScopeDiffusion::static_type(),
    )
}

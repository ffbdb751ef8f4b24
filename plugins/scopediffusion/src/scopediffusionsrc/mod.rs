//! `scopediffusionsrc`: video made from the prompt alone.
//!
//! ```text
//! gst-launch-1.0 scopediffusionsrc prompt="fire" motion=0.05 ! videoconvert ! autovideosink
//! ```
//!
//! With `pacing` `live` (and `auto`) a live source: pictures are made at the rate of the caps, and when the model is
//! slower than that, moments are left out and counted as dropped. With `strict` it makes every picture, as fast as
//! downstream takes them.

use gst::glib;
use gst::prelude::*;

mod imp;
mod moments;

glib::wrapper! {
    /// The element.
    pub struct ScopeDiffusionSrc(ObjectSubclass<imp::ScopeDiffusionSrc>)
        @extends gst_base::PushSrc, gst_base::BaseSrc, gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "scopediffusionsrc",
        gst::Rank::NONE,
        ScopeDiffusionSrc::static_type(),
    )
}

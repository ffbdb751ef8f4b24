//! `spoutsrc`: live video from another program, found by its name.
//!
//! ```text
//! gst-launch-1.0 spoutsrc sender-name=Test ! videoconvert ! autovideosink
//! ```
//!
//! Waits for its sender, follows its changes of size, and finds it again when it was away. The newest frame wins; what
//! was missed is counted. Frames are the sender's own memory, without a copy. On Windows they are copied once, on the
//! graphics card where downstream names such caps:
//!
//! ```text
//! gst-launch-1.0 spoutsrc sender-name=Screen ! d3d11videosink
//! ```

use gst::glib;
use gst::prelude::*;

mod frames;
mod imp;
mod messages;
mod negotiation;
mod properties;
mod stream;
mod timing;

glib::wrapper! {
    /// The element.
    pub struct SpoutSrc(ObjectSubclass<imp::SpoutSrc>) @extends gst_base::PushSrc, gst_base::BaseSrc, gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "spoutsrc",
        gst::Rank::NONE,
        SpoutSrc::static_type(),
    )
}

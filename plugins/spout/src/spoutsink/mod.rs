//! `spoutsink`: shows raw video to other programs under a name.
//!
//! ```text
//! gst-launch-1.0 videotestsrc is-live=true ! spoutsink sender-name=Test
//! ```
//!
//! Never waits for a receiver, but with `frame-sync`, and works when there is none. Upstream is offered memory that
//! receivers see, so that a picture drawn into it is shared without a copy; a picture from elsewhere is copied once. On
//! Windows that memory is a texture, and upstream's may lie on the graphics card:
//!
//! ```text
//! gst-launch-1.0 d3d11screencapturesrc ! d3d11convert ! spoutsink sender-name=Screen
//! ```

use gst::glib;
use gst::prelude::*;

mod imp;
mod pool;
mod properties;
mod state;
mod step;

glib::wrapper! {
    /// The element.
    pub struct SpoutSink(ObjectSubclass<imp::SpoutSink>) @extends gst_base::BaseSink, gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "spoutsink",
        gst::Rank::NONE,
        SpoutSink::static_type(),
    )
}

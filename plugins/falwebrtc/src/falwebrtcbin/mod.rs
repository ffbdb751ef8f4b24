//! `falwebrtcbin`: raw video in, the same video as a fal app redraws it out.
//!
//! ```text
//! FAL_KEY=id:secret gst-launch-1.0 v4l2src ! videoconvert ! falwebrtcbin app-id=owner/app \
//!     ! videoconvert ! autovideosink
//! ```
//!
//! ```text
//!  sink ─► Flow ─► appsrc ► convert ► encode ► pay ► webrtcbin ═════► fal app
//!           │                                                            │
//!   src ◄─ Flow ◄─ appsink ◄ decode ◄ depay ◄ webrtcbin ◄════════════════╯
//! ```
//!
//! [`flow`] is the meeting point: it never waits for the network, whatever happens beyond it. Beyond it lives one
//! [`link`](self::link) at a time: an inner bin with a webrtcbin, made new for each attempt to connect and torn down
//! whole. [`worker`] drives it from a thread of its own.

use gst::glib;
use gst::prelude::*;

mod attempt;
mod carrier;
mod correlate;
mod errors;
mod flow;
mod guard;
mod imp;
mod inlet;
mod link;
mod material;
mod messages;
mod meter;
mod output;
mod pads;
mod patience;
mod picture;
mod properties;
mod receive;
mod send;
mod servers;
mod session;
mod settings;
mod signals;
mod spacing;
mod worker;

glib::wrapper! {
    /// The element.
    pub struct FalWebRTCBin(ObjectSubclass<imp::FalWebRTCBin>) @extends gst::Bin, gst::Element, gst::Object,
        @implements gst::ChildProxy;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "falwebrtcbin",
        gst::Rank::NONE,
        FalWebRTCBin::static_type(),
    )
}

//! Pictures on their way: from the browser to the processors and back.
//!
//! ```text
//! peer pipeline        webrtcbin ► depay ► decoder ► appsink ─┐        ┌─► appsrc ► encoder ► pay ► webrtcbin
//!                                                         handover ────┤ (nothing loaded: straight across)
//! processing pipeline                                         └─► appsrc ► processors ► appsink ─┘
//! ```
//!
//! Decision: two pipelines and a hand-over, because one pipeline that leaves webrtcbin and comes back to it is a loop
//! ("loop detected in the graph"), and because a processor may load a model for a minute while the peer connects.
//!
//! Files without GStreamer decide ([`offer`], [`answer`], [`candidate`], [`marks`], [`meter`], [`switch`],
//! [`template`]); the others carry out, on what `webrtc_live` shares with the way to the cloud.

pub mod answer;
pub mod candidate;
pub(crate) mod channel;
pub(crate) mod codec;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod film;
#[cfg(test)]
mod fit_tests;
pub(crate) mod handover;
pub(crate) mod inlet;
pub mod marks;
pub mod meter;
pub(crate) mod negotiate;
pub mod offer;
pub(crate) mod peer;
pub(crate) mod processing;
pub(crate) mod receive;
pub(crate) mod recorder;
pub(crate) mod reel;
pub(crate) mod send;
pub mod senders;
pub(crate) mod share;
pub(crate) mod still;
pub mod switch;
pub mod template;
pub(crate) mod warm;

pub(crate) use error::MediaError;
pub use still::Still;

//! Live video over GStreamer's webrtcbin, for whoever offers and whoever answers.
//!
//! ```text
//!  Feed ─► appsrc ► convert ► Encoder ► payloader ► webrtcbin ═══► far end
//!                                ▲ Bitrate ◄── Reports ◄─┘
//!  outlet ◄─ appsink ◄ decoders ◄────────────── webrtcbin ◄═══════╯
//! ```
//!
//! Nothing here knows a signalling protocol, an element of ours or a session. [`bitrate`], [`meter`] and [`rtcp`] are pure:
//! callers bring the time and the bytes. The rest are the same few elements with the settings that live video needs, and
//! the traps that GStreamer 1.22 lays around them.

pub mod bitrate;
mod channel;
pub mod codec;
mod error;
mod feed;
pub mod ice;
pub mod meter;
mod outlet;
mod reports;
pub mod rtcp;
pub mod rtp;
pub mod turn;

pub use channel::on_text;
pub use codec::Codec;
pub use error::{MediaError, make, set, set_if_there};
pub use feed::Feed;
pub use outlet::{discard, outlet};
pub use reports::Reports;

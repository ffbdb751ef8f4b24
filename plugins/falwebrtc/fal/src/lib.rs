//! Everything that is fal's and needs no GStreamer: keys, tokens, addresses, and signalling in all its dialects.
//!
//! ```text
//!  key ──► token ──► socket ──► RawMessage ⇄ Negotiation ⇄ peer connection (webrtcbin, elsewhere)
//!  credentials  token  endpoint     net        signalling/      offer, answer, candidates
//!  └──────────── net::Pump ────────────┘      └─ Dialect: yolo JSON · yolo msgpack · scope · lucy · WMA
//! ```
//!
//! The handshake, in the dialect of fal's demo:
//!
//! ```text
//!  client                         fal                          stage
//!  POST /tokens/  ───────────────► rest.fal.ai                 token
//!  GET /o/a/webrtc?fal_jwt_token ► fal.run: 101                socket
//!                 (the runner boots)                           starting-runner
//!                 ◄─────────────── {"type":"ready"}            negotiating
//!  {"type":"offer","sdp"} ───────►
//!                 ◄─────────────── {"type":"answer","sdp"}
//!  {"type":"icecandidate"} … ────►
//!                 ◄═══ DTLS, RTP ═►                            live
//! ```
//!
//! [`Negotiation`] always runs beside the peer connection. Token and socket have two possible owners: the element
//! itself by `net::Pump` (feature `net`), or an application that carries [`RawMessage`]s to and from the element.
//!
//! Without the feature `net` the crate does no I/O and has no clock and no environment.

#![forbid(unsafe_code)]
#![warn(missing_docs, clippy::missing_errors_doc, clippy::missing_panics_doc)]

mod app_id;
mod choice;
mod credentials;
mod endpoint;
mod error;
#[cfg(feature = "net")]
pub mod net;
mod secret;
pub mod signalling;
mod stage;
pub mod token;

pub use app_id::AppId;
pub use credentials::{ApiKey, Auth, key_from};
pub use endpoint::{Endpoints, SocketUrl, without_query};
pub use error::FalError;
pub use secret::Secret;
pub use signalling::{
    Dialect, DialectChoice, Encoding, EncodingChoice, IceCandidate, IceServer, Input, Negotiation,
    NegotiationConfig, Notice, Output, Parameters, RawMessage,
};
pub use stage::Stage;
pub use token::{Token, TokenEndpoint};

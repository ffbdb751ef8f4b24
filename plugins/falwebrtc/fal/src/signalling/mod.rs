//! Carrying the negotiation between a peer connection and a fal app.
//!
//! [`Negotiation`] knows what must happen when, [`Dialect`] how each language says it. Neither does I/O.

pub mod backoff;
pub mod dialect;
mod encoding;
mod ice;
mod message;
mod negotiation;
mod outbox;
pub mod sdp;

pub use dialect::{AppDialect, Dialect, DialectChoice};
pub use encoding::{Encoding, EncodingChoice};
pub use ice::{IceCandidate, IceServer};
pub use message::{
    ApiReply, ApiRequest, ClientMessage, Malformed, Parameters, RawMessage, Request, ServerMessage,
};
pub use negotiation::{Input, Negotiation, NegotiationConfig, Notice, Output};
pub use outbox::Outbox;

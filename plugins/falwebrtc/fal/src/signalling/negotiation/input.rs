//! What a negotiation is told.

use crate::signalling::ice::IceCandidate;
use crate::signalling::message::{Parameters, RawMessage};

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The socket is open.
    SocketOpened,
    /// The app said something.
    Message(RawMessage),
    /// The socket is closed.
    SocketClosed {
        /// WebSocket close code; `None` or 1006 when the connection just broke.
        code: Option<u16>,
        /// Its reason, often empty.
        reason: String,
    },
    /// The offer that [`super::Output::MakeOffer`] asked for is the local description now.
    LocalOffer {
        /// The SDP.
        sdp: String,
    },
    /// The peer connection found a candidate.
    LocalCandidate(IceCandidate),
    /// The peer connection will find no more candidates.
    LocalCandidatesDone,
    /// The parameters channel is open.
    ChannelOpened,
    /// The parameters channel is closed.
    ChannelClosed,
    /// The app said something on the parameters channel.
    ChannelMessage(String),
    /// The user changes parameters.
    Parameters(Parameters),
    /// Pictures come back.
    Live,
    /// The peer connection failed, could not use the answer, or media stopped.
    PeerFailed {
        /// What was seen.
        reason: String,
    },
    /// Time went by; due when [`super::Negotiation::next_timeout`] says.
    Timeout,
}

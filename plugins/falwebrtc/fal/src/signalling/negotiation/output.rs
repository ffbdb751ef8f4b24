//! What a negotiation wants done.

use crate::error::FalError;
use crate::signalling::dialect::Dialect;
use crate::signalling::ice::{IceCandidate, IceServer};
use crate::signalling::message::{Parameters, RawMessage};
use crate::stage::Stage;

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send this through the socket.
    Send(RawMessage),
    /// A stage begins.
    Stage(Stage),
    /// Make a peer connection with these servers (besides the user's own) and a data channel, then an offer of it.
    MakeOffer {
        /// The language; it names the data channel.
        dialect: Dialect,
        /// Servers that the app handed out.
        ice_servers: Vec<IceServer>,
        /// Hand the offer over only when gathering is complete.
        whole: bool,
    },
    /// Make this the remote description.
    ApplyAnswer {
        /// The SDP.
        sdp: String,
    },
    /// Add this remote candidate.
    AddCandidate(IceCandidate),
    /// The app has no more candidates.
    RemoteCandidatesDone,
    /// Send this text on the parameters channel.
    SendOnChannel(String),
    /// Worth telling the user; the connection goes on.
    Notice(Notice),
    /// It is over: close socket and peer connection. Nothing follows.
    Failed(FalError),
}

/// Something that the app said besides the negotiation.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// An error after the answer; whether it is the end, the close or ICE will tell.
    AppError(String),
    /// The app will close the socket.
    Closing(String),
    /// The app makes no more pictures; the text says why when it is an error.
    StreamStopped(Option<String>),
    /// Someone else changed parameters.
    ParametersUpdated(Parameters),
    /// Lines of the runner's log.
    Logs(Vec<String>),
    /// What the app runs on.
    Hardware(Parameters),
}

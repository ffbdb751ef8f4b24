//! What carries messages: a socket, or WMA's requests.

use super::socket::{Incoming, Socket};
use super::wma::Wma;
use crate::signalling::RawMessage;

pub(super) enum Link {
    Socket(Box<Socket>),
    Wma(Box<Wma>),
}

impl Link {
    /// The next thing that happens. May be dropped at any `.await` and called again.
    pub(super) async fn next(&mut self) -> Incoming {
        match self {
            Self::Socket(socket) => socket.next().await,
            Self::Wma(wma) => wma.next().await,
        }
    }

    /// Sends a message. When that fails, [`Link::next`] tells how the link ended.
    pub(super) async fn send(&mut self, message: RawMessage) {
        match self {
            Self::Socket(socket) => socket.send(message).await,
            Self::Wma(wma) => wma.send(&message),
        }
    }

    pub(super) async fn close(self) {
        match self {
            Self::Socket(socket) => socket.close().await,
            // Its session ends when heartbeats stop and the peer connection closes.
            Self::Wma(_) => {}
        }
    }
}

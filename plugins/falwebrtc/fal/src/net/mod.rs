//! Token requests, sockets, and the pump that keeps a connection up. The only place of the crate that does I/O.
//!
//! ```text
//!            commands: send, entered, failed, reconnect_now, stop
//!  owner ──────────────────────────────────────────────► Pump ──► token ──► socket ⇄ fal
//!        ◄──────────────────────────────────────────────   │
//!            events: Stage, Opened, Message, Closed         └── fails? waits (backoff) and begins again
//! ```
//!
//! The pump knows nothing of what is said: who owns it feeds a [`crate::Negotiation`] per attempt, or passes the
//! messages to the element that runs one.

mod attempt;
mod event;
mod http;
mod link;
mod pump;
mod socket;
mod storage;
mod tls;
mod token;
mod wma;

pub use event::{Event, StageReport};
pub use http::Http;
pub use pump::{Pump, PumpConfig, Transport};
pub use storage::{StoredFile, fetch};
pub use token::mint;

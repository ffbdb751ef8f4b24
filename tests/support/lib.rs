//! Real peers and shared ground for the tests of the whole house.
//!
//! [`Controller`] runs the built `gst-scope` as a user would, [`Peer`] an independent client of it (aiortc, Chromium),
//! [`Page`] the web page in such a Chromium.
//! [`FalApp`] is an independent far end of the cloud path.
//! What is missing on the machine is an error with the command that brings it, never a skipped test: a test that
//! did not run has proved nothing.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a helper that fails must fail its test, loudly"
)]

pub mod cloud;
pub mod controller;
pub mod fal;
pub mod film;
pub mod house;
pub mod http;
pub mod inspect;
pub mod page;
pub mod peer;
pub mod pipewire;
pub mod programs;
pub mod stage;
pub mod turn;

pub use cloud::Cloud;
pub use controller::Controller;
pub use fal::FalApp;
pub use page::Page;
pub use peer::Peer;
pub use turn::Turn;

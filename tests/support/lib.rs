//! Real peers and shared ground for the tests of the whole house.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a helper that fails must fail its test, loudly"
)]

pub mod house;
pub mod inspect;

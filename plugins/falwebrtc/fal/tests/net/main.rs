//! The pump against a real server on this machine. `fal` is the server, the other files are what is asked of the pump.

#![allow(clippy::unwrap_used, reason = "a helper that fails must fail its test")]

mod connecting;
mod ending;
mod fal;
mod owner;
mod refusing;
mod secrecy;
mod storing;
mod surroundings;

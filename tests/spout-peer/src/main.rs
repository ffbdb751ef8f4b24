//! Another program that speaks Spout, for tests: it shares no line with what it tests, only the protocol's bytes.
//!
//! ```text
//! spout-peer send NAME WIDTH HEIGHT [frames=100] [fps=30] [code=87] [keyed] [uncounted] [slots=64]
//! spout-peer receive NAME|- FILE [frames=20] [sync] [seconds=80]   - is the active sender; raw rows go into FILE;
//!                                                                   frames=0 is until the sender is gone
//! spout-peer list [seconds=0] [slots=64]                           names, then the active one; keeps the list open
//! spout-peer die NAME [keyed]                                      takes a turn at NAME's texture and ends with it
//! ```
//!
//! Frame `n` (from 0) that is sent has blue = column, green = row, red = `n`, all modulo 256, and alpha 255.
//!
//! Source: leadedge/Spout2 2.007's protocol, as written down in the module `backend::spout` of texture-share.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for tests, which read what it prints"
)]
#![cfg_attr(
    windows,
    allow(
        unsafe_code,
        clippy::undocumented_unsafe_blocks,
        clippy::unwrap_used,
        clippy::exit,
        reason = "speaks to the kernel and to Direct3D by pointers, in tests only; what fails ends it with a message"
    )
)]

#[cfg(windows)]
mod objects;
#[cfg(windows)]
mod programs;
#[cfg(windows)]
mod textures;

#[cfg(windows)]
fn main() {
    programs::run(&std::env::args().skip(1).collect::<Vec<_>>());
}

#[cfg(not(windows))]
fn main() {
    eprintln!("spout-peer: Spout is a protocol of Windows");
}

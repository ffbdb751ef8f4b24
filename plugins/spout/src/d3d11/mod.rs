//! Pictures in a graphics card's memory: `memory:D3D11Memory`, on the device that the pipeline's elements share.
//!
//! What this does with GStreamer's Direct3D 11 library is here; what it does with Direct3D 11 itself is the heart's.

mod device;
mod library;
mod memory;

pub(crate) use device::{Device, Shared};
pub(crate) use memory::{Pool, texture};

/// Whether this GStreamer can keep pictures in a graphics card's memory.
pub(crate) fn is_available() -> bool {
    library::functions().is_some()
}

//! Graphics devices where this system shares no video by them.

/// A device of the program's own; there is none.
#[derive(Debug, Clone)]
pub enum GpuDevice {}

/// A picture in a graphics card's memory; there is none.
#[derive(Debug, Clone)]
pub enum GpuTexture {}

//! How frames are taken in, and what becomes of them.

use std::time::Duration;

/// How the denoising steps of a frame are put into calls of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Batching {
    /// Stream batch on a GPU, sequential on the CPU.
    #[default]
    Auto,
    /// All steps in one call, for several frames at once: highest throughput, S−1 frames delay.
    /// Sequential all the same if the model cannot take rows at different timesteps.
    Stream,
    /// One call for each step: no delay.
    Sequential,
}

/// How frames are put into calls of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// What becomes of several steps.
    pub batching: Batching,
    /// Frames that go through the network together, 1 to 8: more throughput, more delay.
    pub frame_buffer: u32,
    /// Whether a frame is set going before the picture of the one before it is looked at, so that a
    /// GPU computes while the host converts pictures. One more frame of delay; the same pictures. On
    /// the CPU there is nothing to gain: its graphs take all cores one after another.
    pub pipelining: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            batching: Batching::Auto,
            frame_buffer: 1,
            pipelining: false,
        }
    }
}

/// Most frames that go through the network together.
pub(super) const MOST_TOGETHER: u32 = 8;

/// What becomes of prompts that are not encoded yet when they are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prompts {
    /// They are encoded at once, and [`crate::Engine::apply`] waits for it.
    Wait,
    /// The old ones are shown until somebody has called [`crate::Model::prepare`].
    Later,
}

/// Time that graphs took over one frame, all their runs together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// Pictures into latents.
    pub encode: Duration,
    /// The denoising steps.
    pub denoise: Duration,
    /// Latents into pictures.
    pub decode: Duration,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There is a picture to write: that of the first frame in flight, which is now no longer so.
    Picture,
    /// No picture yet: the frame is in flight. From [`crate::Engine::drain`]: nothing is left in flight.
    Filling,
}

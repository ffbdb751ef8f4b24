//! What one session counts.

use webrtc_live::meter::{Rate, Recent};

/// Everything counted on a frame's way through one session.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    /// Decoded frames, or frames made for a text-to-video session.
    pub input: Rate,
    /// Frames handed to the encoder.
    pub output: Rate,
    /// Frames that a newer one replaced before anyone took them.
    pub dropped: u64,
    /// From the decoder to the encoder's door.
    pub processing: Recent,
    /// From the encoder's door to its first packet.
    pub encoding: Recent,
}

//! Everything that the element counts.

use webrtc_live::meter::{Rate, Recent};

/// What one look at the network tells; rates in bit/s.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Network {
    pub(crate) sent: u32,
    pub(crate) received: u32,
    /// What the encoder is set to.
    pub(crate) target: u32,
    /// What the far end is told it may send.
    pub(crate) limit: u32,
    /// Share of our packets that did not arrive, 0.0 to 1.0.
    pub(crate) loss: f64,
    /// Share of theirs.
    pub(crate) loss_received: f64,
}

/// Everything counted since the element left NULL.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter {
    /// From upstream.
    pub(crate) input: Rate,
    /// Encoded and sent, repetitions included.
    pub(crate) sent: Rate,
    /// Back from the far end.
    pub(crate) returned: Rate,
    /// Pushed downstream, fallback included.
    pub(crate) output: Rate,
    /// Of those, the ones that the far end did not make.
    pub(crate) fallback: u64,
    /// Left out on the way there, or returned too late to be shown.
    pub(crate) dropped: u64,
    /// Of a stream that can wait: those that never came back, however often they were sent.
    pub(crate) lost_pictures: u64,
    /// From the sink pad to the decoder, there and back.
    pub(crate) round_trip: Recent,
    /// RTP payload, bits.
    pub(crate) received_bits: u64,
    /// RTP payload, bits.
    pub(crate) sent_bits: u64,
    /// RTP packets that never came.
    pub(crate) lost: u64,
    /// As of the last look at the network.
    pub(crate) network: Network,
    /// Connections after the first.
    pub(crate) reconnects: u64,
}

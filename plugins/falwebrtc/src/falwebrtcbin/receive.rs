//! The far end's picture: from webrtcbin's pad to decoded frames.

use std::sync::Arc;

use gst::prelude::*;
use gst_video::VideoInfo;
use webrtc_live::codec::{self, Hardware};
use webrtc_live::{MediaError, Reports, discard, outlet, rtp};

use super::picture::Picture;

/// What is told of what comes in.
pub(crate) trait Arrivals: Send + Sync {
    /// RTP payload came, bits, and so many packets before it did not.
    fn packet(&self, bits: u64, lost: u64);
    /// A decoded picture with its RTP timestamp.
    fn picture(&self, picture: Picture, timestamp: u32);
    /// The stream cannot be decoded.
    fn failed(&self, error: MediaError);
}

/// Decodes the first video that comes and lets everything else run out.
///
/// Trap: a panic in `pad-added` aborts the process, so every failure is reported instead.
pub(crate) fn on_pads(
    bin: &gst::Bin,
    webrtcbin: &gst::Element,
    (reports, hardware): (&Reports, Hardware),
    arrivals: Arc<dyn Arrivals>,
) {
    let (bin, reports) = (bin.downgrade(), reports.clone());
    webrtcbin.connect_pad_added(move |_, pad| {
        let Some(bin) = bin
            .upgrade()
            .filter(|_| pad.direction() == gst::PadDirection::Src)
        else {
            return;
        };
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let first = |rtp: &&gst::StructureRef| {
            rtp.get::<&str>("media") == Ok("video")
                && reports.first_source(rtp.get("ssrc").unwrap_or_default())
        };
        let built = match caps.structure(0).filter(first) {
            Some(rtp) => {
                let encoding = rtp.get("encoding-name").unwrap_or_default();
                decode(&bin, pad, (encoding, hardware), &arrivals)
            }
            None => discard(&bin, pad),
        };
        if let Err(error) = built {
            arrivals.failed(error);
        }
    });
}

fn decode(
    bin: &gst::Bin,
    pad: &gst::Pad,
    (encoding, hardware): (&str, Hardware),
    arrivals: &Arc<dyn Arrivals>,
) -> Result<(), MediaError> {
    let mut elements = codec::decoders(encoding, hardware)?;
    let told = arrivals.clone();
    let sink = outlet(move |sample| {
        if let (Some(buffer), Some(caps)) = (sample.buffer_owned(), sample.caps())
            && let Some(stamp) = buffer.pts()
            && let Some(info) = described(caps)
        {
            told.picture(Picture { buffer, info }, rtp_time(stamp));
        }
    });
    // A stream that can wait loses none here.
    sink.set_drop(false);
    elements.push(sink.upcast());
    codec::add_linked(bin, &elements)?;
    for element in elements.iter().rev() {
        element.sync_state_with_parent()?;
    }
    stamp(pad, arrivals.clone());
    let entry = elements[0]
        .static_pad("sink")
        .ok_or_else(|| MediaError::Missing("a depayloader's sink pad".into()))?;
    pad.link(&entry)?;
    // What was sent before this branch stood has no key frame in it that we could still use.
    pad.send_event(rtp::key_frame_wish());
    Ok(())
}

/// A decoder guesses the colours of a stream that does not name them by its size; far ends mean BT.601.
fn described(caps: &gst::CapsRef) -> Option<VideoInfo> {
    let info = VideoInfo::from_caps(caps).ok()?;
    VideoInfo::builder(info.format(), info.width(), info.height())
        .fps(info.fps())
        .par(info.par())
        .colorimetry(&"bt601".parse::<gst_video::VideoColorimetry>().ok()?)
        .build()
        .ok()
}

/// Gives each packet its RTP timestamp as its time, which depayloader and decoder hand on: this is how a decoded
/// frame still knows it. Nothing behind keeps time.
fn stamp(pad: &gst::Pad, arrivals: Arc<dyn Arrivals>) {
    let mut unwrapped = Unwrapped::default();
    let mut last_sequence: Option<u16> = None;
    rtp::change_packets(pad, move |packet| {
        if let Some(timestamp) = rtp::timestamp(packet) {
            packet.set_pts(stream_time(unwrapped.next(timestamp)));
            packet.set_dts(None);
        }
        let number = rtp::sequence(packet);
        let missing = match (last_sequence, number) {
            (Some(last), Some(number)) => number.wrapping_sub(last.wrapping_add(1)),
            _ => 0,
        };
        // A step back is a late packet, not 65 000 lost ones.
        let missing = if missing < 0x8000 {
            u64::from(missing)
        } else {
            0
        };
        last_sequence = number.or(last_sequence);
        arrivals.packet(packet.size() as u64 * 8, missing);
    });
}

/// RTP timestamps made to grow past their 32 bits. The first is far enough from zero to step back a little.
#[derive(Debug, Default)]
struct Unwrapped(Option<u64>);

impl Unwrapped {
    fn next(&mut self, timestamp: u32) -> u64 {
        let next = match self.0 {
            None => (1 << 32) + u64::from(timestamp),
            Some(last) => {
                let step = i64::from(timestamp.wrapping_sub(last as u32).cast_signed());
                last.saturating_add_signed(step)
            }
        };
        self.0 = Some(next);
        next
    }
}

fn stream_time(ticks: u64) -> gst::ClockTime {
    gst::ClockTime::from_nseconds((ticks * 100_000).div_ceil(9))
}

fn rtp_time(stamp: gst::ClockTime) -> u32 {
    (stamp.nseconds() * 9 / 100_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_survives_as_stream_time() {
        let mut unwrapped = Unwrapped::default();
        for timestamp in [0, 1, 2999, 3000, 90_001, u32::MAX / 3, u32::MAX - 5, 7] {
            assert_eq!(rtp_time(stream_time(unwrapped.next(timestamp))), timestamp);
        }
    }

    #[test]
    fn time_goes_on_over_the_wrap_and_back_for_a_late_packet() {
        let mut unwrapped = Unwrapped::default();
        let before = unwrapped.next(u32::MAX - 1);
        let after = unwrapped.next(3000);

        assert_eq!(after - before, 3002);
        assert_eq!(unwrapped.next(u32::MAX - 1), before);
    }
}

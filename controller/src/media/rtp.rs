//! RTP packets on their way through a pad: their timestamp, read or replaced.

use gst::prelude::*;

/// Where RFC 3550 puts the timestamp.
const TIMESTAMP: std::ops::Range<usize> = 4..8;

/// The packet's RTP timestamp; `None` for what is shorter than a header.
pub(super) fn timestamp(packet: &gst::BufferRef) -> Option<u32> {
    let packet = packet.map_readable().ok()?;
    let bytes = packet.get(TIMESTAMP)?.try_into().ok()?;
    Some(u32::from_be_bytes(bytes))
}

/// Shows every packet that passes to `look`, with its place in the pipeline's time.
pub(super) fn on_packets(
    pad: &gst::Pad,
    look: impl Fn(Option<gst::ClockTime>, &gst::BufferRef) + Send + Sync + 'static,
) {
    let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
    pad.add_probe(kinds, move |_, info| {
        match &info.data {
            Some(gst::PadProbeData::Buffer(packet)) => look(packet.pts(), packet),
            Some(gst::PadProbeData::BufferList(list)) => {
                list.iter().for_each(|packet| look(packet.pts(), packet));
            }
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
}

/// Replaces the timestamp of every packet that passes by what `choose` makes of its time and the present one.
pub(super) fn restamp(
    pad: &gst::Pad,
    choose: impl Fn(Option<gst::ClockTime>, u32) -> u32 + Send + Sync + 'static,
) {
    let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
    let rewrite = move |packet: &mut gst::BufferRef| {
        let (time, Some(own)) = (packet.pts(), timestamp(packet)) else {
            return;
        };
        let chosen = choose(time, own);
        if let Ok(mut bytes) = packet.map_writable()
            && let Some(place) = bytes.get_mut(TIMESTAMP)
        {
            place.copy_from_slice(&chosen.to_be_bytes());
        }
    };
    pad.add_probe(kinds, move |_, info| {
        match &mut info.data {
            Some(gst::PadProbeData::Buffer(packet)) => rewrite(packet.make_mut()),
            Some(gst::PadProbeData::BufferList(list)) => {
                list.make_mut().foreach_mut(|mut packet, _| {
                    rewrite(packet.make_mut());
                    std::ops::ControlFlow::Continue(Some(packet))
                });
            }
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
}

//! RTP packets on their way through a pad, and the wish for a picture that stands alone.

use std::sync::Mutex;

use gst::prelude::*;

/// Where RFC 3550 puts the timestamp, and the sequence number.
const TIMESTAMP: usize = 4;
const SEQUENCE: usize = 2;

const PACKETS: gst::PadProbeType = gst::PadProbeType::BUFFER.union(gst::PadProbeType::BUFFER_LIST);

/// The packet's RTP timestamp; `None` for what is shorter than a header.
pub fn timestamp(packet: &gst::BufferRef) -> Option<u32> {
    let mut bytes = [0; 4];
    (packet.copy_to_slice(TIMESTAMP, &mut bytes) == Ok(())).then(|| u32::from_be_bytes(bytes))
}

/// The packet's sequence number; `None` for what is shorter than a header.
pub fn sequence(packet: &gst::BufferRef) -> Option<u16> {
    let mut bytes = [0; 2];
    (packet.copy_to_slice(SEQUENCE, &mut bytes) == Ok(())).then(|| u16::from_be_bytes(bytes))
}

/// Shows every packet that passes to `look`.
pub fn on_packets(pad: &gst::Pad, look: impl Fn(&gst::BufferRef) + Send + Sync + 'static) {
    pad.add_probe(PACKETS, move |_, info| {
        match &info.data {
            Some(gst::PadProbeData::Buffer(packet)) => look(packet),
            Some(gst::PadProbeData::BufferList(list)) => list.iter().for_each(&look),
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
}

/// Lets `change` write into every packet that passes.
pub fn change_packets(pad: &gst::Pad, change: impl FnMut(&mut gst::BufferRef) + Send + 'static) {
    let change = Mutex::new(change);
    pad.add_probe(PACKETS, move |_, info| {
        let mut change = change.lock().unwrap();
        match &mut info.data {
            Some(gst::PadProbeData::Buffer(packet)) => change(packet.make_mut()),
            Some(gst::PadProbeData::BufferList(list)) => {
                list.make_mut().foreach_mut(|mut packet, _| {
                    change(packet.make_mut());
                    std::ops::ControlFlow::Continue(Some(packet))
                });
            }
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
}

/// Replaces the timestamp of every packet that passes by what `choose` makes of its time and the present one.
pub fn restamp(
    pad: &gst::Pad,
    mut choose: impl FnMut(Option<gst::ClockTime>, u32) -> u32 + Send + 'static,
) {
    change_packets(pad, move |packet| {
        let (time, Some(own)) = (packet.pts(), timestamp(packet)) else {
            return;
        };
        let chosen = choose(time, own);
        if let Ok(mut bytes) = packet.map_writable()
            && let Some(place) = bytes.get_mut(TIMESTAMP..TIMESTAMP + 4)
        {
            place.copy_from_slice(&chosen.to_be_bytes());
        }
    });
}

/// Says upstream that only a picture that can be decoded alone helps: an encoder makes one, webrtcbin sends a PLI.
pub fn key_frame_wish() -> gst::Event {
    gst_video::UpstreamForceKeyUnitEvent::builder()
        .all_headers(true)
        .build()
}

//! The bare bridge: decode and encode between the two halves of one webrtcbin, and nothing else.
//!
//! What a server made of the same parts costs at least. No watchdog, no rate control, no pause, no metrics, no
//! parameters, and one pipeline for everything: a figure to come near to, not a design to copy.

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use gst::prelude::*;
use gst_webrtc::{WebRTCRTPTransceiver, WebRTCRTPTransceiverDirection};
use serde_json::{Value, json};

use super::trouble::{Outcome, trouble};
use super::{http, negotiate};

const SSRC: u32 = 0x5c09_e001;

/// Keeps no queue but one frame; the encoder is set as the controller's.
fn middle(payload: u32) -> String {
    format!(
        "rtpvp8depay request-keyframe=true wait-for-keyframe=true ! vp8dec threads=1
        ! queue max-size-buffers=1 max-size-time=0 max-size-bytes=0 leaky=downstream
        ! vp8enc deadline=1 cpu-used=-8 threads=1 lag-in-frames=0 end-usage=cbr target-bitrate=2500000 keyframe-max-dist=3000
        ! rtpvp8pay picture-id-mode=15-bit mtu=1200 pt={payload} ssrc={SSRC}
        ! capsfilter caps=application/x-rtp,media=video,clock-rate=90000,encoding-name=VP8,payload={payload},ssrc=(uint){SSRC}"
    )
}

/// Serves Scope's three signalling calls on a free port of this machine until killed.
#[expect(clippy::print_stdout, reason = "the bench reads the address from here")]
pub(super) fn run() -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("ready at http://{}", listener.local_addr()?);
    let sessions = Mutex::new(HashMap::<String, gst::Pipeline>::new());
    let count = AtomicU64::new(0);
    http::serve(&listener, move |method, path, body| match method {
        "POST" => match open(body) {
            Ok((pipeline, sdp)) => {
                let id = format!("bridge-{}", count.fetch_add(1, Ordering::Relaxed));
                sessions.lock().unwrap().insert(id.clone(), pipeline);
                Some(json!({"sdp": sdp, "type": "answer", "sessionId": id}))
            }
            Err(trouble) => Some(json!({"detail": trouble.to_string()})),
        },
        "DELETE" => {
            let ended = path
                .rsplit('/')
                .next()
                .and_then(|id| sessions.lock().unwrap().remove(id));
            if let Some(pipeline) = ended {
                pipeline.set_state(gst::State::Null).ok();
            }
            None
        }
        _ => None,
    })
}

fn open(body: &[u8]) -> Outcome<(gst::Pipeline, String)> {
    let body: Value = serde_json::from_slice(body)?;
    let offer = body["sdp"].as_str().ok_or_else(|| trouble("no sdp"))?;
    let payload = vp8_payload(offer).ok_or_else(|| trouble("VP8 is not offered"))?;

    let pipeline = gst::Pipeline::new();
    let webrtc = negotiate::webrtcbin("bridge")?;
    let middle = gst::parse::bin_from_description(&middle(payload), true)?;
    pipeline.add_many([&webrtc, middle.upcast_ref()])?;
    // webrtcbin 1.22 makes transceivers for a remote offer only with the answer, so ours comes first and is matched.
    let sink = webrtc
        .request_pad_simple("sink_%u")
        .ok_or_else(|| trouble("webrtcbin gives no pad"))?;
    middle
        .static_pad("src")
        .ok_or_else(|| trouble("no source pad"))?
        .link(&sink)?;
    let transceiver = sink.property::<WebRTCRTPTransceiver>("transceiver");
    transceiver.set_property("direction", WebRTCRTPTransceiverDirection::Sendrecv);
    transceiver.set_property("do-nack", true);
    let preference = gst::Caps::builder("application/x-rtp")
        .field("media", "video")
        .field("clock-rate", 90_000);
    let preference = preference
        .field("encoding-name", "VP8")
        .field("payload", i32::try_from(payload).unwrap_or(96));
    transceiver.set_property("codec-preferences", preference.build());

    let entry = middle
        .static_pad("sink")
        .ok_or_else(|| trouble("no sink pad"))?;
    webrtc.connect_pad_added(move |_, pad| {
        if pad.direction() == gst::PadDirection::Src && !entry.is_linked() {
            pad.link(&entry).ok();
        }
    });
    pipeline.set_state(gst::State::Playing)?;
    let answer = negotiate::answer(&webrtc, offer)?;
    Ok((pipeline, answer))
}

fn vp8_payload(offer: &str) -> Option<u32> {
    let line = offer
        .lines()
        .find_map(|line| line.strip_prefix("a=rtpmap:")?.strip_suffix(" VP8/90000"))?;
    line.parse().ok()
}

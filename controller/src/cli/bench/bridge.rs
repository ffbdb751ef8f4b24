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

/// From the client's packets to frames.
const INWARD: &str = "rtpvp8depay request-keyframe=true wait-for-keyframe=true ! vp8dec threads=1
    ! appsink name=frames sync=false max-buffers=1 drop=true";

/// From frames to packets for the client; the encoder is set as the controller's, and one frame may wait.
fn outward(payload: u32) -> String {
    format!(
        "appsrc name=frames is-live=true do-timestamp=true format=time max-buffers=1 max-bytes=0 leaky-type=downstream
        ! vp8enc deadline=1 cpu-used=-8 threads=1 lag-in-frames=0 end-usage=cbr target-bitrate=2500000 keyframe-max-dist=3000
        ! rtpvp8pay picture-id-mode=15-bit mtu=1200 pt={payload} ssrc={SSRC}
        ! capsfilter caps=application/x-rtp,media=video,clock-rate=90000,encoding-name=VP8,payload={payload},ssrc=(uint){SSRC}"
    )
}

/// Carries frames over; elements linked in a circle through webrtcbin can wait for each other for ever.
fn carry(inward: &gst::Bin, outward: &gst::Bin) -> Outcome<()> {
    let sink = inward
        .by_name("frames")
        .and_then(|sink| sink.downcast::<gst_app::AppSink>().ok());
    let source = outward
        .by_name("frames")
        .and_then(|source| source.downcast::<gst_app::AppSrc>().ok());
    let (sink, source) = sink.zip(source).ok_or_else(|| trouble("no frames"))?;
    let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        source.set_caps(sample.caps_owned().as_ref());
        let mut frame = sample.buffer_owned().ok_or(gst::FlowError::Error)?;
        frame.make_mut().set_pts(None);
        source.push_buffer(frame)
    });
    sink.set_callbacks(callbacks.build());
    Ok(())
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
    let inward = gst::parse::bin_from_description(INWARD, true)?;
    let outward = gst::parse::bin_from_description(&outward(payload), true)?;
    pipeline.add_many([&webrtc, inward.upcast_ref(), outward.upcast_ref()])?;
    carry(&inward, &outward)?;
    // webrtcbin 1.22 makes transceivers for a remote offer only with the answer, so ours comes first and is matched.
    let sink = webrtc
        .request_pad_simple("sink_%u")
        .ok_or_else(|| trouble("webrtcbin gives no pad"))?;
    outward
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

    let entry = inward
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

//! Offer and answer of a webrtcbin, waited for: a bench has time and a thread.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use gst::prelude::*;
use gst_webrtc::{WebRTCICEGatheringState, WebRTCSDPType, WebRTCSessionDescription};

use super::trouble::{Outcome, trouble};

/// A webrtcbin that stays on this machine and tells nobody.
pub(super) fn webrtcbin(name: &str) -> Outcome<gst::Element> {
    let element = gst::ElementFactory::make("webrtcbin")
        .name(name)
        .property_from_str("bundle-policy", "max-bundle")
        // How long a lost packet is waited for, and the very first one in any case. Trap: with retransmission on, less
        // than a frame interval makes 1.22 give up every first packet of a frame after a stall.
        .property("latency", 80_u32)
        .build()?;
    let ice = element.property::<gst::Object>("ice-agent");
    ice.emit_by_name::<bool>("add-local-ip-address", &[&address()]);
    let agent = ice.property::<gst::glib::Object>("agent");
    agent.set_property("upnp", false);
    agent.set_property("ice-tcp", false);
    Ok(element)
}

/// The machine's own address, or loopback where it has no other: peers of one address pair with each other.
fn address() -> String {
    // Connecting a datagram socket sends nothing; it asks the routing table. The address is one for documentation.
    let own = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket
            .connect("192.0.2.1:9")
            .and_then(|()| socket.local_addr())
    });
    own.map_or_else(|_| "127.0.0.1".to_owned(), |own| own.ip().to_string())
}

/// Our offer, with every candidate in it.
pub(super) fn offer(webrtc: &gst::Element) -> Outcome<String> {
    let description = describe(webrtc, "offer")?;
    webrtc.emit_by_name::<()>(
        "set-local-description",
        &[&description, &None::<gst::Promise>],
    );
    // GStreamer's certificate is RSA, which aiortc as a DTLS client refuses; so we are the client, for everybody.
    Ok(gathered(webrtc)?.replace("a=setup:actpass", "a=setup:active"))
}

/// Our answer to `offer`, with every candidate in it.
pub(super) fn answer(webrtc: &gst::Element, offer: &str) -> Outcome<String> {
    set_remote(webrtc, WebRTCSDPType::Offer, offer)?;
    let description = describe(webrtc, "answer")?;
    webrtc.emit_by_name::<()>(
        "set-local-description",
        &[&description, &None::<gst::Promise>],
    );
    gathered(webrtc)
}

/// Takes the other side's description in.
pub(super) fn set_remote(webrtc: &gst::Element, kind: WebRTCSDPType, text: &str) -> Outcome<()> {
    let message = gst_sdp::SDPMessage::parse_buffer(text.as_bytes())?;
    let description = WebRTCSessionDescription::new(kind, message);
    let promise = gst::Promise::new();
    webrtc.emit_by_name::<()>(
        "set-remote-description",
        &[&description, &Some(promise.clone())],
    );
    promise.wait();
    match promise.get_reply() {
        Some(reply) if reply.has_field("error") => {
            Err(trouble(format!("the description was refused: {reply}")))
        }
        _ => Ok(()),
    }
}

fn describe(webrtc: &gst::Element, kind: &str) -> Outcome<WebRTCSessionDescription> {
    let promise = gst::Promise::new();
    webrtc.emit_by_name::<()>(
        &format!("create-{kind}"),
        &[&None::<gst::Structure>, &Some(promise.clone())],
    );
    promise.wait();
    let description = promise
        .get_reply()
        .and_then(|reply| reply.get::<WebRTCSessionDescription>(kind).ok());
    description.ok_or_else(|| trouble(format!("no {kind} could be made")))
}

/// The local description once every candidate is in it.
fn gathered(webrtc: &gst::Element) -> Outcome<String> {
    let end = Instant::now() + Duration::from_secs(5);
    while webrtc.property::<WebRTCICEGatheringState>("ice-gathering-state")
        != WebRTCICEGatheringState::Complete
    {
        if Instant::now() > end {
            return Err(trouble("no address of this machine was found"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let description = webrtc.property::<Option<WebRTCSessionDescription>>("local-description");
    let text = description.and_then(|description| description.sdp().as_text().ok());
    text.ok_or_else(|| trouble("no local description"))
}

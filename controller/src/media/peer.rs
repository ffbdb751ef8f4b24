//! One browser: webrtcbin, what comes out of it and what goes in.

use std::net::IpAddr;
use std::sync::Arc;

use gst::glib;
use gst::prelude::*;
use gst_webrtc::WebRTCPeerConnectionState;
use tokio::sync::mpsc;
use webrtc_live::bitrate::Report;
use webrtc_live::{Reports, ice, rtp, turn};

use super::channel::Channel;
use super::error::{MediaError, make, set};
use super::event::{self, Event, Events};
use super::handover::Handover;
use super::inlet::Inlet;
use super::negotiate::{self, Gathering};
use super::offer::Plan;
use super::receive;
use super::send::{self, Sender};
use crate::config::OwnIce;

/// How a peer connects.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    /// Only these; empty is every address of the machine.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) ice: OwnIce,
    /// How long a lost packet may be waited for, milliseconds.
    ///
    /// It delays nothing else: no sink here waits for a clock.
    pub(crate) jitter_buffer: u32,
}

/// A webrtcbin in its own pipeline, answering one browser.
#[derive(Debug)]
pub(crate) struct Peer {
    pipeline: gst::Pipeline,
    webrtcbin: gst::Element,
    sender: Sender,
    reports: Reports,
    gathering: Gathering,
    pub(crate) channel: Channel,
    pub(crate) plan: Plan,
}

impl Peer {
    /// Builds everything up to the offer; `door` is where frames to send go in.
    pub(crate) fn new(
        plan: Plan,
        connection: &Connection,
        events: &Events,
        messages: mpsc::Sender<String>,
    ) -> Result<(Self, Inlet), MediaError> {
        let pipeline = gst::Pipeline::new();
        event::watch(&pipeline, events.clone());
        let webrtcbin = make("webrtcbin")?;
        set(
            &webrtcbin,
            "bundle-policy",
            if plan.bundled { "max-bundle" } else { "none" },
        )?;
        set(&webrtcbin, "latency", &connection.jitter_buffer.to_string())?;
        set(
            &webrtcbin,
            "ice-transport-policy",
            connection.ice.policy.word(),
        )?;
        if let Some(server) = &connection.ice.stun_server {
            set(&webrtcbin, "stun-server", server)?;
        }
        for server in &connection.ice.turn_servers {
            turn::add(&webrtcbin, server.expose());
        }
        ice::prepare(&webrtcbin, &connection.addresses);
        pipeline.add(&webrtcbin)?;
        on_state(&webrtcbin, events.clone());
        on_transceivers(&webrtcbin);
        // Any 32 bits: chance makes a clash with the client's own SSRC as unlikely as RFC 3550 asks.
        let ssrc = uuid::Uuid::new_v4().as_fields().0.max(1);
        let reports = Reports::watch(&webrtcbin, Some(ssrc));
        let gathering = Gathering::watch(&webrtcbin);
        let channel = Channel::watch(&webrtcbin, events, messages);
        let (sender, door) = send::build(&pipeline, &webrtcbin, &plan, ssrc)?;
        Ok((
            Self {
                pipeline,
                webrtcbin,
                sender,
                reports,
                gathering,
                channel,
                plan,
            },
            door,
        ))
    }

    /// Connects the decoded side and starts; may block for milliseconds.
    pub(crate) fn start(
        &self,
        handover: &Arc<Handover>,
        events: &Events,
    ) -> Result<(), MediaError> {
        receive::on_pads(&self.webrtcbin, self.plan.input, handover, events);
        self.sender.handover.set(Arc::downgrade(handover)).ok();
        self.pipeline.set_state(gst::State::Playing)?;
        Ok(())
    }

    pub(crate) async fn answer(&self, offer: &str) -> Result<String, MediaError> {
        negotiate::answer(&self.webrtcbin, offer, &self.plan, &self.gathering).await
    }

    /// A checked candidate of the client's.
    pub(crate) fn add_candidate(&self, line: u32, candidate: &str) {
        self.webrtcbin
            .emit_by_name::<()>("add-ice-candidate", &[&line, &candidate]);
    }

    /// Packets that ever came from the client.
    pub(crate) fn packets(&self) -> u64 {
        self.reports.packets()
    }

    pub(crate) fn report(&self) -> Report {
        self.reports.heard(&self.webrtcbin)
    }

    pub(crate) fn set_bitrate(&self, bits_per_second: u32) {
        self.sender.encoder.set_bitrate(bits_per_second);
    }

    /// Makes the next frame we send one that can be decoded alone.
    pub(crate) fn send_key_frame(&self) {
        if let Some(pad) = self.sender.encoder.element.static_pad("src") {
            pad.send_event(rtp::key_frame_wish());
        }
    }

    /// Asks the browser for such a frame (PLI).
    pub(crate) fn ask_key_frame(&self) {
        for pad in self.webrtcbin.src_pads() {
            pad.send_event(rtp::key_frame_wish());
        }
    }

    /// Tells the elements the pipeline's latency; without it rtpsession cannot place its sender reports in time.
    pub(crate) fn settle_latency(&self) {
        self.pipeline.recalculate_latency().ok();
    }

    /// Stops and frees everything; blocks until GStreamer's threads have ended.
    pub(crate) fn stop(&self) {
        self.channel.forget();
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::warn!("a peer's pipeline did not stop");
        }
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
    }
}

/// Whoever forgets to stop (a panic on the way) still leaves nothing running.
impl Drop for Peer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Follows the connection as a whole.
fn on_state(webrtcbin: &gst::Element, events: Events) {
    webrtcbin.connect_notify(Some("connection-state"), move |webrtcbin, _| {
        let event = match webrtcbin.property::<WebRTCPeerConnectionState>("connection-state") {
            WebRTCPeerConnectionState::Connected => Event::Connected,
            WebRTCPeerConnectionState::Failed => Event::Disconnected("the connection failed"),
            WebRTCPeerConnectionState::Closed => Event::Disconnected("the connection was closed"),
            _ => return,
        };
        events.send(event).ok();
    });
}

/// Transceivers that webrtcbin makes itself, for lines we did not link: those of a second video line ask for lost
/// packets again like our own.
fn on_transceivers(webrtcbin: &gst::Element) {
    webrtcbin.connect_closure(
        "on-new-transceiver",
        false,
        glib::closure!(
            move |_: &gst::Element, transceiver: &gst_webrtc::WebRTCRTPTransceiver| {
                if transceiver.kind() == gst_webrtc::WebRTCKind::Video {
                    transceiver.set_property("do-nack", true);
                }
            }
        ),
    );
}

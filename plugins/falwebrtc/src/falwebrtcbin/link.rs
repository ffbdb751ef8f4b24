//! One connection's media: an inner bin with a webrtcbin, made for it and torn down with it.
//!
//! The inner bin is the element's child, so that it can be seen and tuned, but keeps its own state, clock and time: a
//! paused pipeline must not lose its far end, and a change of clock must not shift what is under way.

use std::sync::{Arc, Mutex};

use fal_client::{IceCandidate, IceServer, Secret};
use gst::glib;
use gst::prelude::*;
use gst_webrtc::{
    WebRTCDataChannel, WebRTCDataChannelState, WebRTCICEGatheringState, WebRTCICETransportPolicy,
    WebRTCPeerConnectionState, WebRTCRTPTransceiver, WebRTCRTPTransceiverDirection, WebRTCSDPType,
    WebRTCSessionDescription,
};
use webrtc_live::bitrate::Report;
use webrtc_live::codec::Hardware;
use webrtc_live::{Codec, MediaError, Reports, make};

use super::flow::Flow;
use super::picture::Picture;
use super::receive::{self, Arrivals};
use super::send::{self, Sender};
use super::servers;

/// For the last packets to leave.
const FAREWELL: std::time::Duration = std::time::Duration::from_millis(15);

/// Longer than a connection ever takes to end by itself.
const TEARDOWN: std::time::Duration = std::time::Duration::from_millis(500);

/// What happened on a link.
#[derive(Debug)]
pub(crate) enum Happened {
    /// The local description is this.
    Offer(String),
    Candidate(IceCandidate),
    CandidatesDone,
    /// The far end's description is in force.
    Answered,
    Connected,
    ChannelOpened,
    ChannelClosed,
    ChannelMessage(String),
    /// The first picture came back.
    Picture,
    /// It will not work any more.
    Failed(String),
}

/// Where it is told.
pub(crate) type Tell = Arc<dyn Fn(Happened) + Send + Sync>;

/// What a link needs to know.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) codecs: Vec<Codec>,
    pub(crate) channel: &'static str,
    pub(crate) latency: std::time::Duration,
    pub(crate) stun_server: Option<String>,
    pub(crate) turn_servers: Vec<Secret>,
    pub(crate) policy: WebRTCICETransportPolicy,
    /// As the app handed them out.
    pub(crate) app_servers: Vec<IceServer>,
    pub(crate) queue_size: usize,
    pub(crate) hardware: Hardware,
}

/// One connection's media.
pub(crate) struct Link {
    bin: gst::Bin,
    webrtcbin: gst::Element,
    plan: Plan,
    flow: Arc<Flow>,
    tell: Tell,
    /// Of our picture.
    ssrc: u32,
    channel: Option<WebRTCDataChannel>,
    sender: Option<Sender>,
    pub(crate) reports: Reports,
}

impl Link {
    /// Builds it in `element` and asks for an offer, which is told when it is there.
    pub(crate) fn new(
        element: &gst::Bin,
        name: &str,
        plan: Plan,
        flow: Arc<Flow>,
        tell: Tell,
    ) -> Result<Self, MediaError> {
        let bin = gst::Bin::with_name(name);
        bin.set_locked_state(true);
        let webrtcbin = make("webrtcbin")?;
        servers::prepare(&webrtcbin, &plan)?;
        let reports = Reports::watch(&webrtcbin, None);
        bin.add(&webrtcbin)?;
        element.add(&bin)?;
        let mut link = Self {
            bin,
            webrtcbin,
            plan,
            flow,
            tell,
            ssrc: glib::random_int().max(1),
            channel: None,
            sender: None,
            reports,
        };
        // From here on dropping it takes it out of the element again.
        let clock = gst::SystemClock::obtain();
        link.bin.set_clock(Some(&clock))?;
        link.bin.set_start_time(gst::ClockTime::NONE);
        link.bin.set_base_time(clock.time());
        link.watch();
        let arrivals = Returning {
            flow: link.flow.clone(),
            tell: link.tell.clone(),
            first: Mutex::new(true),
        };
        receive::on_pads(
            &link.bin,
            &link.webrtcbin,
            (&link.reports, link.plan.hardware),
            Arc::new(arrivals),
        );
        link.bin.set_state(gst::State::Playing)?;
        link.add_lines()?;
        link.ask_offer();
        Ok(link)
    }

    /// One video line that sends and receives (two one-way lines are answered with `inactive`), and the data channel,
    /// which must be there before the offer.
    fn add_lines(&mut self) -> Result<(), MediaError> {
        let mut caps = gst::Caps::new_empty();
        for codec in &self.plan.codecs {
            caps.merge(send::rtp_caps(*codec, self.ssrc));
        }
        let transceiver = self.webrtcbin.emit_by_name::<WebRTCRTPTransceiver>(
            "add-transceiver",
            &[&WebRTCRTPTransceiverDirection::Sendrecv, &caps],
        );
        // Without NACK 3 % loss costs seconds of delay; with it, a retransmission.
        transceiver.set_property("do-nack", true);
        let ordered = gst::Structure::builder("options")
            .field("ordered", true)
            .build();
        let channel = self
            .webrtcbin
            .emit_by_name::<Option<WebRTCDataChannel>>(
                "create-data-channel",
                &[&self.plan.channel, &ordered],
            )
            .ok_or_else(|| MediaError::Missing("sctpenc".into()))?;
        listen(&channel, &self.tell);
        self.channel = Some(channel);
        Ok(())
    }

    fn watch(&self) {
        let tell = self.tell.clone();
        self.webrtcbin
            .connect("on-ice-candidate", false, move |values| {
                let line = values.get(1)?.get::<u32>().ok()?;
                let text = values.get(2)?.get::<String>().ok()?;
                let candidate = IceCandidate::new(&text, None, u16::try_from(line).ok())?;
                tell(Happened::Candidate(candidate));
                None
            });
        let tell = self.tell.clone();
        self.webrtcbin
            .connect_notify(Some("ice-gathering-state"), move |webrtcbin, _| {
                let state = webrtcbin.property::<WebRTCICEGatheringState>("ice-gathering-state");
                if state == WebRTCICEGatheringState::Complete {
                    tell(Happened::CandidatesDone);
                }
            });
        let tell = self.tell.clone();
        self.webrtcbin
            .connect_notify(Some("connection-state"), move |webrtcbin, _| {
                match webrtcbin.property::<WebRTCPeerConnectionState>("connection-state") {
                    WebRTCPeerConnectionState::Connected => tell(Happened::Connected),
                    WebRTCPeerConnectionState::Failed => {
                        tell(Happened::Failed("the peer connection failed".into()));
                    }
                    WebRTCPeerConnectionState::Closed => {
                        tell(Happened::Failed(
                            "the far end closed the peer connection".into(),
                        ));
                    }
                    _ => {}
                }
            });
    }

    fn ask_offer(&self) {
        let (webrtcbin, tell) = (self.webrtcbin.downgrade(), self.tell.clone());
        let made = gst::Promise::with_change_func(move |reply| {
            let description = reply
                .ok()
                .flatten()
                .and_then(|reply| reply.get::<WebRTCSessionDescription>("offer").ok());
            let (Some(description), Some(webrtcbin)) = (description, webrtcbin.upgrade()) else {
                return tell(Happened::Failed("webrtcbin made no offer".into()));
            };
            let text = description.sdp().as_text();
            let set = gst::Promise::with_change_func(move |_| match text {
                Ok(text) => tell(Happened::Offer(text)),
                Err(_) => tell(Happened::Failed("our offer is no text".into())),
            });
            webrtcbin.emit_by_name::<()>("set-local-description", &[&description, &set]);
        });
        self.webrtcbin
            .emit_by_name::<()>("create-offer", &[&None::<gst::Structure>, &made]);
    }

    /// Takes the far end's description; [`Happened::Answered`] follows.
    pub(crate) fn apply_answer(&self, sdp: &str) -> Result<(), MediaError> {
        let sdp = webrtc_live::ice::without_hidden(sdp);
        let none = || MediaError::Negotiation("the answer is not SDP".into());
        // An empty text is a programming error to GStreamer, and a far end may send one.
        let sdp = (!sdp.is_empty()).then_some(sdp).ok_or_else(none)?;
        let message = gst_sdp::SDPMessage::parse_buffer(sdp.as_bytes()).map_err(|_| none())?;
        self.chosen(&message)?;
        let answer = WebRTCSessionDescription::new(WebRTCSDPType::Answer, message);
        let tell = self.tell.clone();
        let set = gst::Promise::with_change_func(move |reply| {
            let reply = reply.ok().flatten();
            match reply.and_then(|reply| reply.get::<glib::Error>("error").ok()) {
                Some(error) => tell(Happened::Failed(format!("the answer was refused: {error}"))),
                None => tell(Happened::Answered),
            }
        });
        self.webrtcbin
            .emit_by_name::<()>("set-remote-description", &[&answer, &set]);
        Ok(())
    }

    /// The codec that the far end prefers among ours: it sends the first of its answer.
    fn chosen(&self, answer: &gst_sdp::SDPMessageRef) -> Result<Codec, MediaError> {
        let none = || MediaError::Negotiation("the answer takes no video of ours".into());
        let line = answer
            .medias()
            .find(|media| media.media() == Some("video"))
            .ok_or_else(none)?;
        if line.port() == 0 && line.attribute_val("bundle-only").is_none() {
            return Err(none());
        }
        let wanted = |format: &str| {
            self.plan
                .codecs
                .iter()
                .find(|codec| send::payload_type(**codec).to_string() == format)
        };
        line.formats().find_map(wanted).copied().ok_or_else(none)
    }

    /// Builds the sending branch for the answer's codec, and opens it to pictures.
    pub(crate) fn start_sending(
        &mut self,
        bitrate: u32,
        setup: impl FnOnce(&gst::Element),
    ) -> Result<(), MediaError> {
        let answer = self
            .webrtcbin
            .property::<Option<WebRTCSessionDescription>>("remote-description");
        let codec = match answer {
            Some(answer) => self.chosen(answer.sdp())?,
            None => return Err(MediaError::Negotiation("there is no answer".into())),
        };
        let encoded = self.flow.form().and_then(|form| form.codec());
        if let Some(encoded) = encoded.filter(|encoded| *encoded != codec) {
            return Err(MediaError::Negotiation(format!(
                "the app chose {}, and the input is {}",
                codec.word(),
                encoded.word()
            )));
        }
        let (leaving, packets) = (self.flow.clone(), self.flow.clone());
        let sender = Sender::new(
            &self.bin,
            &self.webrtcbin,
            (codec, self.ssrc),
            encoded.is_none().then_some(self.plan.hardware),
            self.flow.waiting_for_encoder(self.plan.queue_size),
            Arc::new(move |timestamp, sent| leaving.leaving(timestamp, sent)),
            Arc::new(move |bits| packets.count(|meter, _| meter.sent_bits += bits)),
        )?;
        match &sender.encoder {
            Some(encoder) => {
                encoder.set_bitrate(bitrate);
                setup(&encoder.element);
            }
            None => self.pass_key_wishes(),
        }
        self.flow.connect(sender.inlet.clone());
        self.sender = Some(sender);
        Ok(())
    }

    /// Without a latency told, rtpsession cannot place its sender reports in time; told too early, nobody hears it.
    pub(crate) fn settle_latency(&self) {
        self.bin.recalculate_latency().ok();
    }

    pub(crate) fn add_candidate(&self, candidate: &IceCandidate) {
        if webrtc_live::ice::is_hidden(&candidate.candidate) {
            return;
        }
        let line = candidate.sdp_mline_index.map_or(0, u32::from);
        self.webrtcbin
            .emit_by_name::<()>("add-ice-candidate", &[&line, &candidate.candidate]);
    }

    /// Sends a text on the data channel; false when it is not open.
    pub(crate) fn send_text(&self, text: &str) -> bool {
        self.channel.as_ref().is_some_and(|channel| {
            channel.ready_state() == WebRTCDataChannelState::Open
                && channel.send_string_full(Some(text)).is_ok()
        })
    }

    pub(crate) fn set_bitrate(&self, bits_per_second: u32) {
        if let Some(encoder) = self
            .sender
            .as_ref()
            .and_then(|sender| sender.encoder.as_ref())
        {
            encoder.set_bitrate(bits_per_second);
        }
    }

    /// The far end asks for key frames, and no encoder of ours is there to hear it.
    fn pass_key_wishes(&self) {
        let (source, flow) = (self.bin.by_name("pictures"), self.flow.clone());
        if let Some(pad) = source.and_then(|source| source.static_pad("src")) {
            pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
                if let Some(gst::PadProbeData::Event(event)) = &info.data
                    && gst_video::ForceKeyUnitEvent::is(event)
                {
                    flow.want_key();
                }
                gst::PadProbeReturn::Ok
            });
        }
    }

    /// What we are told about our picture.
    pub(crate) fn heard(&self) -> Report {
        self.reports.heard(&self.webrtcbin)
    }

    /// Share of the far end's packets that are lost, as far as known.
    pub(crate) fn arriving(&self) -> Option<f64> {
        self.reports.arriving(&self.webrtcbin)
    }

    /// Says goodbye by media: a far end whose socket is gone, or that never had one, waits half a minute otherwise,
    /// and is paid for it.
    fn farewell(&self) {
        let Some(bin) = self.webrtcbin.downcast_ref::<gst::Bin>() else {
            return;
        };
        let connected = self
            .webrtcbin
            .property::<WebRTCPeerConnectionState>("connection-state")
            == WebRTCPeerConnectionState::Connected;
        if !connected {
            return;
        }
        if let Some(channel) = &self.channel {
            channel.close();
        }
        // A DTLS encoder that comes to its end sends a close_notify; webrtcbin itself just falls silent.
        for encoder in bin
            .iterate_all_by_element_factory_name("dtlsenc")
            .into_iter()
            .flatten()
        {
            for pad in encoder.sink_pads() {
                pad.send_event(gst::event::Eos::new());
            }
        }
        std::thread::sleep(FAREWELL);
    }

    /// Packets that ever came from the far end, of any kind.
    pub(crate) fn packets(&self) -> u64 {
        self.reports.packets()
    }
}

/// Stops and frees everything. GStreamer's threads end within milliseconds, but for one that just asks the name server
/// for a STUN server's address: nobody waits for that.
impl Drop for Link {
    fn drop(&mut self) {
        self.flow.disconnect();
        self.farewell();
        // Both refer back to webrtcbin.
        self.channel = None;
        self.sender = None;
        if let Some(element) = self.bin.parent().and_downcast::<gst::Bin>() {
            element.remove(&self.bin).ok();
        }
        let bin = self.bin.clone();
        let (tell, ended) = std::sync::mpsc::channel();
        let end = move || {
            bin.set_state(gst::State::Null).ok();
            drop(bin);
            // Whoever waited may have gone on.
            tell.send(()).ok();
        };
        let ending = std::thread::Builder::new()
            .name("falwebrtc-end".into())
            .spawn(end);
        match ending {
            Ok(_) => drop(ended.recv_timeout(TEARDOWN)),
            Err(_) => drop(self.bin.set_state(gst::State::Null)),
        }
    }
}

fn listen(channel: &WebRTCDataChannel, tell: &Tell) {
    let opened = tell.clone();
    channel.connect_on_open(move |_| opened(Happened::ChannelOpened));
    let closed = tell.clone();
    channel.connect_on_close(move |_| closed(Happened::ChannelClosed));
    let said = tell.clone();
    webrtc_live::on_text(channel, move |text| said(Happened::ChannelMessage(text)));
}

/// Hands what comes in to the flow.
struct Returning {
    flow: Arc<Flow>,
    tell: Tell,
    first: Mutex<bool>,
}

impl Arrivals for Returning {
    fn packet(&self, bits: u64, lost: u64) {
        self.flow.count(|meter, _| {
            meter.received_bits += bits;
            meter.lost += lost;
        });
    }

    fn picture(&self, picture: Picture, timestamp: u32) {
        self.flow.returned(picture, timestamp);
        if std::mem::take(&mut *self.first.lock().unwrap()) {
            (self.tell)(Happened::Picture);
        }
    }

    fn failed(&self, error: MediaError) {
        (self.tell)(Happened::Failed(error.to_string()));
    }
}

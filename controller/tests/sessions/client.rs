//! A client made of webrtcbin, in the test's own process: it offers, as a browser would.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gst::glib;
use gst::prelude::*;
use gst_webrtc::{WebRTCDataChannel, WebRTCDataChannelState, WebRTCICEGatheringState};
use gst_webrtc::{WebRTCRTPTransceiverDirection as Direction, WebRTCSDPType};
use scope_controller::session::{
    Answer, Candidate, Offer, Parameters, SessionError, Sessions, Wanted,
};

/// What a client sends and wants.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) codec: &'static str,
    /// `None` sends nothing: text-to-video.
    pub(crate) size: Option<(i32, i32)>,
    /// Candidates come one by one instead of inside the offer.
    pub(crate) trickle: bool,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            codec: "VP8",
            size: Some((320, 240)),
            trickle: false,
        }
    }
}

/// The client's own picture, straight back.
pub(crate) fn wanted() -> Wanted {
    Wanted {
        initial_parameters: Parameters::new(),
        processors: Vec::new(),
        local: true,
        takes_input: true,
        records: Vec::new(),
        sinks: vec!["output".into()],
        node_parameters: Vec::new(),
    }
}

/// Everything that came back.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) frames: AtomicU64,
    pub(crate) key_frames: AtomicU64,
    pub(crate) size: Mutex<Option<(i32, i32)>>,
    pub(crate) messages: Mutex<Vec<serde_json::Value>>,
}

#[derive(Debug)]
pub(crate) struct Client {
    pipeline: gst::Pipeline,
    webrtcbin: gst::Element,
    channel: WebRTCDataChannel,
    candidates: Arc<Mutex<Vec<(u32, String)>>>,
    pub(crate) seen: Arc<Seen>,
    pub(crate) offer: String,
}

impl Client {
    pub(crate) async fn new(wish: &Wish) -> Self {
        gst::init().unwrap();
        let pipeline = gst::Pipeline::new();
        let webrtcbin = gst::ElementFactory::make("webrtcbin")
            .property_from_str("bundle-policy", "max-bundle")
            .property("latency", 50u32)
            .build()
            .unwrap();
        let ice = webrtcbin.property::<gst::Object>("ice-agent");
        ice.property::<glib::Object>("agent")
            .set_property("upnp", false);
        assert!(ice.emit_by_name::<bool>("add-local-ip-address", &[&"127.0.0.1"]));
        pipeline.add(&webrtcbin).unwrap();
        let seen = Arc::new(Seen::default());
        be_patient(&webrtcbin);
        send_or_receive(&pipeline, &webrtcbin, wish);
        let audio = "application/x-rtp,media=audio,encoding-name=OPUS,payload=111,clock-rate=48000";
        webrtcbin.emit_by_name::<Option<glib::Object>>(
            "add-transceiver",
            &[&Direction::Recvonly, &audio.parse::<gst::Caps>().unwrap()],
        );
        show(&pipeline, &webrtcbin, &seen);
        follow_latency(&pipeline);
        pipeline.set_state(gst::State::Playing).unwrap();
        let channel = webrtcbin.emit_by_name::<WebRTCDataChannel>(
            "create-data-channel",
            &[&"parameters", &None::<gst::Structure>],
        );
        let told = seen.clone();
        channel.connect_on_message_string(move |_, text| {
            let message = serde_json::from_str(text.unwrap_or_default()).unwrap_or_default();
            told.messages.lock().unwrap().push(message);
        });
        let candidates = Arc::new(Mutex::new(Vec::new()));
        let found = candidates.clone();
        webrtcbin.connect_closure(
            "on-ice-candidate",
            false,
            glib::closure!(move |_: &gst::Element, line: u32, text: &str| {
                found.lock().unwrap().push((line, text.to_owned()));
            }),
        );
        let offer = describe(&webrtcbin, wish.trickle).await;
        Self {
            pipeline,
            webrtcbin,
            channel,
            candidates,
            seen,
            offer,
        }
    }

    /// Opens a session and takes its answer.
    pub(crate) async fn open(
        &self,
        sessions: &dyn Sessions,
        offer: Offer,
    ) -> Result<Answer, SessionError> {
        let answer = sessions.open(offer).await?;
        self.accept(&answer.sdp).await;
        Ok(answer)
    }

    /// An offer of this client's for these sessions; change what the test is about.
    pub(crate) fn offer(&self) -> Offer {
        Offer {
            sdp: self.offer.clone(),
            wanted: wanted(),
        }
    }

    /// An offer of something else.
    pub(crate) fn offer_of(&self, wanted: Wanted) -> Offer {
        Offer {
            sdp: self.offer.clone(),
            wanted,
        }
    }

    async fn accept(&self, sdp: &str) {
        let message = gst_sdp::SDPMessage::parse_buffer(sdp.as_bytes()).unwrap();
        let answer = gst_webrtc::WebRTCSessionDescription::new(WebRTCSDPType::Answer, message);
        let (promise, done) = gst::Promise::new_future();
        self.webrtcbin
            .emit_by_name::<()>("set-remote-description", &[&answer, &promise]);
        done.await.unwrap();
    }

    pub(crate) fn candidates(&self) -> Vec<Candidate> {
        let found = self.candidates.lock().unwrap().clone();
        let candidate = |(line, text)| Candidate {
            candidate: Some(text),
            sdp_mid: None,
            sdp_m_line_index: Some(line),
        };
        found.into_iter().map(candidate).collect()
    }

    pub(crate) fn send(&self, text: &str) {
        self.channel.send_string_full(Some(text)).unwrap();
    }

    pub(crate) fn frames(&self) -> u64 {
        self.seen.frames.load(Ordering::Relaxed)
    }

    /// From here on nothing leaves, as if the process had been killed.
    pub(crate) fn fall_silent(&self) {
        let bin = self.webrtcbin.downcast_ref::<gst::Bin>().unwrap();
        for sink in bin.iterate_all_by_element_factory_name("nicesink") {
            let pad = sink.unwrap().static_pad("sink").unwrap();
            pad.add_probe(gst::PadProbeType::BLOCK_DOWNSTREAM, |_, _| {
                gst::PadProbeReturn::Ok
            });
        }
    }

    /// The camera has another size from here on.
    pub(crate) async fn resize(&self, width: i32, height: i32) {
        let filter = self.pipeline.by_name("size").unwrap();
        let (caps, pad) = (
            camera_caps(width, height),
            filter.static_pad("src").unwrap(),
        );
        filter.set_property("caps", &caps);
        // A request to negotiate again is lost when it meets one that is under way.
        let changed = || {
            pad.send_event(gst::event::Reconfigure::new());
            pad.current_caps().is_some_and(|now| now.is_subset(&caps))
        };
        until("the camera", Duration::from_secs(5), changed).await;
    }

    /// Asks for a key frame (PLI).
    pub(crate) fn ask_key_frame(&self) {
        for pad in self.webrtcbin.src_pads() {
            pad.send_event(gst_video::UpstreamForceKeyUnitEvent::builder().build());
        }
    }

    /// Waits for this many more frames.
    pub(crate) async fn see(&self, more: u64) {
        let goal = self.frames() + more;
        until("frames", Duration::from_secs(15), || self.frames() >= goal).await;
    }

    pub(crate) async fn connected(&self) {
        let open = || self.channel.ready_state() == WebRTCDataChannelState::Open;
        until("the channel", Duration::from_secs(15), open).await;
    }

    /// Waits for a message with this `type` and takes it.
    pub(crate) async fn hear(&self, kind: &str) -> serde_json::Value {
        let find = |messages: &mut Vec<serde_json::Value>| {
            let at = messages
                .iter()
                .position(|message| message["type"] == kind)?;
            Some(messages.remove(at))
        };
        let start = Instant::now();
        loop {
            if let Some(message) = find(&mut self.seen.messages.lock().unwrap()) {
                return message;
            }
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "no `{kind}` came"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.pipeline.set_state(gst::State::Null).ok();
    }
}

/// Waits until something is so, or says what is not.
pub(crate) async fn until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn rtp_caps(codec: &str) -> gst::Caps {
    let mode = if codec == "H264" {
        ",packetization-mode=(string)1"
    } else {
        ""
    };
    let text = format!(
        "application/x-rtp,media=video,clock-rate=90000,encoding-name={codec},payload=96,ssrc=(uint)4711{mode}"
    );
    text.parse().unwrap()
}

fn camera_caps(width: i32, height: i32) -> gst::Caps {
    let text = format!("video/x-raw,format=I420,framerate=30/1,width={width},height={height}");
    text.parse().unwrap()
}

fn send_or_receive(pipeline: &gst::Pipeline, webrtcbin: &gst::Element, wish: &Wish) {
    let transceiver = if let Some((width, height)) = wish.size {
        let encoder = match wish.codec {
            "VP8" => {
                "vp8enc deadline=1 cpu-used=-8 threads=1 lag-in-frames=0 keyframe-max-dist=60 ! rtpvp8pay pt=96 ssrc=4711"
            }
            _ => {
                "openh264enc gop-size=60 ! h264parse ! rtph264pay pt=96 ssrc=4711 config-interval=-1"
            }
        };
        let text = format!(
            "videotestsrc is-live=true pattern=ball ! capsfilter name=size ! {encoder} ! capsfilter name=rtp"
        );
        let bin = gst::parse::bin_from_description(&text, true).unwrap();
        bin.by_name("size")
            .unwrap()
            .set_property("caps", camera_caps(width, height));
        bin.by_name("rtp")
            .unwrap()
            .set_property("caps", rtp_caps(wish.codec));
        bin.set_property("name", "camera");
        pipeline.add(&bin).unwrap();
        let pad = webrtcbin.request_pad_simple("sink_0").unwrap();
        bin.static_pad("src").unwrap().link(&pad).unwrap();
        pad.property::<glib::Object>("transceiver")
    } else {
        let mut caps = rtp_caps(wish.codec);
        caps.make_mut()
            .structure_mut(0)
            .unwrap()
            .remove_field("ssrc");
        webrtcbin.emit_by_name::<glib::Object>("add-transceiver", &[&Direction::Recvonly, &caps])
    };
    transceiver.set_property("do-nack", true);
}

/// Does what every application does about latency messages. Since GStreamer 1.26 a session that was never told its
/// latency sends no reports and no requests for key frames.
fn follow_latency(pipeline: &gst::Pipeline) {
    let latest = pipeline.downgrade();
    pipeline.bus().unwrap().set_sync_handler(move |_, message| {
        if let (gst::MessageView::Latency(_), Some(pipeline)) = (message.view(), latest.upgrade()) {
            pipeline.call_async(|pipeline| {
                pipeline.recalculate_latency().ok();
            });
        }
        gst::BusSyncReply::Drop
    });
}

/// Decodes and counts what comes back.
fn show(pipeline: &gst::Pipeline, webrtcbin: &gst::Element, seen: &Arc<Seen>) {
    let (pipeline, seen) = (pipeline.downgrade(), seen.clone());
    webrtcbin.connect_pad_added(move |_, pad| {
        let Some(pipeline) = pipeline.upgrade().filter(|_| pad.direction() == gst::PadDirection::Src) else { return };
        let encoding: String = pad.current_caps().unwrap().structure(0).unwrap().get("encoding-name").unwrap();
        let text = match encoding.as_str() {
            "VP8" => "rtpvp8depay name=depay request-keyframe=true wait-for-keyframe=true ! vp8dec threads=1 ! appsink name=sink sync=false async=false",
            _ => "rtph264depay name=depay request-keyframe=true wait-for-keyframe=true ! h264parse ! avdec_h264 max-threads=1 ! appsink name=sink sync=false async=false",
        };
        let bin = gst::parse::bin_from_description(text, true).unwrap();
        let keys = seen.clone();
        let depay = bin.by_name("depay").unwrap().static_pad("src").unwrap();
        depay.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            if info.buffer().is_some_and(|buffer| !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT)) {
                keys.key_frames.fetch_add(1, Ordering::Relaxed);
            }
            gst::PadProbeReturn::Ok
        });
        let sink = bin.by_name("sink").unwrap().downcast::<gst_app::AppSink>().unwrap();
        let shown = seen.clone();
        sink.set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    let info = sample.caps().and_then(|caps| caps.structure(0).map(ToOwned::to_owned));
                    let side = |name| info.as_ref().and_then(|info| info.get::<i32>(name).ok()).unwrap_or_default();
                    shown.size.lock().unwrap().replace((side("width"), side("height")));
                    shown.frames.fetch_add(1, Ordering::Relaxed);
                    Ok(gst::FlowSuccess::Ok)
                })
                .build(),
        );
        pipeline.add(&bin).unwrap();
        bin.sync_state_with_parent().unwrap();
        pad.link(&bin.static_pad("sink").unwrap()).unwrap();
    });
}

/// Like a browser, takes a late frame for late, not for lost.
fn be_patient(webrtcbin: &gst::Element) {
    let bin = webrtcbin.downcast_ref::<gst::Bin>().unwrap();
    bin.connect_deep_element_added(move |_, _, element| {
        if element
            .factory()
            .is_some_and(|factory| factory.name() == "rtpjitterbuffer")
        {
            element.set_property("rtx-next-seqnum", false);
        }
    });
}

/// Makes the offer; with its candidates unless they trickle.
async fn describe(webrtcbin: &gst::Element, trickle: bool) -> String {
    let (promise, made) = gst::Promise::new_future();
    webrtcbin.emit_by_name::<()>("create-offer", &[&None::<gst::Structure>, &promise]);
    let reply = made.await.unwrap().unwrap().to_owned();
    let offer = reply
        .get::<gst_webrtc::WebRTCSessionDescription>("offer")
        .unwrap();
    let (promise, set) = gst::Promise::new_future();
    webrtcbin.emit_by_name::<()>("set-local-description", &[&offer, &promise]);
    set.await.unwrap();
    let complete = || {
        webrtcbin.property::<WebRTCICEGatheringState>("ice-gathering-state")
            == WebRTCICEGatheringState::Complete
    };
    until("candidates", Duration::from_secs(5), complete).await;
    if trickle {
        return offer.sdp().as_text().unwrap();
    }
    let local = webrtcbin.property::<gst_webrtc::WebRTCSessionDescription>("local-description");
    local.sdp().as_text().unwrap()
}

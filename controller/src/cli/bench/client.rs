//! The client that every contender is measured with: paints the time into its picture and reads it in what returns.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use gst::prelude::*;
use gst_video::prelude::*;
use gst_webrtc::{WebRTCRTPTransceiver, WebRTCSDPType};
use serde_json::{Value, json};

use super::trouble::{Outcome, trouble};
use super::{http, negotiate, stamp};

/// The picture: as wide as the stamp, at the usual rate. VP8, because every peer has it, on one thread, because
/// libvpx with more spins against everything else on a small machine.
const SOURCE: &str = "videotestsrc is-live=true pattern=smpte horizontal-speed=2
    ! video/x-raw,format=I420,width=512,height=512,framerate=30/1 ! identity name=painter
    ! queue max-size-buffers=1 max-size-time=0 max-size-bytes=0 leaky=downstream
    ! vp8enc name=encoder deadline=1 cpu-used=-8 threads=1 lag-in-frames=0 end-usage=cbr target-bitrate=2000000 keyframe-max-dist=3000
    ! rtpvp8pay picture-id-mode=15-bit mtu=1200
    ! capsfilter caps=application/x-rtp,media=video,encoding-name=VP8,payload=96,clock-rate=90000";

/// From packets to the reading of the time; nothing in it waits for a clock.
const RECEIVER: &str = "rtpvp8depay request-keyframe=true wait-for-keyframe=true ! vp8dec threads=1
    ! videoconvert ! capsfilter caps=video/x-raw,format=I420 ! appsink name=eye sync=false max-buffers=1 drop=true";

/// Microseconds since this process began.
fn now() -> u64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGAN.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// One frame that came back: when it was painted and how long it was away, microseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sighting {
    pub(super) painted: u64,
    pub(super) away: u64,
}

/// Everything that came back.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    pub(super) seen: Vec<Sighting>,
    pub(super) unreadable: usize,
}

type Shared = Arc<Mutex<Sightings>>;

/// A connected client; ends its session when dropped.
#[derive(Debug)]
pub(super) struct Client {
    pipeline: gst::Pipeline,
    /// The second half of a measurement without a server.
    mirror: Option<gst::Pipeline>,
    sightings: Shared,
    muted: Arc<AtomicBool>,
    /// When the first frame after a silence was painted.
    resumed: Arc<AtomicU64>,
    session: Option<(String, String)>,
    offered: u64,
}

impl Client {
    /// Connects to a server that speaks Scope's REST calls.
    pub(super) fn connect(address: &str, parameters: &Value) -> Outcome<Self> {
        let mut client = Self::new()?;
        let (webrtc, offer) = client.offer()?;
        let body = json!({"sdp": offer, "type": "offer", "initialParameters": parameters});
        client.offered = now();
        let reply = http::request(address, "POST", "/api/v1/webrtc/offer", &body)?;
        let text = |key: &str| {
            reply[key]
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| trouble(format!("no `{key}` in the answer")))
        };
        client.session = Some((address.to_owned(), text("sessionId")?));
        negotiate::set_remote(&webrtc, WebRTCSDPType::Answer, &text("sdp")?)?;
        Ok(client)
    }

    /// Connects to itself: the time that encoding, sending and decoding take when nobody is in between.
    pub(super) fn connect_directly() -> Outcome<Self> {
        let mut client = Self::new()?;
        let mirror = gst::Pipeline::new();
        let other = negotiate::webrtcbin("other")?;
        mirror.add(&other)?;
        read_returning(&mirror, &other, &client.sightings);
        mirror.set_state(gst::State::Playing)?;
        client.mirror = Some(mirror);
        let (webrtc, offer) = client.offer()?;
        client.offered = now();
        let answer = negotiate::answer(&other, &offer)?;
        negotiate::set_remote(&webrtc, WebRTCSDPType::Answer, &answer)?;
        Ok(client)
    }

    fn new() -> Outcome<Self> {
        let pipeline = gst::Pipeline::new();
        Ok(Self {
            pipeline,
            mirror: None,
            sightings: Shared::default(),
            muted: Arc::default(),
            resumed: Arc::default(),
            session: None,
            offered: 0,
        })
    }

    /// Builds the sending side and makes its offer.
    fn offer(&self) -> Outcome<(gst::Element, String)> {
        let source = gst::parse::bin_from_description(SOURCE, true)?;
        let webrtc = negotiate::webrtcbin("client")?;
        self.pipeline.add_many([source.upcast_ref(), &webrtc])?;
        source.link(&webrtc)?;
        let transceiver =
            webrtc.emit_by_name::<Option<WebRTCRTPTransceiver>>("get-transceiver", &[&0_i32]);
        transceiver
            .ok_or_else(|| trouble("webrtcbin made no transceiver"))?
            .set_property("do-nack", true);
        let painter = source
            .by_name("painter")
            .and_then(|painter| painter.static_pad("src"));
        hide_latency(&source)?;
        paint_into(
            &painter.ok_or_else(|| trouble("no painter"))?,
            &self.muted,
            &self.resumed,
        );
        read_returning(&self.pipeline, &webrtc, &self.sightings);
        // Linking made the media line already, but its codec is known only once caps have arrived.
        let (tell, told) = std::sync::mpsc::channel();
        webrtc.connect("on-negotiation-needed", false, move |_| {
            tell.send(()).ok();
            None
        });
        self.pipeline.set_state(gst::State::Playing)?;
        told.recv_timeout(Duration::from_secs(10))
            .map_err(|_| trouble("webrtcbin wants no negotiation"))?;
        let ordered = gst::Structure::builder("options")
            .field("ordered", true)
            .build();
        webrtc.emit_by_name::<Option<gst_webrtc::WebRTCDataChannel>>(
            "create-data-channel",
            &[&"parameters", &ordered],
        );
        let offer = negotiate::offer(&webrtc)?;
        Ok((webrtc, offer))
    }

    /// Waits for the first picture; milliseconds since the offer was sent.
    pub(super) fn first_frame(&self, within: Duration) -> Outcome<f64> {
        let first = self
            .wait(within, |_| true)
            .ok_or_else(|| trouble(format!("no picture came back within {within:?}")))?;
        Ok((first.painted + first.away).saturating_sub(self.offered) as f64 / 1000.0)
    }

    /// Lets it run and gives what came back meanwhile.
    pub(super) fn watch(&self, time: Duration) -> Sightings {
        self.forget();
        thread::sleep(time);
        std::mem::take(&mut *self.sightings.lock().unwrap())
    }

    /// How long from now until a frame painted from now on is back, milliseconds.
    pub(super) fn until_fresh(&self, within: Duration) -> Option<f64> {
        self.forget();
        let began = now();
        let fresh = self.wait(within, |sighting| sighting.painted >= began)?;
        Some((fresh.painted + fresh.away - began) as f64 / 1000.0)
    }

    /// Sends nothing for a while; then, how long the first frame that is sent again needs until one that was painted
    /// no earlier is back, milliseconds.
    ///
    /// Not from the moment of sending again: the camera's next frame comes when it comes, up to an interval later.
    pub(super) fn after_silence(&self, silence: Duration, within: Duration) -> Option<f64> {
        self.muted.store(true, Ordering::Relaxed);
        thread::sleep(silence);
        self.forget();
        let began = now();
        self.muted.store(false, Ordering::Relaxed);
        let fresh = self.wait(within, |sighting| sighting.painted >= began)?;
        let first = self.resumed.load(Ordering::Relaxed);
        Some((fresh.painted + fresh.away).saturating_sub(first) as f64 / 1000.0)
    }

    /// Lets it run on and gives what came back since the last look or [`Self::forget`].
    pub(super) fn watch_on(&self, time: Duration) -> Vec<Sighting> {
        thread::sleep(time);
        std::mem::take(&mut *self.sightings.lock().unwrap()).seen
    }

    /// Looks at nothing that came so far.
    pub(super) fn forget(&self) {
        *self.sightings.lock().unwrap() = Sightings::default();
    }

    fn wait(&self, within: Duration, wanted: impl Fn(&Sighting) -> bool) -> Option<Sighting> {
        let end = Instant::now() + within;
        while Instant::now() < end {
            if let Some(found) = self
                .sightings
                .lock()
                .unwrap()
                .seen
                .iter()
                .copied()
                .find(&wanted)
            {
                return Some(found);
            }
            thread::sleep(Duration::from_millis(1));
        }
        None
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some((address, id)) = &self.session {
            http::request(
                address,
                "DELETE",
                &format!("/api/v1/webrtc/offer/{id}"),
                &Value::Null,
            )
            .ok();
        }
        for pipeline in std::iter::once(&self.pipeline).chain(&self.mirror) {
            pipeline.set_state(gst::State::Null).ok();
        }
    }
}

/// Answers every question for the camera's latency with none.
///
/// Trap: webrtcbin holds outgoing packets for as long as upstream's latency, and a live source counts one frame
/// interval, so every frame would leave that much late, whoever the contender is.
fn hide_latency(source: &gst::Bin) -> Outcome<()> {
    let pad = source
        .static_pad("src")
        .ok_or_else(|| trouble("no source pad"))?;
    pad.add_probe(gst::PadProbeType::QUERY_UPSTREAM, |_, info| {
        match info.query_mut().map(gst::QueryRef::view_mut) {
            Some(gst::QueryViewMut::Latency(latency)) => {
                latency.set(true, gst::ClockTime::ZERO, gst::ClockTime::NONE);
                gst::PadProbeReturn::Handled
            }
            _ => gst::PadProbeReturn::Ok,
        }
    });
    Ok(())
}

/// Paints the time into every frame that leaves `pad`; muted, nothing leaves it.
fn paint_into(pad: &gst::Pad, muted: &Arc<AtomicBool>, resumed: &Arc<AtomicU64>) {
    let (muted, resumed) = (Arc::clone(muted), Arc::clone(resumed));
    let silent = AtomicBool::new(false);
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        if muted.load(Ordering::Relaxed) {
            silent.store(true, Ordering::Relaxed);
            return gst::PadProbeReturn::Drop;
        }
        if silent.swap(false, Ordering::Relaxed) {
            resumed.store(now(), Ordering::Relaxed);
        }
        let painted = pad
            .current_caps()
            .and_then(|caps| gst_video::VideoInfo::from_caps(&caps).ok())
            .zip(info.buffer_mut());
        if let Some((video, buffer)) = painted
            && let Ok(mut frame) =
                gst_video::VideoFrameRef::from_buffer_ref_writable(buffer.make_mut(), &video)
        {
            let stride = usize::try_from(frame.plane_stride()[0]).unwrap_or_default();
            if let Ok(luma) = frame.plane_data_mut(0) {
                stamp::paint(luma, stride, now());
            }
        }
        gst::PadProbeReturn::Ok
    });
}

/// Reads the time in every picture that `webrtc` receives.
fn read_returning(pipeline: &gst::Pipeline, webrtc: &gst::Element, sightings: &Shared) {
    let (pipeline, sightings) = (pipeline.downgrade(), Arc::clone(sightings));
    webrtc.connect_pad_added(move |_, pad| {
        if pad.direction() == gst::PadDirection::Src
            && let Some(pipeline) = pipeline.upgrade()
            && let Err(trouble) = receive(&pipeline, pad, &sightings)
        {
            tracing::error!("the returning stream cannot be read: {trouble}");
        }
    });
}

fn receive(pipeline: &gst::Pipeline, pad: &gst::Pad, sightings: &Shared) -> Outcome<()> {
    let receiver = gst::parse::bin_from_description(RECEIVER, true)?;
    let eye = receiver
        .by_name("eye")
        .and_then(|eye| eye.downcast::<gst_app::AppSink>().ok());
    let sightings = Arc::clone(sightings);
    eye.ok_or_else(|| trouble("no eye"))?.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                let now = now();
                let painted = look(&sample);
                let mut sightings = sightings.lock().unwrap();
                match painted {
                    Some(painted) => sightings.seen.push(Sighting {
                        painted,
                        away: now.saturating_sub(painted),
                    }),
                    None => sightings.unreadable += 1,
                }
                Ok(gst::FlowSuccess::Ok)
            })
            .build(),
    );
    pipeline.add(&receiver)?;
    receiver.sync_state_with_parent()?;
    let sink = receiver
        .static_pad("sink")
        .ok_or_else(|| trouble("no sink pad"))?;
    pad.link(&sink)?;
    Ok(())
}

fn look(sample: &gst::Sample) -> Option<u64> {
    let video = gst_video::VideoInfo::from_caps(sample.caps()?).ok()?;
    let frame =
        gst_video::VideoFrameRef::from_buffer_ref_readable(sample.buffer()?, &video).ok()?;
    stamp::read(
        frame.plane_data(0).ok()?,
        usize::try_from(frame.plane_stride()[0]).ok()?,
    )
}

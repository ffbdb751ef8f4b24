//! What the RTP session inside webrtcbin hears and says.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;

use crate::bitrate::Report;
use crate::rtcp::{self, Said};

/// Bits a second that our reports may take (rtpsession's documentation says bytes). By its own estimate it sends
/// about three times a second, and a NACK that has just gone out holds the PLI after it back for 300 ms.
const RTCP_BANDWIDTH: f64 = 100_000.0;

/// Whole reports, with what we received; the default is 5 s, and packets with urgent news do not count.
const REPORTS_APART: gst::ClockTime = gst::ClockTime::from_seconds(1);

/// Both directions of one link's reports.
#[derive(Debug, Clone, Default)]
pub struct Reports {
    ours: Option<u32>,
    heard: Arc<Mutex<Report>>,
    /// Of the far end's picture, 0 while none came.
    their_ssrc: Arc<AtomicU32>,
    /// What we can take of it, bit/s.
    our_limit: Arc<AtomicU32>,
    /// Packets that ever came from the far end, of any kind.
    packets: Arc<AtomicU64>,
}

impl Reports {
    /// Listens to this webrtcbin, and adds our limit to what it says; before negotiation. With `ours`, only what is said
    /// about this source counts as loss.
    pub fn watch(webrtcbin: &gst::Element, ours: Option<u32>) -> Self {
        let reports = Self {
            ours,
            ..Self::default()
        };
        let Some(bin) = webrtcbin.downcast_ref::<gst::Bin>() else {
            return reports;
        };
        let made = reports.clone();
        bin.connect_deep_element_added(move |_, _, element| {
            match element.factory().map(|factory| factory.name()).as_deref() {
                Some("rtpsession") => made.join(element),
                Some("nicesrc") => made.count(element),
                Some("rtpjitterbuffer") => be_patient(element),
                _ => {}
            }
        });
        reports
    }

    /// What was heard since the last call.
    pub fn heard(&self, webrtcbin: &gst::Element) -> Report {
        let mut report = std::mem::take(&mut *self.heard.lock().unwrap());
        if let Some(session) = session(webrtcbin) {
            let stats = structure(&session, "stats");
            report.round_trip = stats.as_deref().and_then(round_trip);
            let arrived = structure(&session, "twcc-stats");
            let arrived = arrived.and_then(|stats| stats.get("bitrate-recv").ok());
            report.received = arrived.filter(|received| *received > 0);
        }
        report
    }

    /// Packets that ever came from the far end, of any kind.
    pub fn packets(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }

    /// Their picture has this source; true if it is the first one.
    pub fn first_source(&self, ssrc: u32) -> bool {
        self.their_ssrc
            .compare_exchange(0, ssrc, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// Tells the far end from now on that it may send so much, bit/s.
    pub fn set_our_limit(&self, bits_per_second: u32) {
        self.our_limit.store(bits_per_second, Ordering::Relaxed);
    }

    /// How the far end's packets reach us: share lost since the last report.
    pub fn arriving(&self, webrtcbin: &gst::Element) -> Option<f64> {
        let ssrc = self.their_ssrc.load(Ordering::Relaxed);
        let stats = structure(&session(webrtcbin)?, "stats")?;
        let source = sources(&stats)
            .into_iter()
            .find(|source| source.get("ssrc") == Ok(ssrc))?;
        let lost = source.get::<u32>("sent-rb-fractionlost").ok()?;
        Some(f64::from(lost) / 256.0)
    }

    fn join(&self, rtpsession: &gst::Element) {
        rtpsession.set_property("rtcp-fraction", RTCP_BANDWIDTH);
        rtpsession.set_property("rtcp-min-interval", REPORTS_APART.nseconds());
        let session = rtpsession.property::<glib::Object>("internal-session");
        let (ours, heard) = (self.ours, self.heard.clone());
        session.connect("on-receiving-rtcp", false, move |values| {
            let packet = values.get(1)?.get::<gst::Buffer>().ok()?;
            let packet = packet.map_readable().ok()?;
            let mut heard = heard.lock().unwrap();
            for said in rtcp::read(&packet) {
                match said {
                    Said::Loss { ssrc, .. } if ours.is_some_and(|ours| ours != ssrc) => {}
                    // Retransmissions make a block of their own: the worst one counts.
                    Said::Loss { lost, .. } => {
                        let lost = f64::from(lost) / 256.0;
                        heard.loss = Some(heard.loss.map_or(lost, |worst| worst.max(lost)));
                    }
                    Said::Limit(rate) => heard.limit = Some(rate),
                }
            }
            None
        });
        let ours = self.clone();
        rtpsession.connect_pad_added(move |_, pad| {
            if pad.name() == "send_rtcp_src" {
                ours.speak(pad);
            }
        });
    }

    /// Adds a REMB to every report that goes out: webrtcbin sends none, and aiortc's encoders follow nothing else.
    fn speak(&self, pad: &gst::Pad) {
        let (ssrc, limit) = (self.their_ssrc.clone(), self.our_limit.clone());
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let (theirs, limit) = (ssrc.load(Ordering::Relaxed), limit.load(Ordering::Relaxed));
            if let Some(gst::PadProbeData::Buffer(packet)) = &mut info.data
                && theirs != 0
                && limit != 0
                && let Ok(ours) = packet.map_readable().map(|bytes| rtcp::sender(&bytes))
                && let Some(ours) = ours
            {
                let remb = gst::Memory::from_slice(rtcp::remb(ours, theirs, limit));
                packet.make_mut().append_memory(remb);
            }
            gst::PadProbeReturn::Ok
        });
    }

    fn count(&self, nicesrc: &gst::Element) {
        let packets = self.packets.clone();
        if let Some(pad) = nicesrc.static_pad("src") {
            let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
            pad.add_probe(kinds, move |_, _| {
                packets.fetch_add(1, Ordering::Relaxed);
                gst::PadProbeReturn::Ok
            });
        }
    }
}

/// Makes a jitter buffer take frames as they come, however irregular.
fn be_patient(jitter_buffer: &gst::Element) {
    // Trap: it guesses when the next packet is due, and drops one that comes later than that plus the latency, even
    // as the next in order. A far end that thinks for 100 ms would cost a NACK, a picture and a key frame.
    jitter_buffer.set_property("rtx-next-seqnum", false);
    // Else the very first packet waits the whole latency for one that might come before it.
    jitter_buffer.set_property("faststart-min-packets", 1u32);
}

fn session(webrtcbin: &gst::Element) -> Option<gst::Element> {
    let rtpbin = webrtcbin.downcast_ref::<gst::Bin>()?.by_name("rtpbin")?;
    rtpbin.emit_by_name::<Option<gst::Element>>("get-session", &[&0u32])
}

/// A property that not every version has.
fn structure(session: &gst::Element, name: &str) -> Option<gst::Structure> {
    session.find_property(name)?;
    let value = session.property_value(name);
    value.get::<Option<gst::Structure>>().ok()?
}

fn sources(stats: &gst::StructureRef) -> Vec<gst::Structure> {
    let sources = stats.get::<glib::ValueArray>("source-stats");
    sources.map_or(Vec::new(), |sources| {
        sources
            .iter()
            .filter_map(|source| source.get::<gst::Structure>().ok())
            .collect()
    })
}

/// From the newest report block, in 1/65536 s; zero while the peer has not seen a sender report.
fn round_trip(stats: &gst::StructureRef) -> Option<Duration> {
    let with_block = sources(stats)
        .into_iter()
        .filter(|source| source.get("have-rb") == Ok(true));
    let trips = with_block.filter_map(|source| source.get::<u32>("rb-round-trip").ok());
    let trip = trips.filter(|trip| *trip > 0).min()?;
    Some(Duration::from_secs_f64(f64::from(trip) / 65_536.0))
}

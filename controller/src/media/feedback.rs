//! What the receiver tells us, read from the RTP session inside webrtcbin.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;

use super::congestion::Report;
use super::rtcp::{self, Said};

/// Bits a second that our reports may take (rtpsession's documentation says bytes). By its own estimate it sends
/// about three times a second, and a NACK that has just gone out holds the PLI after it back for 300 ms.
const RTCP_BANDWIDTH: f64 = 100_000.0;

/// Whole reports, with what we received; the default is 5 s, and packets with urgent news do not count.
const REPORTS_APART: gst::ClockTime = gst::ClockTime::from_seconds(1);

/// Listens to one peer's reports.
#[derive(Debug, Clone, Default)]
pub(crate) struct Feedback {
    packets: Arc<AtomicU64>,
    heard: Arc<Mutex<Report>>,
}

impl Feedback {
    /// Counts every packet that comes in, and reads what is said about our picture.
    pub(crate) fn watch(webrtcbin: &gst::Element, ssrc: u32) -> Self {
        let feedback = Self::default();
        let (packets, heard) = (feedback.packets.clone(), feedback.heard.clone());
        let Some(bin) = webrtcbin.downcast_ref::<gst::Bin>() else {
            return feedback;
        };
        bin.connect_deep_element_added(move |_, _, element| {
            match element.factory().map(|factory| factory.name()).as_deref() {
                Some("nicesrc") => count(element, packets.clone()),
                Some("rtpsession") => {
                    element.set_property("rtcp-fraction", RTCP_BANDWIDTH);
                    element.set_property("rtcp-min-interval", REPORTS_APART.nseconds());
                    listen(element, ssrc, heard.clone());
                }
                Some("rtpjitterbuffer") => be_patient(element),
                _ => {}
            }
        });
        feedback
    }

    /// Packets that ever came from the peer.
    pub(crate) fn packets(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }

    /// What was said since the last call.
    pub(crate) fn report(&self, webrtcbin: &gst::Element) -> Report {
        let mut report = std::mem::take(&mut *self.heard.lock().unwrap());
        let session = webrtcbin
            .downcast_ref::<gst::Bin>()
            .and_then(|bin| bin.by_name("rtpbin"))
            .and_then(|rtpbin| {
                rtpbin.emit_by_name::<Option<gst::Element>>("get-session", &[&0u32])
            });
        let Some(session) = session else {
            return report;
        };
        report.round_trip = structure(&session, "stats").as_deref().and_then(round_trip);
        report.received =
            structure(&session, "twcc-stats").and_then(|stats| stats.get("bitrate-recv").ok());
        report.received = report.received.filter(|received| *received > 0);
        report
    }
}

/// Makes a jitter buffer take frames as they come, however irregular.
fn be_patient(jitter_buffer: &gst::Element) {
    // Trap: it guesses when the next packet is due, and drops one that comes later than that plus the latency, even
    // as the next in order. A sender that thinks for 100 ms would cost a NACK, a picture and a key frame.
    jitter_buffer.set_property("rtx-next-seqnum", false);
    // Else the very first packet waits the whole latency for one that might come before it.
    jitter_buffer.set_property("faststart-min-packets", 1u32);
}

/// A property that not every version has.
fn structure(session: &gst::Element, name: &str) -> Option<gst::Structure> {
    session.find_property(name)?;
    session
        .property_value(name)
        .get::<Option<gst::Structure>>()
        .ok()?
}

fn count(nicesrc: &gst::Element, packets: Arc<AtomicU64>) {
    if let Some(pad) = nicesrc.static_pad("src") {
        pad.add_probe(
            gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST,
            move |_, _| {
                packets.fetch_add(1, Ordering::Relaxed);
                gst::PadProbeReturn::Ok
            },
        );
    }
}

fn listen(rtpsession: &gst::Element, ours: u32, heard: Arc<Mutex<Report>>) {
    let session = rtpsession.property::<glib::Object>("internal-session");
    session.connect("on-receiving-rtcp", false, move |values| {
        let packet = values.get(1)?.get::<gst::Buffer>().ok()?;
        let packet = packet.map_readable().ok()?;
        let mut heard = heard.lock().unwrap();
        for said in rtcp::read(&packet) {
            match said {
                Said::Loss { ssrc, lost } if ssrc == ours => {
                    heard.loss = Some(f64::from(lost) / 256.0)
                }
                Said::Loss { .. } => {}
                Said::Limit(rate) => heard.remb = Some(rate),
            }
        }
        None
    });
}

/// From the newest report block, in 1/65536 s; zero while the peer has not seen a sender report.
fn round_trip(stats: &gst::StructureRef) -> Option<Duration> {
    let sources = stats.get::<glib::ValueArray>("source-stats").ok()?;
    let sources = sources
        .iter()
        .filter_map(|source| source.get::<gst::Structure>().ok());
    let with_block = sources.filter(|source| source.get("have-rb") == Ok(true));
    let trips = with_block.filter_map(|source| source.get::<u32>("rb-round-trip").ok());
    let trip = trips.filter(|trip| *trip > 0).min()?;
    Some(Duration::from_secs_f64(f64::from(trip) / 65_536.0))
}

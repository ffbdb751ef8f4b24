//! What the receiver tells us, read from the RTP session inside webrtcbin.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;

use super::congestion::Report;
use super::remb;

/// RTCP payload-specific feedback, application layer: where a REMB travels.
const PSFB: u32 = 206;
const AFB: u32 = 15;

/// Bits a second that our reports may take (rtpsession's documentation says bytes). By its own estimate it sends
/// about three times a second, and a NACK that has just gone out holds the PLI after it back for 300 ms.
const RTCP_BANDWIDTH: f64 = 100_000.0;

/// Listens to one peer's reports.
#[derive(Debug, Clone, Default)]
pub(crate) struct Feedback {
    packets: Arc<AtomicU64>,
    remb: Arc<AtomicU32>,
}

impl Feedback {
    /// Counts every packet that comes in, and reads the REMBs.
    pub(crate) fn watch(webrtcbin: &gst::Element) -> Self {
        let feedback = Self::default();
        let (packets, remb) = (feedback.packets.clone(), feedback.remb.clone());
        let Some(bin) = webrtcbin.downcast_ref::<gst::Bin>() else {
            return feedback;
        };
        bin.connect_deep_element_added(move |_, _, element| {
            match element.factory().map(|factory| factory.name()).as_deref() {
                Some("nicesrc") => count(element, packets.clone()),
                Some("rtpsession") => {
                    element.set_property("rtcp-fraction", RTCP_BANDWIDTH);
                    read_rembs(element, remb.clone());
                }
                Some("rtpjitterbuffer")
                    if element.find_property("faststart-min-packets").is_some() =>
                {
                    // Else the very first packet waits the whole latency for one that might come before it.
                    element.set_property("faststart-min-packets", 1u32);
                }
                _ => {}
            }
        });
        feedback
    }

    /// Packets that ever came from the peer.
    pub(crate) fn packets(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }

    /// The newest figures; a REMB counts once.
    pub(crate) fn report(&self, webrtcbin: &gst::Element) -> Report {
        let remb = self.remb.swap(0, Ordering::Relaxed);
        let mut report = Report {
            remb: (remb > 0).then_some(remb),
            ..Report::default()
        };
        let session = webrtcbin
            .downcast_ref::<gst::Bin>()
            .and_then(|bin| bin.by_name("rtpbin"))
            .and_then(|rtpbin| {
                rtpbin.emit_by_name::<Option<gst::Element>>("get-session", &[&0u32])
            });
        let Some(session) = session else {
            return report;
        };
        if let Some(stats) = structure(&session, "stats")
            && let Ok(sources) = stats.get::<glib::ValueArray>("source-stats")
        {
            let sources = sources
                .iter()
                .filter_map(|source| source.get::<gst::Structure>().ok());
            for source in sources.filter(|source| source.get("have-rb") == Ok(true)) {
                read_report_block(&source, &mut report);
            }
        }
        if let Some(stats) = structure(&session, "twcc-stats") {
            read_transport_cc(&stats, &mut report);
        }
        report
    }
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

fn read_rembs(rtpsession: &gst::Element, latest: Arc<AtomicU32>) {
    let session = rtpsession.property::<glib::Object>("internal-session");
    session.connect("on-feedback-rtcp", false, move |values| {
        let kind = (
            values.get(1)?.get::<u32>().ok()?,
            values.get(2)?.get::<u32>().ok()?,
        );
        let fci = values.get(5)?.get::<Option<gst::Buffer>>().ok()??;
        if kind == (PSFB, AFB)
            && let Some(rate) = remb::read(&fci.map_readable().ok()?)
        {
            latest.store(rate, Ordering::Relaxed);
        }
        None
    });
}

/// A receiver report about what we sent (RFC 3550, 6.4.1).
fn read_report_block(source: &gst::StructureRef, report: &mut Report) {
    if let Ok(lost) = source.get::<u32>("rb-fractionlost") {
        report.loss = Some(f64::from(lost) / 256.0);
    }
    // In 1/65536 s; zero while the peer has not seen a sender report.
    if let Ok(round_trip) = source.get::<u32>("rb-round-trip")
        && round_trip > 0
    {
        report.round_trip = Some(Duration::from_secs_f64(f64::from(round_trip) / 65_536.0));
    }
}

/// What the peer's transport-wide feedback adds up to.
fn read_transport_cc(stats: &gst::StructureRef, report: &mut Report) {
    if let Ok(received) = stats.get::<u32>("bitrate-recv")
        && received > 0
    {
        report.received = Some(received);
    }
}

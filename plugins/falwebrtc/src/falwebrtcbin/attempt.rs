//! One attempt to reach the far end: its negotiation, its media, and how both are doing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fal_client::signalling::sdp;
use fal_client::{IceCandidate, IceServer, Negotiation};
use gst_webrtc::WebRTCICETransportPolicy;
use webrtc_live::MediaError;
use webrtc_live::bitrate::{self, Bitrate, Report};

use super::FalWebRTCBin;
use super::flow::Flow;
use super::link::{Link, Plan, Tell};
use super::meter::Network;
use super::settings::Settings;
use super::worker;

/// A far end that sends no pictures still reports, aiortc up to 1.5 s apart; twice that without a word is silence.
const REPORTS_APART: Duration = Duration::from_secs(3);
/// An app may load a model when its first picture comes.
const FIRST_PICTURE: Duration = Duration::from_secs(60);
/// ICE and DTLS after the answer.
const CONNECTING: Duration = Duration::from_secs(20);
/// Reports are looked at this often.
const REPORTS: Duration = Duration::from_secs(1);

pub(crate) struct Attempt {
    pub(crate) number: u32,
    pub(crate) started: Instant,
    pub(crate) negotiation: Negotiation,
    pub(crate) link: Option<Link>,
    /// Ours, as found.
    pub(crate) candidates: Vec<IceCandidate>,
    /// Waits for the candidates when the dialect has no way to send them later.
    whole: Option<Option<String>>,
    sending: Bitrate,
    receiving: Bitrate,
    reported: Duration,
    /// Sent and received by then.
    bits: (u64, u64),
    answered: Option<Duration>,
    connected: Option<Duration>,
    /// Pictures back so far, and when that last changed.
    seen: (u64, Duration),
    packets: (u64, Duration),
}

impl Attempt {
    pub(crate) fn new(number: u32, started: Instant, settings: &Settings) -> Self {
        let (lowest, highest) = (settings.min_bitrate, settings.max_bitrate);
        Self {
            number,
            started,
            negotiation: worker::negotiation(settings, started),
            link: None,
            candidates: Vec::new(),
            whole: None,
            sending: Bitrate::new(bitrate::start_for(512, 512), lowest, highest),
            // Far ends start low and only rise when told that they may.
            receiving: Bitrate::new(3_000_000, lowest, highest),
            reported: Duration::ZERO,
            bits: (0, 0),
            answered: None,
            connected: None,
            seen: (0, Duration::ZERO),
            packets: (0, Duration::ZERO),
        }
    }

    pub(crate) fn make_link(
        &mut self,
        element: &FalWebRTCBin,
        settings: &Settings,
        (channel, app_servers, whole): (&'static str, Vec<IceServer>, bool),
        flow: Arc<Flow>,
        tell: Tell,
    ) -> Result<(), MediaError> {
        self.whole = whole.then_some(None);
        let encoded = flow.form().and_then(|form| form.codec());
        let codecs: Vec<_> = settings
            .codecs
            .iter()
            .copied()
            .filter(|codec| codec.is_possible() && encoded.is_none_or(|encoded| encoded == *codec))
            .collect();
        if let Some(encoded) = encoded.filter(|encoded| !settings.codecs.contains(encoded)) {
            let reason = format!(
                "the input is {0}, and `codecs` does not allow {0}",
                encoded.word()
            );
            return Err(MediaError::Negotiation(reason));
        }
        if codecs.is_empty() {
            let wanted: Vec<_> = settings.codecs.iter().map(|codec| codec.word()).collect();
            return Err(MediaError::NoCodec(wanted.join(", ")));
        }
        let plan = Plan {
            codecs,
            channel,
            latency: flow.patient_latency(settings.latency),
            stun_server: settings.stun(),
            turn_servers: settings.turn_servers.clone(),
            policy: settings.ice_transport_policy,
            app_servers,
            queue_size: settings.queue_size as usize,
            hardware: element.hardware(),
        };
        let name = format!("connection-{}", self.number);
        self.link = Some(Link::new(element.as_ref(), &name, plan, flow, tell)?);
        Ok(())
    }

    /// Our description is there; what comes back is to be said now.
    pub(crate) fn offer(&mut self, text: &str) -> Option<String> {
        let text = sdp::with_active_setup(text);
        match &mut self.whole {
            Some(waiting) => {
                *waiting = Some(text);
                None
            }
            None => Some(text),
        }
    }

    /// Every candidate is found; what comes back is the description with all of them.
    pub(crate) fn gathered(&mut self) -> Option<String> {
        let text = self.whole.as_mut()?.take()?;
        Some(with_candidates(&text, &self.candidates))
    }

    /// Whether the search for candidates ended where only relays may be used and none was found.
    pub(crate) fn has_no_way(&self, settings: &Settings) -> bool {
        settings.ice_transport_policy == WebRTCICETransportPolicy::Relay
            && self.candidates.is_empty()
    }

    /// The answer is in force: pictures go out from here on.
    pub(crate) fn start_sending(
        &mut self,
        element: &FalWebRTCBin,
        flow: &Flow,
    ) -> Result<(), MediaError> {
        let now = flow.now();
        self.answered = Some(now);
        self.seen = (flow.meter().returned.total(), now);
        if let Some((width, height)) = flow.size() {
            let settings = element.settings();
            let start = bitrate::start_for(width, height);
            self.sending = Bitrate::new(start, settings.min_bitrate, settings.max_bitrate);
        }
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        link.start_sending(self.sending.get(), |encoder| element.encoder_setup(encoder))?;
        link.reports.set_our_limit(self.receiving.get());
        flow.repeat();
        Ok(())
    }

    pub(crate) fn connected(&mut self, now: Duration) {
        self.connected = Some(now);
        self.packets = (0, now);
        if let Some(link) = &self.link {
            link.settle_latency();
        }
    }

    /// A far end that hears nothing gives up; so does every NAT on the way.
    pub(crate) fn keep_alive(&self, flow: &Flow) {
        if self.answered.is_some() && flow.wants_repeat() {
            flow.repeat();
        }
    }

    /// Encoder and far end follow what the network carries.
    pub(crate) fn follow_network(&mut self, flow: &Flow) {
        let now = flow.now();
        let Some(link) = &self.link else { return };
        let past = now.saturating_sub(self.reported);
        if self.connected.is_none() || past < REPORTS {
            return;
        }
        let meter = flow.meter();
        let rate = |bits: u64, before: u64| {
            (bits.saturating_sub(before) as f64 / past.as_secs_f64()) as u32
        };
        let sent = rate(meter.sent_bits, self.bits.0);
        let received = rate(meter.received_bits, self.bits.1);
        self.reported = now;
        self.bits = (meter.sent_bits, meter.received_bits);
        let heard = link.heard();
        let target = self.sending.report(now, &heard);
        link.set_bitrate(target);
        let arriving = Report {
            loss: link.arriving(),
            received: Some(received),
            ..Report::default()
        };
        let limit = self.receiving.report(now, &arriving);
        link.reports.set_our_limit(limit);
        let network = Network {
            sent,
            received,
            target,
            limit,
            loss: heard.loss.unwrap_or(meter.network.loss),
            loss_received: arriving.loss.unwrap_or_default(),
        };
        flow.count(|meter, _| meter.network = network);
    }

    /// Why this link counts as dead, if it does: no socket and no state of ICE tells that pictures have stopped.
    pub(crate) fn silence(&mut self, flow: &Flow, settings: &Settings) -> Option<String> {
        let now = flow.now();
        let answered = self.answered?;
        let Some(connected) = self.connected else {
            let late = now.saturating_sub(answered) > CONNECTING;
            return late.then(|| {
                format!(
                    "no connection within {} s of the answer",
                    CONNECTING.as_secs()
                )
            });
        };
        let (returned, packets) = (flow.meter().returned.total(), self.link.as_ref()?.packets());
        if returned != self.seen.0 {
            self.seen = (returned, now);
        }
        if packets != self.packets.0 {
            self.packets = (packets, now);
        }
        let limit = settings.media_timeout;
        if limit.is_zero() {
            return None;
        }
        let patience = limit.max(REPORTS_APART);
        if now.saturating_sub(self.packets.1) > patience {
            return Some(format!(
                "nothing came from the far end for {} s",
                patience.as_secs()
            ));
        }
        // A paused app sends reports but no pictures, and that is no fault.
        if settings.is_paused() {
            self.seen.1 = now;
            return None;
        }
        let first = self.negotiation.stage() != fal_client::Stage::Live;
        let (since, limit) = if first {
            (connected, FIRST_PICTURE.max(limit))
        } else {
            (self.seen.1, limit)
        };
        let silent = now.saturating_sub(since) > limit;
        silent.then(|| format!("no picture came back for {} s", limit.as_secs()))
    }
}

/// The offer with its candidates in it, in every section: bundled ones share a transport.
fn with_candidates(text: &str, candidates: &[IceCandidate]) -> String {
    let lines: String = candidates
        .iter()
        .map(|candidate| format!("a={}\r\n", candidate.candidate))
        .collect();
    let mut whole = String::with_capacity(text.len() + 2 * lines.len());
    for (index, section) in text.split("m=").enumerate() {
        if index > 0 {
            whole.push_str("m=");
        }
        // `a=` is how newer webrtcbins write the end of the candidates.
        let kept = section.lines().filter(|line| {
            !line.starts_with("a=candidate:") && !["a=end-of-candidates", "a="].contains(line)
        });
        for line in kept {
            whole.push_str(line);
            whole.push_str("\r\n");
        }
        if index > 0 {
            whole.push_str(&lines);
            whole.push_str("a=end-of-candidates\r\n");
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_offer_has_every_candidate_once_in_each_section() {
        let text = "v=0\r\ns=-\r\nm=video 9 X 96\r\na=candidate:1 old\r\na=\r\na=mid:video0\r\nm=application 9 Y z\r\na=mid:application1\r\n";
        let found =
            [
                IceCandidate::new("candidate:1 1 UDP 1 127.0.0.1 5000 typ host", None, Some(0))
                    .unwrap(),
            ];

        let whole = with_candidates(text, &found);

        assert_eq!(
            whole,
            "v=0\r\ns=-\r\nm=video 9 X 96\r\na=mid:video0\r\na=candidate:1 1 UDP 1 127.0.0.1 5000 typ host\r\n\
             a=end-of-candidates\r\nm=application 9 Y z\r\na=mid:application1\r\n\
             a=candidate:1 1 UDP 1 127.0.0.1 5000 typ host\r\na=end-of-candidates\r\n"
        );
    }
}

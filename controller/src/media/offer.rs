//! A browser's offer, read for what matters to us: which line brings a picture, which takes one, in which codec.
//!
//! Pure. webrtcbin gets the text as it came; this reading decides what is linked before it gets it, and refuses
//! early, in a sentence, what webrtcbin would refuse late and cryptically.

use std::collections::HashMap;

use webrtc_live::Codec;

/// Longest description worth reading, bytes; a real browser's offer of all codecs is near 8 000.
const LONGEST: usize = 256 * 1024;
/// More lines than any client of ours makes.
const MOST_LINES: usize = 32;

/// What we do with the offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The m-line whose picture we take, if any.
    pub input: Option<usize>,
    /// The m-line that carries our picture.
    pub output: usize,
    /// What we send, and under which of the browser's payload types.
    pub codec: Codec,
    pub payload: u8,
    /// Header extension number of the transport-wide sequence number on the output line.
    pub transport_cc: Option<u8>,
    /// Header extension number of the absolute send time on the output line.
    pub send_time: Option<u8>,
    /// Header extension number of the colour space on the output line.
    pub color_space: Option<u8>,
    /// The client reports by REMB (`goog-remb`), having no transport-wide feedback.
    pub remb: bool,
    /// Returned frames carry the timestamps they came with, for a program that recognises them: it is told by
    /// `a=setup:active` in its offer, which no browser says. A browser would count the time a model takes as jitter and
    /// wait for the slowest frame.
    pub keeps_timestamps: bool,
    /// Every m-line's `a=mid`, in order.
    pub mids: Vec<String>,
    /// Whether the lines are bundled on one transport.
    pub bundled: bool,
}

impl Plan {
    /// Which m-line a trickled candidate belongs to; with one bundle they all share the first's transport.
    pub fn line_of(&self, mid: Option<&str>, index: Option<u32>) -> u32 {
        let by_mid = mid.and_then(|mid| self.mids.iter().position(|known| known == mid));
        let by_index = index.filter(|index| (*index as usize) < self.mids.len());
        by_mid
            .and_then(|line| u32::try_from(line).ok())
            .or(by_index)
            .unwrap_or(0)
    }
}

/// One m-line with its attributes.
#[derive(Debug, Default)]
struct Line<'a> {
    media: &'a str,
    port: &'a str,
    payloads: Vec<u8>,
    mid: Option<&'a str>,
    sends: bool,
    receives: bool,
    rtpmap: HashMap<u8, &'a str>,
    fmtp: HashMap<u8, &'a str>,
    feedback: Vec<&'a str>,
    extensions: Vec<(u8, &'a str)>,
    credentials: bool,
    fingerprint: bool,
    bundle_only: bool,
}

impl Line<'_> {
    /// Port 0 refuses a line, unless the line only has no port of its own (RFC 8843, 6).
    fn live(&self) -> bool {
        self.port != "0" || self.bundle_only
    }
}

/// Reads an offer; `able` lists the codecs this machine has an encoder and a decoder for.
///
/// # Errors
///
/// One sentence that says what is missing and what is needed.
pub fn read(sdp: &str, able: &[Codec]) -> Result<Plan, String> {
    let (session, lines) = split(sdp)?;
    let secured = |wanted: &str| session.iter().any(|line| line.starts_with(wanted));
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| line.live()) {
        if !(line.credentials || secured("a=ice-ufrag:")) {
            return Err(format!(
                "m-line {index} has no `a=ice-ufrag`: an ICE offer is needed"
            ));
        }
        if !(line.fingerprint || secured("a=fingerprint:")) {
            return Err(format!(
                "m-line {index} has no `a=fingerprint`: a DTLS offer is needed"
            ));
        }
    }
    let live = |line: &Line<'_>| line.media == "video" && line.live();
    if !lines.iter().any(live) {
        return Err("it has no video line; add a video transceiver before `createOffer`".into());
    }
    let (output, (codec, payload)) = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| live(line) && line.receives)
        .find_map(|(index, line)| Some((index, pick(line, able)?)))
        .ok_or_else(|| {
            let names: Vec<_> = able.iter().map(|codec| codec.encoding_name()).collect();
            format!(
                "no video line takes a picture in {}; offer one that is sendrecv or recvonly",
                names.join(" or ")
            )
        })?;
    let input = lines
        .iter()
        .position(|line| live(line) && line.sends && pick(line, able).is_some());
    let sending = &lines[output];
    let extension = |uri: &str| {
        let found = sending
            .extensions
            .iter()
            .find(|(_, known)| known.contains(uri));
        found.map(|(id, _)| *id)
    };
    let transport_cc = extension("transport-wide-cc-extensions");
    let remb = [format!("{payload} goog-remb"), "* goog-remb".to_owned()];
    Ok(Plan {
        input,
        output,
        codec,
        payload,
        transport_cc,
        send_time: extension("abs-send-time"),
        color_space: extension("rtp-hdrext/color-space"),
        // A receiver is to use one of the two, and the transport-wide one tells more.
        remb: transport_cc.is_none()
            && sending
                .feedback
                .iter()
                .any(|line| remb.iter().any(|known| line == known)),
        keeps_timestamps: sdp.contains("a=setup:active"),
        mids: lines
            .iter()
            .map(|line| line.mid.unwrap_or_default().to_owned())
            .collect(),
        bundled: secured("a=group:BUNDLE"),
    })
}

/// The first payload type, in the offer's order, of a codec we can speak.
fn pick(line: &Line<'_>, able: &[Codec]) -> Option<(Codec, u8)> {
    line.payloads.iter().find_map(|payload| {
        let name = line.rtpmap.get(payload)?;
        let codec = *able.iter().find(|codec| {
            name.split_once('/').is_some_and(|(name, clock)| {
                name.eq_ignore_ascii_case(codec.encoding_name()) && clock == "90000"
            })
        })?;
        let fmtp = line.fmtp.get(payload).copied().unwrap_or_default();
        match codec {
            Codec::Vp8 => Some((codec, *payload)),
            // Mode 0 forbids the fragments that every picture of ours needs; of the profiles, the baselines (42…)
            // are what the encoders make.
            Codec::H264 => {
                let profile = fmtp
                    .split(';')
                    .find_map(|part| part.trim().strip_prefix("profile-level-id="));
                (fmtp.contains("packetization-mode=1")
                    && profile.is_none_or(|id| id.starts_with("42")))
                .then_some((codec, *payload))
            }
        }
    })
}

/// The session's own lines, and the m-lines.
fn split(sdp: &str) -> Result<(Vec<&str>, Vec<Line<'_>>), String> {
    if sdp.len() > LONGEST {
        return Err(format!(
            "it is {} bytes long; {LONGEST} are allowed",
            sdp.len()
        ));
    }
    let mut text = sdp
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty());
    if text.next() != Some("v=0") {
        return Err("it is not SDP: the first line must be `v=0`".into());
    }
    let mut session = Vec::new();
    let mut lines: Vec<Line<'_>> = Vec::new();
    for line in text {
        let known = line.is_char_boundary(2)
            && line.as_bytes()[0].is_ascii_lowercase()
            && line.as_bytes().get(1) == Some(&b'=');
        if !known || line.chars().any(char::is_control) {
            let shown: String = line.chars().filter(|c| !c.is_control()).take(40).collect();
            return Err(format!("it is not SDP: `{shown}`"));
        }
        match (line.strip_prefix("m="), lines.last_mut()) {
            (Some(media), _) => lines.push(media_line(media)?),
            (None, Some(current)) => attribute(current, line)?,
            (None, None) => session.push(line),
        }
        if lines.len() > MOST_LINES {
            return Err(format!("it has more than {MOST_LINES} m-lines"));
        }
    }
    if lines.is_empty() {
        return Err("it has no m-line at all".into());
    }
    Ok((session, lines))
}

fn media_line(text: &str) -> Result<Line<'_>, String> {
    let mut words = text.split_ascii_whitespace();
    let (Some(media), Some(port), Some(_)) = (words.next(), words.next(), words.next()) else {
        return Err(format!("it is not SDP: `m={text}`"));
    };
    if port.parse::<u16>().is_err() {
        return Err(format!("it is not SDP: `m={text}` names no port"));
    }
    let payloads = if media == "application" {
        Vec::new()
    } else {
        words
            .map(str::parse::<u8>)
            .collect::<Result<_, _>>()
            .map_err(|_| format!("`m={text}` has a payload type that is no number"))?
    };
    // Without a direction attribute a line is sendrecv (RFC 8866, 6.7).
    Ok(Line {
        media,
        port,
        payloads,
        sends: true,
        receives: true,
        ..Line::default()
    })
}

fn attribute<'a>(line: &mut Line<'a>, text: &'a str) -> Result<(), String> {
    let numbered = |rest: &'a str| -> Result<(u8, &'a str), String> {
        let (id, value) = rest
            .split_once(' ')
            .ok_or_else(|| format!("`{text}` is incomplete"))?;
        let id = id.split('/').next().unwrap_or(id);
        Ok((
            id.parse().map_err(|_| format!("`{text}` has no number"))?,
            value.trim(),
        ))
    };
    match text {
        "a=sendrecv" => (line.sends, line.receives) = (true, true),
        "a=sendonly" => (line.sends, line.receives) = (true, false),
        "a=recvonly" => (line.sends, line.receives) = (false, true),
        "a=inactive" => (line.sends, line.receives) = (false, false),
        "a=bundle-only" => line.bundle_only = true,
        _ => {}
    }
    if let Some(rest) = text.strip_prefix("a=rtpmap:") {
        line.rtpmap.extend([numbered(rest)?]);
    } else if let Some(rest) = text.strip_prefix("a=fmtp:") {
        // SCTP's old form (`a=fmtp:webrtc-datachannel …`) is no payload type.
        line.fmtp.extend(numbered(rest).ok());
    } else if let Some(rest) = text.strip_prefix("a=extmap:") {
        line.extensions.push(numbered(rest)?);
    } else if let Some(rest) = text.strip_prefix("a=rtcp-fb:") {
        line.feedback.push(rest.trim());
    } else if let Some(rest) = text.strip_prefix("a=mid:") {
        line.mid = Some(rest);
    }
    if let Some(rest) = text
        .strip_prefix("a=ssrc:")
        .or(text.strip_prefix("a=ssrc-group:FID "))
    {
        // Zero is no source, and webrtcbin asserts so; a whole group is checked, of a description only the number.
        let group = text.starts_with("a=ssrc-group:");
        let mut numbers = rest.split(' ').take(if group { usize::MAX } else { 1 });
        if !numbers.all(|number| number.parse::<u32>().is_ok_and(|ssrc| ssrc != 0)) {
            return Err(format!("`{text}` names no source"));
        }
    }
    line.credentials |= text.starts_with("a=ice-ufrag:");
    line.fingerprint |= text.starts_with("a=fingerprint:");
    Ok(())
}

#[cfg(test)]
#[path = "offer_tests.rs"]
mod tests;

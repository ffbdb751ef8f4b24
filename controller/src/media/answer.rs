//! The answer as the browser gets it: webrtcbin's text, completed.
//!
//! Pure. Three things are put right. Candidates and `a=end-of-candidates` stand in every transport's section,
//! because the client has no channel on which later ones could reach it. Lines we do nothing with are `inactive`.
//! Feedback kinds that webrtcbin handles but does not write (`ccm fir`, `goog-remb`) are confirmed.

use super::offer::Plan;

/// What a client may send at once on the data channel, bytes: the least that every implementation takes.
const LARGEST_MESSAGE: usize = 65_536;

/// Completes `sdp`, our description; `candidates` are ours as (m-line, `candidate:…`).
pub fn complete(sdp: &str, plan: &Plan, candidates: &[(u32, String)]) -> String {
    let mut sections: Vec<Vec<String>> = vec![Vec::new()];
    for line in sdp.lines().filter(|line| !line.is_empty()) {
        if line.starts_with("m=") {
            sections.push(Vec::new());
        }
        if let Some(section) = sections.last_mut() {
            section.push(line.to_owned());
        }
    }
    for (index, section) in sections.iter_mut().skip(1).enumerate() {
        let rejected = section[0].split(' ').nth(1) == Some("0")
            && !section.iter().any(|line| line == "a=bundle-only");
        let media = section[0].starts_with("m=video") || section[0].starts_with("m=audio");
        if media && index != plan.output && plan.input != Some(index) {
            silence(section);
        }
        if index == plan.output {
            confirm_feedback(section, plan);
        }
        if section[0].starts_with("m=application") && !rejected {
            section.retain(|line| !line.starts_with("a=max-message-size:"));
            section.push(format!("a=max-message-size:{LARGEST_MESSAGE}"));
        }
        if !rejected {
            add_candidates(section, index, plan, candidates);
        }
    }
    let mut text = sections.concat().join("\r\n");
    text.push_str("\r\n");
    text
}

/// Says that nothing flows on this line in either direction.
fn silence(section: &mut Vec<String>) {
    const DIRECTIONS: [&str; 4] = ["a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"];
    section.retain(|line| {
        !DIRECTIONS.contains(&line.as_str())
            && !line.starts_with("a=ssrc")
            && !line.starts_with("a=msid:")
    });
    section.push("a=inactive".into());
}

/// The session's RTP session acts on FIR and REMB whether or not webrtcbin's answer mentions them.
fn confirm_feedback(section: &mut Vec<String>, plan: &Plan) {
    let mut wanted = vec![format!("a=rtcp-fb:{} ccm fir", plan.payload)];
    if plan.remb {
        wanted.push(format!("a=rtcp-fb:{} goog-remb", plan.payload));
    }
    wanted.retain(|line| !section.contains(line));
    section.extend(wanted);
}

fn add_candidates(
    section: &mut Vec<String>,
    index: usize,
    plan: &Plan,
    candidates: &[(u32, String)],
) {
    let here = |line: u32| plan.bundled || usize::try_from(line) == Ok(index);
    for (_, candidate) in candidates.iter().filter(|(line, _)| here(*line)) {
        let line = format!("a={candidate}");
        if !section.contains(&line) {
            section.push(line);
        }
    }
    // `a=` is how newer webrtcbins write the end of the candidates into their description.
    section.retain(|line| line != "a=end-of-candidates" && line != "a=");
    section.push("a=end-of-candidates".into());
}

#[cfg(test)]
mod tests {
    use webrtc_live::Codec;

    use super::*;

    fn plan() -> Plan {
        Plan {
            input: Some(0),
            output: 0,
            codec: Codec::Vp8,
            payload: 96,
            transport_cc: None,
            send_time: None,
            color_space: None,
            keeps_timestamps: false,
            remb: true,
            mids: vec!["0".into(), "1".into(), "2".into()],
            bundled: true,
        }
    }

    const OURS: &str = "v=0\r\ns=-\r\nm=video 9 X 96\r\na=mid:0\r\na=sendrecv\r\na=rtcp-fb:96 nack\r\n\
        m=audio 9 X 111\r\na=mid:1\r\na=recvonly\r\nm=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\n";

    fn lines_of(text: &str, media: &str) -> Vec<String> {
        let section = text
            .split("m=")
            .find(|section| section.starts_with(media))
            .unwrap();
        section.lines().skip(1).map(str::to_owned).collect()
    }

    #[test]
    fn every_live_section_ends_with_the_candidates_and_their_end() {
        let candidate = "candidate:1 1 UDP 1 127.0.0.1 5000 typ host";
        let written = format!("a={candidate}\r\na=\r\na=end-of-candidates\r\nm=audio");
        let text = OURS.replace("m=audio", &written);

        let answer = complete(&text, &plan(), &[(0, candidate.into())]);

        for media in ["video", "audio"] {
            let lines = lines_of(&answer, media);
            assert_eq!(
                lines
                    .iter()
                    .filter(|line| line.ends_with(candidate))
                    .count(),
                1
            );
            assert_eq!(lines.last().unwrap(), "a=end-of-candidates");
            assert!(!lines.contains(&"a=".into()));
        }
        assert!(
            !lines_of(&answer, "application")
                .iter()
                .any(|line| line.contains("candidate"))
        );
    }

    #[test]
    fn unused_media_lines_are_inactive() {
        let answer = complete(OURS, &plan(), &[]);

        assert!(lines_of(&answer, "audio").contains(&"a=inactive".into()));
        assert!(!answer.contains("a=recvonly"));
        assert!(lines_of(&answer, "video").contains(&"a=sendrecv".into()));
    }

    #[test]
    fn feedback_we_act_on_is_confirmed_once() {
        let answer = complete(OURS, &plan(), &[]);

        for wanted in [
            "a=rtcp-fb:96 nack",
            "a=rtcp-fb:96 ccm fir",
            "a=rtcp-fb:96 goog-remb",
        ] {
            assert_eq!(
                answer.matches(&format!("{wanted}\r\n")).count(),
                1,
                "{wanted}"
            );
        }
    }

    #[test]
    fn unbundled_candidates_stay_on_their_line() {
        let apart = Plan {
            bundled: false,
            ..plan()
        };

        let answer = complete(OURS, &apart, &[(1, "candidate:7".into())]);

        assert!(!lines_of(&answer, "video").contains(&"a=candidate:7".into()));
        assert!(lines_of(&answer, "audio").contains(&"a=candidate:7".into()));
    }
}

//! One trickled candidate line: is it one, and is it of use to us?
//!
//! Pure. A candidate we cannot use is never an error: the pair that works is usually found by the peer's own
//! checks reaching ours (peer-reflexive), so only a line that is no candidate at all is refused.

/// Longest line worth reading, bytes.
const LONGEST: usize = 1024;

/// What to do with a candidate line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Hand it on, as `candidate:…`.
    Use(&'a str),
    /// No more will come.
    End,
    /// Harmless but of no use; the reason, for the log.
    Ignore(&'static str),
}

/// Reads what a client sent as `candidate`.
///
/// # Errors
///
/// What is wrong with the line, when it is none.
pub fn read(line: Option<&str>) -> Result<Verdict<'_>, String> {
    let Some(line) = line.map(str::trim).filter(|line| !line.is_empty()) else {
        return Ok(Verdict::End);
    };
    let text = line.strip_prefix("a=").unwrap_or(line);
    if text == "end-of-candidates" {
        return Ok(Verdict::End);
    }
    let refuse = |reason: &str| {
        let shown: String = line.chars().filter(|c| !c.is_control()).take(80).collect();
        Err(format!("`{shown}` {reason}"))
    };
    if text.len() > LONGEST || text.chars().any(char::is_control) {
        return refuse("is not one line of text");
    }
    let Some(rest) = text.strip_prefix("candidate:") else {
        return refuse("does not begin with `candidate:`");
    };
    let words: Vec<&str> = rest.split(' ').collect();
    let [
        _,
        component,
        transport,
        priority,
        address,
        port,
        typ,
        kind,
        ..,
    ] = words[..]
    else {
        return refuse("has too few fields");
    };
    if component.parse::<u16>().is_err()
        || priority.parse::<u32>().is_err()
        || port.parse::<u16>().is_err()
    {
        return refuse("has a field that is no number");
    }
    if typ != "typ" || !matches!(kind, "host" | "srflx" | "prflx" | "relay") {
        return refuse("has no known `typ`");
    }
    if webrtc_live::ice::is_hidden(text) {
        return Ok(Verdict::Ignore("an mDNS name cannot be resolved here"));
    }
    if !transport.eq_ignore_ascii_case("udp") {
        return Ok(Verdict::Ignore("only UDP is used"));
    }
    if address.parse::<std::net::IpAddr>().is_err() {
        return refuse("has no IP address");
    }
    if component != "1" {
        return Ok(Verdict::Ignore("RTCP shares the RTP component"));
    }
    Ok(Verdict::Use(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str =
        "candidate:842163049 1 udp 1677729535 192.0.2.7 46154 typ host generation 0 ufrag x";

    #[test]
    fn a_host_candidate_is_used() {
        assert_eq!(read(Some(HOST)), Ok(Verdict::Use(HOST)));
        assert_eq!(read(Some(&format!("a={HOST}"))), Ok(Verdict::Use(HOST)));
        let six = HOST.replace("192.0.2.7", "fd00::2");
        assert_eq!(read(Some(&six)), Ok(Verdict::Use(six.as_str())));
    }

    #[test]
    fn nothing_means_the_end() {
        for end in [
            None,
            Some(""),
            Some("  "),
            Some("a=end-of-candidates"),
            Some("end-of-candidates"),
        ] {
            assert_eq!(read(end), Ok(Verdict::End));
        }
    }

    #[test]
    fn what_cannot_be_used_is_ignored() {
        let hidden = HOST.replace("192.0.2.7", "1f4712db-ea17-4bcf-a596-105139dfd8bf.local");
        for line in [
            hidden,
            HOST.replace("udp", "tcp"),
            HOST.replacen(" 1 ", " 2 ", 1),
        ] {
            assert!(
                matches!(read(Some(&line)), Ok(Verdict::Ignore(_))),
                "{line}"
            );
        }
    }

    #[test]
    fn what_is_no_candidate_is_refused() {
        let long = "candidate:".repeat(200);
        let lines = [
            "hello",
            "candidate:",
            "candidate:1 1 udp",
            "candidate:1 1 udp many 192.0.2.7 1 typ host",
            "candidate:1 1 udp 1 192.0.2.7 99999 typ host",
            "candidate:1 1 udp 1 nowhere 1 typ host",
            "candidate:1 1 udp 1 192.0.2.7 1 typ wurst",
            "candidate:1 1 udp 1 192.0.2.7 1 typ host\r\na=x",
            &long,
        ];
        for line in lines {
            assert!(read(Some(line)).is_err(), "{line}");
        }
    }
}

//! The few lines of an offer that decide whether fal's runners can answer it.

/// The offer with the DTLS role `active` in place of `actpass`; every other byte stays.
///
/// aiortc answers `actpass` with `active` and then takes ECDSA certificates alone, while GStreamer before 1.28 makes
/// RSA ones: the handshake fails. As the DTLS client our certificate is not so limited.
pub fn with_active_setup(offer: &str) -> String {
    let mut sdp = String::with_capacity(offer.len());
    for line in offer.split_inclusive('\n') {
        let end = &line[line.trim_end_matches(['\r', '\n']).len()..];
        if line.trim_end() == "a=setup:actpass" {
            sdp.push_str("a=setup:active");
            sdp.push_str(end);
        } else {
            sdp.push_str(line);
        }
    }
    sdp
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_role_changes() {
        let offer = "v=0\r\nm=video 9\r\na=setup:actpass\r\na=mid:0\r\nm=application 9\r\na=setup:actpass\r\n";
        let sent = with_active_setup(offer);

        assert_eq!(sent, offer.replace("actpass", "active"));
        assert_eq!(with_active_setup(&sent), sent);
        let other = "a=setup:passive\na=x-setup:actpass\na=setup:actpass-ish";
        assert_eq!(with_active_setup(other), other);
    }

    proptest! {
        #[test]
        fn every_other_line_is_byte_identical(
            lines in proptest::collection::vec("(a=setup:actpass|a=mid:0|[ -~]{0,20})(\r\n|\n)", 0..12)
        ) {
            let offer = lines.concat();
            let sent = with_active_setup(&offer);
            let changed = offer.split('\n').zip(sent.split('\n')).filter(|(a, b)| a != b);
            for (before, after) in changed {
                prop_assert_eq!(before.trim_end(), "a=setup:actpass");
                prop_assert_eq!(after.trim_end(), "a=setup:active");
            }
            prop_assert_eq!(offer.split('\n').count(), sent.split('\n').count());
        }
    }
}

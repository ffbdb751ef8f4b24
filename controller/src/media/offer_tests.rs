use super::*;

const BOTH: [Codec; 2] = [Codec::Vp8, Codec::H264];
const HEAD: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1 2\r\n";
const ICE: &str =
    "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdef01234567\r\na=fingerprint:sha-256 AA:BB\r\n";

fn video(mid: &str, direction: &str) -> String {
    format!(
        "m=video 9 UDP/TLS/RTP/SAVPF 96 97 103\r\nc=IN IP4 0.0.0.0\r\n{ICE}a=setup:actpass\r\na=mid:{mid}\r\n\
         a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\na={direction}\r\n\
         a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 goog-remb\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
         a=rtpmap:103 H264/90000\r\na=fmtp:103 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r\n"
    )
}

fn offer(lines: &[String]) -> String {
    format!("{HEAD}{}", lines.concat())
}

fn audio() -> String {
    format!(
        "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n{ICE}a=mid:1\r\na=recvonly\r\na=rtpmap:111 opus/48000/2\r\n"
    )
}

#[test]
fn one_sendrecv_line_is_both_input_and_output() {
    let plan = read(&offer(&[video("0", "sendrecv"), audio()]), &BOTH).unwrap();

    assert_eq!((plan.input, plan.output), (Some(0), 0));
    assert_eq!((plan.codec, plan.payload), (Codec::Vp8, 96));
    assert_eq!(
        (plan.transport_cc, plan.send_time, plan.remb),
        (Some(3), None, false)
    );
    assert_eq!(plan.mids, ["0", "1"]);
    assert!(plan.bundled);
}

#[test]
fn two_one_way_lines_serve_as_input_and_output() {
    let plan = read(
        &offer(&[video("0", "sendonly"), video("1", "recvonly")]),
        &BOTH,
    )
    .unwrap();

    assert_eq!((plan.input, plan.output), (Some(0), 1));
}

#[test]
fn a_receiver_alone_has_no_input() {
    let plan = read(&offer(&[video("0", "recvonly")]), &BOTH).unwrap();

    assert_eq!((plan.input, plan.output), (None, 0));
}

#[test]
fn the_offers_order_of_codecs_decides() {
    let swapped = video("0", "sendrecv").replace("96 97 103", "103 96 97");

    let plan = read(&offer(&[swapped]), &BOTH).unwrap();

    assert_eq!((plan.codec, plan.payload), (Codec::H264, 103));
}

#[test]
fn a_codec_without_an_encoder_here_is_passed_over() {
    let plan = read(&offer(&[video("0", "sendrecv")]), &[Codec::H264]).unwrap();

    assert_eq!(plan.codec, Codec::H264);
}

#[test]
fn h264_needs_packetization_mode_1_and_a_baseline_profile() {
    let line = video("0", "sendrecv");
    let modes = [
        line.replace("packetization-mode=1", "packetization-mode=0"),
        line.replace("42001f", "64001f"),
    ];

    for line in modes {
        assert!(
            read(&offer(&[line]), &[Codec::H264])
                .unwrap_err()
                .contains("H264")
        );
    }
}

#[test]
fn refusals_say_what_is_needed() {
    let no_ice = video("0", "sendrecv").replace("a=ice-ufrag:abcd\r\n", "");
    let cases = [
        (String::new(), "v=0"),
        ("noise \u{1}\u{2}".into(), "v=0"),
        ("v=0\r\nhello\r\n".into(), "hello"),
        ("v=0\r\ns=-\r\n".into(), "no m-line"),
        (offer(&[audio()]), "no video line"),
        (offer(&[video("0", "sendonly")]), "sendrecv or recvonly"),
        (
            offer(&[video("0", "sendrecv").replace("m=video 9", "m=video 0")]),
            "no video line",
        ),
        (
            offer(&[video("0", "sendrecv").replace("96 97 103", "96 x")]),
            "no number",
        ),
        (offer(&[no_ice]), "ice-ufrag"),
        (
            offer(&[video("0", "sendrecv").replace("a=fingerprint:sha-256 AA:BB\r\n", "")]),
            "fingerprint",
        ),
        (offer(&vec![video("0", "sendrecv"); 33]), "m-lines"),
    ];

    for (sdp, sentence) in cases {
        let refusal = read(&sdp, &BOTH).unwrap_err();
        assert!(
            refusal.contains(sentence),
            "{refusal:?} should mention {sentence:?}"
        );
    }
}

#[test]
fn candidates_find_their_line_by_name_then_number_then_the_first() {
    let plan = read(&offer(&[video("0", "sendrecv"), audio()]), &BOTH).unwrap();

    assert_eq!(plan.line_of(Some("1"), Some(0)), 1);
    assert_eq!(plan.line_of(None, Some(1)), 1);
    assert_eq!(plan.line_of(Some("video0"), Some(9)), 0);
    assert_eq!(plan.line_of(None, None), 0);
}

#[test]
fn remb_is_taken_where_there_is_nothing_better() {
    let line = video("0", "sendrecv").replace("a=extmap:3 http://www.ietf.org", "a=extmap:3 x");
    let line = line.replace("transport-wide-cc-extensions-01", "abs-send-time");

    let plan = read(&offer(&[line]), &BOTH).unwrap();

    assert_eq!(
        (plan.transport_cc, plan.send_time, plan.remb),
        (None, Some(3), true)
    );
}

#[test]
fn a_bundled_line_without_a_port_is_alive() {
    let line = video("0", "sendrecv").replace("m=video 9", "m=video 0") + "a=bundle-only\r\n";

    assert_eq!(read(&offer(&[line]), &BOTH).unwrap().output, 0);
}

#[test]
fn only_a_program_gets_its_own_timestamps_back() {
    let browser = offer(&[video("0", "sendrecv")]);
    let program = browser.replace("a=setup:actpass", "a=setup:active");

    assert!(!read(&browser, &BOTH).unwrap().keeps_timestamps);
    assert!(read(&program, &BOTH).unwrap().keeps_timestamps);
}

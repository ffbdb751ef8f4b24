//! Video shared between processes, as a user of gst-launch shares it.

use std::time::Instant;

use scope_tests::stage::{GENEROUS, Stage, files};

const BALL: &str = "videotestsrc is-live=true pattern=solid-color foreground-color=0xff204080 ! video/x-raw,format=BGRA,width=64,height=48,framerate=60/1";

#[test]
fn a_picture_goes_from_one_gst_launch_to_another() {
    let stage = Stage::default();
    let out = stage.file("out.bgra");
    let receiver = stage.launch(&format!(
        "spoutsrc sender-name=Ball num-buffers=5 ! filesink location={out}"
    ));
    let sender = stage.launch(&format!("{BALL} ! spoutsink sender-name=Ball"));

    receiver.succeed();

    let bytes = std::fs::read(out).unwrap();
    assert_eq!(bytes.len(), 5 * 64 * 48 * 4);
    assert!(
        bytes
            .chunks_exact(4)
            .all(|pixel| pixel == [0x80, 0x40, 0x20, 0xff])
    );
    drop(sender);
}

#[test]
fn a_name_that_breaks_the_rules_ends_gst_launch_with_a_sentence() {
    let stage = Stage::default();
    for (name, reason) in [
        ("x".repeat(300), "300 bytes"),
        ("a/b".into(), "contains '/'"),
        ("a_mutex".into(), "ends in `_mutex`"),
    ] {
        let sender = stage.launch(&format!("{BALL} ! spoutsink sender-name={name}"));
        let (status, text) = sender.end();
        assert!(!status.success() && text.contains(reason), "{text}");
    }
    assert!(!stage.senders().exists() || files(&stage.senders()) == 0);
}

#[test]
fn without_a_place_to_meet_the_error_says_which_variable_to_set() {
    let stage = Stage::default();
    let mut command = stage.command("gst-launch-1.0");
    command
        .env("SPOUT_RUNTIME_DIR", stage.file("no/such"))
        .args(["-q", "spoutsrc", "!", "fakesink"]);
    let out = command.output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr);

    assert!(!out.status.success());
    assert!(
        text.contains("there is no folder for shared video") && text.contains("XDG_RUNTIME_DIR"),
        "{text}"
    );
}

#[test]
fn a_killed_sender_leaves_nothing_behind_once_somebody_looks() {
    let stage = Stage::default();
    let out = stage.file("out.bgra");
    let sender = stage.launch(&format!("{BALL} ! spoutsink sender-name=Killed"));
    stage
        .launch("spoutsrc sender-name=Killed num-buffers=1 ! fakesink")
        .succeed();
    sender.kill();

    let receiver = stage.launch(&format!(
        "spoutsrc sender-name=Killed num-buffers=1 ! filesink location={out}"
    ));
    let begun = Instant::now();
    while files(&stage.senders()) > 0 {
        assert!(begun.elapsed() < GENEROUS);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }

    let again = stage.launch(&format!("{BALL} ! spoutsink sender-name=Killed"));
    receiver.succeed();
    assert_eq!(std::fs::read(out).unwrap().len(), 64 * 48 * 4);
    drop(again);
}

#[test]
fn a_second_program_of_one_name_is_numbered_and_both_are_seen() {
    let stage = Stage::default();
    let _blue = stage.launch(&format!("{BALL} ! spoutsink sender-name=Twin"));
    stage
        .launch("spoutsrc sender-name=Twin num-buffers=1 ! fakesink")
        .succeed();
    let white = BALL.replace("0xff204080", "0xffffffff");
    let _white = stage.launch(&format!("{white} ! spoutsink sender-name=Twin"));

    for (name, pixel) in [("Twin_1", [255; 4]), ("Twin", [0x80, 0x40, 0x20, 0xff])] {
        let out = stage.file(name);
        stage
            .launch(&format!(
                "spoutsrc sender-name={name} num-buffers=1 ! filesink location={out}"
            ))
            .succeed();
        assert_eq!(std::fs::read(out).unwrap()[..4], pixel, "{name}");
    }
}

#[test]
fn twenty_programs_watch_one() {
    let stage = Stage::default();
    let receivers: Vec<_> = (0..20)
        .map(|_| stage.launch("spoutsrc sender-name=Many num-buffers=20 ! fakesink"))
        .collect();
    let _sender = stage.launch(&format!("{BALL} ! spoutsink sender-name=Many"));

    for receiver in receivers {
        receiver.succeed();
    }
}

#[test]
fn gst_device_monitor_lists_a_sender_and_how_to_receive_from_it() {
    let stage = Stage::default();
    let _sender = stage.launch(&format!("{BALL} ! spoutsink sender-name=Ball"));
    stage
        .launch("spoutsrc sender-name=Ball num-buffers=1 ! fakesink")
        .succeed();

    let (status, text) = stage.run("gst-device-monitor-1.0", "Source/Video").end();

    assert!(status.success(), "{text}");
    for line in [
        "name  : Ball",
        "format=BGRA, width=64, height=48",
        "sender-name = Ball",
        "active = true",
        "gst-launch-1.0 spoutsrc sender-name=Ball ! ...",
    ] {
        assert!(text.contains(line), "`{line}` is not in: {text}");
    }
}

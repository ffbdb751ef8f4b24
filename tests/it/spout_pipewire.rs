//! A sender as a camera of PipeWire's: seen by a program that knows nothing of us, through a server of its own.

use std::time::{Duration, Instant};

use anyhow::Result;
use scope_tests::pipewire::PipeWire;
use scope_tests::stage::{GENEROUS, Stage, files};
use scope_tests::{Controller, Peer};
use serde_json::json;

const BALL: &str = "videotestsrc is-live=true pattern=solid-color foreground-color=0xff204080 ! video/x-raw,format=BGRA,width=64,height=48,framerate=30/1";

/// Five frames of 64×48, received by PipeWire's own element, must be the ball's.
#[track_caller]
fn is_seen(stage: &Stage, name: &str) {
    let out = stage.file("seen.bgra");
    stage
        .launch(&format!(
            "pipewiresrc target-object={name} num-buffers=5 ! video/x-raw,format=BGRA ! filesink location={out}"
        ))
        .succeed();
    let bytes = std::fs::read(out).unwrap();
    assert_eq!(bytes.len(), 5 * 64 * 48 * 4);
    assert!(
        bytes
            .chunks_exact(4)
            .all(|pixel| pixel == [0x80, 0x40, 0x20, 0xff])
    );
}

#[test]
fn a_program_of_pipewire_sees_the_sender_as_a_camera_of_its_name() {
    let stage = Stage::default();
    let pipewire = PipeWire::start(&stage);
    let sender = stage.launch(&format!(
        "{BALL} ! spoutsink sender-name=Ball pipewire=true"
    ));

    assert_eq!(pipewire.node("Ball").class, "Video/Source");
    is_seen(&stage, "Ball");
    is_seen(&stage, "Ball");

    // And by our own, at the same time, under the same name.
    stage
        .launch("spoutsrc sender-name=Ball num-buffers=5 ! fakesink")
        .succeed();
    sender.signal("INT");
    sender.end();
    pipewire.node_goes("Ball");
}

#[test]
fn a_change_of_size_and_format_reaches_a_program_that_watches() {
    let stage = Stage::default();
    let pipewire = PipeWire::start(&stage);
    let five_seconds = BALL.replace("is-live", "num-buffers=150 is-live");
    let sender = stage.launch(&format!(
        "concat name=both ! spoutsink sender-name=Two pipewire=true {five_seconds} ! both. videotestsrc is-live=true ! video/x-raw,format=RGBx,width=32,height=16,framerate=30/1 ! both."
    ));
    pipewire.node("Two");
    let watch = |out: &str| {
        std::fs::create_dir(out).unwrap();
        stage.launch(&format!(
            "pipewiresrc target-object=Two ! video/x-raw ! multifilesink location={out}/%05d"
        ))
    };
    let mut out = stage.file("frames");
    let mut watching = watch(&out);

    let len = |out: &str, number: usize| {
        std::fs::metadata(format!("{out}/{number:05}")).map(|file| file.len())
    };
    let begun = Instant::now();
    loop {
        let last = files(out.as_ref()).saturating_sub(1);
        if last > 0 && len(&out, last - 1).is_ok_and(|len| len == 32 * 16 * 4) {
            break;
        }
        if watching.has_ended() {
            // PipeWire 1's source ends at another format, where that of 0.3 goes on; its program begins anew.
            assert_eq!(len(&out, 0).unwrap(), 64 * 48 * 4);
            out = stage.file("frames-again");
            watching = watch(&out);
        }
        assert!(
            begun.elapsed() < GENEROUS,
            "only frames of the first size came"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let first = len(&stage.file("frames"), 0).unwrap();
    assert_eq!(first, 64 * 48 * 4);
    drop((watching, sender));
}

#[test]
fn without_pipewire_everything_else_works_and_it_is_found_when_it_comes() {
    let stage = Stage::default();
    let sender = stage.run(
        "gst-launch-1.0",
        &format!("{BALL} ! spoutsink sender-name=Early pipewire=true"),
    );
    stage
        .launch("spoutsrc sender-name=Early num-buffers=5 ! fakesink")
        .succeed();

    let pipewire = PipeWire::start(&stage);
    pipewire.node("Early");
    is_seen(&stage, "Early");
    // Killed and started again: the sender comes back by itself.
    drop(pipewire);
    let pipewire = PipeWire::start(&stage);
    pipewire.node("Early");
    is_seen(&stage, "Early");

    sender.signal("INT");
    let (status, text) = sender.end();
    assert!(status.success(), "{text}");
    let warnings = text.matches("PipeWire does not show this picture").count();
    assert_eq!(
        warnings, 2,
        "once before it was there, once when it went: {text}"
    );
    assert!(text.contains("packages pipewire, wireplumber"), "{text}");
}

#[test]
fn a_program_of_pipewire_that_stands_still_holds_nobody_up() {
    let stage = Stage::default();
    let pipewire = PipeWire::start(&stage);
    let _sender = stage.launch(&format!(
        "{BALL} ! spoutsink sender-name=Free pipewire=true"
    ));
    pipewire.node("Free");
    let stopped = stage.launch("pipewiresrc target-object=Free ! video/x-raw ! fakesink");
    is_seen(&stage, "Free");
    stopped.signal("STOP");

    let begun = Instant::now();
    stage
        .launch("spoutsrc sender-name=Free num-buffers=60 ! fakesink")
        .succeed();
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    stopped.signal("CONT");
    stopped.kill();
    is_seen(&stage, "Free");
}

#[test]
fn what_a_session_shares_is_a_camera_too() -> Result<()> {
    let stage = Stage::default();
    let pipewire = PipeWire::start(&stage);
    let (senders, runtime) = (stage.senders(), stage.runtime());
    let controller = Controller::start_with(&[
        ("SPOUT_RUNTIME_DIR", &senders.display().to_string()),
        ("XDG_RUNTIME_DIR", &runtime.display().to_string()),
    ])?;
    controller.load("passthrough", &json!({}))?;
    let mut client = Peer::client(&controller)?;
    client.offer(json!({"mode": "legacy"}))?;
    client.frames(5)?;

    controller.ask(
        "POST",
        "/api/v1/session/parameters",
        Some(&json!({"output_sinks": {"spout": {"enabled": true, "name": "Ours"}}})),
    )?;

    assert_eq!(pipewire.node("Ours").class, "Video/Source");
    stage
        .launch("pipewiresrc target-object=Ours num-buffers=5 ! video/x-raw ! fakesink")
        .succeed();
    Ok(())
}

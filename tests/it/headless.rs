//! A session without a browser: a video file through a model, looked at and recorded over REST alone.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use scope_tests::peer::colour;
use scope_tests::{Controller, film};
use serde_json::{Value, json};

/// Two seconds of a test picture and a tone, as another program would make them.
fn make_clip(file: &Path) -> Result<()> {
    std::fs::create_dir_all(file.parent().unwrap())?;
    let line = "videotestsrc num-buffers=60 ! video/x-raw,width=320,height=240,framerate=30/1 \
                ! openh264enc ! h264parse ! mp4mux name=mux audiotestsrc num-buffers=86 ! avenc_aac ! mux. mux. ! filesink";
    let status = Command::new("gst-launch-1.0")
        .arg("-q")
        .args(line.split_whitespace())
        .arg(format!("location={}", file.display()))
        .status()?;
    ensure!(status.success(), "no clip");
    Ok(())
}

fn graph() -> Value {
    let edge = |from: &str, to: &str| json!({"from": from, "to_node": to, "to_port": "video"});
    json!({
        "nodes": [
            {"id": "clip", "type": "source", "source_mode": "video_file", "source_name": "clip.mp4"},
            {"id": "tiny", "type": "pipeline", "pipeline_id": "scope-tiny"},
            {"id": "out", "type": "sink"},
            {"id": "film", "type": "record"},
        ],
        "edges": [edge("clip", "tiny"), edge("tiny", "out"), edge("tiny", "film")],
    })
}

/// The mean colour of the picture in view, judged outside of us.
fn picture(controller: &Controller) -> Result<[f64; 3]> {
    let reply = controller.call("GET", "/api/v1/session/frame?sink_node_id=out", None)?;
    ensure!(reply.status == 200, "{}", reply.text());
    let file = controller.home().join("frame.jpg");
    std::fs::write(&file, &reply.body)?;
    let seen = film::watch(&file)?;
    colour(&json!({"mean": seen["colours"][0]}), "mean")
}

#[test]
fn a_file_is_redrawn_looked_at_and_recorded_without_a_browser() -> Result<()> {
    let controller = Controller::start()?;
    make_clip(&controller.home().join("assets/clip.mp4"))?;
    let size = controller.ask(
        "GET",
        "/api/v1/input-sources/video_file/sources/clip.mp4/resolution",
        None,
    )?;
    assert_eq!(size, json!({"width": 320, "height": 240}));
    let body = json!({
        "graph": graph(),
        "prompts": [{"text": "blueprint", "weight": 1.0}],
    });

    let reply = controller.ask("POST", "/api/v1/session/start", Some(&body))?;

    assert_eq!(reply["sink_node_ids"], json!(["out"]), "{reply}");
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Ok([red, _, blue]) = picture(&controller)
            && blue > red + 25.0
        {
            break;
        }
        ensure!(Instant::now() < end, "no blue picture came");
        thread::sleep(Duration::from_millis(100));
    }
    let recording = "/api/v1/recordings/headless";
    let unnamed = controller.call("POST", &format!("{recording}/start"), None)?;
    assert_eq!(unnamed.status, 400, "{}", unnamed.text());
    controller.ask("POST", &format!("{recording}/start?node_id=film"), None)?;
    thread::sleep(Duration::from_secs(3));
    let warm = json!({"prompts": [{"text": "sunset", "weight": 1.0}]});
    controller.ask("POST", "/api/v1/session/parameters", Some(&warm))?;
    thread::sleep(Duration::from_secs(2));

    controller.ask("POST", "/api/v1/session/stop", None)?;

    let file = controller.home().join("download.mp4");
    let download = controller.call("GET", &format!("{recording}?node_id=film"), None)?;
    assert_eq!(
        download.status,
        200,
        "the session's end completed it: {}",
        download.text()
    );
    std::fs::write(&file, &download.body)?;
    let film = film::watch(&file)?;
    assert!(
        (film["seconds"].as_f64().unwrap_or_default() - 5.0).abs() < 1.0,
        "{film}"
    );
    let [red, _, blue] = colour(&json!({"mean": film["colours"][0]}), "mean")?;
    assert!(blue > red + 25.0, "it begins as a blueprint: {film}");
    let [red, _, blue] = colour(&json!({"mean": film["colours"][2]}), "mean")?;
    assert!(red > blue + 15.0, "it ends as a sunset: {film}");
    let again = controller.call("POST", "/api/v1/session/stop", None)?;
    assert_eq!(again.status, 404, "{}", again.text());
    Ok(())
}

//! The controller as a fal app: aiortc comes in by WebSocket, and the picture really comes back redrawn.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use scope_tests::peer::colour;
use scope_tests::{Controller, Page, Peer, house, programs};
use serde_json::{Value, json};

/// Looks at pictures until one satisfies.
fn wait_for(client: &mut Peer, what: &str, satisfied: impl Fn([f64; 3]) -> bool) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let seen = client.frames(3)?;
        if satisfied(colour(&seen, "mean")?) {
            return Ok(());
        }
        ensure!(Instant::now() < end, "{what} did not appear: {seen}");
    }
}

/// The client paints red and green; a blueprint is blue all over.
fn blue([red, _, blue]: [f64; 3]) -> bool {
    blue > red + 25.0
}

fn warm([red, _, blue]: [f64; 3]) -> bool {
    red > blue + 15.0
}

#[test]
fn webrtc_redraws_with_nothing_loaded_and_follows_the_prompt() -> Result<()> {
    let controller = Controller::start()?;
    let mut client = Peer::socket_client(&controller, "/webrtc")?;

    assert_eq!(client.ask("connect", json!({}))?, json!({"type": "ready"}));
    let answer = client.ask("offer", json!({"mode": "legacy", "prompts": ["blueprint"]}))?;

    assert_eq!(answer["status"], 200, "{answer}");
    wait_for(&mut client, "a blue picture", blue)?;
    let prompts = json!({"prompts": [{"text": "sunset", "weight": 1.0}]});
    client.ask("send", json!({"data": prompts}))?;
    wait_for(&mut client, "a warm picture", warm)?;

    assert_eq!(controller.sessions()?.len(), 1);
    client.ask("hang_up", json!({}))?;
    controller.wait_for_sessions(0, Duration::from_secs(5))
}

#[test]
fn ws_carries_the_load_the_offer_and_the_figures_on_one_socket() -> Result<()> {
    let controller = Controller::start()?;
    let mut client = Peer::socket_client(&controller, "/ws")?;
    let call = |client: &mut Peer, method: &str, path: &str, body: Value| {
        let message = json!({"type": "api", "request_id": path, "method": method, "path": path, "body": body});
        client.ask("ask", json!({"message": message}))
    };

    let ready = client.ask("connect", json!({}))?;
    assert!(ready["connection_id"].is_string(), "{ready}");
    let load = json!({"pipeline_ids": ["passthrough"]});
    let reply = call(&mut client, "POST", "/api/v1/pipeline/load", load)?;
    assert_eq!(reply["status"], 200, "{reply}");
    client.offer(json!({"mode": "legacy"}))?;
    client.frames(30)?;
    let metrics = call(&mut client, "GET", "/api/v1/session/metrics", Value::Null)?;
    let sessions = metrics["data"]["sessions"].as_object();
    assert_eq!(
        sessions.map(|sessions| sessions.len()),
        Some(1),
        "{metrics}"
    );

    client.ask("hang_up", json!({}))?;
    controller.wait_for_sessions(0, Duration::from_secs(5))
}

#[test]
fn a_client_that_dies_leaves_no_session_behind() -> Result<()> {
    let controller = Controller::start()?;
    let mut client = Peer::socket_client(&controller, "/webrtc")?;
    client.ask("connect", json!({}))?;
    client.ask(
        "offer",
        json!({"mode": "legacy", "pipeline": "passthrough"}),
    )?;
    client.frames(5)?;

    client.kill()?;

    controller.wait_for_sessions(0, Duration::from_secs(5))
}

#[test]
fn an_element_in_another_program_gets_its_pictures_redrawn() -> Result<()> {
    let controller = Controller::start()?;
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out.rgb");
    let line = format!(
        "videotestsrc is-live=true num-buffers=240 ! video/x-raw,width=256,height=256,framerate=30/1 \
         ! videoconvert ! falwebrtcbin app-id=my/own run-url=ws://{} auth=none stun-server=\"\" \
         parameters={{\"prompts\":[{{\"text\":\"blueprint\",\"weight\":1.0}}]}} \
         ! videoconvert ! video/x-raw,format=RGB,width=256,height=256 ! filesink location={}",
        controller.address,
        out.display()
    );

    let launched = Command::new("gst-launch-1.0")
        .arg("-q")
        .args(line.split_whitespace())
        .env("GST_PLUGIN_PATH", house::artefacts())
        .output()?;

    let said = String::from_utf8_lossy(&launched.stderr);
    ensure!(launched.status.success(), "{said}");
    let bytes = std::fs::read(&out)?;
    // The last picture; the first ones are the element's own, while it connects.
    let last = bytes.rchunks_exact(256 * 256 * 3).next();
    let last = last.context("no picture came out")?;
    let channel = |at: usize| {
        let sum: u64 = last
            .iter()
            .skip(at)
            .step_by(3)
            .map(|byte| u64::from(*byte))
            .sum();
        sum as f64 / f64::from(256 * 256)
    };
    let mean = [channel(0), channel(1), channel(2)];
    assert!(blue(mean), "{mean:?}; it said: {said}");
    controller.wait_for_sessions(0, Duration::from_secs(5))
}

#[test]
fn a_server_that_ends_says_so() -> Result<()> {
    let mut controller = Controller::start()?;
    let mut client = Peer::socket_client(&controller, "/ws")?;
    client.ask("connect", json!({}))?;

    let (status, _) = controller.terminate(Duration::from_secs(2))?;

    assert!(status.success(), "{status}");
    // A peer takes an `error` in what it is told for its own.
    let last = client.ask("next", json!({})).unwrap_err().to_string();
    assert_eq!(last, "the server stops");
    Ok(())
}

#[test]
fn the_deployment_is_python_and_its_image_takes_what_the_repository_has() -> Result<()> {
    let controller = house::root().join("controller");
    let script = "import sys; compile(open(sys.argv[1]).read(), sys.argv[1], 'exec')";
    let compiled = Command::new(programs::python()?)
        .args(["-c", script])
        .arg(controller.join("fal_app.py"))
        .output()?;
    ensure!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stderr)
    );

    let dockerfile = std::fs::read_to_string(controller.join("Dockerfile"))?;
    let copied = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|line| !line.starts_with("--from"));
    for line in copied {
        let mut words: Vec<_> = line.split_whitespace().collect();
        words.pop();
        for source in words {
            assert!(house::root().join(source).exists(), "{source} in `{line}`");
        }
    }
    Ok(())
}

#[test]
fn the_page_lives_on_one_socket() -> Result<()> {
    let controller = Controller::start()?;
    let presets = "transport=socket&source=camera&model=scope-tiny&prompt=blueprint&size=256";
    let mut page = Page::live(&controller, presets)?;

    page.shows("a blue picture", blue)?;
    let traffic = page.ask("traffic", json!({}))?;
    assert_eq!(traffic["sockets"], json!(["/ws"]));
    let calls = traffic["calls"].as_array().into_iter().flatten();
    let api: Vec<_> = calls
        .filter(|call| call.to_string().contains("/api/"))
        .collect();
    assert!(api.is_empty(), "beside the socket: {api:?}");
    page.is_sound()?;

    page.ask("close", json!({}))?;
    controller.wait_for_sessions(0, Duration::from_secs(5))
}

#[test]
fn the_page_on_a_socket_asks_for_the_token_and_explains_refusals() -> Result<()> {
    let environment = [("SCOPE_TOKEN", "a canary token"), ("SCOPE_LOG", "trace")];
    let controller = Controller::start_with(&environment)?;
    let mut browser = Peer::browser()?;
    let page = |rest: &str| format!("http://{}/?transport=socket{rest}", controller.address);

    browser.ask("open", json!({"url": page("")}))?;
    let refused = browser.ask("reaches", json!({"state": "live", "timeout": 20}));
    let sentence = refused.unwrap_err().to_string();
    assert!(sentence.contains("access token"), "{sentence}");

    let url = page("&autostart=1&source=test&model=passthrough&size=256#token=a%20canary%20token");
    browser.ask("open", json!({"url": url, "tab": "two"}))?;
    browser.ask(
        "reaches",
        json!({"state": "live", "tab": "two", "timeout": 60}),
    )?;
    for spelling in ["canary", "YSBjYW5hcnkgdG9rZW4"] {
        assert!(
            !controller.said().contains(spelling),
            "{spelling} in the log"
        );
    }
    Ok(())
}

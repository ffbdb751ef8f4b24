//! The controller and an app in the cloud: sessions change over and back while their clients look on.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use scope_tests::fal::FalApp;
use scope_tests::peer::colour;
use scope_tests::{Controller, Peer, Turn};
use serde_json::{Value, json};

const KEY: &str = "key-id:canary-secret";
/// What the client paints, left and right, and the same inverted.
const SENT: [[f64; 3]; 2] = [[200.0, 60.0, 40.0], [40.0, 160.0, 60.0]];
const INVERTED: [[f64; 3]; 2] = [[55.0, 195.0, 215.0], [215.0, 95.0, 195.0]];
const LONG: Duration = Duration::from_secs(30);

fn pointed_at(app: &FalApp) -> Result<Controller> {
    let address = &app.address;
    let config = format!(
        "[cloud]\napp_id = \"owner/app\"\nrun_url = \"ws://{address}\"\nrest_url = \"http://{address}\"\npath = \"webrtc\"\n"
    );
    Controller::start_configured(&config, &[])
}

fn connect(controller: &Controller) -> Result<Value> {
    controller.ask(
        "POST",
        "/api/v1/fal/connect",
        Some(&json!({"api_key": KEY})),
    )
}

/// Waits until the status is as wanted.
fn status(controller: &Controller, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let end = Instant::now() + LONG;
    loop {
        let status = controller.ask("GET", "/api/v1/fal/status", None)?;
        if wanted(&status) {
            return Ok(status);
        }
        ensure!(
            Instant::now() < end,
            "{what}: not within {LONG:?}: {status}"
        );
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_session_goes_to_the_cloud_and_comes_back_while_it_runs() -> Result<()> {
    let app = FalApp::start(Some(KEY))?;
    let controller = pointed_at(&app)?;
    controller.load("passthrough", &json!({}))?;
    let mut client = Peer::client(&controller)?;
    client.offer(json!({"mode": "legacy"}))?;
    client.sees("its own picture", SENT)?;

    connect(&controller)?;
    client.sees("the cloud's picture", INVERTED)?;

    let metrics = controller.ask("GET", "/api/v1/session/metrics", None)?;
    let session = metrics["sessions"]
        .as_object()
        .and_then(|all| all.values().next());
    let session = session.cloned().unwrap_or_default();
    assert_eq!(
        (&session["relay_mode"], &session["cloud"]["shown"]),
        (&json!(true), &json!(true))
    );
    assert!(session["frames_from_cloud"].as_u64() > Some(0), "{session}");

    controller.ask("POST", "/api/v1/fal/disconnect", Some(&json!({})))?;
    client.sees("its own picture again", SENT)?;
    app.wait("the app is left alone", LONG, |report| {
        report["open"] == json!(0)
    })?;
    assert_eq!(
        controller.sessions()?.len(),
        1,
        "the client's session never ended"
    );
    Ok(())
}

#[test]
fn a_lost_cloud_shows_the_local_picture_and_takes_over_again() -> Result<()> {
    let app = FalApp::start(Some(KEY))?;
    let controller = pointed_at(&app)?;
    controller.load("passthrough", &json!({}))?;
    connect(&controller)?;
    status(
        &controller,
        "a warm connection before any client",
        |status| status["connected"] == json!(true),
    )?;
    let mut client = Peer::client(&controller)?;
    client.offer(json!({"mode": "legacy"}))?;
    client.sees("the cloud's picture", INVERTED)?;

    app.faults(&json!({"rest": {"upgrade_status": 503}}))?;
    app.act("replace", json!({}))?;
    client.sees("the local picture", SENT)?;
    let lost = status(&controller, "a connection on its way back", |status| {
        status["connecting"] == json!(true)
    })?;
    assert_eq!(lost["connected"], json!(false), "{lost}");

    app.faults(&json!({"rest": {}}))?;
    client.sees("the cloud's picture again", INVERTED)?;
    Ok(())
}

#[test]
fn parameters_reach_the_cloud_and_those_said_before_do_too() -> Result<()> {
    let app = FalApp::start(Some(KEY))?;
    let controller = pointed_at(&app)?;
    controller.load("passthrough", &json!({}))?;
    let mut client = Peer::client(&controller)?;
    client.offer(json!({"mode": "legacy", "parameters": {"apps_own": "before"}}))?;
    client.frames(5)?;

    connect(&controller)?;
    client.sees("the cloud's picture", INVERTED)?;
    client.ask(
        "send",
        json!({"data": {"prompts": [{"text": "after", "weight": 1.0}], "spout_sender": {"enabled": false}}}),
    )?;

    let report = app.wait("both arrive", LONG, |report| {
        let told = report.to_string();
        told.contains("before") && told.contains("after")
    })?;
    assert!(
        !report.to_string().contains("spout"),
        "Spout stays here: {report}"
    );
    Ok(())
}

#[test]
fn wrong_credentials_are_told_in_the_far_sides_words_and_the_key_is_not() -> Result<()> {
    let app = FalApp::start(Some("another:key"))?;
    let controller = pointed_at(&app)?;

    let body = json!({"api_key": KEY});
    let reply = controller.call("POST", "/api/v1/fal/connect", Some(&body))?;

    assert_eq!(reply.status, 502);
    let said = reply.json()?["detail"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(said.contains("Token request failed: 401"), "{said}");
    let after = controller.ask("GET", "/api/v1/fal/status", None)?;
    assert_eq!(after["connected"], json!(false));
    for text in [said, after.to_string(), controller.said()] {
        assert!(!text.contains("canary"), "{text}");
    }
    Ok(())
}

#[test]
fn one_controller_is_the_cloud_of_another() -> Result<()> {
    let far = Controller::start()?;
    far.load("scope-tiny", &json!({"width": 256, "height": 256}))?;
    let config = format!(
        "[cloud]\nrun_url = \"ws://{}\"\nauth = \"none\"\npath = \"webrtc\"\n",
        far.address
    );
    let near = Controller::start_configured(&config, &[])?;
    near.load("passthrough", &json!({}))?;
    let mut client = Peer::client(&near)?;
    client.offer(json!({"mode": "legacy", "prompts": ["blueprint"]}))?;
    client.sees("its own picture", SENT)?;

    near.ask(
        "POST",
        "/api/v1/fal/connect",
        Some(&json!({"app_id": "local/scope"})),
    )?;

    let end = Instant::now() + LONG;
    let wanted = |client: &mut Peer, what: &str, is: fn([f64; 3]) -> bool| -> Result<()> {
        loop {
            let seen = client.frames(1)?;
            if is(colour(&seen, "mean")?) {
                return Ok(());
            }
            ensure!(Instant::now() < end, "{what} was not seen: {seen}");
        }
    };
    wanted(&mut client, "a blueprint", |[red, _, blue]| {
        blue > red + 25.0
    })?;
    // Only a picture that comes back with the timestamp it went with can be timed.
    status(&near, "a measured round trip", |status| {
        status["round_trip_ms"].as_f64() > Some(0.0)
    })?;
    client.ask(
        "send",
        json!({"data": {"prompts": [{"text": "sunset", "weight": 1.0}]}}),
    )?;
    wanted(&mut client, "a sunset", |[red, _, blue]| red > blue + 15.0)
}

#[test]
fn a_text_session_goes_to_the_cloud_too() -> Result<()> {
    let app = FalApp::start(Some(KEY))?;
    let controller = pointed_at(&app)?;
    controller.load("passthrough", &json!({}))?;
    let mut client = Peer::client(&controller)?;
    client.offer(json!({"mode": "text"}))?;
    let dark = client.frames(5)?;
    assert!(
        colour(&dark, "mean")?.iter().all(|channel| *channel < 30.0),
        "nothing is made of nothing here: {dark}"
    );

    connect(&controller)?;

    client.sees("the inverse of black", [[255.0; 3]; 2])
}

#[test]
fn the_key_is_told_to_nobody() -> Result<()> {
    let app = FalApp::start(Some(KEY))?;
    let address = &app.address;
    let folder = tempfile::tempdir()?;
    let config = format!(
        "[cloud]\napp_id = \"owner/app\"\nrun_url = \"ws://{address}\"\nrest_url = \"http://{address}\"\npath = \"webrtc\"\n"
    );
    let dumps = folder.path().display().to_string();
    let controller = Controller::start_configured(
        &config,
        &[
            ("FAL_KEY", KEY),
            ("SCOPE_LOG", "trace"),
            ("GST_DEBUG", "6"),
            ("GST_DEBUG_DUMP_DOT_DIR", &dumps),
        ],
    )?;
    controller.load("passthrough", &json!({}))?;
    let mut replies = vec![controller.ask("POST", "/api/v1/cloud/connect", Some(&json!({})))?];
    replies.push(status(&controller, "a connection", |status| {
        status["connected"] == json!(true)
    })?);
    for path in ["session/metrics", "hardware/info", "logs/tail"] {
        replies.push(controller.ask("GET", &format!("/api/v1/{path}"), None)?);
    }

    for reply in replies {
        assert!(!reply.to_string().contains("canary"), "{reply}");
    }
    assert!(
        !controller.said().contains("canary"),
        "the log tells the key"
    );
    assert!(
        controller.said().len() > 10_000,
        "the log was not asked for enough"
    );
    for file in std::fs::read_dir(folder.path())? {
        let dump = std::fs::read_to_string(file?.path())?;
        assert!(
            !dump.contains("canary"),
            "a pipeline's picture tells the key"
        );
    }
    Ok(())
}

/// The TURN servers of the configuration are the cloud connection's too; their passwords are told to nobody but a client
/// that asks for them.
#[test]
fn the_cloud_is_reached_through_a_relay_alone() -> Result<()> {
    let (app, turn) = (FalApp::start(Some(KEY))?, Turn::start()?);
    let address = &app.address;
    let config = format!(
        "ice_transport_policy = \"relay\"\n{}\n[cloud]\napp_id = \"owner/app\"\nrun_url = \"ws://{address}\"\nrest_url = \"http://{address}\"\npath = \"webrtc\"\n",
        turn.config()
    );
    let environment = [("SCOPE_LOG", "trace"), ("GST_DEBUG", "6")];
    let controller = Controller::start_configured(&config, &environment)?;
    connect(&controller)?;

    let status = status(&controller, "a connection", |status| {
        status["connected"] == json!(true)
    })?;

    let report = app.wait("pictures", LONG, |report| {
        report["frames_out"].as_u64() > Some(5)
    })?;
    let told = report["told_candidates"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    assert!(!told.is_empty(), "{report}");
    let relayed = |line: &Value| line.as_str().is_some_and(|line| line.contains("typ relay"));
    assert!(told.iter().all(relayed), "{told:?}");
    turn.has_relayed()?;
    for text in [status.to_string(), controller.said()] {
        assert!(!text.contains("canary"), "{text}");
    }
    Ok(())
}

#[test]
fn a_key_that_is_none_is_refused_with_the_reason() -> Result<()> {
    let app = FalApp::start(Some(KEY))?;
    let controller = pointed_at(&app)?;

    for body in [
        json!({"api_key": "two words"}),
        json!({"api_key": KEY, "app_id": "no app"}),
    ] {
        let reply = controller.call("POST", "/api/v1/fal/connect", Some(&body))?;

        assert_eq!(reply.status, 400, "{}", reply.text());
        let said = reply.json()?["detail"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(
            !said.contains("change its state") && !said.contains("words"),
            "{said}"
        );
    }
    Ok(())
}

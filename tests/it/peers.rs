//! Clients that share no code with us: aiortc makes the offers that Scope's clients make.

use std::time::Duration;

use anyhow::Result;
use scope_tests::peer::{colour, distance};
use scope_tests::{Controller, Peer, Turn};
use serde_json::{Value, json};

/// What the client paints, left and right.
const SENT: [[f64; 3]; 2] = [[200.0, 60.0, 40.0], [40.0, 160.0, 60.0]];

fn assert_own_picture(seen: &Value) -> Result<()> {
    for (side, sent) in ["left", "right"].into_iter().zip(SENT) {
        assert!(distance(colour(seen, side)?, sent) < 20.0, "{seen}");
    }
    Ok(())
}

/// What it shows of a blueprint, `blue`, becomes a sunset at a word.
fn turns_from_blueprint_to_sunset(client: &mut Peer, blue: &Value) -> Result<()> {
    client.ask(
        "send",
        json!({"data": {"prompts": [{"text": "sunset", "weight": 1.0}]}}),
    )?;
    let warm = client.frames(30)?;

    let ([red, _, blueness], [redder, _, bluer]) = (colour(blue, "mean")?, colour(&warm, "mean")?);
    assert!(blueness > red + 25.0, "a blueprint is blue: {blue}");
    assert!(
        redder - bluer > red - blueness + 40.0,
        "a sunset is warmer: {warm}"
    );
    Ok(())
}

fn passing_through() -> Result<Controller> {
    let controller = Controller::start()?;
    controller.load("passthrough", &json!({}))?;
    Ok(controller)
}

#[test]
fn a_legacy_offer_falls_back_to_the_loaded_pipeline() -> Result<()> {
    let controller = passing_through()?;
    let mut client = Peer::client(&controller)?;

    client.offer(json!({"mode": "legacy"}))?;

    let seen = client.frames(30)?;
    assert_own_picture(&seen)?;
    assert!(seen["fps"].as_f64() > Some(20.0), "{seen}");
    Ok(())
}

#[test]
fn a_graph_offer_with_an_audio_line_gets_its_picture_back() -> Result<()> {
    let controller = passing_through()?;
    let mut client = Peer::client(&controller)?;

    let answer = client.ask("offer", json!({"mode": "graph", "pipeline": "passthrough"}))?;

    let sdp = answer["reply"]["sdp"].as_str().unwrap_or_default();
    let audio = sdp
        .split("m=")
        .find(|section| section.starts_with("audio"))
        .unwrap_or_default();
    assert!(audio.contains("a=inactive"), "{answer}");
    assert_own_picture(&client.frames(30)?)
}

#[test]
fn a_text_offer_makes_pictures_from_nothing_and_follows_the_prompt() -> Result<()> {
    let controller = Controller::start()?;
    controller.load("scope-tiny", &json!({"width": 256, "height": 256}))?;
    let mut client = Peer::client(&controller)?;

    client.offer(json!({"mode": "text", "pipeline": "scope-tiny", "prompts": ["blueprint"]}))?;
    let blue = client.frames(15)?;
    turns_from_blueprint_to_sunset(&mut client, &blue)?;
    assert!(
        blue["contrast"].as_f64() > Some(8.0),
        "a picture, not a colour: {blue}"
    );
    Ok(())
}

#[test]
fn a_prompt_redraws_the_clients_picture_live() -> Result<()> {
    let controller = Controller::start()?;
    controller.load("scope-tiny", &json!({"width": 256, "height": 256}))?;
    let mut client = Peer::client(&controller)?;

    client.offer(json!({"mode": "graph", "pipeline": "scope-tiny", "prompts": ["blueprint"]}))?;
    let blue = client.frames(20)?;
    turns_from_blueprint_to_sunset(&mut client, &blue)
}

#[test]
fn a_message_that_is_no_text_ends_neither_the_session_nor_the_program() -> Result<()> {
    let controller = Controller::start()?;
    controller.load("scope-tiny", &json!({"width": 256, "height": 256}))?;
    let mut client = Peer::client(&controller)?;
    client.offer(json!({"mode": "text", "pipeline": "scope-tiny", "prompts": ["blueprint"]}))?;
    client.frames(5)?;

    let prompt = b"{\"prompts\": [{\"text\": \"sunset \xff\xfe\"}]}";
    client.ask("send_raw", json!({"data": prompt.as_slice()}))?;
    client.ask("send_raw", json!({"data": b"\xc3\x28".as_slice()}))?;

    let warm = client.frames(30)?;
    let [red, _, blue] = colour(&warm, "mean")?;
    assert!(red > blue, "what can be read of it is a prompt: {warm}");
    Ok(())
}

#[test]
fn two_sessions_run_at_once_and_a_killed_client_takes_only_its_own_along() -> Result<()> {
    let controller = passing_through()?;
    let (mut first, mut second) = (Peer::client(&controller)?, Peer::client(&controller)?);
    let ids = [
        first.offer(json!({"mode": "graph", "pipeline": "passthrough"}))?,
        second.offer(json!({"mode": "legacy"}))?,
    ];
    assert_own_picture(&first.frames(30)?)?;
    assert_own_picture(&second.frames(30)?)?;
    assert_eq!(controller.sessions()?.len(), 2);

    first.kill()?;

    controller.wait_for_sessions(1, Duration::from_secs(15))?;
    assert_eq!(controller.sessions()?, ids[1..]);
    assert_own_picture(&second.frames(30)?)
}

#[test]
fn deleting_a_session_tells_its_client_first() -> Result<()> {
    let controller = passing_through()?;
    let mut client = Peer::client(&controller)?;
    let id = client.offer(json!({"mode": "legacy"}))?;
    client.frames(5)?;

    let reply = controller.call("DELETE", &format!("/api/v1/webrtc/offer/{id}"), None)?;

    assert_eq!(reply.status, 204);
    client.ask("message", json!({"kind": "stream_stopped"}))?;
    controller.wait_for_sessions(0, Duration::from_secs(2))
}

#[test]
fn a_change_over_rest_is_told_to_the_client() -> Result<()> {
    let controller = passing_through()?;
    let mut client = Peer::client(&controller)?;
    client.offer(json!({"mode": "legacy"}))?;
    client.frames(5)?;

    controller.ask(
        "POST",
        "/api/v1/session/parameters",
        Some(&json!({"noise_scale": 0.25})),
    )?;

    let message = client.ask("message", json!({"kind": "parameters_updated"}))?;
    assert_eq!(message["parameters"], json!({"noise_scale": 0.25}));
    Ok(())
}

#[test]
fn nonsense_on_the_parameter_channel_is_survived() -> Result<()> {
    let controller = passing_through()?;
    let mut client = Peer::client(&controller)?;
    client.offer(json!({"mode": "legacy"}))?;
    client.frames(5)?;

    let deep = "[".repeat(5_000);
    for nonsense in [
        "",
        "{",
        "[1]",
        "null",
        "\u{0}",
        r#"{"prompts": 7}"#,
        r#"{"noise_scale": 1e308}"#,
        &deep,
    ] {
        client.ask("send", json!({"data": nonsense}))?;
    }

    assert_own_picture(&client.frames(30)?)
}

#[test]
fn candidates_are_taken_late_and_refused_politely_after_the_end() -> Result<()> {
    let controller = passing_through()?;
    let mut client = Peer::client(&controller)?;
    let id = client.offer(json!({"mode": "legacy"}))?;
    let path = format!("/api/v1/webrtc/offer/{id}");
    let line = "candidate:1 1 udp 2130706431 127.0.0.1 9 typ host";
    let candidate = json!({"candidates": [{"candidate": line, "sdpMid": "0", "sdpMLineIndex": 0}]});
    let noise = json!({"candidates": [{"candidate": "wurst", "sdpMid": "0", "sdpMLineIndex": 0}]});
    let status = |body: &Value| {
        controller
            .call("PATCH", &path, Some(body))
            .map(|reply| reply.status)
    };

    assert_eq!(status(&candidate)?, 204);
    assert_eq!(
        status(&json!({"candidates": [{"candidate": "", "sdpMid": "0"}]}))?,
        204
    );
    assert!((400..500).contains(&status(&noise)?));
    client.frames(5)?;
    controller.call("DELETE", &path, None)?;

    assert_eq!(status(&candidate)?, 404);
    Ok(())
}

/// A controller with a TURN server, and this line more in its configuration.
fn with_relay(turn: &Turn, line: &str) -> Result<Controller> {
    let controller = Controller::start_configured(&format!("{line}\n{}", turn.config()), &[])?;
    controller.load("passthrough", &json!({}))?;
    Ok(controller)
}

fn candidates(sdp: &Value) -> Vec<&str> {
    let lines = sdp.as_str().unwrap_or_default().lines();
    lines
        .filter(|line| line.starts_with("a=candidate:"))
        .collect()
}

#[test]
fn a_session_runs_through_the_servers_relay_alone() -> Result<()> {
    let turn = Turn::start()?;
    let controller = with_relay(&turn, "ice_transport_policy = \"relay\"")?;
    let mut client = Peer::client(&controller)?;

    let reply = client.ask("offer", json!({"mode": "legacy"}))?;

    let told = candidates(&reply["reply"]["sdp"]);
    assert!(!told.is_empty(), "{reply}");
    assert!(
        told.iter().all(|line| line.contains("typ relay")),
        "{told:?}"
    );
    assert_own_picture(&client.frames(30)?)?;
    turn.has_relayed()?;
    assert!(
        !controller.said().contains("canary"),
        "{}",
        controller.said()
    );
    Ok(())
}

#[test]
fn a_client_behind_a_relay_comes_in_with_the_servers_it_was_handed() -> Result<()> {
    let turn = Turn::start()?;
    let controller = with_relay(&turn, "")?;
    let mut client = Peer::client(&controller)?;
    assert_eq!(client.ask("relay", json!({}))?["servers"], json!(1));

    client.offer(json!({"mode": "legacy"}))?;

    assert_own_picture(&client.frames(30)?)?;
    turn.has_relayed()
}

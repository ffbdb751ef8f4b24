//! Signalling in the yolo dialect.

use serde_json::json;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::Server;

#[tokio::test]
async fn what_the_app_runs_on_is_told_behind_the_answer() {
    let server = Server::start().await;
    let mut client = server.connect("/webrtc").await;
    client.hear("ready").await;
    client.say(&json!({ "type": "offer", "sdp": "v=0" })).await;
    client.hear("answer").await;

    client
        .say(&json!({ "type": "offer", "sdp": "v=0 again" }))
        .await;
    client.hear("answer").await;

    let told = client.hardware.unwrap();
    let machine = server_hardware().await;
    for key in ["gpu", "vram_gb"] {
        assert_eq!(told[key], machine[key], "{told}");
    }
}

/// As REST tells it.
async fn server_hardware() -> serde_json::Value {
    let reply = crate::support::Scope::new()
        .get("/api/v1/hardware/info")
        .await;
    reply.json()
}

#[tokio::test]
async fn ready_offer_answer_is_all_it_takes() {
    let server = Server::start().await;
    let mut client = server.connect("/webrtc").await;

    assert_eq!(client.next().await, json!({ "type": "ready" }));
    let answer = client
        .ask(json!({ "type": "offer", "sdp": "v=0", "initialParameters": { "noise_scale": 0.2 } }))
        .await;

    assert_eq!(answer, json!({ "type": "answer", "sdp": "v=0 answer" }));
    let offers = server.sessions.offers.lock().unwrap();
    assert_eq!(offers[0].wanted.processors[0].pipeline_id, "scope-tiny");
    assert_eq!(
        json!(offers[0].wanted.initial_parameters),
        json!({ "noise_scale": 0.2 })
    );
}

#[tokio::test]
async fn what_is_loaded_is_used() {
    let server = Server::start().await;
    server.scope().await.load("passthrough").await;
    let mut client = server.connect("/webrtc").await;
    client.hear("ready").await;

    client.ask(json!({ "type": "offer", "sdp": "v=0" })).await;

    let offers = server.sessions.offers.lock().unwrap();
    assert_eq!(offers[0].wanted.processors[0].pipeline_id, "passthrough");
}

#[tokio::test]
async fn ready_waits_for_a_model_that_loads_and_an_early_offer_for_ready() {
    let server = Server::start().await;
    server.keepers.hold();
    let body = json!({ "pipeline_ids": ["scope-tiny"] });
    server
        .scope()
        .await
        .call("POST", "/api/v1/pipeline/load", body)
        .await;

    // The demo's own clients offer before they are told that they may.
    let mut client = server.connect("/webrtc").await;
    client.say(&json!({ "type": "offer", "sdp": "v=0" })).await;
    client.say(&json!({ "type": "ping" })).await;

    client.hear("pong").await;
    server.keepers.release();
    client.hear("ready").await;
    client.hear("answer").await;
}

#[tokio::test]
async fn candidates_are_taken_without_a_word_and_unknown_types_too() {
    let server = Server::start().await;
    let mut client = server.connect("/webrtc").await;
    client.hear("ready").await;
    client.ask(json!({ "type": "offer", "sdp": "v=0" })).await;

    let candidate = json!({ "candidate": "candidate:1", "sdpMid": "0", "sdpMLineIndex": 0 });
    for quiet in [
        json!({ "type": "icecandidate", "candidate": candidate }),
        json!({ "type": "icecandidate", "candidate": null }),
        json!({ "type": "action", "action": "w" }),
        json!({ "type": "api", "method": "GET", "path": "/health", "request_id": "a" }),
        json!({ "type": "set_user_id", "user_id": "ada" }),
        json!({}),
    ] {
        client.say(&quiet).await;
    }
    client.say(&json!({ "type": "ping" })).await;

    client.hear("pong").await;
    while server.sessions.candidates.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_error_has_a_sentence() {
    let server = Server::start().await;
    let mut client = server.connect("/webrtc").await;
    client.hear("ready").await;

    let refused = client
        .ask(json!({ "type": "offer", "sdp": "v=0", "initialParameters": { "pipeline_ids": ["nope"] } }))
        .await;

    assert_eq!(refused["type"], "error");
    let sentence = refused["error"].as_str().unwrap();
    assert!(sentence.contains("nope"), "{sentence}");
}

#[tokio::test]
async fn the_socket_ends_with_its_session_and_the_session_with_its_socket() {
    let server = Server::start().await;
    let mut client = server.connect("/webrtc").await;
    client.hear("ready").await;
    client.ask(json!({ "type": "offer", "sdp": "v=0" })).await;

    // Ended by somebody else, a failed pipeline perhaps.
    server.sessions.closed.lock().unwrap().push("s1".into());

    assert!(
        client.hear("error").await["error"]
            .as_str()
            .unwrap()
            .contains("ended")
    );
    assert_eq!(client.closing().await, CloseCode::Normal);

    let mut other = server.connect("/webrtc").await;
    other.hear("ready").await;
    other.ask(json!({ "type": "offer", "sdp": "v=0" })).await;
    drop(other);
    while !server
        .sessions
        .closed
        .lock()
        .unwrap()
        .contains(&"s2".to_owned())
    {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

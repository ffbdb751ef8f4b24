//! Signalling in the scope dialect.

use std::time::Duration;

use scope_controller::config::{IceServer, RawConfig};
use scope_controller::secret::Secret;
use scope_controller::session::SessionError;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::Server;

const LINE: &str = "candidate:1 1 udp 1 127.0.0.1 9 typ host";

#[tokio::test]
async fn ready_comes_first_and_names_the_connection() {
    let server = Server::start().await;
    let mut client = server.connect("/ws").await;

    // Said before anything was heard, as some clients do.
    client
        .say(&json!({ "type": "ping", "request_id": 1 }))
        .await;

    let ready = client.hear("ready").await;
    let id = ready["connection_id"].as_str().unwrap();
    assert!(
        id.len() == 8 && id.chars().all(|c| c.is_ascii_hexdigit()),
        "{ready}"
    );
    client.hear("pong").await;
}

#[tokio::test]
async fn every_reply_repeats_its_request_id_whatever_it_is() {
    let server = Server::start().await;
    let mut client = server.scope().await;

    for id in [json!("req_1"), json!(7), json!(null)] {
        for kind in ["ping", "get_ice_servers", "nonsense"] {
            let reply = client.ask(json!({ "type": kind, "request_id": id })).await;
            assert_eq!(reply["request_id"], id, "{reply}");
        }
    }
    let without = client.ask(json!({ "type": "ping" })).await;
    assert_eq!(without, json!({ "type": "pong" }));
}

#[tokio::test]
async fn ice_servers_are_those_of_the_configuration() {
    let turn = IceServer {
        urls: vec!["turn:turn.example".into()],
        username: Some("ada".into()),
        credential: Some(Secret::new("pass")),
    };
    let server = Server::with(RawConfig {
        ice_servers: Some(vec![turn]),
        ..RawConfig::default()
    })
    .await;

    let reply = server
        .scope()
        .await
        .ask(json!({ "type": "get_ice_servers" }))
        .await;

    let servers =
        json!([{ "urls": ["turn:turn.example"], "username": "ada", "credential": "pass" }]);
    assert_eq!(
        reply,
        json!({ "type": "ice_servers", "data": { "iceServers": servers }, "status": 200 })
    );
}

#[tokio::test]
async fn an_offer_is_answered_with_its_parameters() {
    let server = Server::start().await;
    let mut client = server.scope().await;
    client.load("passthrough").await;

    let answer = client
        .ask(json!({
            "type": "offer", "request_id": "o", "sdp": "v=0", "sdp_type": "offer",
            "initialParameters": { "noise_scale": 0.5, "prompts": null },
        }))
        .await;

    assert_eq!(
        answer,
        json!({
            "type": "answer", "sdp": "v=0 answer", "sdp_type": "answer", "sessionId": "s1", "request_id": "o",
        })
    );
    let offers = server.sessions.offers.lock().unwrap();
    assert_eq!(
        json!(offers[0].wanted.initial_parameters),
        json!({ "noise_scale": 0.5 })
    );
}

#[tokio::test]
async fn an_offer_to_an_empty_server_loads_what_it_names_or_the_built_in_model() {
    for (parameters, model) in [
        (json!({}), "scope-tiny"),
        (json!({ "pipeline_ids": ["passthrough"] }), "passthrough"),
    ] {
        let server = Server::start().await;
        let mut client = server.scope().await;

        let answer = client
            .ask(json!({ "type": "offer", "sdp": "v=0", "initialParameters": parameters }))
            .await;

        assert_eq!(answer["type"], "answer", "{answer}");
        let offers = server.sessions.offers.lock().unwrap();
        assert_eq!(offers[0].wanted.processors[0].pipeline_id, model);
    }
}

#[tokio::test]
async fn an_offer_waits_for_a_load_and_pings_do_not() {
    let server = Server::start().await;
    let mut client = server.scope().await;
    server.keepers.hold();
    client
        .call(
            "POST",
            "/api/v1/pipeline/load",
            json!({ "pipeline_ids": ["scope-tiny"] }),
        )
        .await;

    client.say(&json!({ "type": "offer", "sdp": "v=0" })).await;
    client.say(&json!({ "type": "ping" })).await;

    client.hear("pong").await;
    server.keepers.release();
    client.hear("answer").await;
}

#[tokio::test]
async fn a_refused_offer_is_a_sentence_and_the_socket_stays() {
    let server = Server::start().await;
    let mut client = server.scope().await;
    client.load("passthrough").await;
    *server.sessions.refusal.lock().unwrap() = Some(SessionError::BadOffer("no video line".into()));

    let refused = client.offer("o").await;

    assert_eq!(
        (&refused["type"], &refused["request_id"]),
        (&json!("error"), &json!("o"))
    );
    let sentence = refused["error"].as_str().unwrap();
    assert!(sentence.starts_with("Offer failed: 400: "), "{sentence}");
    assert!(sentence.contains("no video line"), "{sentence}");
    let bad = json!({ "type": "offer", "sdp": "v=0", "initialParameters": { "noise_scale": 7 } });
    let refused = client.ask(bad).await;
    assert!(
        refused["error"].as_str().unwrap().contains("noise_scale"),
        "{refused}"
    );
    assert_eq!(client.offer("again").await["type"], "answer");
}

#[tokio::test]
async fn candidates_go_to_the_session_of_the_socket_and_are_acknowledged() {
    let server = Server::start().await;
    let mut client = server.scope().await;
    let trickle =
        |candidate| json!({ "type": "icecandidate", "request_id": 1, "candidate": candidate });
    let line = json!({ "candidate": LINE, "sdpMid": "0", "sdpMLineIndex": 0 });

    let early = client.ask(trickle(line.clone())).await;
    assert_eq!(early["type"], "error", "{early}");

    client.offer("o").await;
    let acked = client.ask(trickle(line.clone())).await;
    assert_eq!(
        acked,
        json!({ "type": "icecandidate_ack", "status": "ok", "request_id": 1 })
    );
    for end in [json!(null), json!({ "candidate": "" })] {
        assert_eq!(
            client.ask(trickle(end)).await["status"],
            "end_of_candidates"
        );
    }
    let mut elsewhere = trickle(line);
    elsewhere["sessionId"] = json!("nobody's");
    let refused = client.ask(elsewhere).await;
    assert!(
        refused["error"]
            .as_str()
            .unwrap()
            .starts_with("ICE candidate failed: 404"),
        "{refused}"
    );
    let candidates = server.sessions.candidates.lock().unwrap();
    assert_eq!(candidates[0].candidate.as_deref(), Some(LINE));
    assert_eq!(candidates[0].sdp_m_line_index, Some(0));
}

#[tokio::test]
async fn candidates_sent_on_the_heels_of_an_offer_find_its_session() {
    let server = Server::start().await;
    let mut client = server.scope().await;

    client.say(&json!({ "type": "offer", "sdp": "v=0" })).await;
    client
        .say(&json!({ "type": "icecandidate", "candidate": { "candidate": LINE } }))
        .await;

    client.hear("answer").await;
    assert_eq!(client.hear("icecandidate_ack").await["status"], "ok");
}

#[tokio::test]
async fn a_second_offer_takes_the_place_of_the_first() {
    let server = Server::start().await;
    let mut client = server.scope().await;

    assert_eq!(client.offer("1").await["sessionId"], "s1");
    assert_eq!(client.offer("2").await["sessionId"], "s2");

    server.closed(&["s1"]).await;
    drop(client);
    server.closed(&["s1", "s2"]).await;
}

#[tokio::test]
async fn a_session_ends_with_its_socket_however_that_ends() {
    let server = Server::start().await;
    let mut polite = server.scope().await;
    polite.offer("o").await;
    polite.stream.close(None).await.unwrap();
    server.closed(&["s1"]).await;

    let mut rude = server.scope().await;
    rude.offer("o").await;
    drop(rude);
    server.closed(&["s1", "s2"]).await;
}

#[tokio::test]
async fn a_session_opened_by_an_api_call_ends_with_the_socket_too() {
    let server = Server::start().await;
    let mut client = server.scope().await;
    client.load("passthrough").await;

    let body = json!({ "sdp": "v=0", "type": "offer" });
    let reply = client.call("POST", "/api/v1/webrtc/offer", body).await;

    assert_eq!(reply["data"]["sessionId"], "s1", "{reply}");
    drop(client);
    server.closed(&["s1"]).await;
}

#[tokio::test]
async fn what_is_no_message_is_said_and_costs_nothing() {
    let server = Server::start().await;
    let mut client = server.scope().await;
    let deep = "[".repeat(10_000);

    for junk in [
        "",
        "no json",
        "[]",
        "7",
        "{}",
        r#"{"type":7}"#,
        r#"{"type":"offer"}"#,
        r#"{"type":"api"}"#,
        &deep,
    ] {
        client.say_text(junk).await;
        let reply = client.hear("error").await;
        assert!(
            reply["error"].as_str().is_some_and(|text| !text.is_empty()),
            "{reply}"
        );
    }
    let refused = client
        .ask(json!({ "type": "offer", "request_id": "o" }))
        .await;
    assert_eq!(refused["request_id"], "o", "{refused}");
    client.ask(json!({ "type": "ping" })).await;
}

#[tokio::test]
async fn logs_are_told_to_who_names_itself_and_only_what_is_new() {
    let server = Server::start().await;
    server.logs.push("old".into());
    let mut client = server.scope().await;

    server.logs.push("before".into());
    let set = client
        .ask(json!({ "type": "set_user_id", "user_id": "ada" }))
        .await;
    assert_eq!(set, json!({ "type": "user_id_set", "user_id": "ada" }));
    for n in 0..60 {
        server.logs.push(format!("line {n}"));
    }

    let mut lines = Vec::new();
    while lines.len() < 61 {
        let message = client.hear("logs").await;
        let came = message["lines"].as_array().unwrap().clone();
        assert!(came.len() <= 50);
        lines.extend(came);
    }
    assert_eq!(
        (&lines[0], &lines[60]),
        (&json!("before"), &json!("line 59"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_server_is_said() {
    let server = Server::start().await;
    let mut client = server.scope().await;

    let stopped = tokio::spawn(server.running.stop());

    client.hear("error").await;
    assert_eq!(client.closing().await, CloseCode::Away);
    stopped.await.unwrap();
}

#[tokio::test]
async fn protocol_pings_are_answered() {
    use futures_util::{SinkExt, StreamExt};
    let server = Server::start().await;
    let mut client = server.scope().await;

    client
        .stream
        .send(Message::Ping(vec![1].into()))
        .await
        .unwrap();

    let pong = tokio::time::timeout(Duration::from_secs(10), client.stream.next()).await;
    assert_eq!(
        pong.unwrap().unwrap().unwrap(),
        Message::Pong(vec![1].into())
    );
}

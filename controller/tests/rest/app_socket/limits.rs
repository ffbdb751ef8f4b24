//! Sizes and times.

use futures_util::{SinkExt, StreamExt};
use scope_controller::config::RawConfig;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::Server;

fn small() -> RawConfig {
    RawConfig {
        socket_message_mib: Some(1),
        ..RawConfig::default()
    }
}

#[tokio::test]
async fn a_message_too_large_is_refused_and_the_socket_stays() {
    let server = Server::with(small()).await;
    let mut client = server.scope().await;
    client.offer("o").await;

    let body = "x".repeat((1 << 20) + 1);
    let reply = client
        .ask(json!({ "type": "api", "request_id": "big", "path": "/health", "body": body }))
        .await;

    assert_eq!(
        (&reply["type"], &reply["request_id"]),
        (&json!("error"), &json!("big"))
    );
    assert!(
        reply["error"].as_str().unwrap().contains("1 MiB"),
        "{reply}"
    );
    client.ask(json!({ "type": "ping" })).await;
    assert!(server.sessions.closed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_message_far_too_large_ends_the_socket_and_its_session() {
    let server = Server::with(small()).await;
    let mut client = server.scope().await;
    client.offer("o").await;

    // What comes back depends on how much of it is still on its way; the end does not.
    let _ = client
        .stream
        .send(Message::text("x".repeat(16 << 20)))
        .await;

    server.closed(&["s1"]).await;
    server.scope().await;
}

#[tokio::test]
async fn a_reply_too_large_is_an_error_that_says_so() {
    let server = Server::with(small()).await;
    let mut client = server.scope().await;
    let folder = server.folder.path().join("assets");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("big.mp4"), vec![0; 1 << 20]).unwrap();

    let reply = client
        .call("GET", "/api/v1/assets/big.mp4", Value::Null)
        .await;

    assert_eq!(reply["status"], 413, "{reply}");
    assert!(
        reply["error"].as_str().unwrap().contains("1 MiB"),
        "{reply}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_let_go_and_holds_up_nobody() {
    let server = Server::start().await;
    let folder = server.folder.path().join("assets");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("big.mp4"), vec![0; 64 << 10]).unwrap();
    let mut slow = server.scope().await;
    slow.offer("o").await;
    let (mut talk, listen) = slow.stream.split();
    let asking = tokio::spawn(async move {
        for n in 0..1000 {
            let call = json!({ "type": "api", "request_id": n, "method": "GET", "path": "/api/v1/assets/big.mp4" });
            if talk.send(Message::text(call.to_string())).await.is_err() {
                return;
            }
        }
    });

    let mut other = server.scope().await;
    for _ in 0..20 {
        other.call("GET", "/health", Value::Null).await;
    }

    server.closed(&["s1"]).await;
    asking.abort();
    drop(listen);
}

#[tokio::test]
async fn haste_is_refused_call_by_call() {
    let server = Server::start().await;
    server.keepers.hold();
    let mut client = server.scope().await;
    client
        .call(
            "POST",
            "/api/v1/pipeline/load",
            json!({ "pipeline_ids": ["scope-tiny"] }),
        )
        .await;
    // Waits for the load, and everything of its kind behind it.
    client.say(&json!({ "type": "offer", "sdp": "v=0" })).await;

    for n in 0..80 {
        client
            .say(&json!({ "type": "get_ice_servers", "request_id": n }))
            .await;
    }

    let refused = client.hear("error").await;
    assert!(
        refused["error"].as_str().unwrap().contains("64"),
        "{refused}"
    );
    client.say(&json!({ "type": "ping" })).await;
    while client.next().await["type"] != "pong" {}
    server.keepers.release();
    client.hear("answer").await;
    client.hear("ice_servers").await;
}

#[tokio::test]
async fn a_socket_whose_time_is_over_says_so_before_it_ends() {
    let server = Server::with(RawConfig {
        socket_seconds: Some(1),
        ..RawConfig::default()
    })
    .await;
    let mut client = server.scope().await;
    client.offer("o").await;

    let over = client.hear("error").await;

    assert_eq!(over["code"], "MAX_DURATION_EXCEEDED", "{over}");
    assert_eq!(client.closing().await, CloseCode::Normal);
    server.closed(&["s1"]).await;
}

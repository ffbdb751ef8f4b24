//! Who gets a socket.

use scope_controller::config::RawConfig;
use scope_controller::secret::Secret;
use serde_json::{Value, json};

use super::Server;

const SOCKETS: [&str; 4] = ["/ws", "/webrtc", "/owner/app/ws", "/owner/app/webrtc"];

fn with_token() -> RawConfig {
    RawConfig {
        token: Some(Secret::new("canary")),
        ..RawConfig::default()
    }
}

#[tokio::test]
async fn a_page_of_another_site_and_a_rebound_name_are_refused() {
    let server = Server::start().await;

    for path in SOCKETS {
        for (header, value, code) in [
            ("origin", "https://evil.example", "origin_not_allowed"),
            ("origin", "null", "origin_not_allowed"),
            ("host", "evil.example", "host_not_allowed"),
            ("sec-fetch-site", "cross-site", "origin_not_allowed"),
        ] {
            let refused = server.try_connect(path, &[(header, value)]).await;
            let (status, body) = refused.err().unwrap();
            assert_eq!(
                (status, &body["code"]),
                (403, &json!(code)),
                "{path} {value}"
            );
        }
    }
}

#[tokio::test]
async fn our_own_page_gets_in_and_so_does_a_listed_host() {
    let server = Server::with(RawConfig {
        allowed_hosts: Some(vec!["scope.example".into()]),
        ..RawConfig::default()
    })
    .await;
    let own = format!("http://{}", server.running.address);

    for path in SOCKETS {
        for headers in [
            [("origin", own.as_str()), ("sec-fetch-site", "same-origin")],
            [
                ("host", "scope.example"),
                ("origin", "https://scope.example"),
            ],
        ] {
            let client = server.try_connect(path, &headers).await;
            client.ok().unwrap().hear("ready").await;
        }
    }
}

#[tokio::test]
async fn a_token_is_needed_as_header_or_as_protocol() {
    let server = Server::with(with_token()).await;

    for path in SOCKETS {
        for headers in [
            vec![],
            vec![("authorization", "Bearer wrong")],
            vec![("sec-websocket-protocol", "gst-scope, bearer.d3Jvbmc")],
        ] {
            let (status, body) = server.try_connect(path, &headers).await.err().unwrap();
            assert_eq!((status, &body["code"]), (401, &json!("token_required")));
        }
        for headers in [
            vec![("authorization", "Bearer canary")],
            vec![("authorization", "Key canary")],
            vec![("sec-websocket-protocol", "gst-scope, bearer.Y2FuYXJ5")],
        ] {
            let mut client = server.try_connect(path, &headers).await.ok().unwrap();
            client.hear("ready").await;
            let chosen = client.headers.get("sec-websocket-protocol");
            let named = headers[0].0 == "sec-websocket-protocol";
            assert_eq!(chosen.is_some_and(|chosen| chosen == "gst-scope"), named);
        }
    }
}

#[tokio::test]
async fn a_call_through_the_socket_carries_the_token_of_the_handshake() {
    let server = Server::with(with_token()).await;

    for header in [
        ("authorization", "Bearer canary"),
        ("sec-websocket-protocol", "gst-scope, bearer.Y2FuYXJ5"),
    ] {
        let mut client = server.try_connect("/ws", &[header]).await.ok().unwrap();
        client.hear("ready").await;
        let reply = client
            .call("GET", "/api/v1/pipeline/status", Value::Null)
            .await;
        assert_eq!(reply["status"], 200, "{reply}");
        assert!(!reply.to_string().contains("canary"));
    }
}

#[tokio::test]
async fn a_plain_request_is_told_that_this_is_a_websocket() {
    let scope = crate::support::Scope::new();

    for path in SOCKETS {
        scope
            .get(path)
            .await
            .assert_error(426, "websocket_expected");
        let posted = scope.post(path, &json!({})).await;
        assert_eq!(posted.status, 405);
    }
}

#[tokio::test]
async fn there_is_an_end_to_how_many() {
    let server = Server::start().await;
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(server.connect("/webrtc").await);
    }

    let (status, body) = server.try_connect("/ws", &[]).await.err().unwrap();
    assert_eq!((status, &body["code"]), (503, &json!("too_many_sockets")));

    drop(open);
    while server.try_connect("/ws", &[]).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

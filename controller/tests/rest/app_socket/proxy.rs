//! REST calls through the socket.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use scope_controller::config::{RawCloud, RawConfig};
use serde_json::{Value, json};

use super::Server;

#[tokio::test]
async fn a_call_gets_what_http_would_have_given() {
    let server = Server::start().await;
    let mut client = server.scope().await;

    let reply = client
        .call(
            "GET",
            "/api/v1/models/status?pipeline_id=passthrough",
            Value::Null,
        )
        .await;
    assert_eq!(
        reply["data"],
        json!({ "downloaded": true, "progress": null }),
        "{reply}"
    );
    assert_eq!(
        (&reply["status"], &reply["error"]),
        (&json!(200), &Value::Null)
    );
    let patch = json!({ "noise_scale": 0.25 });
    client
        .call("POST", "/api/v1/session/parameters", patch.clone())
        .await;
    let shown = client
        .call("GET", "/api/v1/session/parameters", Value::Null)
        .await;
    assert_eq!(shown["data"], json!({ "parameters": patch }));
    let body = json!({ "candidates": [{ "candidate": "" }] });
    let empty = client.call("PATCH", "/api/v1/webrtc/offer/s1", body).await;
    assert_eq!(
        (&empty["status"], &empty["data"]),
        (&json!(204), &Value::Null)
    );
    let gone = client
        .call("DELETE", "/api/v1/webrtc/offer/s1", Value::Null)
        .await;
    assert_eq!(gone["status"], 204);
    let health = client.call("GET", "/health?_t=1", Value::Null).await;
    assert_eq!(health["data"]["status"], "healthy");
}

#[tokio::test]
async fn a_refusal_keeps_its_status_and_its_words() {
    let server = Server::start().await;
    let mut client = server.scope().await;

    let unknown = client.call("GET", "/api/v1/nope", Value::Null).await;
    assert_eq!(
        (&unknown["status"], &unknown["data"]["code"]),
        (&json!(404), &json!("unknown_route"))
    );
    let bad = client
        .call(
            "POST",
            "/api/v1/pipeline/load",
            json!({ "pipeline_ids": 7 }),
        )
        .await;
    assert_eq!(
        (&bad["status"], &bad["data"]["detail"][0]["type"]),
        (&json!(422), &json!("list_type"))
    );
    let missing = client
        .call("POST", "/api/v1/pipeline/load", Value::Null)
        .await;
    assert_eq!(missing["data"]["detail"][0]["type"], "missing");
}

#[tokio::test]
async fn nothing_but_the_api_is_reached() {
    let server = Server::start().await;
    let mut client = server.scope().await;

    for (method, path, status) in [
        ("GET", "/ws", 403),
        ("GET", "/webrtc", 403),
        ("GET", "/", 403),
        ("GET", "http://169.254.169.254/api/v1/x", 403),
        ("GET", "//evil.example/api/v1/x", 403),
        ("GET", "/api/v1/../../ws", 404),
        ("OPTIONS", "/api/v1/assets", 400),
        ("CONNECT", "/api/v1/assets", 400),
    ] {
        let reply = client.call(method, path, Value::Null).await;
        assert_eq!(reply["status"], status, "{method} {path}: {reply}");
    }
}

#[tokio::test]
async fn what_the_guard_asks_is_asked_of_each_call() {
    let server = Server::with(RawConfig {
        allowed_hosts: Some(vec!["scope.example".into()]),
        ..RawConfig::default()
    })
    .await;
    let headers = [
        ("host", "scope.example"),
        ("origin", "http://scope.example"),
    ];
    let mut client = server.try_connect("/ws", &headers).await.ok().unwrap();
    client.hear("ready").await;

    // Host and Origin come from the handshake; a client has no way to say others.
    let reply = client
        .ask(json!({
            "type": "api", "request_id": 1, "method": "GET", "path": "/health", "host": "evil.example",
            "headers": { "host": "evil.example", "origin": "https://evil.example" },
        }))
        .await;

    assert_eq!(reply["status"], 200, "{reply}");
}

#[tokio::test]
async fn a_base64_upload_is_an_asset_and_comes_back_as_base64() {
    let server = Server::start().await;
    let mut client = server.scope().await;
    // A PNG of one pixel, enough to be known as one.
    let picture = STANDARD
        .decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
        .unwrap();

    let upload =
        json!({ "_base64_content": STANDARD.encode(&picture), "_content_type": "image/png" });
    let stored = client
        .call("POST", "/api/v1/assets?filename=dot.png", upload)
        .await;

    assert_eq!(stored["status"], 200, "{stored}");
    let listed = client
        .call("GET", "/api/v1/assets?type=image", Value::Null)
        .await;
    assert_eq!(
        listed["data"]["assets"][0]["name"], stored["data"]["name"],
        "{listed}"
    );
    let on_disk = std::fs::read(server.folder.path().join("assets/dot.png")).unwrap();
    assert_eq!(on_disk, picture);
    let back = client
        .call("GET", "/api/v1/assets/dot.png", Value::Null)
        .await;
    assert_eq!(back["_base64_content"], STANDARD.encode(&picture));
    assert_eq!(
        (&back["_content_type"], &back["_content_length"]),
        (&json!("image/png"), &json!(picture.len()))
    );
}

#[tokio::test]
async fn a_file_on_the_cdn_is_fetched_and_no_other_host_is_asked() {
    let cdn = Server::start().await;
    let folder = cdn.folder.path().join("assets");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("clip.mp4"), b"a clip").unwrap();
    let server = Server::with(RawConfig {
        cloud: RawCloud {
            rest_url: Some(cdn.running.url()),
            ..RawCloud::default()
        },
        ..RawConfig::default()
    })
    .await;
    let mut client = server.scope().await;
    let named = |url: String| json!({ "_cdn_url": url, "_content_type": "video/mp4" });

    let url = format!("{}/api/v1/assets/clip.mp4", cdn.running.url());
    let stored = client
        .call("POST", "/api/v1/assets?filename=a.mp4", named(url))
        .await;

    assert_eq!(stored["status"], 200, "{stored}");
    assert_eq!(
        std::fs::read(server.folder.path().join("assets/a.mp4")).unwrap(),
        b"a clip"
    );
    for foreign in [
        format!("{}/api/v1/assets/clip.mp4", server.running.url()),
        format!("{}/api/v1/assets/gone.mp4", cdn.running.url()),
        "http://169.254.169.254/latest/meta-data".into(),
        "file:///etc/passwd".into(),
        "nonsense".into(),
    ] {
        let refused = client
            .call("POST", "/api/v1/assets?filename=b.mp4", named(foreign))
            .await;
        assert_eq!(refused["status"], 502, "{refused}");
        assert!(
            refused["error"]
                .as_str()
                .is_some_and(|text| text.len() > 10),
            "{refused}"
        );
    }
    assert!(!server.folder.path().join("assets/b.mp4").exists());
}

#[tokio::test]
async fn a_broken_upload_is_explained() {
    let server = Server::start().await;
    let mut client = server.scope().await;

    let upload = json!({ "_base64_content": "é", "_content_type": "image/png" });
    let reply = client
        .call("POST", "/api/v1/assets?filename=dot.png", upload)
        .await;

    assert_eq!(reply["status"], 422);
    assert!(
        reply["error"].as_str().unwrap().contains("base64"),
        "{reply}"
    );
}

#[tokio::test]
async fn changes_sent_without_waiting_are_made_in_order() {
    let server = Server::start().await;
    let mut client = server.scope().await;

    for n in 0..50 {
        let patch = json!({ "noise_scale": f64::from(n) / 100.0 });
        client
            .say(&json!({ "type": "api", "request_id": n, "method": "POST", "path": "/api/v1/session/parameters", "body": patch }))
            .await;
    }
    let shown = json!({ "type": "api", "request_id": "last", "method": "GET", "path": "/api/v1/session/parameters" });
    client.say(&shown).await;

    for n in 0..50 {
        assert_eq!(client.hear("api_response").await["request_id"], n);
    }
    let last = client.hear("api_response").await;
    assert_eq!(last["data"]["parameters"]["noise_scale"], 0.49, "{last}");
    let patches = server.sessions.patches.lock().unwrap();
    assert!(
        patches.is_sorted_by_key(
            |patch| (patch["noise_scale"].as_f64().unwrap() * 100.0).round() as i32
        )
    );
}

//! The session without a client over REST: what it is told, what it answers, and its picture.

use axum::http::header;
use scope_controller::media::Still;
use scope_controller::session::{RecordNode, Tap, Wanted};
use serde_json::{Value, json};

use crate::support::{Reply, Scope};

async fn start(scope: &Scope, body: &Value) -> Reply {
    scope.post("/api/v1/session/start", body).await
}

#[track_caller]
fn only(scope: &Scope) -> Wanted {
    scope.sessions.headless.lock().unwrap().clone().unwrap()
}

fn graph(nodes: &Value) -> Value {
    let edge = |from: &str, to: &str| json!({"from": from, "to_node": to});
    json!({"nodes": nodes, "edges": [edge("in", "a"), edge("a", "out"), edge("a", "film")]})
}

#[tokio::test]
async fn a_loaded_pipeline_starts_with_its_parameters() {
    let scope = Scope::new();
    scope.load_and_settle("scope-tiny").await;

    let reply = start(
        &scope,
        &json!({
            "pipeline_id": "scope-tiny",
            "input_mode": "video",
            "prompts": [{"text": "blueprint", "weight": 1.0}],
            "input_source": {"enabled": true, "source_type": "video_file", "source_name": "clip"},
            "parameters": {"noise_scale": 0.3, "prompts": [], "recording": true, "seed": null},
            "node_parameters": {"scope-tiny": {"noise_scale": 0.6}},
        }),
    )
    .await;

    assert_eq!(reply.status, 200, "{}", reply.json());
    insta::assert_json_snapshot!(reply.json());
    let wanted = only(&scope);
    assert!(wanted.takes_input && wanted.local);
    assert_eq!(wanted.processors[0].pipeline_id, "scope-tiny");
    let initial = &wanted.initial_parameters;
    assert_eq!(
        initial["prompts"][0]["text"], "blueprint",
        "what stands beside wins"
    );
    assert_eq!(
        (&initial["noise_scale"], &initial["recording"]),
        (&json!(0.3), &json!(true))
    );
    assert!(!initial.contains_key("seed"));
    assert_eq!(wanted.node_parameters[0].0, "scope-tiny");
    assert_eq!(wanted.node_parameters[0].1["noise_scale"], 0.6);
}

#[tokio::test]
async fn without_a_source_it_makes_pictures_from_nothing() {
    let scope = Scope::new();

    let reply = start(&scope, &json!({"pipeline_id": "passthrough"})).await;

    assert_eq!(reply.json()["input_mode"], "text");
    assert!(!only(&scope).takes_input);
}

#[tokio::test]
async fn a_graph_loads_its_pipelines_and_names_its_ends() {
    let scope = Scope::new();
    let nodes = json!([
        {"id": "in", "type": "source", "source_mode": "spout", "source_name": "Camera"},
        {"id": "a", "type": "pipeline", "pipeline_id": "scope-tiny"},
        {"id": "out", "type": "sink", "sink_mode": "spout", "sink_name": "Redrawn"},
        {"id": "film", "type": "record"},
    ]);

    let reply = start(&scope, &json!({"graph": graph(&nodes)})).await;

    assert_eq!(reply.status, 200, "{}", reply.json());
    insta::assert_json_snapshot!(reply.json());
    assert_eq!(scope.status().await["status"], "loaded");
    let wanted = only(&scope);
    let initial = &wanted.initial_parameters;
    assert_eq!(initial["input_source"]["source_type"], "spout");
    assert_eq!(initial["input_source"]["source_name"], "Camera");
    assert_eq!(initial["output_sinks"]["spout"]["name"], "Redrawn");
    let film = RecordNode {
        id: "film".into(),
        tap: Some(Tap::Picture),
    };
    assert_eq!(
        (wanted.records, wanted.sinks),
        (vec![film], vec!["out".to_owned()])
    );
}

#[tokio::test]
async fn a_second_one_does_not_touch_the_first() {
    let scope = Scope::new();
    let body = json!({"pipeline_id": "passthrough"});
    assert_eq!(start(&scope, &body).await.status, 200);

    start(&scope, &body)
        .await
        .assert_error(409, "headless_running");

    let nothing = json!({});
    let stop = || scope.post("/api/v1/session/stop", &nothing);
    assert_eq!(stop().await.json()["status"], "ok");
    stop().await.assert_error(404, "no_headless_session");
    assert_eq!(start(&scope, &body).await.status, 200);
}

#[tokio::test]
async fn what_cannot_start_is_named() {
    let scope = Scope::new();
    let no_sink = json!({"nodes": [{"id": "in", "type": "source"}], "edges": []});
    let no_pipeline = json!({
        "nodes": [{"id": "in", "type": "source"}, {"id": "out", "type": "sink"}],
        "edges": [{"from": "in", "to_node": "out"}],
    });
    for (body, status, code) in [
        (json!({}), 422, "invalid_request"),
        (
            json!({"pipeline_id": "passthrough", "graph": no_sink}),
            422,
            "invalid_request",
        ),
        (json!({"pipeline_id": 7}), 422, "invalid_request"),
        (
            json!({"pipeline_id": "passthrough", "parameters": {"noise_scale": 7}}),
            422,
            "invalid_request",
        ),
        (
            json!({"pipeline_id": "passthrough", "node_parameters": {"a": 1}}),
            422,
            "invalid_request",
        ),
        (
            json!({"pipeline_id": "passthrough", "input_mode": "dance"}),
            422,
            "invalid_request",
        ),
        (
            json!({"pipeline_id": "scope-tiny"}),
            400,
            "pipeline_not_loaded",
        ),
        (json!({"graph": no_sink}), 400, "invalid_graph"),
        (json!({"graph": no_pipeline}), 400, "no_pipeline"),
    ] {
        start(&scope, &body).await.assert_error(status, code);
    }
    let empty = start(&scope, &json!({})).await.json();
    assert_eq!(empty["detail"][0]["type"], "value_error");
    assert_eq!(empty["detail"][0]["loc"], json!(["body"]));
    assert!(scope.sessions.headless.lock().unwrap().is_none());
}

#[tokio::test]
async fn the_picture_in_view_is_a_jpeg_or_a_png() {
    let scope = Scope::new();
    let frame = |query: &'static str| {
        let scope = &scope;
        async move { scope.get(&format!("/api/v1/session/frame{query}")).await }
    };
    frame("").await.assert_error(404, "no_frame");
    let none = frame("").await.json();
    assert!(
        none["detail"]
            .as_str()
            .unwrap()
            .starts_with("No frame available"),
        "{none}"
    );
    for query in ["?quality=0", "?quality=101", "?quality=x", "?format=gif"] {
        frame(query).await.assert_error(422, "invalid_request");
    }
    *scope.sessions.picture.lock().unwrap() = Some(b"picture".to_vec());
    scope.sessions.stills.lock().unwrap().clear();

    for (query, kind) in [
        ("", "image/jpeg"),
        ("?quality=40&sink_node_id=7", "image/jpeg"),
        ("?format=png", "image/png"),
    ] {
        let reply = frame(query).await;
        assert_eq!(
            (reply.status.as_u16(), reply.body.as_slice()),
            (200, &b"picture"[..])
        );
        assert_eq!(reply.headers[header::CONTENT_TYPE], kind);
    }

    let asked = scope.sessions.stills.lock().unwrap().clone();
    let expected = [
        (None, Still::Jpeg(85)),
        (Some("7".to_owned()), Still::Jpeg(40)),
        (None, Still::Png),
    ];
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn videos_and_test_pictures_are_listed_as_sources() {
    let scope = Scope::new();
    let assets = scope.folder.path().join("assets");
    std::fs::create_dir_all(&assets).unwrap();
    std::fs::write(assets.join("clip.mp4"), "no video").unwrap();
    let get = |path: &'static str| {
        let scope = &scope;
        async move { scope.get(&format!("/api/v1/input-sources/{path}")).await }
    };

    let films = get("video_file/sources").await.json();
    let clip = &films["sources"][0];
    assert_eq!(
        (&clip["name"], &clip["metadata"]["filename"]),
        (&json!("clip"), &json!("clip.mp4"))
    );
    assert_eq!(clip["identifier"], json!(assets.join("clip.mp4")));
    let patterns = get("test/sources").await.json();
    assert!(
        patterns["sources"].to_string().contains("smpte"),
        "{patterns}"
    );
    let size = get("test/sources/smpte/resolution").await.json();
    assert_eq!(size, json!({"width": 512, "height": 512}));
    for nothing in [
        "test/sources/x/resolution",
        "video_file/sources/..%2fsecret.mp4/stream",
    ] {
        get(nothing).await.assert_error(404, "no_such_source");
    }
}

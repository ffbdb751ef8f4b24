//! The bodies clients read, as snapshots: the contract changes on purpose or not at all.

use serde_json::json;

use crate::support::{Scope, painted};

#[tokio::test]
async fn health_has_its_shape() {
    let health = Scope::new().get("/health").await.json();

    insta::assert_json_snapshot!(painted(health, &["/timestamp", "/version", "/git_commit"]));
}

#[tokio::test]
async fn the_schemas_have_their_shape_and_the_built_in_model_comes_first() {
    let scope = Scope::new();
    scope.add_model("sd turbo");

    let schemas = scope.get("/api/v1/pipelines/schemas").await.json();

    let ids: Vec<_> = schemas["pipelines"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(ids, ["scope-tiny", "passthrough", "sd-turbo"]);
    insta::assert_json_snapshot!(painted(
        schemas,
        &[
            "/pipelines/scope-tiny/prompt_suggestions",
            "/pipelines/scope-tiny/version",
            "/pipelines/passthrough/version",
            "/pipelines/sd-turbo/version",
        ]
    ));
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_told_beside_the_pipelines() {
    let scope = Scope::new();
    scope.add_model("sd");
    std::fs::write(scope.folder.path().join("models/sd/broken"), "").unwrap();

    let schemas = scope.get("/api/v1/pipelines/schemas").await.json();

    assert!(schemas["pipelines"]["sd"].is_null(), "{schemas}");
    assert_eq!(schemas["unusable"][0]["id"], "sd");
    let reason = schemas["unusable"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("cut short"), "{reason}");
    // Whoever loads it all the same hears the same.
    assert_eq!(scope.load_and_settle("sd").await["error"], reason);
}

#[tokio::test]
async fn what_loading_shows_joins_the_schema_and_the_status() {
    let scope = Scope::new();
    scope.add_model("sd");
    let provider = |body: &serde_json::Value| body["model_info"]["provider"].clone();
    let schemas = scope.get("/api/v1/pipelines/schemas").await.json();
    assert!(provider(&schemas["pipelines"]["sd"]).is_null(), "{schemas}");

    let status = scope.load_and_settle("sd").await;

    let schemas = scope.get("/api/v1/pipelines/schemas").await.json();
    assert_eq!(provider(&schemas["pipelines"]["sd"]), "cpu");
    assert_eq!(
        status["model_info"],
        schemas["pipelines"]["sd"]["model_info"]
    );
    assert!(schemas["pipelines"]["passthrough"]["model_info"].is_null());
    assert!(scope.load_and_settle("passthrough").await["model_info"].is_null());
}

fn add_lora(scope: &Scope, name: &str) {
    let folder = scope.folder.path().join("models/lora");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), "").unwrap();
}

#[tokio::test]
async fn a_workflow_is_told_what_of_it_is_missing() {
    let scope = Scope::new();
    add_lora(&scope, "ink.safetensors");
    let path = "/api/v1/workflow/resolve";
    let here = json!({ "nodes": [
        { "pipeline_id": "scope-tiny", "loras": [{ "filename": "ink.safetensors", "provenance": null }] },
        { "node_type_id": "passthrough", "source": { "type": "builtin" } },
    ] });

    let found = scope.post(path, &here).await.json();
    assert_eq!(found["can_apply"], true, "{found}");
    assert_eq!(found["items"].as_array().unwrap().len(), 3);
    let empty = scope.post(path, &json!({})).await.json();
    assert_eq!(
        empty,
        json!({ "can_apply": true, "items": [], "warnings": [] })
    );

    let away = json!({ "pipelines": [{
        "pipeline_id": "longlive", "loras": [{ "filename": "oil.safetensors" }],
        "source": { "type": "pypi", "plugin_name": "scope-x" },
    }] });
    let missing = scope.post(path, &away).await.json();
    assert_eq!(missing["can_apply"], false);
    let items = missing["items"].as_array().unwrap();
    let statuses: Vec<_> = items.iter().map(|item| &item["status"]).collect();
    assert_eq!(statuses, ["missing"; 3], "{missing}");

    let junk = json!({ "nodes": [{ "loras": [{ "filename": 7 }] }] });
    scope
        .post(path, &junk)
        .await
        .assert_error(422, "invalid_request");
    let many = json!({ "nodes": vec![json!({}); 151] });
    scope
        .post(path, &many)
        .await
        .assert_error(422, "invalid_request");
}

#[tokio::test]
async fn a_lora_is_removed_by_its_name_and_nothing_else_is() {
    let scope = Scope::new();
    add_lora(&scope, "ink.safetensors");
    add_lora(&scope, "notes.txt");
    let remove = |name: &'static str| {
        let path = format!("/api/v1/loras/{name}");
        let scope = &scope;
        async move { scope.ask(axum::http::Method::DELETE, &path, "").await }
    };

    for name in ["oil", "notes", "..%2Flora%2Fink", "ink.safetensors"] {
        remove(name).await.assert_error(404, "unknown_lora");
    }
    assert_eq!(remove("ink").await.json()["success"], true);

    remove("ink").await.assert_error(404, "unknown_lora");
    let listed = scope.get("/api/v1/loras").await.json();
    assert_eq!(listed["lora_files"], json!([]));
    assert!(scope.folder.path().join("models/lora/notes.txt").exists());
}

#[tokio::test]
async fn hardware_has_its_shape() {
    let hardware = Scope::new().get("/api/v1/hardware/info").await.json();

    insta::assert_json_snapshot!(painted(hardware, &["/vram_gb", "/gpu"]));
}

#[tokio::test]
async fn metrics_have_their_shape() {
    let metrics = Scope::new().get("/api/v1/session/metrics").await.json();

    insta::assert_json_snapshot!(painted(metrics, &["/gpu"]));
}

#[tokio::test]
async fn what_is_not_here_answers_with_nothing_in_the_right_shape() {
    let scope = Scope::new();
    let mut bodies = serde_json::Map::new();
    for path in [
        "onboarding/status",
        "loras",
        "plugins",
        "input-sources",
        "keys",
        "cloud/status",
        "fal/status",
        "osc/status",
        "dmx/status",
        "tempo/status",
        "tempo/sources",
    ] {
        let reply = scope.get(&format!("/api/v1/{path}")).await;
        assert_eq!(reply.status, 200, "{path}");
        bodies.insert(path.into(), reply.json());
    }

    insta::assert_json_snapshot!(bodies);
    assert_eq!(
        scope
            .post("/api/v1/osc/inventory", &json!({ "paths": [] }))
            .await
            .json(),
        json!({ "count": 0 })
    );
}

#[tokio::test]
async fn every_model_is_a_node_too() {
    let nodes = Scope::new().get("/api/v1/nodes/definitions").await.json();

    let ids: Vec<_> = nodes["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| &node["node_type_id"])
        .collect();
    assert_eq!(ids, ["scope-tiny", "passthrough"]);
}

#[tokio::test]
async fn the_log_is_read_from_an_offset() {
    let scope = Scope::new();
    scope.logs.push("one".into());

    let first = scope
        .get("/api/v1/logs/tail?lines=200&since_offset=0")
        .await
        .json();
    assert_eq!(first, json!({ "lines": ["one"], "offset": 4 }));
    scope.logs.push("two".into());
    let next = scope.get("/api/v1/logs/tail?since_offset=4").await.json();
    assert_eq!(next["lines"], json!(["two"]));

    for query in ["lines=0", "lines=1001", "lines=x", "since_offset=-1"] {
        scope
            .get(&format!("/api/v1/logs/tail?{query}"))
            .await
            .assert_error(422, "invalid_request");
    }
    assert_eq!(scope.get("/api/v1/logs/current").await.body, b"one\ntwo\n");
}

//! Loading models: what the status says, and what is opened and let go.

use std::time::Duration;

use scope_controller::config::RawConfig;
use serde_json::json;

use crate::support::Scope;

#[tokio::test]
async fn nothing_is_loaded_at_first() {
    insta::assert_json_snapshot!(Scope::new().status().await);
}

#[tokio::test]
async fn the_status_says_loading_before_the_load_is_answered() {
    let scope = Scope::new();
    scope.keepers.hold();

    let status = scope.load(json!({ "pipeline_ids": ["scope-tiny"] })).await;

    assert_eq!(status["status"], "loading");
    assert!(status["loading_stage"].is_string());
    scope.keepers.release();
    assert_eq!(scope.settled().await["status"], "loaded");
}

#[tokio::test]
async fn a_loaded_model_shows_its_key_and_parameters() {
    let scope = Scope::new();
    let params = json!({ "width": 512, "height": 512 });

    scope.load(json!({ "pipelines": [{ "node_id": "n1", "pipeline_id": "scope-tiny", "load_params": params }] })).await;

    insta::assert_json_snapshot!(scope.settled().await);
    assert_eq!(scope.keepers.opened()[0].size, Some((512, 512)));
}

#[tokio::test]
async fn the_same_load_again_is_no_work() {
    let scope = Scope::new();
    scope.load_and_settle("scope-tiny").await;

    let status = scope.load(json!({ "pipeline_ids": ["scope-tiny"] })).await;

    assert_eq!(status["status"], "loaded");
    assert_eq!(scope.keepers.opened().len(), 1);
}

#[tokio::test]
async fn the_same_model_under_another_key_is_not_opened_again() {
    let scope = Scope::new();
    scope.load_and_settle("scope-tiny").await;

    scope
        .load(json!({ "pipelines": [{ "node_id": "other", "pipeline_id": "scope-tiny" }] }))
        .await;

    assert_eq!(scope.settled().await["pipeline_id"], "other");
    assert_eq!(scope.keepers.opened().len(), 1);
}

#[tokio::test]
async fn other_parameters_are_another_model() {
    let scope = Scope::new();
    scope.load_and_settle("scope-tiny").await;

    scope
        .load(json!({ "pipeline_ids": ["scope-tiny"], "load_params": {} }))
        .await;
    scope.settled().await;

    assert_eq!(scope.keepers.opened().len(), 2);
    eventually_open(&scope, 1).await;
}

#[tokio::test]
async fn a_failed_load_says_why_until_the_next_and_keeps_what_was_loaded() {
    let scope = Scope::new();
    scope.add_model("sd");
    scope.load_and_settle("scope-tiny").await;
    scope
        .keepers
        .fail_next("`unet/model.onnx` is cut short; copy it again");

    scope.load_and_settle("sd").await;

    for _ in 0..2 {
        let status = scope.status().await;
        assert_eq!(
            (&status["status"], &status["error"]),
            (
                &json!("error"),
                &json!("`unet/model.onnx` is cut short; copy it again")
            )
        );
    }
    assert_eq!(scope.keepers.open_now(), 1);
    assert_eq!(
        scope
            .offer(json!({ "pipeline_ids": ["scope-tiny"] }))
            .await
            .status,
        200
    );
    assert_eq!(scope.load_and_settle("sd").await["status"], "loaded");
    eventually_open(&scope, 1).await;
}

#[tokio::test]
async fn an_unknown_pipeline_is_an_error_of_the_load() {
    let status = Scope::new().load_and_settle("nope").await;

    assert_eq!(
        status["error"],
        "there is no pipeline `nope`; see GET /api/v1/pipelines/schemas"
    );
}

#[tokio::test]
async fn a_newer_load_supersedes_one_that_waits() {
    let scope = Scope::new();
    scope.add_model("a");
    scope.add_model("b");
    scope.keepers.hold();
    scope.load(json!({ "pipeline_ids": ["scope-tiny"] })).await;
    while scope.keepers.opened().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    scope.load(json!({ "pipeline_ids": ["a"] })).await;
    scope.load(json!({ "pipeline_ids": ["b"] })).await;
    scope.keepers.release();

    assert_eq!(scope.settled().await["pipeline_id"], "b");
    let opened: Vec<_> = scope
        .keepers
        .opened()
        .into_iter()
        .map(|processor| processor.pipeline_id)
        .collect();
    assert_eq!(opened, ["scope-tiny", "b"]);
    eventually_open(&scope, 1).await;
}

#[tokio::test]
async fn a_model_folder_reaches_the_element_as_its_model_dir() {
    let scope = Scope::new();
    scope.add_model("sd");

    assert_eq!(scope.load_and_settle("sd").await["status"], "loaded");

    let folder = scope.folder.path().join("models/sd").display().to_string();
    assert!(
        scope.keepers.opened()[0]
            .properties
            .contains(&("model-dir", folder))
    );
}

#[tokio::test]
async fn the_status_says_which_way_each_lora_was_taken_whatever_was_asked_for() {
    let scope = Scope::new();
    scope.add_model("sd");
    let loras = scope.folder.path().join("models/lora");
    std::fs::create_dir_all(&loras).unwrap();
    std::fs::write(loras.join("ink.safetensors"), "x").unwrap();
    let load = |mode: &str| {
        let params = json!({
            "loras": [{ "path": "ink.safetensors", "scale": 0.5 }], "lora_merge_mode": mode,
        });
        json!({ "pipeline_ids": ["sd"], "load_params": params })
    };

    scope.load(load("runtime_peft")).await;
    let status = scope.settled().await;

    let path = loras.canonicalize().unwrap().join("ink.safetensors");
    let told = json!([{ "path": path, "scale": 0.5, "merge_mode": "permanent_merge" }]);
    assert_eq!(status["loaded_lora_adapters"], told, "{status}");
    scope.load(load("sometimes")).await;
    let status = scope.settled().await;
    let reason = status["error"].as_str().unwrap();
    assert!(
        reason.starts_with("`lora_merge_mode` is \"sometimes\""),
        "{reason}"
    );
}

#[tokio::test]
async fn passthrough_opens_nothing() {
    let scope = Scope::new();

    assert_eq!(
        scope.load_and_settle("passthrough").await["status"],
        "loaded"
    );

    assert!(scope.keepers.opened().is_empty());
}

#[tokio::test]
async fn one_key_cannot_name_two_models() {
    let scope = Scope::new();
    let entry = json!({ "node_id": "n", "pipeline_id": "passthrough" });

    scope.load(json!({ "pipelines": [entry, entry] })).await;

    let error = scope.settled().await["error"].clone();
    assert!(error.as_str().unwrap().contains("node_id `n`"), "{error}");
}

#[tokio::test]
async fn a_load_that_names_nothing_is_refused() {
    let scope = Scope::new();

    for body in [
        json!({}),
        json!({ "pipelines": [] }),
        json!({ "pipeline_ids": [] }),
        json!({ "pipelines": null }),
    ] {
        scope
            .post("/api/v1/pipeline/load", &body)
            .await
            .assert_error(400, "no_pipelines");
    }
}

#[tokio::test]
async fn junk_in_a_load_is_named() {
    let scope = Scope::new();
    let body =
        json!({ "pipelines": [{ "pipeline_id": 7 }], "pipeline_ids": "x", "load_params": [] });

    insta::assert_json_snapshot!(scope.post("/api/v1/pipeline/load", &body).await.json());
}

#[tokio::test]
async fn the_downloads_of_a_known_model_are_done() {
    let scope = Scope::with(RawConfig::default());

    let status = scope
        .get("/api/v1/models/status?pipeline_id=scope-tiny")
        .await;
    assert_eq!(
        status.json(),
        json!({ "downloaded": true, "progress": null })
    );

    scope
        .get("/api/v1/models/status?pipeline_id=nope")
        .await
        .assert_error(404, "unknown_pipeline");
    scope
        .get("/api/v1/models/status")
        .await
        .assert_error(422, "invalid_request");
    scope
        .post("/api/v1/models/download", &json!({ "pipeline_id": "" }))
        .await
        .assert_error(400, "no_pipeline_id");
    scope
        .post("/api/v1/models/download", &json!({}))
        .await
        .assert_error(422, "invalid_request");
}

/// Models are let go of in the background.
async fn eventually_open(scope: &Scope, count: usize) {
    for _ in 0..1000 {
        if scope.keepers.open_now() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("{} models are open", scope.keepers.open_now());
}

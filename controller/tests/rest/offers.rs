//! Offers, candidates and session parameters.

use axum::http::Method;
use scope_controller::config::{IceServer, RawConfig};
use scope_controller::secret::Secret;
use scope_controller::session::{Candidate, SessionError};
use serde_json::{Value, json};

use crate::support::Scope;

fn graph(pipelines: &[&str]) -> Value {
    let mut nodes = vec![json!({ "id": "input", "type": "source", "source_mode": "video" })];
    let mut edges = vec![];
    let mut from = "input";
    for id in pipelines {
        nodes.push(json!({ "id": id, "type": "pipeline", "pipeline_id": id }));
        edges.push(json!({ "from": from, "from_port": "video", "to_node": id, "to_port": "video", "kind": "stream" }));
        from = id;
    }
    nodes.push(json!({ "id": "output", "type": "sink" }));
    edges.push(json!({ "from": from, "from_port": "video", "to_node": "output", "to_port": "video", "kind": "stream" }));
    json!({ "nodes": nodes, "edges": edges })
}

#[tokio::test]
async fn an_offer_is_answered() {
    let scope = Scope::new();
    scope.load_and_settle("scope-tiny").await;

    let reply = scope
        .offer(json!({ "noise_scale": 0.5, "unknown": [1], "prompts": null }))
        .await;

    assert_eq!(
        reply.json(),
        json!({ "sdp": "v=0 answer", "type": "answer", "sessionId": "s1" })
    );
    let offer = scope.only_offer();
    assert_eq!(
        Value::Object(offer.wanted.initial_parameters),
        json!({ "noise_scale": 0.5, "unknown": [1] })
    );
    assert_eq!(offer.wanted.processors[0].factory, Some("scopediffusion"));
    assert!(offer.wanted.takes_input);
}

#[tokio::test]
async fn an_offer_before_a_load_says_what_to_do() {
    let reply = Scope::new().offer(json!({})).await;

    reply.assert_error(400, "pipeline_not_loaded");
    insta::assert_json_snapshot!(reply.json());
}

#[tokio::test]
async fn an_offer_while_a_model_loads_says_wait() {
    let scope = Scope::new();
    scope.keepers.hold();
    scope.load(json!({ "pipeline_ids": ["scope-tiny"] })).await;

    let reply = scope.offer(json!({ "pipeline_ids": ["scope-tiny"] })).await;

    scope.keepers.release();
    reply.assert_error(400, "pipeline_loading");
}

#[tokio::test]
async fn a_graph_of_passthrough_needs_no_load() {
    let scope = Scope::new();
    scope.keepers.hold();
    scope.load(json!({ "pipeline_ids": ["scope-tiny"] })).await;

    let reply = scope
        .offer(json!({ "graph": graph(&["passthrough"]), "input_mode": "video" }))
        .await;

    scope.keepers.release();
    assert_eq!(reply.status, 200, "{}", reply.json());
    assert_eq!(scope.only_offer().wanted.processors[0].factory, None);
}

#[tokio::test]
async fn a_graph_decides_the_order_of_the_models() {
    let scope = Scope::new();
    scope
        .load(json!({ "pipeline_ids": ["scope-tiny", "passthrough"] }))
        .await;
    scope.settled().await;

    scope
        .offer(
            json!({ "graph": graph(&["passthrough", "scope-tiny"]), "pipeline_ids": ["ignored"] }),
        )
        .await;

    let ids: Vec<_> = scope
        .only_offer()
        .wanted
        .processors
        .into_iter()
        .map(|one| one.pipeline_id)
        .collect();
    assert_eq!(ids, ["passthrough", "scope-tiny"]);
}

#[tokio::test]
async fn text_mode_takes_no_input() {
    let scope = Scope::new();
    scope.load_and_settle("scope-tiny").await;

    scope
        .offer(json!({ "graph": graph(&["scope-tiny"]), "input_mode": "text" }))
        .await;

    assert!(!scope.only_offer().wanted.takes_input);
}

#[tokio::test]
async fn parameters_of_the_load_are_where_a_session_starts_and_the_offer_has_the_last_word() {
    let scope = Scope::new();
    let params = json!({ "base_seed": 7, "denoising_steps": [700] });
    scope
        .load(json!({ "pipeline_ids": ["scope-tiny"], "load_params": params }))
        .await;
    scope.settled().await;

    scope.offer(json!({ "seed": 8 })).await;

    let parameters = Value::Object(scope.only_offer().wanted.initial_parameters);
    assert_eq!(
        parameters,
        json!({ "seed": 8, "denoising_step_list": [700] })
    );
}

#[tokio::test]
async fn a_graph_with_a_model_that_is_not_loaded_is_refused() {
    let scope = Scope::new();
    scope.load_and_settle("passthrough").await;

    scope
        .offer(json!({ "graph": graph(&["scope-tiny"]) }))
        .await
        .assert_error(400, "pipeline_not_loaded");
}

#[tokio::test]
async fn a_broken_graph_is_explained() {
    let scope = Scope::new();
    let graph = json!({ "nodes": [{ "id": "a", "type": "pipeline" }], "edges": [{ "from": "a", "to_node": "b" }] });

    let reply = scope.offer(json!({ "graph": graph })).await;

    reply.assert_error(400, "invalid_graph");
    let detail = "Invalid graph: pipeline node `a` has no pipeline_id; the graph has no sink; an edge names `b`, which is no node";
    assert_eq!(reply.json()["detail"], detail);
}

#[tokio::test]
async fn every_bad_parameter_is_named_at_once() {
    let scope = Scope::new();

    let reply = scope
        .offer(json!({
            "noise_scale": 1.5, "kv_cache_attention_bias": 0.0, "input_mode": "audio", "prompts": [{ "text": "a", "weight": -1 }, {}],
            "transition": {}, "paused": "yes", "denoising_step_list": [1.5], "graph": { "nodes": [{ "id": 1, "type": "x" }] },
            "vace_context_scale": 1e300, "lora_scales": [{ "path": "a", "scale": 11 }], "output_sinks": 3,
        }))
        .await;

    reply.assert_error(422, "invalid_request");
    insta::assert_json_snapshot!(reply.json());
}

#[tokio::test]
async fn an_offer_without_description_is_named() {
    insta::assert_json_snapshot!(
        Scope::new()
            .post("/api/v1/webrtc/offer", &json!({ "type": 3 }))
            .await
            .json()
    );
}

#[tokio::test]
async fn a_description_of_noise_is_the_senders_fault() {
    let scope = Scope::new();
    scope.load_and_settle("passthrough").await;
    *scope.sessions.refusal.lock().unwrap() = Some(SessionError::BadOffer("no video line".into()));

    scope.offer(json!({})).await.assert_error(400, "bad_offer");
}

#[tokio::test]
async fn too_many_sessions_is_a_matter_of_waiting() {
    let scope = Scope::new();
    scope.load_and_settle("passthrough").await;
    *scope.sessions.refusal.lock().unwrap() = Some(SessionError::TooMany(8));

    scope
        .offer(json!({}))
        .await
        .assert_error(503, "too_many_sessions");
}

#[tokio::test]
async fn candidates_are_handed_over_and_an_empty_one_ends_them() {
    let scope = Scope::new();
    let list = json!({ "candidates": [
        { "candidate": "candidate:1 1 udp 1 127.0.0.1 9 typ host", "sdpMid": "0", "sdpMLineIndex": 0 },
        { "candidate": "" },
    ] });

    let reply = scope
        .ask(Method::PATCH, "/api/v1/webrtc/offer/s1", list.to_string())
        .await;

    assert_eq!((reply.status.as_u16(), reply.body.len()), (204, 0));
    let candidates = scope.sessions.candidates.lock().unwrap().clone();
    assert_eq!(candidates[0].sdp_m_line_index, Some(0));
    assert_eq!(
        candidates[1],
        Candidate {
            candidate: None,
            sdp_mid: None,
            sdp_m_line_index: None
        }
    );
}

#[tokio::test]
async fn candidates_for_an_unknown_session_are_404_and_none_are_204() {
    let scope = Scope::new();
    let patch =
        |body: Value| scope.ask(Method::PATCH, "/api/v1/webrtc/offer/gone", body.to_string());

    let reply = patch(json!({ "candidates": [{ "candidate": "candidate:1" }] })).await;
    reply.assert_error(404, "session_not_found");
    assert_eq!(reply.json()["detail"], "Session gone not found");

    assert_eq!(patch(json!({ "candidates": [] })).await.status, 204);
    patch(json!({})).await.assert_error(422, "invalid_request");
    patch(json!({ "candidates": [{ "candidate": 1, "sdpMLineIndex": -1 }] }))
        .await
        .assert_error(422, "invalid_request");
}

#[tokio::test]
async fn closing_is_always_204() {
    let reply = Scope::new()
        .ask(Method::DELETE, "/api/v1/webrtc/offer/gone", "")
        .await;

    assert_eq!(reply.status, 204);
}

#[tokio::test]
async fn no_ice_server_is_handed_out_unless_configured() {
    assert_eq!(
        Scope::new().get("/api/v1/webrtc/ice-servers").await.json(),
        json!({ "iceServers": [] })
    );

    let server = IceServer {
        urls: vec!["turn:turn.example".into()],
        username: Some("ada".into()),
        credential: Some(Secret::new("pass")),
    };
    let scope = Scope::with(RawConfig {
        ice_servers: Some(vec![server]),
        ..RawConfig::default()
    });
    insta::assert_json_snapshot!(scope.get("/api/v1/webrtc/ice-servers").await.json());
}

#[tokio::test]
async fn an_update_passes_on_what_was_sent_and_nothing_else() {
    let scope = Scope::new();

    let reply = scope
        .post(
            "/api/v1/session/parameters",
            &json!({ "noise_scale": 0.2, "prompts": null }),
        )
        .await;

    assert_eq!(
        reply.json(),
        json!({ "status": "ok", "applied_parameters": { "noise_scale": 0.2 } })
    );
    let shown = scope.get("/api/v1/session/parameters").await.json();
    assert_eq!(shown, json!({ "parameters": { "noise_scale": 0.2 } }));
}

#[tokio::test]
async fn noise_and_steps_may_go_back_to_the_models_own() {
    let scope = Scope::new();
    let patch = json!({ "noise_scale": "model", "denoising_step_list": "model" });

    let reply = scope.post("/api/v1/session/parameters", &patch).await;

    assert_eq!(reply.json()["applied_parameters"], patch);
}

#[tokio::test]
async fn an_empty_update_is_refused() {
    let scope = Scope::new();

    scope
        .post("/api/v1/session/parameters", &json!({}))
        .await
        .assert_error(400, "no_parameters");
    scope
        .post("/api/v1/session/parameters", &json!({ "paused": 1 }))
        .await
        .assert_error(422, "invalid_request");
    assert!(scope.sessions.patches.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_value_only_the_session_can_judge_is_422_too() {
    let scope = Scope::new();
    *scope.sessions.refusal.lock().unwrap() =
        Some(SessionError::BadParameter("steps must fall".into()));

    let reply = scope
        .post(
            "/api/v1/session/parameters",
            &json!({ "denoising_step_list": [1, 2] }),
        )
        .await;

    insta::assert_json_snapshot!(reply.json());
}

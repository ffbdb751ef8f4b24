use serde_json::json;

use super::*;

fn patch(value: Value) -> Parameters {
    match value {
        Value::Object(patch) => patch,
        other => panic!("not a patch: {other}"),
    }
}

fn keys(map: &Parameters) -> Vec<&str> {
    map.keys().map(String::as_str).collect()
}

#[test]
fn what_a_real_client_sends_first_is_sorted() {
    let routed = route(&patch(json!({
        "input_mode": "video", "pipeline_ids": ["passthrough"], "produces_video": true, "produces_audio": false,
        "noise_scale": 0.7, "noise_controller": true, "graph": {"nodes": [], "edges": []}, "recording": false,
    })));

    assert_eq!(
        keys(&routed.processor),
        ["input_mode", "noise_scale", "noise_controller"]
    );
    assert_eq!(routed.remembered.len(), 8);
    assert_eq!((routed.node_id, routed.paused), (None, None));
}

#[test]
fn session_keys_stay_here() {
    let routed = route(&patch(json!({
        "quantize_mode": "none", "lookahead_ms": 0, "beat_cache_reset_rate": "none", "bpm": 120.0,
        "output_sinks": {"spout": {"enabled": true}}, "input_source": {"enabled": false}, "modulations": {},
    })));

    assert!(routed.processor.is_empty());
    assert!(routed.remembered.contains_key("output_sinks"));
}

#[test]
fn pausing_is_ours_and_the_processors() {
    let routed = route(&patch(json!({"paused": true})));

    assert_eq!(routed.paused, Some(true));
    assert_eq!(routed.processor, patch(json!({"paused": true})));
}

#[test]
fn a_node_id_targets_the_rest() {
    let routed = route(&patch(json!({"node_id": "b", "seed": 7})));

    assert_eq!(routed.node_id.as_deref(), Some("b"));
    assert_eq!(routed.processor, patch(json!({"seed": 7})));
    assert_eq!(routed.remembered, patch(json!({"seed": 7})));
}

#[test]
fn nulls_are_absent_and_unknown_keys_pass() {
    let routed = route(&patch(
        json!({"noise_scale": null, "anything": [1, {"deep": true}]}),
    ));

    assert_eq!(keys(&routed.processor), ["anything"]);
}

#[test]
fn one_shot_keys_reach_the_processor_and_are_forgotten() {
    let routed = route(&patch(json!({"reset_cache": true, "images": ["a.png"]})));

    assert_eq!(keys(&routed.processor), ["reset_cache", "images"]);
    assert!(routed.remembered.is_empty());
}

#[test]
fn the_documented_spout_names_mean_the_real_ones() {
    let routed = route(&patch(
        json!({"spout_receiver": {"enabled": true, "name": "Resolume"}, "spout_sender": {"enabled": true}}),
    ));

    assert_eq!(routed.remembered["input_source"]["source_name"], "Resolume");
    assert_eq!(routed.remembered["output_sinks"]["spout"]["enabled"], true);
    assert!(routed.processor.is_empty());
}

#[test]
fn new_prompts_forget_a_transition() {
    let mut known = patch(json!({"transition": {"target_prompts": []}, "seed": 1}));

    remember(
        &mut known,
        &route(&patch(json!({"prompts": [{"text": "a cat"}]}))).remembered,
    );

    assert_eq!(
        known,
        patch(json!({"prompts": [{"text": "a cat"}], "seed": 1}))
    );
}

#[test]
fn values_at_the_ends_are_allowed() {
    let values = json!({
        "noise_scale": 1, "kv_cache_attention_bias": 0.01, "vace_context_scale": 2.0, "lookahead_ms": 0,
        "denoising_step_list": [1000, 0], "lora_scales": [{"path": "a", "scale": -10}],
        "prompts": [{"text": "", "weight": 0}, {"text": "b"}], "transition": {"target_prompts": [], "num_steps": 0},
        "prompt_interpolation_method": "slerp", "input_mode": "text", "paused": null,
    });

    assert_eq!(check(&patch(values)), Ok(()));
}

#[test]
fn a_bad_value_is_named() {
    let cases = [
        json!({"noise_scale": 1.01}),
        json!({"noise_scale": "0.5"}),
        json!({"noise_scale": 1e300}),
        json!({"kv_cache_attention_bias": 0}),
        json!({"vace_context_scale": -0.1}),
        json!({"denoising_step_list": [1001]}),
        json!({"denoising_step_list": 750}),
        json!({"denoising_step_list": [0.5]}),
        json!({"prompts": "a cat"}),
        json!({"prompts": [{"weight": 1}]}),
        json!({"prompts": [{"text": "a", "weight": -1}]}),
        json!({"prompts": [{"text": "a", "weight": "1"}]}),
        json!({"prompts": vec![json!({"text": "a"}); 101]}),
        json!({"prompts": [{"text": "x".repeat(20_001)}]}),
        json!({"lora_scales": [{"path": "a", "scale": 11}]}),
        json!({"transition": {}}),
        json!({"transition": {"target_prompts": [], "num_steps": -1}}),
        json!({"transition": {"target_prompts": [], "temporal_interpolation_method": "warp"}}),
        json!({"input_mode": "radio"}),
        json!({"paused": "yes"}),
        json!({"node_id": 5}),
        json!({"images": [5]}),
        json!({"output_sinks": []}),
    ];

    for case in cases {
        let case = patch(case);
        let key = case.keys().next().unwrap().clone();
        let refusal = check(&case).unwrap_err();
        assert!(refusal.contains(&key) && refusal.len() < 250, "{refusal}");
    }
}

#[test]
fn junk_messages_are_refused_in_a_sentence() {
    let huge = format!("{{\"a\":\"{}\"}}", "x".repeat(LARGEST));
    let deep = "[".repeat(10_000);
    for text in [
        "",
        "hello",
        "[1]",
        "null",
        "7",
        "{\"a\":NaN}",
        "{\"a\":1",
        &huge,
        &deep,
    ] {
        assert!(
            read(text).is_err_and(|refusal| refusal.len() < 200),
            "{}",
            &text[..text.len().min(20)]
        );
    }
    let many: Parameters = (0..600).map(|n| (n.to_string(), json!(n))).collect();
    assert!(check(&many).unwrap_err().contains("600"));
}

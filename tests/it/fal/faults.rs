//! What goes wrong before pictures come back, each in one attempt: where it ends, and that the next attempt works.

use anyhow::{Result, ensure};
use scope_tests::Cloud;
use serde_json::{Value, json};

use super::{RETURNED, start};

/// An attempt with `fault` brings pictures all the same.
fn is_survived(fault: &Value, properties: &str) -> Result<Cloud> {
    start();
    let cloud = Cloud::new("webrtc", properties)?;
    cloud.app.faults(&json!({"attempts": [fault]}))?;
    cloud.play()?;
    cloud.picture_like(RETURNED)?;
    let report = cloud.report()?;
    ensure!(report["attempts"] == 1, "one attempt is enough: {report:#}");
    ensure!(cloud.stage() == "live");
    Ok(cloud)
}

/// An attempt with `fault` ends with this reason; the second one brings pictures.
fn is_retried(path: &str, fault: &Value, properties: &str, reason: &str) -> Result<()> {
    start();
    let cloud = Cloud::new(path, properties)?;
    cloud.app.faults(&json!({"attempts": [fault]}))?;
    cloud.play()?;
    let told = cloud.reason_of("reconnecting")?;
    ensure!(told.contains(reason), "`{told}` does not say `{reason}`");
    cloud.picture_like(RETURNED)?;
    let report = cloud.report()?;
    ensure!(report["attempts"] == 2 && report["open"] == 1, "{report:#}");
    Ok(())
}

/// The connection cannot work, and says why; pictures go on as the fallback.
fn is_final(faults: &Value, reason: &str) -> Result<()> {
    start();
    let cloud = Cloud::new("webrtc", "")?;
    cloud.app.faults(faults)?;
    cloud.play()?;
    let told = cloud.reason_of("failed")?;
    ensure!(told.contains(reason), "`{told}` does not say `{reason}`");
    cloud.waiting();
    cloud.picture_like(super::SENT)?;
    ensure!(cloud.stage() == "failed");
    Ok(())
}

#[test]
fn a_late_ready_is_waited_for() -> Result<()> {
    let cloud = is_survived(&json!({"ready_delay": 2}), "")?;
    let stages = cloud.messages("connection-stage")?;
    let named = |name| {
        stages
            .iter()
            .find(|said| said.get::<&str>("stage") == Ok(name))
    };
    ensure!(named("starting-runner").is_some(), "{stages:?}");
    let live = named("live").map(|said| said.get::<u64>("elapsed"));
    ensure!(
        live.is_some_and(|time| time.is_ok_and(|time| time > 2_000_000_000)),
        "{stages:?}"
    );
    Ok(())
}

#[test]
fn a_late_upgrade_is_waited_for() -> Result<()> {
    let cloud = is_survived(&json!({"upgrade_delay": 4}), "")?;
    let stages = cloud.messages("connection-stage")?;
    let starting = stages
        .iter()
        .any(|said| said.get::<&str>("stage") == Ok("starting-runner"));
    ensure!(starting, "a pending handshake is a cold start: {stages:?}");
    Ok(())
}

#[test]
fn an_answer_that_is_none_is_retried() -> Result<()> {
    let nonsense = [
        ("", "not SDP"),
        ("the model is busy", "no video"),
        ("v=0\r\n", "no video"),
        ("v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n", "the answer"),
    ];
    for (sdp, reason) in nonsense {
        is_retried("webrtc", &json!({"answer_sdp": sdp}), "", reason)?;
    }
    Ok(())
}

#[test]
fn a_ready_that_never_comes_ends_with_the_budget() -> Result<()> {
    is_retried(
        "webrtc",
        &json!({"no_ready": true}),
        "connect-timeout=2",
        "starting-runner",
    )
}

#[test]
fn an_upgrade_that_never_ends_ends_with_the_budget() -> Result<()> {
    is_retried(
        "webrtc",
        &json!({"upgrade_delay": 30}),
        "connect-timeout=2",
        "within 2 s",
    )
}

#[test]
fn wrong_credentials_are_final() -> Result<()> {
    for status in [401, 403, 404] {
        is_final(
            &json!({"rest": {"upgrade_status": status}}),
            &status.to_string(),
        )?;
    }
    Ok(())
}

#[test]
fn a_refused_token_is_final_and_tells_the_servers_words() -> Result<()> {
    let body = json!({"detail": "User is locked. Reason: Exhausted balance."});
    is_final(
        &json!({"token": {"status": 403, "body": body}}),
        "Exhausted balance",
    )
}

#[test]
fn crowded_and_absent_runners_are_tried_again() -> Result<()> {
    for status in [429, 503] {
        is_retried(
            "webrtc",
            &json!({"upgrade_status": status}),
            "",
            &status.to_string(),
        )?;
    }
    Ok(())
}

#[test]
fn noise_between_messages_is_ignored() -> Result<()> {
    for fault in [
        "garbage",
        "chatter",
        "second_ready",
        "second_answer",
        "early_null",
    ] {
        is_survived(&json!({fault: true}), "")?;
    }
    Ok(())
}

#[test]
fn an_answer_of_the_wrong_kind_is_understood() -> Result<()> {
    is_survived(&json!({"wrong_opcode": true}), "").map(drop)
}

#[test]
fn an_answer_that_never_comes_ends_with_the_budget() -> Result<()> {
    is_retried(
        "webrtc",
        &json!({"no_answer": true}),
        "connect-timeout=3",
        "within 3 s",
    )
}

#[test]
fn an_error_before_the_answer_ends_the_attempt_in_the_apps_words() -> Result<()> {
    is_retried(
        "webrtc",
        &json!({"error_before_answer": "out of memory"}),
        "",
        "out of memory",
    )?;
    let framework = json!({"error_before_answer": "out of memory", "fal_error": true});
    is_retried("realtime", &framework, "", "out of memory")
}

#[test]
fn an_error_after_the_answer_is_told_and_pictures_come() -> Result<()> {
    let cloud = is_survived(&json!({"error_after_answer": "a small thing"}), "")?;
    let told = cloud.messages("app-notice")?;
    let text = told
        .iter()
        .filter_map(|said| said.get::<&str>("text").ok())
        .next();
    ensure!(
        text.is_some_and(|text| text.contains("a small thing")),
        "{told:?}"
    );
    Ok(())
}

#[test]
fn a_close_at_any_step_is_followed_by_another_attempt() -> Result<()> {
    for step in ["open", "ready", "offer", "answer", "candidate"] {
        for code in [1000, 1006] {
            is_retried(
                "webrtc",
                &json!({"close_at": step, "close_code": code}),
                "",
                "closed",
            )?;
        }
    }
    Ok(())
}

#[test]
fn a_token_that_runs_out_in_the_handshake_is_replaced() -> Result<()> {
    start();
    let cloud = Cloud::new("webrtc", "")?;
    let faults = json!({"attempts": [{"upgrade_delay": 2.5}], "token": {"lifetime": 1}});
    cloud.app.faults(&faults)?;
    cloud.play()?;
    cloud.picture_like(RETURNED)?;
    ensure!(cloud.report()?["tokens"] == 2, "{:#}", cloud.report()?);
    Ok(())
}

#[test]
fn every_shape_of_token_is_taken() -> Result<()> {
    for shape in ["string", "token", "detail"] {
        start();
        let cloud = Cloud::new("webrtc", "")?;
        cloud.app.faults(&json!({"token": {"shape": shape}}))?;
        cloud.play()?;
        cloud.picture_like(RETURNED)?;
        ensure!(cloud.report()?["admitted"] == json!(["token"]));
    }
    Ok(())
}

#[test]
fn wma_says_what_the_bridge_says() -> Result<()> {
    let fault = json!({"error_before_answer": "no runner took it"});
    is_retried("x", &fault, "dialect=wma auth=header", "no runner took it")
}

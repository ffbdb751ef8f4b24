//! What is refused on the way, and how the user hears of it.

use axum::http::StatusCode;
use axum::response::IntoResponse;
use fal_client::net::{Event, Pump, PumpConfig, Transport};
use fal_client::{Auth, DialectChoice, EncodingChoice, FalError, Stage};
use tokio::runtime::Handle;

use crate::fal::{Fal, Upgrade, echo, grant, redirect, refuse, talk};
use crate::owner::{KEY, Owner, config};

#[tokio::test]
async fn a_refused_token_stops_with_the_servers_words() {
    let locked = r#"{"detail":"User is locked. Reason: Exhausted balance."}"#;
    let fal = Fal::new(move |_, _| refuse(403, locked), |_| talk(echo)).await;

    let report = Owner::of(&fal).stage(Stage::Failed).await;

    let error = report.error.unwrap();
    assert_eq!(
        error.to_string(),
        format!("Token request failed: 403 {locked}")
    );
    assert!(error.remedy().contains("balance"));
    assert_eq!(report.wait, None);
}

#[tokio::test]
async fn a_refused_handshake_keeps_its_status_and_body() {
    for (status, stage) in [
        (403, Stage::Failed),
        (404, Stage::Failed),
        (429, Stage::Reconnecting),
        (503, Stage::Reconnecting),
        (504, Stage::Reconnecting),
        (200, Stage::Reconnecting),
    ] {
        let body = format!("{{\"detail\":\"number {status}\"}}");
        let wanted = FalError::UpgradeRefused {
            status,
            body: body.clone(),
        };
        let fal = Fal::granting(move |_| Upgrade::Refuse(refuse(status, &body))).await;

        let report = Owner::of(&fal).stage(stage).await;

        assert_eq!(report.error, Some(wanted));
    }
}

#[tokio::test]
async fn a_token_that_ran_out_in_the_handshake_is_replaced_once() {
    let once = Fal::granting(|count| match count {
        1 => Upgrade::Refuse(refuse(401, "expired")),
        _ => talk(echo),
    })
    .await;
    assert_eq!(Owner::of(&once).opened().await, 2);
    let tokens: Vec<_> = once.seen().into_iter().map(|seen| seen.query).collect();
    assert_eq!(
        tokens,
        ["", "fal_jwt_token=token-1", "", "fal_jwt_token=token-2"]
    );

    let always = Fal::granting(|_| Upgrade::Refuse(refuse(401, "no"))).await;
    let report = Owner::of(&always).stage(Stage::Failed).await;
    assert_eq!(report.attempt, 2);

    let key = Fal::granting(|_| Upgrade::Refuse(refuse(401, "no"))).await;
    let report = Owner::with_auth(&key, Auth::Header)
        .stage(Stage::Failed)
        .await;
    assert_eq!(report.attempt, 1, "a key does not run out");
}

#[tokio::test]
async fn a_path_that_was_named_is_the_only_one() {
    let nowhere = || Fal::granting(|count| Upgrade::Refuse(refuse(404, &format!("path {count}"))));
    for (id, path, dialect, tried) in [
        ("o/a", "", DialectChoice::Auto, 3),
        ("o/a", "x", DialectChoice::Auto, 1),
        ("o/a/x", "", DialectChoice::Auto, 1),
        ("o/a", "", DialectChoice::Scope, 1),
    ] {
        let fal = nowhere().await;
        let known = config(&fal);
        let (app, key) = (id.parse().unwrap(), known.key.clone());
        let config = PumpConfig {
            endpoints: known.endpoints,
            ..PumpConfig::new(app, path, dialect, EncodingChoice::Auto, key)
        };
        let report = Owner::new(config).stage(Stage::Failed).await;
        let error = report.error.unwrap().to_string();
        assert!(
            error.contains("path 1"),
            "the first is what was meant: {error}"
        );
        assert_eq!(fal.seen().len(), 2 * tried, "{id} {path}");
    }
}

#[tokio::test]
async fn a_connection_that_worked_is_tried_for_ever() {
    let fal = Fal::granting(|count| match count {
        1 | 4 => talk(echo),
        _ => Upgrade::Refuse(refuse(404, "being redeployed")),
    })
    .await;
    let mut owner = Owner::of(&fal);
    let attempt = owner.opened().await;
    owner.pump.entered(attempt, Stage::Live);
    owner.stage(Stage::Live).await;
    let lost = FalError::Peer {
        reason: "silence".into(),
    };
    owner.pump.failed(attempt, lost.clone());

    assert_eq!(owner.stage(Stage::Reconnecting).await.error, Some(lost));
    assert_eq!(owner.opened().await, 4);
}

#[tokio::test]
async fn a_failed_connection_begins_again_when_told_to() {
    let fal = Fal::granting(|count| match count {
        1 => Upgrade::Refuse(refuse(404, "")),
        _ => talk(echo),
    })
    .await;
    let mut owner = Owner::new(PumpConfig {
        other_paths: Vec::new(),
        ..config(&fal)
    });
    owner.stage(Stage::Failed).await;

    owner.pump.reconnect_now();

    assert_eq!(owner.opened().await, 2);
}

#[tokio::test]
async fn the_key_follows_no_redirect_to_a_stranger() {
    let stranger = Fal::granting(|_| talk(echo)).await;
    let (to, ws) = (stranger.url(), stranger.url());
    let by_token = Fal::new(
        move |_, _| redirect(307, &format!("{to}/tokens/")),
        |_| talk(echo),
    )
    .await;
    let by_socket =
        Fal::granting(move |_| Upgrade::Refuse(redirect(302, &format!("{ws}/o/a/webrtc")))).await;

    for (fal, auth) in [
        (&by_token, Auth::Token),
        (&by_socket, Auth::Token),
        (&by_socket, Auth::Header),
    ] {
        let report = Owner::with_auth(fal, auth).stage(Stage::Failed).await;
        let host = stranger.address.to_string();
        assert_eq!(report.error, Some(FalError::ForeignHost { host }));
    }
    assert!(stranger.seen().is_empty(), "not even knocked at");
}

#[tokio::test]
async fn a_host_that_is_not_there_is_tried_again() {
    let fal = Fal::granting(|_| talk(echo)).await;
    let mut config = config(&fal);
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = free.local_addr().unwrap();
    drop(free);
    config.endpoints = config
        .endpoints
        .with_rest_url(&format!("http://{gone}"))
        .unwrap();
    let mut owner = Owner::new(config);

    for attempt in 1..4 {
        let report = owner.stage(Stage::Reconnecting).await;
        assert_eq!(report.attempt, attempt);
        let error = report.error.unwrap().to_string();
        assert!(
            error.starts_with(&format!("{gone} cannot be reached: ")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_said_to() {
    let nonsense = Fal::granting(|_| {
        let switch = (
            StatusCode::SWITCHING_PROTOCOLS,
            [("connection", "upgrade"), ("upgrade", "smoke-signals")],
        );
        Upgrade::Refuse(switch.into_response())
    })
    .await;

    let report = Owner::of(&nonsense).stage(Stage::Reconnecting).await;

    let error = report.error.unwrap().to_string();
    assert!(
        error.ends_with("it switched protocols, but not to WebSocket"),
        "{error}"
    );
}

#[tokio::test]
async fn a_token_reply_without_a_token_is_refused() {
    let fal = Fal::new(
        |_, _| refuse(200, r#"{"jwt":"canary-jwt"}"#),
        |_| talk(echo),
    )
    .await;
    let report = Owner::of(&fal).stage(Stage::Reconnecting).await;
    let error = report.error.unwrap().to_string();
    assert_eq!(
        error,
        "Token request failed: 200 the reply has no token in it"
    );
}

#[tokio::test]
async fn a_refused_wma_session_ends_the_attempt() {
    let fal = Fal::new(
        |seen, count| match seen.path.as_str() {
            "/session" => refuse(503, r#"{"error":"no runner"}"#),
            _ => grant(count),
        },
        |_| Upgrade::Hang,
    )
    .await;
    let mut owner = Owner::new(PumpConfig {
        transport: Transport::Requests,
        ..config(&fal)
    });
    let attempt = owner.opened().await;
    let offer = r#"{"app_id":"o/a","sdp":"v=0","type":"offer"}"#.to_owned();
    owner
        .pump
        .send(attempt, fal_client::RawMessage::Text(offer));

    owner
        .until(|event| matches!(event, Event::Closed { .. }).then_some(()))
        .await;
    let report = owner.stage(Stage::Reconnecting).await;
    assert!(matches!(
        report.error,
        Some(FalError::UpgradeRefused { status: 503, .. })
    ));
}

#[tokio::test]
async fn no_key_is_said_before_anything_is_tried() {
    let fal = Fal::granting(|_| talk(echo)).await;
    let keyless = |auth| PumpConfig {
        key: None,
        auth,
        ..config(&fal)
    };
    for auth in [Auth::Token, Auth::Header] {
        let refused = Pump::start(keyless(auth), &Handle::current());
        assert_eq!(refused.err(), Some(FalError::NoKey));
    }
    Owner::new(keyless(Auth::None)).opened().await;
    assert!(!format!("{:?}", config(&fal)).contains(KEY));
}

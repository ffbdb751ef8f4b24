//! From key to open socket.

use std::time::Duration;

use fal_client::net::{Event, PumpConfig, Transport};
use fal_client::{Auth, RawMessage, Stage};

use crate::fal::{Fal, Upgrade, echo, grant, redirect, refuse, talk};
use crate::owner::{KEY, Owner, config};

fn text(text: &str) -> RawMessage {
    RawMessage::Text(text.into())
}

async fn message(owner: &mut Owner) -> RawMessage {
    owner
        .until(|event| match event {
            Event::Message { message, .. } => Some(message.clone()),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn a_connection_comes_up_stage_by_stage() {
    let fal = Fal::granting(|_| talk(echo)).await;
    let mut owner = Owner::of(&fal);

    let mut stages = Vec::new();
    let attempt = owner
        .until(|event| match event {
            Event::Stage(report) => {
                stages.push(report.stage);
                None
            }
            Event::Opened { attempt, .. } => Some(*attempt),
            Event::Message { .. } | Event::Closed { .. } => panic!("{event:?}"),
        })
        .await;
    assert_eq!(stages, [Stage::Token, Stage::Socket]);
    assert_eq!(attempt, 1);
    assert_eq!(message(&mut owner).await, text(r#"{"type":"ready"}"#));

    for sent in [text("a"), RawMessage::Binary(vec![1, 2]), text("")] {
        assert!(owner.pump.send(attempt, sent.clone()));
        assert_eq!(message(&mut owner).await, sent);
    }
    owner.pump.entered(attempt, Stage::Negotiating);
    owner.pump.entered(attempt, Stage::Live);
    owner.stage(Stage::Negotiating).await;
    owner.stage(Stage::Live).await;
    assert_eq!(owner.stop().await, []);

    let seen = fal.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(
        (seen[0].path.as_str(), seen[0].authorization.as_str()),
        ("/tokens/", format!("Key {KEY}").as_str())
    );
    assert_eq!(
        seen[0].body,
        r#"{"allowed_apps":["a"],"token_expiration":120}"#
    );
    assert_eq!(
        (seen[1].path.as_str(), seen[1].query.as_str()),
        ("/o/a/webrtc", "fal_jwt_token=token-1")
    );
    assert_eq!(seen[1].authorization, "", "the key stays at home");
}

#[tokio::test]
async fn the_key_can_go_with_the_handshake_or_stay_away() {
    for (auth, authorization) in [
        (Auth::Header, format!("Key {KEY}")),
        (Auth::None, String::new()),
    ] {
        let fal = Fal::granting(|_| talk(echo)).await;
        let mut owner = Owner::with_auth(&fal, auth);

        owner.opened().await;

        let seen = fal.seen();
        assert_eq!(seen.len(), 1, "no token is asked for");
        assert_eq!(seen[0].authorization, authorization);
        assert_eq!(seen[0].query, "");
    }
}

#[tokio::test]
async fn a_host_with_only_the_newer_token_endpoint_will_do() {
    let fal = Fal::new(
        |seen, count| match seen.path.as_str() {
            "/tokens/realtime" => grant(count),
            _ => refuse(404, "no such route"),
        },
        |_| talk(echo),
    )
    .await;

    Owner::of(&fal).opened().await;

    let paths: Vec<_> = fal.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/tokens/", "/tokens/realtime", "/o/a/webrtc"]);
}

#[tokio::test]
async fn a_pending_handshake_is_a_starting_runner() {
    let fal = Fal::granting(|_| Upgrade::Hang).await;
    let mut owner = Owner::new(PumpConfig {
        budget: Duration::from_secs(8),
        ..config(&fal)
    });

    owner.stage(Stage::StartingRunner).await;
    let report = owner.stage(Stage::Reconnecting).await;

    let error = report.error.unwrap().to_string();
    assert_eq!(
        error,
        "no picture came within 8 s (stage `starting-runner`)"
    );
}

#[tokio::test]
async fn redirects_are_followed_among_trusted_hosts() {
    let fal = Fal::new(
        |seen, count| match seen.path.as_str() {
            "/tokens/" => redirect(307, "/moved/tokens"),
            _ => grant(count),
        },
        |count| match count {
            1 => Upgrade::Refuse(redirect(302, "/elsewhere")),
            _ => talk(echo),
        },
    )
    .await;

    Owner::of(&fal).opened().await;

    let seen = fal.seen();
    let paths: Vec<_> = seen.iter().map(|seen| seen.path.as_str()).collect();
    assert_eq!(
        paths,
        ["/tokens/", "/moved/tokens", "/o/a/webrtc", "/elsewhere"]
    );
    assert_eq!(seen[1].authorization, format!("Key {KEY}"));
    assert_eq!(seen[1].body, seen[0].body);
    assert_eq!(seen[3].query, "fal_jwt_token=token-2");
}

#[tokio::test]
async fn a_path_that_nobody_named_is_found() {
    let fal = Fal::granting(|count| match count {
        1 => Upgrade::Refuse(refuse(403, "")),
        2 => talk(|_| async {}),
        _ => talk(echo),
    })
    .await;
    let mut owner = Owner::of(&fal);

    assert_eq!(owner.opened().await, 1);
    assert_eq!(owner.opened().await, 2);

    let seen = fal.seen().into_iter().map(|seen| seen.path);
    let sockets: Vec<_> = seen.filter(|path| path != "/tokens/").collect();
    assert_eq!(sockets, ["/o/a/webrtc", "/o/a/ws", "/o/a/ws"]);
}

#[tokio::test]
async fn wma_posts_what_is_said_and_hears_the_replies() {
    let fal = Fal::new(
        |seen, _| match seen.path.as_str() {
            "/ice" => refuse(500, "no servers today"),
            "/session" => refuse(200, r#"{"session_id":"s","sdp":"v=0","type":"answer"}"#),
            _ => refuse(200, r#"{"alive":true}"#),
        },
        |_| Upgrade::Hang,
    )
    .await;
    let mut owner = Owner::new(PumpConfig {
        transport: Transport::Requests,
        ..config(&fal)
    });
    let attempt = owner.opened().await;
    for (said, heard) in [
        (r#"{"app_id":"o/a"}"#, r#"{"ice_servers":[]}"#),
        (
            r#"{"app_id":"o/a","sdp":"v=0","type":"offer"}"#,
            r#"{"session_id":"s","sdp":"v=0","type":"answer"}"#,
        ),
        (r#"{"session_id":"s"}"#, r#"{"alive":true}"#),
    ] {
        owner.pump.send(attempt, text(said));
        assert_eq!(message(&mut owner).await, text(heard));
    }
    for seen in fal.seen() {
        assert_eq!(seen.authorization, format!("Key {KEY}"), "{}", seen.path);
    }
}

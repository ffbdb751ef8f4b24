//! How connections end, and what comes after.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use fal_client::net::{Event, PumpConfig};
use fal_client::{FalError, RawMessage, Stage};
use tokio::sync::mpsc;

use crate::fal::{Fal, echo, talk};
use crate::owner::{Owner, config};

async fn closed(owner: &mut Owner) -> (u32, Option<u16>, String) {
    owner
        .until(|event| match event {
            Event::Closed {
                attempt,
                code,
                reason,
            } => Some((*attempt, *code, reason.clone())),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn a_close_is_told_and_a_new_socket_opened_with_a_new_token() {
    for (code, reason) in [(1000, ""), (1011, "broken"), (4003, "")] {
        let fal = Fal::granting(move |count| {
            talk(move |mut socket: WebSocket| async move {
                if count > 1 {
                    return echo(socket).await;
                }
                let frame = CloseFrame {
                    code,
                    reason: reason.into(),
                };
                let _ = socket.send(Message::Close(Some(frame))).await;
            })
        })
        .await;
        let mut owner = Owner::of(&fal);

        assert_eq!(closed(&mut owner).await, (1, Some(code), reason.to_owned()));
        let report = owner.stage(Stage::Reconnecting).await;
        assert_eq!(
            report.error,
            Some(FalError::Closed {
                stage: Stage::Socket,
                close_code: Some(code),
                reason: reason.into()
            })
        );
        assert_eq!(owner.opened().await, 2);
        let last = fal.seen().pop().unwrap();
        assert_eq!(last.query, "fal_jwt_token=token-2");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_a_1006() {
    let fal = Fal::granting(|_| {
        talk(|mut socket: WebSocket| async move {
            let _ = socket.send(Message::text("last words")).await;
        })
    })
    .await;
    let mut owner = Owner::of(&fal);
    assert_eq!(closed(&mut owner).await, (1, Some(1006), String::new()));
}

#[tokio::test]
async fn the_owners_verdict_is_the_error() {
    let fal = Fal::granting(|_| talk(|_| async {})).await;
    let mut owner = Owner::of(&fal);
    let (attempt, ..) = closed(&mut owner).await;
    let verdict = FalError::App {
        text: "out of memory".into(),
        code: None,
    };

    owner.pump.failed(attempt, verdict.clone());

    let report = owner.stage(Stage::Reconnecting).await;
    assert_eq!(report.error, Some(verdict));
}

#[tokio::test]
async fn what_is_said_of_an_earlier_attempt_is_let_go() {
    let fal = Fal::granting(|count| match count {
        1 => talk(|_| async {}),
        _ => talk(echo),
    })
    .await;
    let mut owner = Owner::of(&fal);
    assert_eq!(owner.opened().await, 1);
    assert_eq!(owner.opened().await, 2);

    owner.pump.send(1, RawMessage::Text("old".into()));
    owner.pump.failed(
        1,
        FalError::Peer {
            reason: "old".into(),
        },
    );
    owner.pump.send(2, RawMessage::Text("new".into()));

    let heard = owner
        .until(|event| match event {
            Event::Message { message, .. }
                if *message != RawMessage::Text(r#"{"type":"ready"}"#.into()) =>
            {
                Some(message.clone())
            }
            Event::Closed { .. } => panic!("an old verdict closed the new socket"),
            _ => None,
        })
        .await;
    assert_eq!(heard, RawMessage::Text("new".into()));
}

#[tokio::test]
async fn garbage_and_long_messages_are_passed_on_or_end_the_socket() {
    let fal = Fal::granting(|_| {
        talk(|mut socket: WebSocket| async move {
            let _ = socket.send(Message::text("{garbage")).await;
            let _ = socket.send(Message::binary(vec![0xc1; 3])).await;
            let _ = socket.send(Message::binary(vec![0; 9 << 20])).await;
            let _ = socket.recv().await;
        })
    })
    .await;
    let mut owner = Owner::of(&fal);
    let mut heard = Vec::new();
    let (code, reason) = owner
        .until(|event| match event {
            Event::Message { message, .. } => {
                heard.push(message.clone());
                None
            }
            Event::Closed { code, reason, .. } => Some((*code, reason.clone())),
            Event::Stage(_) | Event::Opened { .. } => None,
        })
        .await;

    assert_eq!(
        heard,
        [
            RawMessage::Text("{garbage".into()),
            RawMessage::Binary(vec![0xc1; 3])
        ]
    );
    assert_eq!(
        (code, reason.as_str()),
        (Some(1006), "a message was too long")
    );
}

#[tokio::test]
async fn the_last_words_are_heard_though_nothing_can_be_said_any_more() {
    let fal = Fal::granting(|_| {
        talk(|mut socket: WebSocket| async move {
            // More than the pump keeps for its owner, so that it stops reading.
            for _ in 0..100 {
                let _ = socket.send(Message::text("noise")).await;
            }
            let _ = socket.send(Message::text("last words")).await;
        })
    })
    .await;
    let mut owner = Owner::of(&fal);
    let attempt = owner.opened().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    for _ in 0..50 {
        owner
            .pump
            .send(attempt, RawMessage::Text("to nobody".into()));
    }

    let mut heard = Vec::new();
    owner
        .until(|event| match event {
            Event::Message { message, .. } => {
                heard.push(message.clone());
                None
            }
            Event::Closed { .. } => Some(()),
            Event::Stage(_) | Event::Opened { .. } => None,
        })
        .await;

    assert_eq!(heard.len(), 101);
    assert_eq!(heard.last(), Some(&RawMessage::Text("last words".into())));
}

#[tokio::test]
async fn a_socket_that_stops_answering_pings_is_dead() {
    let fal = Fal::granting(|count| {
        talk(move |mut socket: WebSocket| async move {
            if count > 1 {
                return echo(socket).await;
            }
            // Answers pings while it is read, up to the first text; then it hangs.
            while !matches!(socket.recv().await, Some(Ok(Message::Text(_)))) {}
            std::future::pending().await
        })
    })
    .await;
    let mut owner = Owner::new(PumpConfig {
        ping_every: Duration::from_millis(200),
        ..config(&fal)
    });
    let attempt = owner.opened().await;
    // Time for an answer, without which silence proves nothing.
    tokio::time::sleep(Duration::from_secs(1)).await;
    owner.pump.send(attempt, RawMessage::Text("hang".into()));

    let told = (1, Some(1006), "it no longer answers".to_owned());
    assert_eq!(closed(&mut owner).await, told);
    assert_eq!(owner.opened().await, 2);
}

/// A server that reports how its clients leave.
async fn watching() -> (Fal, mpsc::UnboundedReceiver<Option<u16>>) {
    let (left, leaving) = mpsc::unbounded_channel();
    let fal = Fal::granting(move |_| {
        let left = left.clone();
        talk(|mut socket: WebSocket| async move {
            let mut code = None;
            while let Some(Ok(message)) = socket.recv().await {
                if let Message::Close(frame) = message {
                    code = frame.map(|frame| frame.code);
                }
            }
            let _ = left.send(code);
        })
    })
    .await;
    (fal, leaving)
}

#[tokio::test]
async fn stopping_says_goodbye() {
    let (fal, mut leaving) = watching().await;
    let mut owner = Owner::of(&fal);
    owner.opened().await;

    owner.stop().await;

    assert_eq!(leaving.recv().await.unwrap(), Some(1000));
}

#[tokio::test]
async fn a_dropped_pump_says_goodbye_too() {
    let (fal, mut leaving) = watching().await;
    let mut owner = Owner::of(&fal);
    owner.opened().await;

    drop(owner);

    assert_eq!(leaving.recv().await.unwrap(), Some(1000));
}

#[tokio::test]
async fn reconnecting_by_hand_leaves_the_old_socket_and_opens_a_new_one() {
    let (fal, mut leaving) = watching().await;
    let mut owner = Owner::of(&fal);
    for attempt in 1..4 {
        assert_eq!(owner.opened().await, attempt);
        owner.pump.reconnect_now();
        assert_eq!(leaving.recv().await.unwrap(), Some(1000));
        let report = owner.stage(Stage::Reconnecting).await;
        assert_eq!((report.error, report.wait), (None, Some(Duration::ZERO)));
    }
}

#[tokio::test]
async fn a_pump_stops_from_every_stage() {
    let hung = Fal::granting(|_| crate::fal::Upgrade::Hang).await;
    let mut connecting = Owner::of(&hung);
    connecting.stage(Stage::Socket).await;
    connecting.stop().await;

    let closing = Fal::granting(|_| talk(|_| async {})).await;
    let mut waiting = Owner::of(&closing);
    waiting.stage(Stage::Reconnecting).await;
    waiting.stop().await;

    let refusing = Fal::new(|_, _| crate::fal::refuse(401, ""), |_| talk(echo)).await;
    let mut failed = Owner::of(&refusing);
    failed.stage(Stage::Failed).await;
    failed.stop().await;
}

#[tokio::test]
async fn an_owner_that_no_longer_listens_ends_the_pump() {
    let (fal, mut leaving) = watching().await;
    let mut owner = Owner::of(&fal);
    let attempt = owner.opened().await;
    let Owner { pump, events } = owner;
    drop(events);
    pump.entered(attempt, Stage::Live);

    pump.ended().await;

    assert_eq!(leaving.recv().await.unwrap(), Some(1000));
}

#[tokio::test]
async fn a_hundred_losses_are_a_hundred_recoveries() {
    let sockets = Arc::new(Mutex::new(0));
    let open = sockets.clone();
    let fal = Fal::granting(move |_| {
        let open = open.clone();
        talk(move |socket| async move {
            *open.lock().unwrap() += 1;
            echo(socket).await;
            *open.lock().unwrap() -= 1;
        })
    })
    .await;
    let mut owner = Owner::of(&fal);
    for attempt in 1..=101 {
        assert_eq!(owner.opened().await, attempt);
        owner.pump.entered(attempt, Stage::Live);
        owner.stage(Stage::Live).await;
        if attempt <= 100 {
            let reason = "injected".to_owned();
            owner.pump.failed(attempt, FalError::Peer { reason });
        }
    }
    while *sockets.lock().unwrap() > 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    owner.stop().await;
    while *sockets.lock().unwrap() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

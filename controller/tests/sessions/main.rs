//! Sessions with a real peer: offers, frames back, parameters, ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod client;
mod headless;
mod recording;
mod swapping;

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use client::{Client, Wish, until, wanted};
use scope_controller::processor::{Fit, Processor};
use scope_controller::session::registry::{Registry, Settings};
use scope_controller::session::{Candidate, Offer, Parameters, SessionError, Sessions, Wanted};
use serde_json::{Value, json};

fn registry() -> Registry {
    limited(8)
}

fn limited(limit: usize) -> Registry {
    let addresses = vec![IpAddr::from([127, 0, 0, 1])];
    Registry::new(Settings {
        limit,
        addresses,
        ..Settings::default()
    })
    .unwrap()
}

fn patch(value: &Value) -> Parameters {
    value.as_object().unwrap().clone()
}

fn processor(
    factory: &'static str,
    properties: &[(&'static str, &str)],
    size: Option<(u32, u32)>,
) -> Processor {
    Processor {
        node_id: factory.into(),
        pipeline_id: factory.into(),
        factory: Some(factory),
        properties: properties
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect(),
        size,
        fit: Fit::default(),
    }
}

async fn streaming(sessions: &Registry, wish: &Wish) -> (Client, String) {
    let client = Client::new(wish).await;
    let answer = client.open(sessions, client.offer()).await.unwrap();
    client.see(10).await;
    (client, answer.session_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn vp8_frames_come_back_and_the_answer_is_complete() {
    let sessions = registry();
    let client = Client::new(&Wish::default()).await;

    let answer = client.open(&sessions, client.offer()).await.unwrap();
    client.see(30).await;

    let sections: Vec<&str> = answer.sdp.split("\r\nm=").collect();
    assert_eq!(sections.len(), 4, "{}", answer.sdp);
    for (section, media) in sections[1..].iter().zip(["video", "audio", "application"]) {
        assert!(section.starts_with(media));
        assert!(
            section.contains("a=candidate:") && section.trim_end().ends_with("a=end-of-candidates")
        );
        assert!(section.contains("a=setup:active"));
    }
    assert!(sections[1].contains("a=sendrecv") && sections[2].contains("a=inactive"));
    let figures = sessions.metrics()[&answer.session_id].clone();
    assert!(
        figures["frames_out"].as_u64().unwrap() >= 30 && figures["fps_in"].as_f64().unwrap() > 5.0,
        "{figures}"
    );
    assert_eq!(*client.seen.size.lock().unwrap(), Some((320, 240)));
}

#[tokio::test(flavor = "multi_thread")]
async fn h264_frames_come_back() {
    let sessions = registry();
    let (client, id) = streaming(
        &sessions,
        &Wish {
            codec: "H264",
            ..Wish::default()
        },
    )
    .await;

    client.see(20).await;
    assert!(!id.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn text_to_video_needs_no_camera() {
    let sessions = registry();
    let client = Client::new(&Wish {
        size: None,
        ..Wish::default()
    })
    .await;
    let processors = vec![processor("identity", &[], Some((192, 128)))];
    let offer = client.offer_of(Wanted {
        processors,
        takes_input: false,
        ..wanted()
    });

    client.open(&sessions, offer).await.unwrap();
    client.see(20).await;

    assert_eq!(*client.seen.size.lock().unwrap(), Some((192, 128)));
}

#[tokio::test(flavor = "multi_thread")]
async fn trickled_candidates_connect_and_junk_is_named() {
    let sessions = registry();
    let client = Client::new(&Wish {
        trickle: true,
        ..Wish::default()
    })
    .await;
    let answer = client.open(&sessions, client.offer()).await.unwrap();
    let id = &answer.session_id;
    let line = |text: &str| {
        vec![Candidate {
            candidate: Some(text.into()),
            sdp_mid: None,
            sdp_m_line_index: None,
        }]
    };

    let hidden = "candidate:1 1 udp 2122 1f4712db-ea17-4bcf-a596-105139dfd8bf.local 5000 typ host";
    assert_eq!(sessions.add_candidates(id, line(hidden)).await, Ok(()));
    assert_eq!(sessions.add_candidates(id, line("")).await, Ok(()));
    let junk = sessions.add_candidates(id, line("hello")).await;
    assert!(matches!(junk, Err(SessionError::BadCandidate(_))));
    assert_eq!(
        sessions.add_candidates(id, client.candidates()).await,
        Ok(())
    );
    client.see(5).await;

    let unknown = sessions.add_candidates("nope", client.candidates()).await;
    assert_eq!(unknown, Err(SessionError::NotFound("nope".into())));
    assert_eq!(sessions.add_candidates("nope", Vec::new()).await, Ok(()));
    sessions.close(id).await;
    let closed = sessions.add_candidates(id, client.candidates()).await;
    assert_eq!(closed, Err(SessionError::NotFound(id.clone())));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_offers_are_refused_while_others_go_on() {
    let sessions = registry();
    let (client, id) = streaming(&sessions, &Wish::default()).await;

    let no_setup = client.offer.replace("a=setup:actpass", "a=setup:sideways");
    let no_password = client.offer.replace("a=ice-pwd:", "a=nothing:");
    for sdp in [
        "",
        "v=0\r\n",
        "\u{0}\u{1}\u{2}",
        "v=0\r\nm=video 9 x 96\r\n",
        &no_setup,
        &no_password,
    ] {
        let refused = sessions
            .open(Offer {
                sdp: sdp.into(),
                ..client.offer()
            })
            .await;
        assert!(
            matches!(refused, Err(SessionError::BadOffer(_))),
            "{refused:?}"
        );
    }
    let wild = client.offer_of(Wanted {
        initial_parameters: patch(&json!({"noise_scale": 1e9})),
        ..wanted()
    });
    assert!(matches!(
        sessions.open(wild).await,
        Err(SessionError::BadParameter(_))
    ));
    let missing = client.offer_of(Wanted {
        processors: vec![processor("nosuchelement", &[], None)],
        ..wanted()
    });
    let Err(SessionError::Failed(reason)) = sessions.open(missing).await else {
        panic!("it opened")
    };
    assert!(reason.contains("nosuchelement"), "{reason}");
    let unset = client.offer_of(Wanted {
        processors: vec![processor("identity", &[("no-such", "1")], None)],
        ..wanted()
    });
    assert!(matches!(
        sessions.open(unset).await,
        Err(SessionError::Failed(_))
    ));

    client.see(10).await;
    assert_eq!(sessions.metrics().keys().collect::<Vec<_>>(), [&id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_travel_both_ways_and_bad_ones_are_answered() {
    let sessions = registry();
    let client = Client::new(&Wish::default()).await;
    let initial = patch(&json!({"noise_scale": 0.7, "input_mode": "video"}));
    client
        .open(
            &sessions,
            client.offer_of(Wanted {
                initial_parameters: initial,
                ..wanted()
            }),
        )
        .await
        .unwrap();
    client.connected().await;
    assert_eq!(sessions.parameters()["noise_scale"], 0.7);

    client.send(r#"{"noise_scale": 0.2, "quantize_mode": "none"}"#);
    until("the patch", Duration::from_secs(5), || {
        sessions.parameters()["noise_scale"] == 0.2
    })
    .await;
    for junk in [
        "hello",
        "[]",
        r#"{"noise_scale": 7}"#,
        r#"{"noise_scale": NaN}"#,
    ] {
        client.send(junk);
        assert!(client.hear("error").await["detail"].is_string());
    }
    client.send(&json!({"x": "y".repeat(60_000)}).to_string());
    sessions
        .apply_parameters(patch(&json!({"noise_scale": 0.4})))
        .await
        .unwrap();

    assert_eq!(
        client.hear("parameters_updated").await["parameters"],
        json!({"noise_scale": 0.4})
    );
    let refused = sessions
        .apply_parameters(patch(&json!({"noise_scale": -1, "seed": 3})))
        .await;
    assert!(matches!(refused, Err(SessionError::BadParameter(_))));
    assert_eq!(sessions.parameters()["noise_scale"], 0.4);
    assert!(!sessions.parameters().contains_key("seed"));
    client.see(5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pausing_holds_the_picture_and_resuming_goes_on() {
    let sessions = registry();
    let (client, id) = streaming(&sessions, &Wish::default()).await;
    client.connected().await;

    client.send(r#"{"paused": true}"#);
    until("the pause", Duration::from_secs(5), || {
        sessions.parameters().get("paused") == Some(&json!(true))
    })
    .await;
    let before = sessions.metrics()[&id]["frames_out"].clone();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(sessions.metrics()[&id]["frames_out"], before);

    client.send(r#"{"paused": false}"#);
    client.see(20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_loss_brings_a_key_frame() {
    let sessions = registry();
    let (client, _) = streaming(&sessions, &Wish::default()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = client.seen.key_frames.load(Ordering::Relaxed);

    client.ask_key_frame();

    let came = || client.seen.key_frames.load(Ordering::Relaxed) > before;
    until("a key frame", Duration::from_secs(3), came).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_run_side_by_side_up_to_the_limit() {
    let sessions = limited(2);
    let (one, first) = streaming(&sessions, &Wish::default()).await;
    let (two, _) = streaming(
        &sessions,
        &Wish {
            codec: "H264",
            ..Wish::default()
        },
    )
    .await;
    let third = Client::new(&Wish::default()).await;
    assert_eq!(
        sessions.open(third.offer()).await,
        Err(SessionError::TooMany(2))
    );

    one.see(10).await;
    two.see(10).await;
    sessions.close(&first).await;
    assert_eq!(
        one.hear("stream_stopped").await,
        json!({"type": "stream_stopped"})
    );

    two.see(10).await;
    third.open(&sessions, third.offer()).await.unwrap();
    third.see(5).await;
    let start = Instant::now();
    sessions.shutdown().await;
    assert!(start.elapsed() < Duration::from_secs(1));
    assert!(sessions.metrics().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_that_fails_ends_only_its_own_session() {
    let sessions = registry();
    let (other, _) = streaming(&sessions, &Wish::default()).await;
    let client = Client::new(&Wish::default()).await;
    let processors = vec![processor("identity", &[("error-after", "30")], None)];
    client
        .open(
            &sessions,
            client.offer_of(Wanted {
                processors,
                ..wanted()
            }),
        )
        .await
        .unwrap();

    let told = client.hear("stream_stopped").await;

    assert!(
        told["error_message"]
            .as_str()
            .is_some_and(|reason| !reason.is_empty()),
        "{told}"
    );
    until("the end", Duration::from_secs(3), || {
        sessions.metrics().len() == 1
    })
    .await;
    other.see(10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processors_stand_in_a_row_and_set_the_size() {
    let sessions = registry();
    let client = Client::new(&Wish::default()).await;
    let processors = vec![
        processor("identity", &[("silent", "true")], Some((160, 160))),
        processor("videobalance", &[("saturation", "0.0")], None),
    ];
    let answer = client
        .open(
            &sessions,
            client.offer_of(Wanted {
                processors,
                ..wanted()
            }),
        )
        .await
        .unwrap();

    client.see(20).await;

    assert_eq!(*client.seen.size.lock().unwrap(), Some((160, 160)));
    let figures = sessions.metrics()[&answer.session_id].clone();
    assert!(figures["processors"]["identity"].is_object(), "{figures}");
    assert!(
        figures["latency_ms"]
            .as_f64()
            .is_some_and(|latency| latency < 500.0),
        "{figures}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_sizes_come_back_even() {
    let sessions = registry();
    let (client, _) = streaming(
        &sessions,
        &Wish {
            size: Some((321, 181)),
            ..Wish::default()
        },
    )
    .await;

    assert_eq!(*client.seen.size.lock().unwrap(), Some((320, 180)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_changes_on_the_way_is_followed() {
    let sessions = registry();
    let (client, _) = streaming(&sessions, &Wish::default()).await;

    client.resize(640, 361).await;

    let resized = || *client.seen.size.lock().unwrap() == Some((640, 360));
    until("the new size", Duration::from_secs(10), resized).await;
    client.see(10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanished_is_gone_within_fifteen_seconds() {
    let sessions = registry();
    let (client, _) = streaming(&sessions, &Wish::default()).await;

    client.fall_silent();

    until("the end", Duration::from_secs(15), || {
        sessions.metrics().is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_sessions_leave_nothing_behind() {
    let sessions = registry();
    let count = |what: &str| {
        std::fs::read_dir(format!("/proc/self/{what}"))
            .unwrap()
            .count()
    };
    let mut before = (0, 0);
    for turn in 0..21 {
        let wish = Wish {
            size: Some((64, 64)),
            ..Wish::default()
        };
        let client = Client::new(&wish).await;
        let mut offer = client.offer();
        // As a browser without camera permission has it.
        let hidden =
            "a=candidate:1 1 udp 9 f652c54d-1a4a-4d47-a635-cbdb88a81d52.local 36284 typ host";
        offer.sdp = offer
            .sdp
            .replacen("a=mid:", &format!("{hidden}\r\na=mid:"), 1);
        let id = client.open(&sessions, offer).await.unwrap().session_id;
        client.see(1).await;
        sessions.close(&id).await;
        drop(client);
        if turn == 0 {
            before = (count("task"), count("fd"));
        }
    }

    // GLib keeps a few idle threads for a while.
    let settled = || count("task") <= before.0 + 4 && count("fd") <= before.1 + 4;
    until("threads and files", Duration::from_secs(20), settled).await;
}

//! The handshake, told by what goes in and what comes out. No socket, no clock.

mod scene;

use std::time::Duration;

use fal_client::signalling::{ClientMessage, IceCandidate};
use fal_client::{
    Dialect, DialectChoice, EncodingChoice, FalError, Input, NegotiationConfig, Notice, Output,
    Stage,
};
use scene::{Scene, answer, candidate, json, msgpack, object};

fn config(dialect: DialectChoice) -> NegotiationConfig {
    NegotiationConfig {
        dialect,
        app: "o/a".into(),
        ..NegotiationConfig::default()
    }
}

fn auto() -> Scene {
    Scene::new(config(DialectChoice::Auto))
}

/// The offer is out, in text JSON, and its outputs are drained.
fn awaiting_answer() -> Scene {
    let mut scene = auto();
    scene.tell(Input::SocketOpened);
    scene.tell(json(r#"{"type":"ready"}"#));
    scene.tell(Input::LocalOffer { sdp: "v=0".into() });
    scene
}

fn negotiated() -> Scene {
    let mut scene = awaiting_answer();
    scene.tell(answer(""));
    scene
}

#[test]
fn nothing_is_said_before_the_app_has_spoken() {
    let mut scene = auto();

    assert_eq!(
        scene.tell(Input::SocketOpened),
        [Output::Stage(Stage::StartingRunner)]
    );
    assert_eq!(scene.after(Duration::from_secs(179)), []);
    assert_eq!(scene.tell(Input::LocalOffer { sdp: "v=0".into() }), []);
}

#[test]
fn the_first_message_decides_the_dialect() {
    for (message, wanted) in [
        (json(r#"{"type":"ready"}"#), Dialect::YoloJson),
        (msgpack(r#"{"type":"ready"}"#), Dialect::YoloMsgpack),
        (
            json(r#"{"type":"ready","connection_id":"1234abcd"}"#),
            Dialect::Scope,
        ),
    ] {
        let mut scene = Scene::new(NegotiationConfig {
            ask_ice_servers: false,
            ..config(DialectChoice::Auto)
        });
        scene.tell(Input::SocketOpened);

        let outputs = scene.tell(message);

        assert_eq!(
            outputs,
            [
                Output::Stage(Stage::Negotiating),
                Output::MakeOffer {
                    dialect: wanted,
                    ice_servers: vec![],
                    whole: false
                }
            ]
        );
        let sent = scene.tell(Input::LocalOffer { sdp: "v=0".into() });
        let offer = ClientMessage::Offer {
            sdp: "v=0".into(),
            initial_parameters: object("{}"),
            user_id: None,
        };
        assert_eq!(sent, [Output::Send(wanted.encode(&offer, "").unwrap())]);
    }
}

#[test]
fn a_ready_is_found_among_other_words() {
    let mut scene = auto();
    scene.tell(Input::SocketOpened);
    for noise in [
        r#"{"type":"x-fal-message","action":"timings"}"#,
        r#"{"type":"news"}"#,
        r#"{"no":"type"}"#,
        "[]",
        "garbage",
    ] {
        assert_eq!(scene.tell(json(noise)), [], "{noise}");
    }
    assert_eq!(scene.tell(json(r#"{"type":"ready"}"#)).len(), 2);
    assert_eq!(scene.tell(json(r#"{"type":"ready"}"#)), [], "a second one");
}

#[test]
fn local_candidates_wait_for_the_session_id() {
    let mut scene = awaiting_answer();
    assert_eq!(scene.tell(Input::LocalCandidate(candidate(1))), []);
    assert_eq!(scene.tell(Input::LocalCandidatesDone), []);
    assert_eq!(scene.tell(Input::LocalCandidate(candidate(2))), []);

    let outputs = scene.tell(answer(r#","sessionId":"s1""#));

    let said = |candidate: Option<IceCandidate>| {
        let message = ClientMessage::Candidate {
            candidate,
            session_id: Some("s1".into()),
        };
        Output::Send(Dialect::YoloJson.encode(&message, "").unwrap())
    };
    assert_eq!(
        outputs,
        [
            Output::ApplyAnswer {
                sdp: "v=0 a".into()
            },
            said(Some(candidate(1))),
            said(None),
        ],
        "and nothing after the end, which nobody would hear"
    );
}

#[test]
fn remote_candidates_wait_for_the_answer() {
    let mut scene = auto();
    scene.tell(Input::SocketOpened);
    let line = candidate(1).candidate;
    let remote = format!(
        r#"{{"type":"icecandidate","candidate":{{"candidate":"{line}","sdpMid":"0","sdpMLineIndex":0}}}}"#
    );
    assert_eq!(scene.tell(json(&remote)), [], "before ready");
    scene.tell(json(r#"{"type":"ready"}"#));
    scene.tell(Input::LocalOffer { sdp: "v=0".into() });
    assert_eq!(scene.tell(json(&remote)), [], "before the answer");

    assert_eq!(
        scene.tell(answer("")),
        [
            Output::ApplyAnswer {
                sdp: "v=0 a".into()
            },
            Output::AddCandidate(candidate(1)),
            Output::AddCandidate(candidate(1)),
        ]
    );
    assert_eq!(
        scene.tell(json(&remote)),
        [Output::AddCandidate(candidate(1))]
    );
}

#[test]
fn every_spelling_of_the_end_of_candidates_is_one() {
    for spelling in [
        r#"{"type":"icecandidate","candidate":null}"#,
        r#"{"type":"icecandidate","candidate":""}"#,
        r#"{"type":"icecandidate","candidate":{"candidate":""}}"#,
        r#"{"type":"icecandidate"}"#,
    ] {
        let outputs = negotiated().tell(json(spelling));
        assert_eq!(outputs, [Output::RemoteCandidatesDone], "{spelling}");
    }
}

#[test]
fn a_second_answer_changes_nothing() {
    assert_eq!(negotiated().tell(answer("")), []);
    let mut early = auto();
    early.tell(Input::SocketOpened);
    assert_eq!(early.tell(answer("")), [], "nor one that nobody asked for");
}

#[test]
fn without_trickle_the_offer_holds_everything() {
    let mut scene = Scene::new(NegotiationConfig {
        trickle: false,
        ..config(DialectChoice::Yolo)
    });
    scene.tell(Input::SocketOpened);
    let outputs = scene.tell(json(r#"{"type":"ready"}"#));
    assert!(matches!(outputs[1], Output::MakeOffer { whole: true, .. }));
    scene.tell(Input::LocalCandidate(candidate(1)));
    scene.tell(Input::LocalOffer { sdp: "v=0".into() });
    scene.tell(Input::LocalCandidatesDone);

    let outputs = scene.tell(answer(""));

    assert_eq!(
        outputs,
        [Output::ApplyAnswer {
            sdp: "v=0 a".into()
        }]
    );
}

#[test]
fn an_error_before_the_answer_is_the_end() {
    let refused = r#"{"type":"error","error":"Offer failed: 400","detail":"no model"}"#;
    for mut scene in [awaiting_answer(), {
        let mut scene = auto();
        scene.tell(Input::SocketOpened);
        scene
    }] {
        let outputs = scene.tell(json(refused));
        assert_eq!(
            outputs,
            [Output::Failed(FalError::App {
                text: "Offer failed: 400: no model".into(),
                code: None
            })]
        );
        assert_eq!(scene.tell(answer("")), [], "nothing follows");
        assert_eq!(scene.next_timeout(), None);
    }
}

#[test]
fn the_apps_last_words_win_over_the_close_code() {
    let mut scene = negotiated();
    assert_eq!(
        scene.tell(json(r#"{"type":"error","error":"out of memory"}"#)),
        [Output::Notice(Notice::AppError("out of memory".into()))]
    );
    let outputs = scene.tell(Input::SocketClosed {
        code: Some(1006),
        reason: String::new(),
    });
    assert_eq!(
        outputs,
        [Output::Failed(FalError::App {
            text: "out of memory".into(),
            code: None
        })]
    );

    let mut stopped = negotiated();
    stopped.tell(Input::ChannelMessage(
        r#"{"type":"stream_stopped","error_message":"no model"}"#.into(),
    ));
    let outputs = stopped.tell(Input::PeerFailed {
        reason: "silence".into(),
    });
    assert_eq!(
        outputs,
        [Output::Failed(FalError::App {
            text: "no model".into(),
            code: None
        })]
    );
}

#[test]
fn an_encoding_misunderstanding_says_what_to_set() {
    let mut scene = Scene::new(NegotiationConfig {
        encoding: EncodingChoice::Json,
        ..config(DialectChoice::Yolo)
    });
    scene.tell(Input::SocketOpened);
    scene.tell(msgpack(r#"{"type":"ready"}"#));
    scene.tell(Input::LocalOffer { sdp: "v=0".into() });

    let outputs = scene.tell(json(
        r#"{"type":"x-fal-error","error":"INTERNAL_ERROR","reason":"'bytes'"}"#,
    ));

    let Some(Output::Failed(error)) = outputs.last() else {
        panic!("{outputs:?}");
    };
    assert!(error.to_string().contains("encoding to msgpack"), "{error}");
}

#[test]
fn a_close_is_told_with_its_stage() {
    type Step = fn() -> Scene;
    let opening: Step = auto;
    let waiting: Step = || {
        let mut scene = auto();
        scene.tell(Input::SocketOpened);
        scene
    };
    for (reach, stage) in [
        (opening, Stage::Socket),
        (waiting, Stage::StartingRunner),
        (awaiting_answer, Stage::Negotiating),
        (negotiated, Stage::Negotiating),
    ] {
        for close_code in [None, Some(1000), Some(1006), Some(1011)] {
            let outputs = reach().tell(Input::SocketClosed {
                code: close_code,
                reason: String::new(),
            });
            let closed = FalError::Closed {
                stage,
                close_code,
                reason: String::new(),
            };
            assert_eq!(outputs, [Output::Failed(closed)]);
        }
    }
}

#[test]
fn a_refused_user_is_told_so() {
    let outputs = negotiated().tell(Input::SocketClosed {
        code: Some(4003),
        reason: String::new(),
    });
    let Some(Output::Failed(error)) = outputs.last() else {
        panic!("{outputs:?}");
    };
    assert!(error.is_permanent(), "{error}");
}

#[test]
fn the_hour_being_over_is_said() {
    let mut scene = negotiated();
    scene.tell(Input::Live);
    let closing = r#"{"type":"closing","reason":"max_duration","elapsed_seconds":3600}"#;
    assert_eq!(
        scene.tell(json(closing)),
        [Output::Notice(Notice::Closing("max_duration".into()))]
    );
    let outputs = scene.tell(Input::SocketClosed {
        code: None,
        reason: String::new(),
    });
    let Some(Output::Failed(error)) = outputs.last() else {
        panic!("{outputs:?}");
    };
    assert_eq!(
        error.to_string(),
        "the app reports: it ends the connection: max_duration"
    );
    let exceeded =
        r#"{"type":"error","error":"Max duration exceeded","code":"MAX_DURATION_EXCEEDED"}"#;
    assert!(matches!(
        negotiated().tell(json(exceeded)).as_slice(),
        [Output::Failed(FalError::App { .. })]
    ));
}

#[test]
fn one_budget_covers_everything_until_pictures_come() {
    let budget = Duration::from_secs(180);
    for mut scene in [auto(), awaiting_answer(), negotiated()] {
        let outputs = scene.after(budget);
        assert!(
            matches!(
                outputs.as_slice(),
                [Output::Failed(FalError::TimedOut { .. })]
            ),
            "{outputs:?}"
        );
    }
    let mut scene = negotiated();
    assert_eq!(scene.tell(Input::Live), [Output::Stage(Stage::Live)]);
    assert_eq!(scene.next_timeout(), None);
    assert_eq!(scene.after(budget * 2), []);
}

#[test]
fn a_timeout_repeats_what_was_strange() {
    let mut scene = auto();
    scene.tell(Input::SocketOpened);
    scene.tell(json("<html>canary"));
    let outputs = scene.after(Duration::from_secs(180));
    let Some(Output::Failed(error)) = outputs.last() else {
        panic!("{outputs:?}");
    };
    let sentence = error.to_string();
    assert!(
        sentence.starts_with("no picture came within 180 s (stage `starting-runner`; the app sent what is no signalling"),
        "{sentence}"
    );
    assert!(!sentence.contains("canary"));
}

#[test]
fn parameters_wait_for_the_channel() {
    let mut scene = negotiated();
    assert_eq!(
        scene.tell(Input::Parameters(object(r#"{"a":1,"b":null}"#))),
        []
    );
    assert_eq!(scene.tell(Input::Parameters(object(r#"{"c":2}"#))), []);
    assert_eq!(
        scene.tell(Input::ChannelOpened),
        [Output::SendOnChannel(r#"{"a":1,"c":2}"#.into())]
    );
    assert_eq!(
        scene.tell(Input::Parameters(object(r#"{"a":3}"#))),
        [Output::SendOnChannel(r#"{"a":3}"#.into())]
    );
    scene.tell(Input::ChannelClosed);
    assert_eq!(scene.tell(Input::Parameters(object(r#"{"a":4}"#))), []);
}

#[test]
fn what_the_app_tells_on_the_channel_is_passed_on() {
    let mut scene = negotiated();
    let mut told = |text: &str| scene.tell(Input::ChannelMessage(text.into()));

    assert_eq!(
        told(r#"{"type":"parameters_updated","parameters":{"a":1}}"#),
        [Output::Notice(Notice::ParametersUpdated(object(
            r#"{"a":1}"#
        )))]
    );
    assert_eq!(
        told(r#"{"type":"error","detail":"unknown key"}"#),
        [Output::Notice(Notice::AppError("unknown key".into()))]
    );
    assert_eq!(
        told(r#"{"type":"stream_stopped"}"#),
        [Output::Notice(Notice::StreamStopped(None))]
    );
    for noise in ["", "{}", "[]", r#"{"type":"pong"}"#] {
        assert_eq!(told(noise), [], "{noise}");
    }
}

//! The handshake in each dialect that has more to it than `ready`, offer, answer.

#![allow(clippy::unwrap_used, reason = "a helper that fails must fail its test")]

mod scene;

use std::time::Duration;

use fal_client::signalling::ClientMessage;
use fal_client::{
    Dialect, DialectChoice, FalError, IceServer, Input, NegotiationConfig, Notice, Output,
    Parameters, Stage,
};
use scene::{Scene, answer, candidate, json, msgpack, object};

const SERVERS: &str = r#"[{"urls":"turn:t","username":"u","credential":"p"}]"#;

fn said(dialect: Dialect, message: &ClientMessage) -> Output {
    Output::Send(dialect.encode(message, "o/a").unwrap())
}

fn offer(parameters: &Parameters, user_id: Option<&str>) -> ClientMessage {
    ClientMessage::Offer {
        sdp: "v=0".into(),
        initial_parameters: parameters.clone(),
        user_id: user_id.map(str::to_owned),
    }
}

fn make_offer(dialect: Dialect, servers: &str) -> Output {
    let servers: Vec<serde_json::Value> = serde_json::from_str(servers).unwrap();
    Output::MakeOffer {
        dialect,
        ice_servers: servers
            .iter()
            .map(|server| IceServer {
                urls: vec![server["urls"].as_str().unwrap().into()],
                username: server["username"].as_str().map(str::to_owned),
                credential: server["credential"].as_str().map(fal_client::Secret::new),
            })
            .collect(),
        whole: dialect == Dialect::Wma,
    }
}

mod scope {
    use super::*;

    fn scene(user_id: Option<&str>) -> Scene {
        let mut scene = Scene::new(NegotiationConfig {
            dialect: DialectChoice::Auto,
            initial_parameters: object(r#"{"prompts":["x"]}"#),
            user_id: user_id.map(str::to_owned),
            ..NegotiationConfig::default()
        });
        scene.tell(Input::SocketOpened);
        scene
    }

    const READY: &str = r#"{"type":"ready","connection_id":"1234abcd"}"#;

    #[test]
    fn the_user_is_named_before_anything_else() {
        let mut scene = scene(Some("me"));

        let outputs = scene.tell(json(READY));

        let user_id = "me".to_owned();
        assert_eq!(
            outputs,
            [
                Output::Stage(Stage::Negotiating),
                said(Dialect::Scope, &ClientMessage::SetUserId { user_id }),
                said(Dialect::Scope, &ClientMessage::GetIceServers),
            ]
        );
        assert_eq!(
            scene.tell(json(r#"{"type":"user_id_set","user_id":"me"}"#)),
            []
        );
        let servers =
            format!(r#"{{"type":"ice_servers","data":{{"iceServers":{SERVERS}}},"status":200}}"#);
        assert_eq!(
            scene.tell(json(&servers)),
            [make_offer(Dialect::Scope, SERVERS)]
        );
        assert_eq!(scene.tell(json(&servers)), [], "once");
        assert_eq!(
            scene.tell(Input::LocalOffer { sdp: "v=0".into() }),
            [said(
                Dialect::Scope,
                &offer(&object(r#"{"prompts":["x"]}"#), Some("me"))
            )]
        );
    }

    #[test]
    fn an_app_without_ice_servers_gets_its_offer_all_the_same() {
        let mut silent = scene(None);
        silent.tell(json(READY));
        assert_eq!(silent.after(Duration::from_secs(9)), []);
        assert_eq!(
            silent.after(Duration::from_secs(2)),
            [make_offer(Dialect::Scope, "[]")]
        );

        let mut refusing = scene(None);
        refusing.tell(json(READY));
        let unknown = r#"{"type":"error","error":"Unknown message type: get_ice_servers"}"#;
        assert_eq!(
            refusing.tell(json(unknown)),
            [make_offer(Dialect::Scope, "[]")]
        );

        let mut denying = scene(Some("nobody"));
        denying.tell(json(READY));
        let denied = r#"{"type":"error","error":"Access denied","code":"ACCESS_DENIED"}"#;
        assert!(matches!(
            denying.tell(json(denied)).as_slice(),
            [Output::Failed(error)] if error.is_permanent()
        ));
    }

    #[test]
    fn acknowledgements_and_logs_disturb_nothing() {
        let mut scene = scene(None);
        scene.tell(json(READY));
        scene.tell(json(r#"{"type":"ice_servers","data":{"iceServers":[]}}"#));
        scene.tell(Input::LocalOffer { sdp: "v=0".into() });
        scene.tell(answer(r#","sdp_type":"answer","sessionId":"s1""#));
        let message = ClientMessage::Candidate {
            candidate: Some(candidate(1)),
            session_id: Some("s1".into()),
        };
        assert_eq!(
            scene.tell(Input::LocalCandidate(candidate(1))),
            [said(Dialect::Scope, &message)]
        );

        for noise in [
            r#"{"type":"icecandidate_ack","status":"ok"}"#,
            r#"{"type":"icecandidate_ack","status":"end_of_candidates"}"#,
            r#"{"type":"pong"}"#,
            r#"{"type":"api_response","request_id":"r","status":200,"data":{}}"#,
        ] {
            assert_eq!(scene.tell(json(noise)), [], "{noise}");
        }
        assert_eq!(
            scene.tell(json(r#"{"type":"logs","lines":["a","b"]}"#)),
            [Output::Notice(Notice::Logs(vec!["a".into(), "b".into()]))]
        );
    }

    #[test]
    fn an_app_that_names_no_connection_is_understood_too() {
        let mut scene = scene(None);
        assert_eq!(
            scene.tell(json(r#"{"type":"ready"}"#)),
            [
                Output::Stage(Stage::Negotiating),
                make_offer(Dialect::YoloJson, "[]")
            ]
        );
        let sent = scene.tell(Input::LocalOffer { sdp: "v=0".into() });
        let [Output::Send(fal_client::RawMessage::Text(text))] = sent.as_slice() else {
            panic!("{sent:?}");
        };
        assert!(
            text.contains(r#""sdp_type":"offer""#),
            "which it wants: {text}"
        );
        scene.tell(answer(r#","sessionId":"s1""#));
        let outputs = scene.tell(Input::LocalCandidate(candidate(1)));
        let message = ClientMessage::Candidate {
            candidate: Some(candidate(1)),
            session_id: Some("s1".into()),
        };
        assert_eq!(outputs, [said(Dialect::YoloJson, &message)]);
    }
}

mod lucy {
    use super::*;

    fn config(dialect: DialectChoice) -> NegotiationConfig {
        NegotiationConfig {
            dialect,
            ..NegotiationConfig::default()
        }
    }

    #[test]
    fn the_model_input_comes_first() {
        let input = object(r#"{"prompt":"snow"}"#);
        let mut scene = Scene::new(NegotiationConfig {
            initial_parameters: input.clone(),
            ..config(DialectChoice::Lucy)
        });

        assert_eq!(
            scene.tell(Input::SocketOpened),
            [
                Output::Stage(Stage::StartingRunner),
                said(Dialect::Lucy, &ClientMessage::ModelInput(input))
            ]
        );
        let ready = format!(r#"{{"type":"ready","ice_servers":{SERVERS}}}"#);
        assert_eq!(
            scene.tell(msgpack(&ready)),
            [
                Output::Stage(Stage::Negotiating),
                make_offer(Dialect::Lucy, SERVERS)
            ]
        );
    }

    #[test]
    fn servers_may_come_behind_ready_or_not_at_all() {
        let begun = || {
            let mut scene = Scene::new(NegotiationConfig {
                initial_parameters: object(r#"{"prompt":"snow"}"#),
                ..config(DialectChoice::Lucy)
            });
            scene.tell(Input::SocketOpened);
            scene.tell(msgpack(r#"{"type":"ready"}"#));
            scene
        };
        let late = format!(r#"{{"type":"iceServers","iceServers":{SERVERS}}}"#);
        assert_eq!(
            begun().tell(msgpack(&late)),
            [make_offer(Dialect::Lucy, SERVERS)]
        );
        assert_eq!(
            begun().after(Duration::from_secs(1)),
            [make_offer(Dialect::Lucy, "[]")]
        );
    }

    #[test]
    fn parameters_take_the_socket_once_the_answer_is_there() {
        let mut scene = Scene::new(NegotiationConfig {
            initial_parameters: object(r#"{"prompt":"snow"}"#),
            ..config(DialectChoice::Lucy)
        });
        scene.tell(Input::SocketOpened);
        scene.tell(msgpack(&format!(
            r#"{{"type":"ready","iceServers":{SERVERS}}}"#
        )));
        scene.tell(Input::LocalOffer { sdp: "v=0".into() });
        let rain = object(r#"{"prompt":"rain"}"#);
        assert_eq!(scene.tell(Input::Parameters(rain.clone())), []);
        assert_eq!(scene.tell(Input::ChannelOpened), []);

        let outputs = scene.tell(msgpack(r#"{"type":"answer","sdp":"v=0 a"}"#));

        assert_eq!(
            outputs,
            [
                Output::ApplyAnswer {
                    sdp: "v=0 a".into()
                },
                said(Dialect::Lucy, &ClientMessage::ModelInput(rain.clone()))
            ]
        );
        assert_eq!(
            scene.tell(Input::Parameters(rain.clone())),
            [said(Dialect::Lucy, &ClientMessage::ModelInput(rain))]
        );
    }

    #[test]
    fn without_an_input_it_says_what_is_missing() {
        let outputs = Scene::new(config(DialectChoice::Lucy)).tell(Input::SocketOpened);
        let Some(Output::Failed(error)) = outputs.last() else {
            panic!("{outputs:?}");
        };
        assert!(matches!(error, FalError::Dialect { .. }));
        assert!(error.is_permanent());
    }

    #[test]
    fn auto_speaks_into_silence_only_with_an_input_of_the_users() {
        let input = object(r#"{"prompt":"snow"}"#);
        let with_input = || {
            let mut scene = Scene::new(NegotiationConfig {
                initial_input: input.clone(),
                ..config(DialectChoice::Auto)
            });
            scene.tell(Input::SocketOpened);
            scene
        };
        assert_eq!(with_input().after(Duration::from_secs(1)), []);
        assert_eq!(
            with_input().after(Duration::from_secs(2)),
            [said(
                Dialect::Lucy,
                &ClientMessage::ModelInput(input.clone())
            )]
        );

        let mut quick = with_input();
        let outputs = quick.tell(json(r#"{"type":"ready"}"#));
        assert_eq!(outputs[1], make_offer(Dialect::YoloJson, "[]"));
        assert_eq!(quick.after(Duration::from_secs(10)), []);
    }
}

mod wma {
    use super::*;

    fn scene() -> Scene {
        Scene::new(NegotiationConfig {
            dialect: DialectChoice::Wma,
            app: "o/a".into(),
            initial_parameters: object(r#"{"prompt":"snow"}"#),
            ..NegotiationConfig::default()
        })
    }

    fn negotiated() -> Scene {
        let mut scene = scene();
        scene.tell(Input::SocketOpened);
        scene.tell(json(r#"{"ice_servers":[]}"#));
        scene.tell(Input::LocalOffer { sdp: "v=0".into() });
        scene.tell(json(r#"{"session_id":"s","sdp":"v=0 a","type":"answer"}"#));
        scene
    }

    #[test]
    fn servers_offer_answer() {
        let mut scene = scene();

        assert_eq!(
            scene.tell(Input::SocketOpened),
            [
                Output::Stage(Stage::StartingRunner),
                said(Dialect::Wma, &ClientMessage::GetIceServers)
            ]
        );
        let servers = format!(r#"{{"ice_servers":{SERVERS},"status":"turn"}}"#);
        assert_eq!(
            scene.tell(json(&servers)),
            [
                Output::Stage(Stage::Negotiating),
                make_offer(Dialect::Wma, SERVERS)
            ]
        );
        assert_eq!(scene.tell(Input::LocalCandidate(candidate(1))), []);
        assert_eq!(
            scene.tell(Input::LocalOffer { sdp: "v=0".into() }),
            [
                said(Dialect::Wma, &offer(&Parameters::new(), None)),
                Output::Stage(Stage::StartingRunner)
            ]
        );
        assert_eq!(
            scene.tell(json(r#"{"session_id":"s","sdp":"v=0 a","type":"answer"}"#)),
            [
                Output::ApplyAnswer {
                    sdp: "v=0 a".into()
                },
                Output::Stage(Stage::Negotiating)
            ]
        );
        assert_eq!(scene.tell(Input::LocalCandidatesDone), []);
    }

    #[test]
    fn the_session_is_told_that_it_is_wanted() {
        let mut scene = negotiated();
        scene.tell(Input::Live);
        let heartbeat = said(
            Dialect::Wma,
            &ClientMessage::Heartbeat {
                session_id: Some("s".into()),
            },
        );
        assert_eq!(
            scene.after(Duration::from_secs(16)),
            [heartbeat.clone(), heartbeat.clone(), heartbeat]
        );
        assert_eq!(scene.tell(json(r#"{"alive":true}"#)), []);
        let outputs = scene.tell(json(r#"{"alive":false}"#));
        assert!(matches!(
            outputs.as_slice(),
            [Output::Failed(FalError::App { .. })]
        ));
        assert_eq!(scene.after(Duration::from_secs(60)), []);
    }

    #[test]
    fn parameters_take_the_control_channel_the_initial_ones_too() {
        let mut scene = negotiated();
        let params = |text: &str| {
            Output::SendOnChannel(format!(r#"{{"type":"session_params","params":{text}}}"#))
        };
        assert_eq!(
            scene.tell(Input::ChannelOpened),
            [params(r#"{"prompt":"snow"}"#)]
        );
        assert_eq!(
            scene.tell(Input::Parameters(object(r#"{"a":1}"#))),
            [params(r#"{"a":1}"#)]
        );
    }
}

//! The words of every dialect, as others write and read them.

use serde_json::json;

use super::*;
use crate::signalling::ice::{IceCandidate, IceServer};
use crate::signalling::message::{ApiReply, ApiRequest};

fn text(value: &Value) -> RawMessage {
    RawMessage::Text(value.to_string())
}

fn read(message: Option<RawMessage>) -> Value {
    Value::Object(Encoding::decode(&message.unwrap()).unwrap())
}

fn heard(dialect: Dialect, value: &Value) -> ServerMessage {
    dialect.decode(&text(value)).unwrap()
}

fn candidate() -> IceCandidate {
    IceCandidate::new(
        "candidate:1 1 udp 1 192.0.2.1 9 typ host",
        Some("0".into()),
        Some(0),
    )
    .unwrap()
}

fn offer() -> ClientMessage {
    ClientMessage::Offer {
        sdp: "v=0".into(),
        initial_parameters: json!({"prompt": "x"}).as_object().unwrap().clone(),
        user_id: Some("u".into()),
    }
}

#[test]
fn an_offer_has_the_fields_of_its_dialect() {
    let app = "o/a";
    assert_eq!(
        read(Dialect::YoloJson.encode(&offer(), app)),
        json!({"type": "offer", "sdp": "v=0", "sdp_type": "offer", "initialParameters": {"prompt": "x"}})
    );
    assert_eq!(
        read(Dialect::YoloMsgpack.encode(&offer(), app)),
        json!({"type": "offer", "sdp": "v=0", "initialParameters": {"prompt": "x"}})
    );
    assert_eq!(
        read(Dialect::Scope.encode(&offer(), app)),
        json!({"type": "offer", "sdp": "v=0", "sdp_type": "offer", "user_id": "u",
            "initialParameters": {"prompt": "x"}})
    );
    assert_eq!(
        read(Dialect::Lucy.encode(&offer(), app)),
        json!({"type": "offer", "sdp": "v=0"})
    );
    assert_eq!(
        read(Dialect::Wma.encode(&offer(), app)),
        json!({"app_id": "o/a", "type": "offer", "sdp": "v=0"})
    );
}

#[test]
fn text_and_binary_are_the_dialects_own() {
    for (dialect, binary) in [
        (Dialect::YoloJson, false),
        (Dialect::YoloMsgpack, true),
        (Dialect::Scope, false),
        (Dialect::Lucy, true),
        (Dialect::Wma, false),
    ] {
        let message = dialect.encode(&offer(), "o/a").unwrap();
        assert_eq!(
            matches!(message, RawMessage::Binary(_)),
            binary,
            "{dialect:?}"
        );
    }
}

#[test]
fn a_candidate_names_the_session_only_where_there_is_one() {
    let say = |session_id: Option<&str>, candidate| {
        read(Dialect::Scope.encode(
            &ClientMessage::Candidate {
                candidate,
                session_id: session_id.map(str::to_owned),
            },
            "",
        ))
    };
    assert_eq!(
        say(Some("s"), Some(candidate())),
        json!({"type": "icecandidate", "sessionId": "s", "candidate":
            {"candidate": "candidate:1 1 udp 1 192.0.2.1 9 typ host", "sdpMid": "0", "sdpMLineIndex": 0}})
    );
    assert_eq!(
        say(None, None),
        json!({"type": "icecandidate", "candidate": null})
    );
}

#[test]
fn an_answer_is_read_in_every_shape() {
    let want = |session_id: Option<&str>| ServerMessage::Answer {
        sdp: "v=0".into(),
        session_id: session_id.map(str::to_owned),
    };
    for (message, session) in [
        (json!({"type": "answer", "sdp": "v=0"}), None),
        (
            json!({"type": "answer", "sdp": "v=0", "sdp_type": "answer", "sessionId": "s"}),
            Some("s"),
        ),
        (
            json!({"type": "answer", "sdp": "v=0", "session_id": "s"}),
            Some("s"),
        ),
        (
            json!({"type": "answer", "sdp": "v=0", "sessionId": 7, "extra": [1]}),
            None,
        ),
    ] {
        assert_eq!(
            heard(Dialect::YoloJson, &message),
            want(session),
            "{message}"
        );
    }
    assert_eq!(
        heard(
            Dialect::Wma,
            &json!({"session_id": "s", "sdp": "v=0", "type": "answer"})
        ),
        want(Some("s"))
    );
    assert!(
        Dialect::Scope
            .decode(&text(&json!({"type": "answer"})))
            .is_err()
    );
}

#[test]
fn errors_keep_their_words() {
    for (message, wanted, code) in [
        (json!({"type": "error", "error": "no"}), "no", None),
        (
            json!({"type": "error", "error": "Offer failed: 400", "detail": "bad"}),
            "Offer failed: 400: bad",
            None,
        ),
        (
            json!({"type": "error", "error": "Access denied", "code": "ACCESS_DENIED"}),
            "Access denied",
            Some("ACCESS_DENIED"),
        ),
        (
            json!({"type": "x-fal-error", "error": "INTERNAL_ERROR", "reason": "'bytes'"}),
            "INTERNAL_ERROR: 'bytes'",
            Some("INTERNAL_ERROR"),
        ),
        (
            json!({"status": "error", "error": "Unauthorized"}),
            "Unauthorized",
            None,
        ),
        (
            json!({"type": "error", "detail": [{"msg": "field required"}]}),
            "field required",
            None,
        ),
        (json!({"type": "error"}), "an error without a text", None),
    ] {
        let wanted = ServerMessage::Error {
            text: wanted.into(),
            code: code.map(str::to_owned),
        };
        assert_eq!(heard(Dialect::Scope, &message), wanted, "{message}");
    }
}

#[test]
fn what_needs_no_answer_is_unknown_or_harmless() {
    for kind in ["x-fal-message", "pause", "", "READY2"] {
        assert_eq!(
            heard(Dialect::YoloMsgpack, &json!({"type": kind, "x": 1})),
            ServerMessage::Unknown { kind: kind.into() }
        );
    }
    assert_eq!(
        heard(Dialect::YoloJson, &json!({"no": "type"})),
        ServerMessage::Unknown {
            kind: String::new()
        }
    );
}

#[test]
fn ice_servers_are_found_wherever_they_stand() {
    let servers = json!([{"urls": "stun:a"}]);
    for message in [
        json!({"type": "ice_servers", "data": {"iceServers": servers}, "status": 200}),
        json!({"type": "iceServers", "iceServers": servers}),
        json!({"type": "ICESERVERS", "ice_servers": servers}),
        json!({"type": "ice_servers", "data": servers}),
    ] {
        let ServerMessage::IceServers(found) = heard(Dialect::Lucy, &message) else {
            panic!("{message}");
        };
        assert_eq!(found.len(), 1, "{message}");
    }
    let ready = json!({"type": "ready", "iceServers": servers});
    let ServerMessage::Ready { ice_servers, .. } = heard(Dialect::Lucy, &ready) else {
        panic!("{ready}");
    };
    assert_eq!(ice_servers.len(), 1);
}

#[test]
fn a_wma_message_finds_its_path_and_its_meaning() {
    let say = |message| Dialect::Wma.encode(&message, "o/a").unwrap();
    assert_eq!(wma::path_of(&say(ClientMessage::GetIceServers)), "ice");
    assert_eq!(wma::path_of(&say(offer())), "session");
    assert_eq!(
        wma::path_of(&say(ClientMessage::Heartbeat {
            session_id: Some("s".into())
        })),
        "session/heartbeat"
    );
    assert_eq!(
        heard(Dialect::Wma, &json!({"alive": false})),
        ServerMessage::Alive(false)
    );
    assert!(matches!(
        Dialect::Wma.decode(&wma::no_ice_servers()),
        Ok(ServerMessage::Ready { .. })
    ));
    let patch = json!({"prompt": "x"}).as_object().unwrap().clone();
    assert_eq!(
        Dialect::Wma.channel_message(patch),
        r#"{"type":"session_params","params":{"prompt":"x"}}"#
    );
}

#[test]
fn an_app_reads_what_a_client_writes() {
    let messages = [
        offer(),
        ClientMessage::Candidate {
            candidate: Some(candidate()),
            session_id: Some("s".into()),
        },
        ClientMessage::Candidate {
            candidate: None,
            session_id: None,
        },
        ClientMessage::SetUserId {
            user_id: "u".into(),
        },
        ClientMessage::GetIceServers,
        ClientMessage::Ping,
        ClientMessage::Api(ApiRequest {
            method: "POST".into(),
            path: "/api/v1/x?y=z".into(),
            body: json!({"a": null}),
            request_id: "r1".into(),
        }),
    ];
    for message in messages {
        let sent = Dialect::Scope.encode(&message, "").unwrap();
        assert_eq!(AppDialect::Scope.decode(&sent).unwrap().message, message);
    }
    let yolo = Dialect::YoloJson.encode(&offer(), "").unwrap();
    assert!(matches!(
        AppDialect::Yolo.decode(&yolo).unwrap().message,
        ClientMessage::Offer { user_id: None, .. }
    ));
}

#[test]
fn a_client_reads_what_an_app_writes() {
    let binary =
        json!({"_base64_content": "AA==", "_content_type": "image/png", "_content_length": 1});
    let reply = |data, error| {
        ServerMessage::Api(ApiReply {
            request_id: "r1".into(),
            status: 200,
            data,
            error,
        })
    };
    let messages = [
        ServerMessage::Ready {
            connection_id: Some("c".into()),
            ice_servers: vec![],
        },
        ServerMessage::UserIdSet {
            user_id: "u".into(),
        },
        ServerMessage::IceServers(vec![IceServer {
            urls: vec!["turn:a".into()],
            username: Some("u".into()),
            credential: Some(crate::secret::Secret::new("p")),
        }]),
        ServerMessage::Answer {
            sdp: "v=0".into(),
            session_id: Some("s".into()),
        },
        ServerMessage::Candidate(Some(candidate())),
        ServerMessage::Candidate(None),
        ServerMessage::CandidateAck {
            status: "ok".into(),
        },
        ServerMessage::Error {
            text: "no".into(),
            code: Some("NO".into()),
        },
        ServerMessage::Closing {
            reason: "max_duration".into(),
        },
        ServerMessage::Logs {
            lines: vec!["a".into()],
        },
        ServerMessage::Hardware(
            json!({"gpu": "NVIDIA H200", "vram_gb": 140.4})
                .as_object()
                .unwrap()
                .clone(),
        ),
        ServerMessage::Pong,
        reply(json!({"a": 1}), None),
        reply(json!(null), Some("timed out".into())),
        reply(binary, None),
    ];
    for message in messages {
        let sent = AppDialect::Scope
            .encode(&message, Some(&json!("r1")))
            .unwrap();
        assert_eq!(read(Some(sent.clone()))["request_id"], "r1");
        assert_eq!(Dialect::Scope.decode(&sent).unwrap(), message);
    }
    for message in [
        ServerMessage::Ready {
            connection_id: None,
            ice_servers: vec![],
        },
        ServerMessage::Answer {
            sdp: "v=0".into(),
            session_id: None,
        },
        ServerMessage::Candidate(None),
        ServerMessage::Error {
            text: "no".into(),
            code: None,
        },
    ] {
        let sent = AppDialect::Yolo.encode(&message, None).unwrap();
        assert_eq!(Dialect::YoloJson.decode(&sent).unwrap(), message);
    }
}

#[test]
fn the_choice_is_made_by_what_was_heard() {
    use EncodingChoice as E;
    for (choice, encoding, heard, named, wanted) in [
        (
            DialectChoice::Auto,
            E::Auto,
            Encoding::Msgpack,
            false,
            Dialect::YoloMsgpack,
        ),
        (
            DialectChoice::Auto,
            E::Auto,
            Encoding::Json,
            false,
            Dialect::YoloJson,
        ),
        (
            DialectChoice::Auto,
            E::Auto,
            Encoding::Json,
            true,
            Dialect::Scope,
        ),
        (
            DialectChoice::Auto,
            E::Msgpack,
            Encoding::Json,
            true,
            Dialect::YoloMsgpack,
        ),
        (
            DialectChoice::Yolo,
            E::Auto,
            Encoding::Json,
            true,
            Dialect::YoloJson,
        ),
        (
            DialectChoice::Yolo,
            E::Json,
            Encoding::Msgpack,
            false,
            Dialect::YoloJson,
        ),
        (
            DialectChoice::Scope,
            E::Auto,
            Encoding::Json,
            false,
            Dialect::Scope,
        ),
        (
            DialectChoice::Lucy,
            E::Auto,
            Encoding::Json,
            false,
            Dialect::Lucy,
        ),
    ] {
        assert_eq!(choice.decide(encoding, heard, named), wanted);
    }
    for choice in DialectChoice::ALL {
        assert_eq!(choice.as_str().parse::<DialectChoice>().unwrap(), choice);
    }
}

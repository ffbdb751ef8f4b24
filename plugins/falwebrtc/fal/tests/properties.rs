//! What holds whatever happens in whatever order.

#![allow(clippy::unwrap_used, reason = "a helper that fails must fail its test")]

mod scene;

use std::time::Duration;

use fal_client::signalling::{AppDialect, ClientMessage};
use fal_client::{
    Dialect, DialectChoice, Encoding, EncodingChoice, Input, NegotiationConfig, Output, RawMessage,
};
use proptest::prelude::*;
use scene::{Scene, candidate, object};

/// Something that happens: an input, or time.
#[derive(Debug, Clone)]
enum Happening {
    In(Input),
    Time(Duration),
}

fn message() -> impl Strategy<Value = Input> {
    let words = prop_oneof![
        Just(r#"{"type":"ready"}"#.to_owned()),
        Just(r#"{"type":"ready","connection_id":"c"}"#.to_owned()),
        Just(r#"{"type":"answer","sdp":"v=0 a"}"#.to_owned()),
        Just(r#"{"type":"answer","sdp":"v=0 a","sessionId":"s"}"#.to_owned()),
        Just(r#"{"type":"answer"}"#.to_owned()),
        Just(r#"{"type":"ice_servers","data":{"iceServers":[{"urls":"stun:s"}]}}"#.to_owned()),
        Just(r#"{"ice_servers":[]}"#.to_owned()),
        Just(r#"{"alive":true}"#.to_owned()),
        Just(r#"{"type":"icecandidate","candidate":null}"#.to_owned()),
        (0u16..5).prop_map(|n| {
            let line = candidate(n).candidate;
            format!(r#"{{"type":"icecandidate","candidate":{{"candidate":"{line}","sdpMid":"0","sdpMLineIndex":0}}}}"#)
        }),
        Just(r#"{"type":"error","error":"no"}"#.to_owned()),
        Just(r#"{"type":"x-fal-message"}"#.to_owned()),
        "\\PC{0,20}",
    ];
    (words, any::<bool>()).prop_map(|(text, binary)| {
        let object = serde_json::from_str(&text).ok().filter(|_| binary);
        Input::Message(match object {
            Some(object) => Encoding::Msgpack.encode(&object),
            None => RawMessage::Text(text),
        })
    })
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => message().prop_map(Happening::In),
        2 => Just(Happening::In(Input::LocalOffer { sdp: "v=0".into() })),
        3 => (0u16..9).prop_map(|n| Happening::In(Input::LocalCandidate(candidate(n)))),
        1 => Just(Happening::In(Input::LocalCandidatesDone)),
        1 => Just(Happening::In(Input::SocketOpened)),
        1 => Just(Happening::In(Input::ChannelOpened)),
        1 => Just(Happening::In(Input::ChannelClosed)),
        1 => Just(Happening::In(Input::Parameters(object(r#"{"a":1,"b":null}"#)))),
        1 => "\\PC{0,20}".prop_map(|text| Happening::In(Input::ChannelMessage(text))),
        1 => Just(Happening::In(Input::Live)),
        1 => (0u64..20_000).prop_map(|ms| Happening::Time(Duration::from_millis(ms))),
    ]
}

fn config() -> impl Strategy<Value = NegotiationConfig> {
    let dialect = proptest::sample::select(DialectChoice::ALL.to_vec());
    let encoding = proptest::sample::select(EncodingChoice::ALL.to_vec());
    (dialect, encoding, any::<bool>(), any::<bool>()).prop_map(
        |(dialect, encoding, trickle, ask)| NegotiationConfig {
            dialect,
            encoding,
            trickle,
            ask_ice_servers: ask,
            initial_parameters: object(r#"{"prompt":"x"}"#),
            ..NegotiationConfig::default()
        },
    )
}

/// What the client said, read as an app would.
fn read(message: &RawMessage) -> ClientMessage {
    AppDialect::Scope.decode(message).unwrap().message
}

fn is_offer(output: &Output) -> bool {
    matches!(output, Output::Send(message) if matches!(read(message), ClientMessage::Offer { .. }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_handshake_keeps_its_order(config in config(), happenings in proptest::collection::vec(happening(), 0..60)) {
        let speaks_first = [DialectChoice::Lucy, DialectChoice::Wma].contains(&config.dialect);
        let whole = !config.trickle || config.dialect == DialectChoice::Wma;
        let mut scene = Scene::new(config);
        let (mut outputs, mut given) = (Vec::new(), Vec::new());
        let mut ended = false;
        for happening in happenings {
            let offered = outputs.iter().any(|output| matches!(output, Output::MakeOffer { .. }));
            match &happening {
                Happening::In(Input::LocalCandidate(candidate)) if offered && !ended => {
                    given.push(Some(candidate.clone()));
                }
                Happening::In(Input::LocalCandidatesDone) if offered && !ended => {
                    given.push(None);
                    ended = true;
                }
                Happening::In(Input::LocalCandidatesDone) => ended = true,
                Happening::In(_) | Happening::Time(_) => {}
            }
            let now = match happening {
                Happening::In(input) => scene.tell(input),
                Happening::Time(time) => scene.after(time),
            };
            let failed = outputs.iter().any(|output| matches!(output, Output::Failed(_)));
            prop_assert!(!failed || now.is_empty(), "something follows the end: {now:?}");
            outputs.extend(now);
        }
        let count = |wanted: &dyn Fn(&Output) -> bool| outputs.iter().filter(|output| wanted(output)).count();
        let place = |wanted: &dyn Fn(&Output) -> bool| outputs.iter().position(wanted).unwrap_or(usize::MAX);

        let asked = |output: &Output| matches!(output, Output::MakeOffer { .. });
        let answered = |output: &Output| matches!(output, Output::ApplyAnswer { .. });
        prop_assert!(count(&asked) <= 1 && count(&is_offer) <= 1 && count(&answered) <= 1);
        prop_assert!(place(&asked) <= place(&is_offer) && place(&is_offer) <= place(&answered));

        let first_said = place(&|output| matches!(output, Output::Send(_)));
        let negotiating = place(&|output| *output == Output::Stage(fal_client::Stage::Negotiating));
        prop_assert!(speaks_first || negotiating <= first_said, "spoke before it knew");

        let remote = place(&|output| matches!(output, Output::AddCandidate(_) | Output::RemoteCandidatesDone));
        prop_assert!(place(&answered) <= remote, "a remote candidate before the answer");

        let mut said = Vec::new();
        for (at, output) in outputs.iter().enumerate() {
            if let Output::Send(message) = output
                && let ClientMessage::Candidate { candidate, .. } = read(message)
            {
                prop_assert!(place(&answered) < at, "a local candidate before the answer");
                said.push(candidate);
            }
        }
        prop_assert!(said.len() <= given.len() && said == given[..said.len()], "candidates were changed");
        prop_assert!(!whole || said.is_empty(), "a whole offer needs no candidates");
    }

    #[test]
    fn no_text_of_a_client_or_an_app_panics(text in "\\PC{0,80}", bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        for message in [RawMessage::Text(text), RawMessage::Binary(bytes)] {
            for dialect in [Dialect::YoloJson, Dialect::YoloMsgpack, Dialect::Scope, Dialect::Lucy, Dialect::Wma] {
                let _ = dialect.decode(&message);
            }
            for dialect in [AppDialect::Yolo, AppDialect::Scope] {
                let _ = dialect.decode(&message);
            }
        }
    }
}

//! Key and token show up nowhere: not in a log at any level, not in an event, not in an error.

use std::fmt::Write;
use std::sync::{Arc, Mutex};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use fal_client::net::Event;
use fal_client::{Auth, RawMessage};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};

use crate::fal::{Fal, Seen, Upgrade, echo, redirect, refuse, talk};
use crate::owner::{Owner, config};

/// Everything that is logged by way of either logging crate.
#[derive(Clone, Default)]
struct Everything(Arc<Mutex<String>>);

impl Everything {
    fn note(&self, text: &str) {
        let mut all = self.0.lock().unwrap();
        all.push_str(text);
        all.push('\n');
    }
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Everything {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields(span.metadata().name().into());
        span.record(&mut fields);
        self.note(&fields.0);
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut fields = Fields(String::new());
        values.record(&mut fields);
        self.note(&fields.0);
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields(event.metadata().target().into());
        event.record(&mut fields);
        self.note(&fields.0);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl log::Log for Everything {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        self.note(&format!("{} {}", record.target(), record.args()));
    }
    fn flush(&self) {}
}

/// Everything that a user could see of connections that go well and badly.
async fn told() -> String {
    let mut told = String::new();
    let parrot = |seen: &Seen| format!("you sent {} and {}", seen.authorization, seen.query);
    let good = |_: &Seen, _| refuse(200, "\"canary-token\"");
    for auth in [Auth::Token, Auth::Header] {
        let token = match auth {
            Auth::Token => "?fal_jwt_token=canary-token",
            Auth::Header | Auth::None => "",
        };
        let gossip = format!("{token} canary-id:canary-secret canary-secret");
        let servers = [
            Fal::new(good, |_| talk(echo)).await,
            Fal::new(move |seen, _| refuse(401, &parrot(seen)), |_| talk(echo)).await,
            Fal::new(good, move |_| Upgrade::Refuse(refuse(503, &gossip))).await,
            Fal::new(good, |_| {
                let location = "http://127.0.0.1:9/?fal_jwt_token=canary-token";
                Upgrade::Refuse(redirect(302, location))
            })
            .await,
        ];
        for fal in servers {
            listen(&fal, auth, &mut told).await;
        }
    }
    told
}

/// Writes down what an owner hears, up to the first message and its close, or the first failure.
async fn listen(fal: &Fal, auth: Auth, told: &mut String) {
    let mut owner = Owner::with_auth(fal, auth);
    writeln!(told, "{:?} {:?}", owner.pump, config(fal)).unwrap();
    owner
        .until(|event| {
            writeln!(told, "{event:?}").unwrap();
            match event {
                Event::Stage(report) => {
                    let error = report.error.as_ref()?;
                    writeln!(told, "{error} {}", error.remedy()).unwrap();
                    Some(())
                }
                Event::Message { message, .. } => {
                    let RawMessage::Text(text) = message else {
                        panic!("{message:?}")
                    };
                    writeln!(told, "{text}").unwrap();
                    text.contains("ready").then_some(())
                }
                Event::Opened { .. } | Event::Closed { .. } => None,
            }
        })
        .await;
    owner.stop().await;
}

#[test]
fn key_and_token_show_up_nowhere() {
    let everything = Everything::default();
    log::set_logger(Box::leak(Box::new(everything.clone()))).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();

    let told = tracing::subscriber::with_default(everything.clone(), || runtime.block_on(told()));

    let logged = everything.0.lock().unwrap().clone();
    assert!(logged.contains("pump stopped"), "our own words are heard");
    assert!(logged.contains("tungstenite"), "and those of others");
    for line in logged.lines().chain(told.lines()) {
        assert!(!line.contains("canary"), "{line}");
    }
    assert!(told.contains("****"), "what servers repeat is starred");
}

#[tokio::test]
async fn a_token_that_the_app_repeats_is_not_passed_on() {
    let token = "wss://fal.run/o/a?fal_jwt_token=token-1";
    let fal = Fal::granting(move |_| {
        talk(move |mut socket: WebSocket| async move {
            let _ = socket.send(Message::text(token)).await;
            let frame = CloseFrame {
                code: 1011,
                reason: token.into(),
            };
            let _ = socket.send(Message::Close(Some(frame))).await;
        })
    })
    .await;
    let mut owner = Owner::of(&fal);

    let heard = owner
        .until(|event| match event {
            Event::Message { message, .. } => Some(message.clone()),
            _ => None,
        })
        .await;
    let reason = owner
        .until(|event| match event {
            Event::Closed { reason, .. } => Some(reason.clone()),
            _ => None,
        })
        .await;

    let starred = "wss://fal.run/o/a?fal_jwt_token=****";
    assert_eq!(heard, RawMessage::Text(starred.into()));
    assert_eq!(reason, starred);
}

//! Pump and negotiation against an app of another make, up to its answer: every dialect, every way to go wrong.
//!
//! The offer is a picture of one; media need a peer connection and are another file's business.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use fal_client::net::{Event, Pump, PumpConfig, StageReport};
use fal_client::signalling::backoff::Backoff;
use fal_client::{
    ApiKey, Auth, Dialect, DialectChoice, EncodingChoice, Endpoints, FalError, IceCandidate, Input,
    Negotiation, NegotiationConfig, Notice, Output, Stage,
};
use scope_tests::FalApp;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep_until, timeout};

/// As webrtcbin makes it: one video line that sends and receives, one channel.
const OFFER: &str = include_str!("../fixtures/offer.sdp");
const CANDIDATE: &str = "candidate:1 1 UDP 2015363327 127.0.0.1 50000 typ host";
const KEY: &str = "id:secret";
/// A hung test ends some day.
const PATIENCE: Duration = Duration::from_secs(30);

/// What an owner saw, in order.
#[derive(Debug)]
enum Sight {
    Stage(StageReport),
    Output(Output),
    Closed(Option<u16>),
}

/// Pump and negotiation, and what comes of them.
struct Client {
    pump: Pump,
    events: Receiver<Event>,
    negotiation: Option<(u32, Negotiation)>,
    config: NegotiationConfig,
    seen: Vec<Sight>,
}

impl Client {
    fn start(app: &FalApp, dialect: DialectChoice, path: &str, budget: Duration) -> Result<Self> {
        let url = format!("http://{}", app.address);
        let endpoints = Endpoints::default()
            .with_run_url(&url)?
            .with_rest_url(&url)?
            .with_wma_url(&url)?;
        let key = Some(ApiKey::parse(KEY)?);
        let pump = PumpConfig {
            endpoints,
            budget,
            backoff: Backoff {
                base: Duration::from_millis(10),
                cap: Duration::from_millis(100),
                ..Backoff::default()
            },
            auth: Auth::Token,
            ..PumpConfig::new(
                "owner/app".parse()?,
                path,
                dialect,
                EncodingChoice::Auto,
                key,
            )
        };
        let (pump, events) = Pump::start(pump, &Handle::current())?;
        Ok(Self {
            pump,
            events,
            negotiation: None,
            config: NegotiationConfig {
                dialect,
                app: "owner/app".into(),
                budget,
                initial_parameters: json!({"prompt": "snow"})
                    .as_object()
                    .context("an object")?
                    .clone(),
                ..NegotiationConfig::default()
            },
            seen: Vec::new(),
        })
    }

    /// Goes on until something wanted was seen, and gives back everything up to there.
    async fn until(&mut self, wanted: impl Fn(&Sight) -> bool) -> Result<Vec<Sight>> {
        let end = Instant::now() + PATIENCE;
        let mut looked = 0;
        loop {
            while looked < self.seen.len() {
                looked += 1;
                if wanted(&self.seen[looked - 1]) {
                    let later = self.seen.split_off(looked);
                    return Ok(std::mem::replace(&mut self.seen, later));
                }
            }
            let due = self
                .negotiation
                .as_ref()
                .and_then(|(_, negotiation)| negotiation.next_timeout());
            tokio::select! {
                () = sleep_until(end) => bail!("not seen, but {:#?}", self.seen),
                () = sleep_until(due.map_or(end, Instant::from_std)) => self.tell(Input::Timeout),
                event = self.events.recv() => self.take(event.context("the pump ended")?),
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Stage(report) => self.seen.push(Sight::Stage(report)),
            Event::Opened { attempt, started } => {
                let negotiation = Negotiation::new(self.config.clone(), started);
                self.negotiation = Some((attempt, negotiation));
                self.tell(Input::SocketOpened);
            }
            Event::Message { message, .. } => self.tell(Input::Message(message)),
            Event::Closed { code, reason, .. } => {
                self.seen.push(Sight::Closed(code));
                self.tell(Input::SocketClosed { code, reason });
            }
        }
    }

    fn tell(&mut self, input: Input) {
        let Some((attempt, negotiation)) = &mut self.negotiation else {
            return;
        };
        let attempt = *attempt;
        negotiation.handle(std::time::Instant::now(), input);
        let mut replies = Vec::new();
        while let Some(output) = negotiation.poll() {
            match &output {
                Output::Send(message) => {
                    self.pump.send(attempt, message.clone());
                }
                Output::Stage(stage) => {
                    self.pump.entered(attempt, *stage);
                }
                Output::MakeOffer { .. } => {
                    replies.push(Input::LocalOffer { sdp: OFFER.into() });
                    let candidate = IceCandidate::new(CANDIDATE, Some("video0".into()), Some(0));
                    replies.extend(candidate.map(Input::LocalCandidate));
                    replies.push(Input::LocalCandidatesDone);
                }
                Output::Failed(error) => {
                    self.pump.failed(attempt, error.clone());
                }
                Output::ApplyAnswer { .. }
                | Output::AddCandidate(_)
                | Output::RemoteCandidatesDone
                | Output::SendOnChannel(_)
                | Output::Notice(_) => {}
            }
            self.seen.push(Sight::Output(output));
        }
        for reply in replies {
            self.tell(reply);
        }
    }

    /// The answer, with everything before it.
    async fn answered(&mut self) -> Result<Vec<Sight>> {
        let answer = |sight: &Sight| matches!(sight, Sight::Output(Output::ApplyAnswer { .. }));
        self.until(answer).await
    }

    /// Why the first attempt that fails does.
    async fn failure(&mut self) -> Result<FalError> {
        let failed =
            |sight: &Sight| matches!(sight, Sight::Stage(report) if report.error.is_some());
        match self.until(failed).await?.pop() {
            Some(Sight::Stage(StageReport {
                error: Some(error), ..
            })) => Ok(error),
            other => bail!("{other:?}"),
        }
    }

    async fn stop(self) -> Result<()> {
        self.pump.stop();
        // Nobody takes events any more.
        drop(self.events);
        timeout(PATIENCE, self.pump.ended())
            .await
            .context("the pump does not end")
    }
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

const YOLO: (DialectChoice, &str) = (DialectChoice::Auto, "webrtc");

/// One connection after these faults, driven by `look`.
fn connecting<T>(
    app: &FalApp,
    (dialect, path): (DialectChoice, &str),
    faults: &Value,
    look: impl AsyncFnOnce(&mut Client) -> Result<T>,
) -> Result<T> {
    app.faults(faults)?;
    // Long enough for every delay below, short enough for what never comes.
    let budget = Duration::from_secs(8);
    runtime()?.block_on(async {
        let mut client = Client::start(app, dialect, path, budget)?;
        let found = look(&mut client)
            .await
            .with_context(|| format!("{path} with {faults}"));
        client.stop().await?;
        found
    })
}

fn attempt(faults: &Value) -> Value {
    json!({"attempts": [faults]})
}

#[test]
fn every_dialect_comes_to_its_answer() -> Result<()> {
    let app = FalApp::start(Some(KEY))?;
    for (choice, path, dialect) in [
        (DialectChoice::Auto, "webrtc", Dialect::YoloJson),
        (DialectChoice::Auto, "realtime", Dialect::YoloMsgpack),
        (DialectChoice::Auto, "ws", Dialect::Scope),
        (DialectChoice::Yolo, "webrtc", Dialect::YoloJson),
        (DialectChoice::Yolo, "realtime", Dialect::YoloMsgpack),
        (DialectChoice::Scope, "ws", Dialect::Scope),
        (DialectChoice::Lucy, "lucy", Dialect::Lucy),
        (DialectChoice::Wma, "", Dialect::Wma),
    ] {
        let found = connecting(
            &app,
            (choice, path),
            &json!({}),
            async |client: &mut Client| {
                let mut seen = client.answered().await?;
                let Some(Sight::Output(Output::ApplyAnswer { sdp })) = seen.pop() else {
                    bail!("{seen:?}");
                };
                assert!(
                    sdp.contains("a=setup:passive") && sdp.contains("a=sendrecv"),
                    "{sdp}"
                );
                let made = seen.iter().find_map(|sight| match sight {
                    Sight::Output(Output::MakeOffer { dialect, .. }) => Some(*dialect),
                    _ => None,
                });
                made.context("no offer")
            },
        )?;
        assert_eq!(found, dialect, "{choice:?} on {path}");
    }
    Ok(())
}

#[test]
fn what_is_strange_but_harmless_does_no_harm() -> Result<()> {
    let app = FalApp::start(Some(KEY))?;
    for faults in [
        json!({"upgrade_delay": 0.5}),
        json!({"ready_delay": 0.5}),
        json!({"second_ready": true}),
        json!({"garbage": true}),
        json!({"chatter": true}),
        json!({"wrong_opcode": true}),
        json!({"second_answer": true}),
        json!({"early_null": true}),
        json!({"answer_delay": 0.5}),
    ] {
        for path in ["webrtc", "realtime", "ws"] {
            let place = (DialectChoice::Auto, path);
            let seen = connecting(&app, place, &attempt(&faults), Client::answered)?;
            let candidates =
                |sight: &Sight| matches!(sight, Sight::Output(Output::RemoteCandidatesDone));
            assert!(!seen.iter().any(candidates), "before the answer: {seen:?}");
        }
    }
    for shape in ["string", "token", "detail"] {
        connecting(
            &app,
            YOLO,
            &json!({"token": {"shape": shape}}),
            Client::answered,
        )?;
    }
    Ok(())
}

#[test]
fn what_is_refused_is_told_in_the_servers_words() -> Result<()> {
    let app = FalApp::start(Some(KEY))?;
    let locked = json!({"token": {"status": 403, "body": {"detail": "User is locked."}}});
    assert_eq!(
        connecting(&app, YOLO, &locked, Client::failure)?.to_string(),
        r#"Token request failed: 403 {"detail": "User is locked."}"#
    );
    for status in [403, 404, 429, 503] {
        let faults = attempt(&json!({"upgrade_status": status}));
        let refused = FalError::UpgradeRefused {
            status,
            body: format!(r#"{{"detail": "refused with {status}"}}"#),
        };
        assert_eq!(connecting(&app, YOLO, &faults, Client::failure)?, refused);
    }
    for (fal_error, text) in [(false, "no model"), (true, "INTERNAL_ERROR: no model")] {
        for path in ["webrtc", "realtime", "ws"] {
            let faults = json!({"error_before_answer": "no model", "fal_error": fal_error});
            let place = (DialectChoice::Auto, path);
            match connecting(&app, place, &attempt(&faults), Client::failure)? {
                FalError::App { text: told, .. } => assert_eq!(told, text, "{path}"),
                other => bail!("{path}: {other}"),
            }
        }
    }
    Ok(())
}

#[test]
fn an_error_after_the_answer_explains_the_close() -> Result<()> {
    let app = FalApp::start(Some(KEY))?;
    let faults = json!({"error_after_answer": "out of memory", "close_at": "answer"});
    let (noticed, error) = connecting(
        &app,
        YOLO,
        &attempt(&faults),
        async |client: &mut Client| {
            client.answered().await?;
            let notice =
                |sight: &Sight| matches!(sight, Sight::Output(Output::Notice(Notice::AppError(_))));
            Ok((client.until(notice).await?.len(), client.failure().await?))
        },
    )?;
    assert!(noticed > 0);
    assert_eq!(error.to_string(), "the app reports: out of memory");
    Ok(())
}

#[test]
fn what_never_comes_ends_with_the_budget() -> Result<()> {
    let app = FalApp::start(Some(KEY))?;
    for (faults, at) in [
        (json!({"no_ready": true}), Stage::StartingRunner),
        (json!({"no_answer": true}), Stage::Negotiating),
    ] {
        match connecting(&app, YOLO, &attempt(&faults), Client::failure)? {
            FalError::TimedOut { stage, .. } => assert_eq!(stage, at),
            other => bail!("{faults}: {other}"),
        }
    }
    Ok(())
}

#[test]
fn a_close_at_any_step_is_a_new_attempt() -> Result<()> {
    let app = FalApp::start(Some(KEY))?;
    for path in ["webrtc", "realtime", "ws"] {
        for step in ["open", "ready", "offer", "answer", "candidate"] {
            for code in [1000, 1006, 1011] {
                let faults = attempt(&json!({"close_at": step, "close_code": code}));
                let place = (DialectChoice::Auto, path);
                let closed = connecting(&app, place, &faults, async |client: &mut Client| {
                    let seen = client
                        .until(|sight| matches!(sight, Sight::Closed(_)))
                        .await?;
                    client.answered().await?;
                    Ok(seen)
                })?;
                let told =
                    matches!(closed.last(), Some(Sight::Closed(Some(told))) if *told == code);
                assert!(told, "{path} at {step} with {code}: {closed:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_token_that_runs_out_in_the_handshake_is_replaced() -> Result<()> {
    let app = FalApp::start(Some(KEY))?;
    let faults = json!({"token": {"lifetime": 0.3}, "attempts": [{"upgrade_delay": 0.8}]});
    let seen = connecting(&app, YOLO, &faults, async |client: &mut Client| {
        let error = client.failure().await?;
        Ok((error, client.answered().await?))
    })?;
    assert!(matches!(
        seen.0,
        FalError::UpgradeRefused { status: 401, .. }
    ));
    assert_eq!(app.report()?["tokens"], 2);
    Ok(())
}

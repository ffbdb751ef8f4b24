//! The owner of a pump: starts it against a server and waits for what it says.

use std::time::Duration;

use fal_client::net::{Event, Pump, PumpConfig, StageReport};
use fal_client::signalling::backoff::Backoff;
use fal_client::{ApiKey, Auth, DialectChoice, EncodingChoice, Endpoints, Stage};
use tokio::runtime::Handle;
use tokio::sync::mpsc::Receiver;

use crate::fal::Fal;

/// A hung test ends some day.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const KEY: &str = "canary-id:canary-secret";

pub(crate) struct Owner {
    pub(crate) pump: Pump,
    pub(crate) events: Receiver<Event>,
}

pub(crate) fn config(fal: &Fal) -> PumpConfig {
    let (app, key) = ("o/a".parse().unwrap(), ApiKey::parse(KEY).unwrap());
    let endpoints = Endpoints::default()
        .with_run_url(&fal.url())
        .and_then(|hosts| hosts.with_rest_url(&fal.url()))
        .and_then(|hosts| hosts.with_wma_url(&fal.url()));
    PumpConfig {
        endpoints: endpoints.unwrap(),
        backoff: Backoff {
            base: Duration::from_millis(10),
            cap: Duration::from_millis(50),
            ..Backoff::default()
        },
        ..PumpConfig::new(
            app,
            "",
            DialectChoice::Auto,
            EncodingChoice::Auto,
            Some(key),
        )
    }
}

impl Owner {
    pub(crate) fn new(config: PumpConfig) -> Self {
        let (pump, events) = Pump::start(config, &Handle::current()).unwrap();
        Self { pump, events }
    }

    pub(crate) fn of(fal: &Fal) -> Self {
        Self::new(config(fal))
    }

    pub(crate) fn with_auth(fal: &Fal, auth: Auth) -> Self {
        let config = config(fal);
        Self::new(PumpConfig { auth, ..config })
    }

    /// The next event, which must come.
    pub(crate) async fn next(&mut self) -> Event {
        let next = tokio::time::timeout(PATIENCE, self.events.recv()).await;
        next.expect("no event for too long")
            .expect("the pump has ended")
    }

    /// The first event that `wanted` takes; earlier ones are let go.
    pub(crate) async fn until<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        loop {
            let event = self.next().await;
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
    }

    /// The report of the next time that `stage` begins.
    pub(crate) async fn stage(&mut self, stage: Stage) -> StageReport {
        self.until(|event| match event {
            Event::Stage(report) if report.stage == stage => Some(report.clone()),
            _ => None,
        })
        .await
    }

    /// The attempt whose socket opens next.
    pub(crate) async fn opened(&mut self) -> u32 {
        self.until(|event| match event {
            Event::Opened { attempt, .. } => Some(*attempt),
            _ => None,
        })
        .await
    }

    /// Stops the pump and waits for its end; what is left of events comes back.
    pub(crate) async fn stop(mut self) -> Vec<Event> {
        self.pump.stop();
        let ended = tokio::time::timeout(PATIENCE, self.pump.ended()).await;
        ended.expect("the pump does not end");
        let mut rest = Vec::new();
        while let Some(event) = self.events.recv().await {
            rest.push(event);
        }
        rest
    }
}

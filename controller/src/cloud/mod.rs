//! The app in the cloud: connected and left on request, shared out to sessions.
//!
//! ```text
//!  POST /fal/connect ──► Cloud ──► standby lane (token ► socket ► runner ► live, black frames)
//!                          │            ▲ give back          │ take
//!                          └─ changed ──► every session ─────┘ attach: its frames, its parameters
//! ```
//!
//! One lane is always kept standing by, so that the runner is warm before the first client streams; further sessions
//! open lanes of their own. The connection itself (retries, new tokens) is the processor element's business.

pub(crate) mod lane;
mod status;
mod wish;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::watch;

pub use wish::{Wish, WishError};

use crate::config::CloudConfig;
use lane::CloudLane;
use status::Seen;
use wish::Target;

/// How long a request to connect waits for the token to be granted or refused.
const TOKEN: Duration = Duration::from_secs(15);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(20);

/// Why connecting failed at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// Something is missing.
    #[error(transparent)]
    Wish(#[from] WishError),
    /// The element is missing or refused a value.
    #[error("the cloud connection cannot be made: {0}")]
    Element(String),
    /// The far side refused, in its words.
    #[error("{0}")]
    Refused(String),
}

/// The cloud connection; clones share it.
#[derive(Debug, Clone)]
pub struct Cloud(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: CloudConfig,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    target: Option<Arc<Target>>,
    lanes: Vec<Arc<CloudLane>>,
    since: Option<Instant>,
    error: Option<String>,
}

impl Cloud {
    /// Connected to nothing.
    pub fn new(config: CloudConfig) -> Self {
        Self(Arc::new(Shared {
            config,
            state: Mutex::default(),
            changed: watch::channel(0).0,
        }))
    }

    /// Connects, in place of any connection before; returns once the first lane has started.
    ///
    /// # Errors
    ///
    /// What is missing, or why no lane can be made.
    pub async fn connect(&self, wish: Wish) -> Result<(), CloudError> {
        let target = Arc::new(Target::new(wish, &self.0.config)?);
        self.disconnect().await;
        tracing::info!(app = target.app_id, "connecting to the cloud");
        let started = {
            let target = target.clone();
            tokio::task::spawn_blocking(move || CloudLane::start(&target)).await
        };
        let outcome = match started {
            Ok(Ok(lane)) => Ok(lane),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("starting it broke off".into()),
        };
        let outcome = {
            let mut state = self.0.state.lock().unwrap();
            outcome
                .map(|lane| {
                    state.target = Some(target);
                    state.lanes.push(Arc::new(lane));
                    state.since = Some(Instant::now());
                    state.error = None;
                })
                .map_err(|error| {
                    state.error = Some(error.clone());
                    CloudError::Element(error)
                })
        };
        self.tell();
        outcome
    }

    /// Waits until the credentials are accepted or refused.
    ///
    /// # Errors
    ///
    /// The refusal, in the far side's words; nothing is connected then.
    pub async fn accepted(&self) -> Result<(), CloudError> {
        let end = Instant::now() + TOKEN;
        while Instant::now() < end {
            let Some(lane) = self.first() else {
                return Ok(());
            };
            let stage = lane.stage();
            if stage == "failed" {
                let reason = self.failure(&lane);
                self.disconnect().await;
                self.0.state.lock().unwrap().error = Some(reason.clone());
                return Err(CloudError::Refused(reason));
            }
            if !["", "idle", "token"].contains(&stage.as_str()) {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Leaves the cloud; sessions go on at home.
    pub async fn disconnect(&self) {
        let lanes = {
            let mut state = self.0.state.lock().unwrap();
            state.target = None;
            state.since = None;
            state.error = None;
            std::mem::take(&mut state.lanes)
        };
        self.tell();
        if lanes.is_empty() {
            return;
        }
        let stopped = tokio::task::spawn_blocking(move || {
            for lane in lanes {
                lane.stop();
            }
        });
        if stopped.await.is_err() {
            tracing::error!("leaving the cloud broke off");
        }
    }

    /// True from a request to connect until one to leave, whatever the network does.
    pub fn is_wanted(&self) -> bool {
        self.0.state.lock().unwrap().target.is_some()
    }

    /// Whether sessions show their local processor while the cloud is lost.
    pub(crate) fn falls_back(&self) -> bool {
        self.0.config.fallback_to_local
    }

    /// Counts up whenever connecting or leaving was asked for.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// A lane for a session: the one standing by, or a new one. `None` when no connection is wanted, or none can be
    /// made. Blocks for milliseconds.
    pub(crate) fn take(&self) -> Option<Arc<CloudLane>> {
        let target = {
            let state = self.0.state.lock().unwrap();
            if let Some(free) = state.lanes.iter().find(|lane| lane.take()) {
                return Some(free.clone());
            }
            state.target.clone()?
        };
        let lane = match CloudLane::start(&target) {
            Ok(lane) => Arc::new(lane),
            Err(error) => {
                tracing::error!(%error, "no further cloud connection can be made");
                return None;
            }
        };
        lane.take();
        let mut state = self.0.state.lock().unwrap();
        if state
            .target
            .as_ref()
            .is_some_and(|now| Arc::ptr_eq(now, &target))
        {
            state.lanes.push(lane.clone());
            return Some(lane);
        }
        drop(state);
        lane.stop();
        None
    }

    /// Takes a lane back from a session. One stays standing by; others end. Blocks for a moment.
    pub(crate) fn give_back(&self, lane: &Arc<CloudLane>) {
        lane.release();
        let surplus = {
            let mut state = self.0.state.lock().unwrap();
            let free = state.lanes.iter().filter(|lane| !lane.is_taken()).count();
            let known = state.lanes.iter().any(|known| Arc::ptr_eq(known, lane));
            if free > 1 {
                state.lanes.retain(|known| !Arc::ptr_eq(known, lane));
            }
            free > 1 || !known
        };
        if surplus {
            lane.stop();
        }
    }

    /// The shape of `GET /api/v1/cloud/status`.
    pub fn status(&self) -> Value {
        let (lanes, mut seen) = {
            let state = self.0.state.lock().unwrap();
            let seen = Seen {
                app_id: state.target.as_ref().map(|target| target.app_id.clone()),
                credentials_configured: self.0.config.app_id.is_some()
                    && (self.0.config.api_key.is_some() || self.0.config.open),
                uptime: state.since.map(|since| since.elapsed()),
                error: state.error.clone(),
                ..Seen::default()
            };
            (state.lanes.clone(), seen)
        };
        for lane in &lanes {
            let figures = lane.figures();
            seen.lanes.push(status::Lane {
                stage: lane.stage(),
                trouble: lane.trouble(&figures),
                hardware: lane.hardware(),
                figures,
            });
        }
        status::shape(&seen)
    }

    fn first(&self) -> Option<Arc<CloudLane>> {
        self.0.state.lock().unwrap().lanes.first().cloned()
    }

    fn failure(&self, lane: &CloudLane) -> String {
        lane.trouble(&lane.figures())
            .unwrap_or_else(|| "the cloud refused the connection".into())
    }

    fn tell(&self) {
        self.0.changed.send_modify(|count| *count += 1);
    }
}

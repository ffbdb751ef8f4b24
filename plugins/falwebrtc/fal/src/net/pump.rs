//! The pump as its owner sees it: what to configure, what to tell it.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::attempt;
use super::event::Event;
use super::http::Http;
use crate::app_id::AppId;
use crate::credentials::{ApiKey, Auth};
use crate::endpoint::Endpoints;
use crate::error::FalError;
use crate::signalling::backoff::Backoff;
use crate::signalling::{DialectChoice, EncodingChoice, RawMessage};
use crate::stage::Stage;

/// Events kept for an owner that is busy; then the socket waits.
const EVENTS: usize = 64;
/// Commands kept for a pump whose socket is stuck; an owner says far less in one attempt.
const COMMANDS: usize = 512;

/// What carries the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A WebSocket.
    Socket,
    /// HTTP requests (dialect WMA).
    Requests,
}

/// Where to connect, and how.
#[derive(Debug, Clone)]
pub struct PumpConfig {
    /// The app.
    pub app: AppId,
    /// The path in it, see [`AppId::path_or`] and [`DialectChoice::default_path`].
    pub path: String,
    /// Paths to try where the app knows none of those before; empty when somebody named the path.
    pub other_paths: Vec<String>,
    /// The hosts.
    pub endpoints: Endpoints,
    /// How to prove who we are. WMA has no tokens: there it is the key unless [`Auth::None`].
    pub auth: Auth,
    /// The key; needed unless `auth` is [`Auth::None`].
    pub key: Option<ApiKey>,
    /// What carries the messages.
    pub transport: Transport,
    /// Time for one attempt up to the open socket; the negotiation counts on from the same start.
    pub budget: Duration,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// How often the socket is pinged; proxies drop idle ones. A socket that answered once and then misses three pings
    /// is dead.
    pub ping_every: Duration,
}

impl PumpConfig {
    /// fal's own hosts, a token per connection, 180 s.
    ///
    /// `path` is the option of that name; empty takes the id's own or the dialect's. Where neither id nor dialect names
    /// one, those of the other dialects are tried too.
    pub fn new(
        app: AppId,
        path: &str,
        dialect: DialectChoice,
        encoding: EncodingChoice,
        key: Option<ApiKey>,
    ) -> Self {
        let default = dialect.default_path(encoding);
        let nobody_named_it = app.path_or(path, "").is_empty();
        let other_paths: Vec<String> = if dialect == DialectChoice::Auto && nobody_named_it {
            let known = ["webrtc", "ws", "realtime"].into_iter();
            known
                .filter(|other| *other != default)
                .map(str::to_owned)
                .collect()
        } else {
            Vec::new()
        };
        Self {
            other_paths,
            path: app.path_or(path, default).to_owned(),
            app,
            endpoints: Endpoints::default(),
            auth: Auth::default(),
            key,
            transport: match dialect {
                DialectChoice::Wma => Transport::Requests,
                DialectChoice::Auto
                | DialectChoice::Yolo
                | DialectChoice::Scope
                | DialectChoice::Lucy => Transport::Socket,
            },
            budget: Duration::from_secs(180),
            backoff: Backoff::default(),
            ping_every: Duration::from_secs(20),
        }
    }
}

#[derive(Debug)]
pub(super) enum Command {
    Send { attempt: u32, message: RawMessage },
    Entered { attempt: u32, stage: Stage },
    Failed { attempt: u32, error: FalError },
    ReconnectNow,
}

/// A task that keeps a connection up until it is stopped or dropped.
///
/// No call blocks; each may be made from any thread. What is said about an attempt that is over is ignored.
#[derive(Debug)]
pub struct Pump {
    commands: mpsc::Sender<Command>,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Pump {
    /// Begins connecting, as a task of `runtime`. Take events until there are none: an owner that does not listen
    /// stops the pump.
    ///
    /// # Errors
    ///
    /// [`FalError::NoKey`] when a key is needed and there is none; [`FalError::Unreachable`] when no request at all can be
    /// made.
    pub fn start(
        config: PumpConfig,
        runtime: &Handle,
    ) -> Result<(Self, mpsc::Receiver<Event>), FalError> {
        if config.key.is_none() && config.auth != Auth::None {
            return Err(FalError::NoKey);
        }
        let http = Http::new(config.endpoints.clone())?;
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (events, outbox) = mpsc::channel(EVENTS);
        let stop = CancellationToken::new();
        let task = runtime.spawn(attempt::run(config, http, inbox, events, stop.clone()));
        let pump = Self {
            commands,
            stop,
            task: Some(task),
        };
        Ok((pump, outbox))
    }

    /// Sends a message on the socket of `attempt`. False when it cannot be taken: the pump ended, or its socket is stuck.
    pub fn send(&self, attempt: u32, message: RawMessage) -> bool {
        self.tell(Command::Send { attempt, message })
    }

    /// The negotiation of `attempt` entered a stage. [`Stage::Live`] makes the next wait short again.
    pub fn entered(&self, attempt: u32, stage: Stage) -> bool {
        self.tell(Command::Entered { attempt, stage })
    }

    /// The negotiation of `attempt` failed: close its socket and connect anew.
    pub fn failed(&self, attempt: u32, error: FalError) -> bool {
        self.tell(Command::Failed { attempt, error })
    }

    /// Connects anew at once, from any stage.
    pub fn reconnect_now(&self) -> bool {
        self.tell(Command::ReconnectNow)
    }

    /// Closes the remote session and ends the task. Returns at once; [`Pump::ended`] waits for it.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until the task has ended, at most about two seconds after [`Pump::stop`].
    pub async fn ended(mut self) {
        if let Some(task) = self.task.take() {
            // It neither panics nor is aborted; there is nothing else to learn from it.
            let _ = task.await;
        }
    }

    fn tell(&self, command: Command) -> bool {
        self.commands.try_send(command).is_ok()
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

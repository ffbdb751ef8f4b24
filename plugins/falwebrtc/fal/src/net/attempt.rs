//! The pump's task: attempt after attempt, from token to socket to its end.
//!
//! Decisions: what only the user can mend (a wrong key, an unknown app) stops a connection that never worked, so that
//! the user sees it at once; one that did work is tried for ever, because such replies also come while an app is
//! redeployed. A token that was granted and then refused may have run out while the handshake was pending: it is
//! replaced, once.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::event::{Event, StageReport};
use super::http::Http;
use super::link::Link;
use super::pump::{Command, PumpConfig, Transport};
use super::socket::{Incoming, Socket};
use super::token::mint;
use super::wma::Wma;
use crate::credentials::{ApiKey, Auth};
use crate::error::FalError;
use crate::stage::Stage;

/// A handshake that pends longer is waiting for a runner.
const COLD_START: Duration = Duration::from_secs(3);
/// How long the owner has to say why a socket was closed.
const VERDICT: Duration = Duration::from_millis(500);

/// Why an attempt ended.
enum End {
    /// It failed, or was lost.
    Failed(FalError),
    /// The owner wants a new one at once.
    Renew,
    /// The owner wants no more, or is gone.
    Stop,
}

struct Task {
    config: PumpConfig,
    http: Http,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
    attempt: u32,
    started: Instant,
    stage: Option<Stage>,
    lived: bool,
    failures: u32,
    /// Paths to try; only the right one is left once it is known.
    paths: Vec<String>,
    /// Tokens in a row that were granted and then not accepted.
    spurned: u32,
}

pub(super) async fn run(
    config: PumpConfig,
    http: Http,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
) {
    let paths = std::iter::once(&config.path).chain(&config.other_paths);
    let mut task = Task {
        paths: paths.cloned().collect(),
        config,
        http,
        commands,
        events,
        stop,
        attempt: 0,
        started: Instant::now(),
        stage: None,
        lived: false,
        failures: 0,
        spurned: 0,
    };
    loop {
        task.attempt = task.attempt.wrapping_add(1);
        task.started = Instant::now();
        let end = task.attempt().await;
        let next = match end {
            End::Failed(error) => task.wait_after(error).await,
            End::Renew => task.renew().await,
            End::Stop => End::Stop,
        };
        if matches!(next, End::Stop) {
            tracing::debug!("pump stopped after {} attempts", task.attempt);
            return;
        }
    }
}

impl Task {
    /// One attempt, to its end.
    async fn attempt(&mut self) -> End {
        let mut link = match self.connect().await {
            Ok(link) => link,
            Err(end) => return end,
        };
        let opened = Event::Opened {
            attempt: self.attempt,
            started: self.started,
        };
        let end = match self.emit(opened).await {
            Ok(()) => self.carry(&mut link).await,
            Err(end) => end,
        };
        if matches!(end, End::Stop) {
            link.close().await;
        } else {
            // A dead socket answers no goodbye: the next attempt does not wait for it.
            tokio::spawn(link.close());
        }
        end
    }

    /// Token and socket within the budget, unless the owner interrupts.
    async fn connect(&mut self) -> Result<Link, End> {
        let key = self.config.key.clone();
        let key = key.filter(|_| self.config.auth != Auth::None);
        if self.config.transport == Transport::Requests {
            self.enter(Stage::Socket).await?;
            return Ok(Link::Wma(Box::new(Wma::new(self.http.clone(), key))));
        }
        let mut first = None;
        for path in self.paths.clone() {
            match self.open(&path, key.as_ref()).await {
                Ok(socket) => {
                    self.paths = vec![path];
                    self.spurned = 0;
                    return Ok(Link::Socket(Box::new(socket)));
                }
                Err(End::Failed(error)) if error.is_unknown_path() => {
                    tracing::debug!("path `{path}`: {error}");
                    first.get_or_insert(error);
                }
                Err(end) => return Err(end),
            }
        }
        let nowhere = || FalError::Unreachable {
            host: self.config.app.to_string(),
            reason: "there is no path to try".into(),
        };
        Err(End::Failed(first.unwrap_or_else(nowhere)))
    }

    /// A socket on one path, with a token of its own.
    async fn open(&mut self, path: &str, key: Option<&ApiKey>) -> Result<Socket, End> {
        let (http, app) = (self.http.clone(), self.config.app.clone());
        let mut url = self.config.endpoints.socket(&app, path);
        let mut token = None;
        if let (Auth::Token, Some(key)) = (self.config.auth, key) {
            self.enter(Stage::Token).await?;
            let minted = self.uninterrupted(mint(&http, key, &app, path)).await?;
            url = url.with_token(minted.jwt.clone());
            token = Some(minted.jwt);
        }
        self.enter(Stage::Socket).await?;
        let ping_every = self.config.ping_every;
        let open = Socket::open(&http, &url, key, token.as_ref(), ping_every);
        let mut open = std::pin::pin!(open);
        let early = self.uninterrupted(async { Ok(timeout(COLD_START, &mut open).await.ok()) });
        let opened = match early.await? {
            Some(opened) => opened.map_err(End::Failed),
            None => {
                self.enter(Stage::StartingRunner).await?;
                self.uninterrupted(open).await
            }
        };
        let refused = FalError::is_unauthorized;
        if token.is_some() && matches!(&opened, Err(End::Failed(error)) if refused(error)) {
            self.spurned += 1;
        }
        opened
    }

    /// Awaits `work` within the budget, unless the owner stops it or wants to begin anew.
    async fn uninterrupted<T>(
        &mut self,
        work: impl Future<Output = Result<T, FalError>>,
    ) -> Result<T, End> {
        let stage = self.stage.unwrap_or(Stage::Token);
        let deadline = self.started + self.config.budget;
        let interrupted = interruption(&self.stop, &mut self.commands);
        tokio::select! {
            biased;
            end = interrupted => Err(end),
            done = timeout_at(deadline.into(), work) => match done {
                Ok(done) => done.map_err(End::Failed),
                Err(_) => Err(End::Failed(FalError::TimedOut {
                    stage,
                    budget: self.config.budget,
                    hint: String::new(),
                })),
            },
        }
    }

    /// Carries messages both ways until something ends it.
    async fn carry(&mut self, link: &mut Link) -> End {
        loop {
            let incoming = tokio::select! {
                biased;
                () = self.stop.cancelled() => return End::Stop,
                command = self.commands.recv() => match self.obey(command, link).await {
                    Ok(()) => continue,
                    Err(end) => return end,
                },
                incoming = link.next() => incoming,
            };
            match incoming {
                Incoming::Message(message) => {
                    let event = Event::Message {
                        attempt: self.attempt,
                        message,
                    };
                    if let Err(end) = self.emit(event).await {
                        return end;
                    }
                }
                Incoming::Closed { code, reason } => return self.closed(code, reason).await,
                Incoming::Broken(error) => {
                    // The owner must let go of the attempt as after any close.
                    let reason = error.to_string();
                    return match self.closed(None, reason).await {
                        End::Failed(_) => End::Failed(error),
                        end => end,
                    };
                }
            }
        }
    }

    /// Does what the owner says, which may be the end.
    async fn obey(&mut self, command: Option<Command>, link: &mut Link) -> Result<(), End> {
        match command {
            Some(Command::Send { attempt, message }) if attempt == self.attempt => {
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => Err(End::Stop),
                    () = link.send(message) => Ok(()),
                }
            }
            Some(Command::Entered { attempt, stage }) if attempt == self.attempt => {
                self.entered(stage).await
            }
            Some(Command::Failed { attempt, error }) if attempt == self.attempt => {
                Err(End::Failed(error))
            }
            Some(Command::ReconnectNow) => Err(End::Renew),
            None => Err(End::Stop),
            Some(Command::Send { .. } | Command::Entered { .. } | Command::Failed { .. }) => Ok(()),
        }
    }

    async fn entered(&mut self, stage: Stage) -> Result<(), End> {
        if stage == Stage::Live {
            self.lived = true;
            self.failures = 0;
        }
        self.enter(stage).await
    }

    /// Tells the owner that the socket closed; its negotiation may know better why.
    async fn closed(&mut self, code: Option<u16>, reason: String) -> End {
        let error = FalError::Closed {
            stage: self.stage.unwrap_or(Stage::Socket),
            close_code: code,
            reason: reason.clone(),
        };
        let event = Event::Closed {
            attempt: self.attempt,
            code,
            reason,
        };
        if let Err(end) = self.emit(event).await {
            return end;
        }
        let verdict = async {
            loop {
                match self.commands.recv().await {
                    Some(Command::Failed { attempt, error }) if attempt == self.attempt => {
                        return End::Failed(error);
                    }
                    Some(Command::ReconnectNow) => return End::Renew,
                    None => return End::Stop,
                    Some(
                        Command::Send { .. } | Command::Entered { .. } | Command::Failed { .. },
                    ) => {}
                }
            }
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => End::Stop,
            end = timeout(VERDICT, verdict) => end.unwrap_or(End::Failed(error)),
        }
    }

    /// Says why, and waits for the next attempt's turn, or for the owner where waiting is pointless.
    async fn wait_after(&mut self, error: FalError) -> End {
        self.failures = self.failures.saturating_add(1);
        let replaced = error.is_unauthorized() && self.spurned == 1;
        let hopeless = error.is_permanent() && !self.lived && !replaced;
        let backoff = self.config.backoff;
        let backoff = if matches!(error, FalError::Unreachable { .. }) {
            backoff.deserted()
        } else {
            backoff
        };
        let wait = backoff.wait(self.failures, fastrand::f64());
        tracing::debug!("attempt {} failed: {error}", self.attempt);
        let report = StageReport {
            error: Some(error),
            wait: (!hopeless).then_some(wait),
            ..self.report(if hopeless {
                Stage::Failed
            } else {
                Stage::Reconnecting
            })
        };
        if let Err(end) = self.tell(report).await {
            return end;
        }
        let interrupted = interruption(&self.stop, &mut self.commands);
        let end = if hopeless {
            interrupted.await
        } else {
            timeout(wait, interrupted).await.unwrap_or(End::Renew)
        };
        if matches!(end, End::Renew) && hopeless {
            self.failures = 0;
        }
        end
    }

    /// The owner asked for a new attempt: no error, no wait.
    async fn renew(&mut self) -> End {
        self.failures = 0;
        let report = StageReport {
            wait: Some(Duration::ZERO),
            ..self.report(Stage::Reconnecting)
        };
        match self.tell(report).await {
            Ok(()) => End::Renew,
            Err(end) => end,
        }
    }

    async fn enter(&mut self, stage: Stage) -> Result<(), End> {
        if self.stage == Some(stage) {
            return Ok(());
        }
        self.tell(self.report(stage)).await
    }

    fn report(&self, stage: Stage) -> StageReport {
        StageReport {
            stage,
            attempt: self.attempt,
            elapsed: self.started.elapsed(),
            error: None,
            wait: None,
        }
    }

    async fn tell(&mut self, report: StageReport) -> Result<(), End> {
        self.stage = Some(report.stage);
        self.emit(Event::Stage(report)).await
    }

    async fn emit(&self, event: Event) -> Result<(), End> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(End::Stop),
            sent = self.events.send(event) => sent.map_err(|_| End::Stop),
        }
    }
}

/// Waits until the owner stops the pump or wants to begin anew; what it says about earlier attempts is let go.
async fn interruption(stop: &CancellationToken, commands: &mut mpsc::Receiver<Command>) -> End {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return End::Stop,
            command = commands.recv() => match command {
                Some(Command::ReconnectNow) => return End::Renew,
                None => return End::Stop,
                Some(Command::Send { .. } | Command::Entered { .. } | Command::Failed { .. }) => {}
            },
        }
    }
}

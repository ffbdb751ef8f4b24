//! The handshake with a fal app, seen from the client: one socket, one peer connection, one negotiation.
//!
//! ```text
//!  Opening ─SocketOpened─► AwaitingReady ─ready─► (AwaitingIceServers) ─► AwaitingOffer ─LocalOffer─► AwaitingAnswer
//!                                                                                                  │ answer
//!                                        any ─error, close, time─► Finished ◄──────────────── Negotiated
//! ```
//!
//! Does no I/O and has no clock: **handle once, then poll until `None`**.
//!
//! Decisions: local candidates wait for the answer in every dialect, because scope's needs the session id it brings and
//! refuses them before; remote ones wait for it too. In `auto` nothing is said before the app has spoken, because the
//! wrong kind of message ends the session. The app's last error text is kept: through fal's proxy the close that
//! follows it is a bare 1006.

mod candidates;
mod config;
mod input;
mod output;
mod time;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use config::NegotiationConfig;
pub use input::Input;
pub use output::{Notice, Output};

use super::dialect::{self, ChannelMessage, Dialect, DialectChoice, wma};
use super::encoding::Encoding;
use super::ice::{IceCandidate, IceServer};
use super::message::{ClientMessage, Parameters, RawMessage, ServerMessage};
use super::outbox::Outbox;
use crate::error::FalError;
use crate::stage::Stage;

/// How long the reply to a request for ICE servers may take before the offer goes out without.
const ICE_SERVERS_WAIT: Duration = Duration::from_secs(10);
/// How long lucy's servers may come behind its `ready`.
const LATE_ICE_SERVERS_WAIT: Duration = Duration::from_secs(1);
/// How long an app may be silent before an initial input is said unasked.
const SILENCE: Duration = Duration::from_millis(1500);

/// Where the handshake stands.
#[derive(Debug)]
enum State {
    Opening,
    AwaitingReady { speak_at: Option<Instant> },
    AwaitingIceServers { until: Instant },
    AwaitingOffer,
    AwaitingAnswer,
    Negotiated { session_id: Option<String> },
    Finished,
}

/// One handshake from the socket's opening to its end.
#[derive(Debug)]
pub struct Negotiation {
    config: NegotiationConfig,
    deadline: Instant,
    state: State,
    stage: Stage,
    dialect: Option<Dialect>,
    /// Local candidates that wait for the answer; `None` is their end.
    local: Vec<Option<IceCandidate>>,
    local_done: bool,
    /// Remote candidates that wait for the answer; `None` is their end.
    remote: Vec<Option<IceCandidate>>,
    outbox: Outbox,
    heartbeat_at: Option<Instant>,
    last_error: Option<FalError>,
    hint: String,
    outputs: VecDeque<Output>,
}

impl Negotiation {
    /// A negotiation of an attempt that began at `started`: its budget counts from there.
    pub fn new(config: NegotiationConfig, started: Instant) -> Self {
        let mut outbox = Outbox::default();
        if config.dialect == DialectChoice::Wma {
            // Its offer has no room for them.
            outbox.post(config.initial_parameters.clone());
        }
        Self {
            deadline: started + config.budget,
            config,
            state: State::Opening,
            stage: Stage::Socket,
            dialect: None,
            local: Vec::new(),
            local_done: false,
            remote: Vec::new(),
            outbox,
            heartbeat_at: None,
            last_error: None,
            hint: String::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes in what happened at `now`. Then poll until `None`.
    pub fn handle(&mut self, now: Instant, input: Input) {
        if matches!(self.state, State::Finished) {
            return;
        }
        match input {
            Input::SocketOpened => self.opened(now),
            Input::Message(message) => self.heard(now, &message),
            Input::SocketClosed { code, reason } => self.closed(code, reason),
            Input::LocalOffer { sdp } => self.offer(sdp),
            Input::LocalCandidate(candidate) => self.local_candidate(Some(candidate)),
            Input::LocalCandidatesDone => self.local_candidate(None),
            Input::ChannelOpened => {
                if let Some(Dialect::YoloJson | Dialect::YoloMsgpack) = self.dialect {
                    // Apps of the demo's kind overlook what is in the offer; twice said does no harm.
                    self.outbox.precede(self.config.initial_parameters.clone());
                }
                if self.dialect != Some(Dialect::Lucy) {
                    let waited = self.outbox.opened();
                    self.carry(waited);
                }
            }
            Input::ChannelClosed => {
                if self.dialect != Some(Dialect::Lucy) {
                    self.outbox.closed();
                }
            }
            Input::ChannelMessage(text) => self.heard_on_channel(&text),
            Input::Parameters(patch) => {
                let due = self.outbox.post(patch);
                self.carry(due);
            }
            Input::Live => self.enter(Stage::Live),
            Input::PeerFailed { reason } => {
                let error = self.last_error.take();
                self.fail(error.unwrap_or(FalError::Peer { reason }));
            }
            Input::Timeout => {}
        }
        self.look_at_the_time(now);
    }

    /// The next thing to do, if any.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// How far it has come.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The language, once it is known.
    pub fn dialect(&self) -> Option<Dialect> {
        self.dialect
    }

    fn opened(&mut self, now: Instant) {
        if !matches!(self.state, State::Opening) {
            return;
        }
        self.enter(Stage::StartingRunner);
        self.state = State::AwaitingReady { speak_at: None };
        match self.config.dialect {
            DialectChoice::Wma => {
                self.dialect = Some(Dialect::Wma);
                self.say(&ClientMessage::GetIceServers);
            }
            DialectChoice::Lucy => {
                let input = if self.config.initial_input.is_empty() {
                    self.config.initial_parameters.clone()
                } else {
                    self.config.initial_input.clone()
                };
                if input.is_empty() {
                    return self.fail(FalError::Dialect {
                        dialect: "lucy",
                        reason: "starts with a model input, and there are no initial parameters",
                    });
                }
                self.speak_first(input);
            }
            DialectChoice::Auto if !self.config.initial_input.is_empty() => {
                self.state = State::AwaitingReady {
                    speak_at: Some(now + SILENCE),
                };
            }
            DialectChoice::Auto | DialectChoice::Yolo | DialectChoice::Scope => {}
        }
    }

    fn speak_first(&mut self, input: Parameters) {
        self.dialect = Some(Dialect::Lucy);
        self.state = State::AwaitingReady { speak_at: None };
        self.say(&ClientMessage::ModelInput(input));
    }

    fn heard(&mut self, now: Instant, raw: &RawMessage) {
        self.opened(now);
        let read = match self.dialect {
            Some(dialect) => dialect.decode(raw),
            None => dialect::decode_any(raw),
        };
        let message = match read {
            Ok(message) => message,
            Err(malformed) => {
                tracing::debug!("ignored: {malformed}");
                self.hint = format!("the app sent what is no signalling: {malformed}");
                return;
            }
        };
        match message {
            ServerMessage::Ready {
                connection_id,
                ice_servers,
            } => self.ready(now, Encoding::of(raw), connection_id.is_some(), ice_servers),
            ServerMessage::IceServers(servers) => {
                if matches!(self.state, State::AwaitingIceServers { .. }) {
                    self.make_offer(servers);
                }
            }
            ServerMessage::Answer { sdp, session_id } => self.answered(now, sdp, session_id),
            ServerMessage::Candidate(candidate) => self.remote_candidate(candidate),
            ServerMessage::Error { text, code } => self.app_error(text, code),
            ServerMessage::Closing { reason } => {
                self.last_error = Some(FalError::App {
                    text: format!("it ends the connection: {reason}"),
                    code: None,
                });
                self.notice(Notice::Closing(reason));
            }
            ServerMessage::Logs { lines } => self.notice(Notice::Logs(lines)),
            ServerMessage::Hardware(hardware) => self.notice(Notice::Hardware(hardware)),
            ServerMessage::Alive(false) => self.fail(FalError::App {
                text: "the session is over".into(),
                code: None,
            }),
            ServerMessage::Alive(true)
            | ServerMessage::UserIdSet { .. }
            | ServerMessage::CandidateAck { .. }
            | ServerMessage::Pong
            | ServerMessage::Api(_)
            | ServerMessage::Unknown { .. } => {}
        }
    }

    fn ready(&mut self, now: Instant, heard: Encoding, named: bool, servers: Vec<IceServer>) {
        // A second `ready` changes nothing.
        if !matches!(self.state, State::AwaitingReady { .. }) {
            return;
        }
        let choice = self.config.dialect;
        let decided = || choice.decide(self.config.encoding, heard, named);
        let dialect = self.dialect.unwrap_or_else(decided);
        self.dialect = Some(dialect);
        self.enter(Stage::Negotiating);
        if let (Dialect::Scope, Some(user_id)) = (dialect, self.config.user_id.clone()) {
            self.say(&ClientMessage::SetUserId { user_id });
        }
        let wait = match dialect {
            Dialect::Scope if self.config.ask_ice_servers => {
                self.say(&ClientMessage::GetIceServers);
                ICE_SERVERS_WAIT
            }
            Dialect::Lucy if servers.is_empty() => LATE_ICE_SERVERS_WAIT,
            Dialect::YoloJson
            | Dialect::YoloMsgpack
            | Dialect::Scope
            | Dialect::Lucy
            | Dialect::Wma => return self.make_offer(servers),
        };
        self.state = State::AwaitingIceServers { until: now + wait };
    }

    fn make_offer(&mut self, ice_servers: Vec<IceServer>) {
        let Some(dialect) = self.dialect else { return };
        self.state = State::AwaitingOffer;
        self.outputs.push_back(Output::MakeOffer {
            dialect,
            ice_servers,
            whole: self.whole(),
        });
    }

    fn whole(&self) -> bool {
        !self.config.trickle || self.dialect.is_some_and(Dialect::needs_whole_offer)
    }

    fn offer(&mut self, sdp: String) {
        if !matches!(self.state, State::AwaitingOffer) {
            return;
        }
        self.state = State::AwaitingAnswer;
        self.say(&ClientMessage::Offer {
            sdp,
            initial_parameters: self.config.initial_parameters.clone(),
            user_id: self.config.user_id.clone(),
        });
        if self.dialect == Some(Dialect::Wma) {
            // Here the answer is what a cold start delays.
            self.enter(Stage::StartingRunner);
        }
    }

    fn answered(&mut self, now: Instant, sdp: String, session_id: Option<String>) {
        // A second answer changes nothing.
        if !matches!(self.state, State::AwaitingAnswer) {
            return;
        }
        self.state = State::Negotiated { session_id };
        self.outputs.push_back(Output::ApplyAnswer { sdp });
        for candidate in std::mem::take(&mut self.remote) {
            self.remote_candidate(candidate);
        }
        for candidate in std::mem::take(&mut self.local) {
            self.say_candidate(candidate);
        }
        match self.dialect {
            Some(Dialect::Wma) => {
                self.enter(Stage::Negotiating);
                self.heartbeat_at = Some(now + wma::HEARTBEAT);
            }
            Some(Dialect::Lucy) => {
                let waited = self.outbox.opened();
                self.carry(waited);
            }
            Some(Dialect::YoloJson | Dialect::YoloMsgpack | Dialect::Scope) | None => {}
        }
    }

    fn app_error(&mut self, text: String, code: Option<String>) {
        let denied = matches!(
            code.as_deref(),
            Some("ACCESS_DENIED" | "MAX_DURATION_EXCEEDED")
        );
        let text = if text.ends_with(": 'bytes'") {
            format!("{text} (it takes binary messages: set the encoding to msgpack)")
        } else {
            text
        };
        let error = FalError::App {
            text: text.clone(),
            code,
        };
        match self.state {
            // An app that hands out no servers says so with an error.
            State::AwaitingIceServers { .. } if !denied => {
                self.hint = text;
                self.make_offer(Vec::new());
            }
            State::Negotiated { .. } if !denied => {
                self.last_error = Some(error);
                self.notice(Notice::AppError(text));
            }
            State::Opening
            | State::AwaitingReady { .. }
            | State::AwaitingIceServers { .. }
            | State::AwaitingOffer
            | State::AwaitingAnswer
            | State::Negotiated { .. }
            | State::Finished => self.fail(error),
        }
    }

    fn closed(&mut self, code: Option<u16>, reason: String) {
        let stage = self.stage;
        let error = match (self.last_error.take(), code) {
            (Some(said), _) => said,
            // Daydream Scope's own: the user may not come in.
            (None, Some(4003)) => FalError::App {
                text: if reason.is_empty() {
                    "access denied".into()
                } else {
                    reason
                },
                code: Some("ACCESS_DENIED".into()),
            },
            (None, close_code) => FalError::Closed {
                stage,
                close_code,
                reason,
            },
        };
        self.fail(error);
    }

    fn heard_on_channel(&mut self, text: &str) {
        match dialect::decode_channel(text) {
            Some(ChannelMessage::Stopped(error)) => {
                if let Some(text) = error.clone() {
                    self.last_error = Some(FalError::App { text, code: None });
                }
                self.notice(Notice::StreamStopped(error));
            }
            Some(ChannelMessage::Error(text)) => self.notice(Notice::AppError(text)),
            Some(ChannelMessage::ParametersUpdated(parameters)) => {
                self.notice(Notice::ParametersUpdated(parameters));
            }
            None => {}
        }
    }

    /// Sends a patch the way the dialect carries them.
    fn carry(&mut self, patch: Option<Parameters>) {
        let (Some(patch), Some(dialect)) = (patch, self.dialect) else {
            return;
        };
        if dialect == Dialect::Lucy {
            self.say(&ClientMessage::ModelInput(patch));
        } else {
            let text = dialect.channel_message(patch);
            self.outputs.push_back(Output::SendOnChannel(text));
        }
    }

    fn say(&mut self, message: &ClientMessage) {
        let said = self
            .dialect
            .and_then(|d| d.encode(message, &self.config.app));
        self.outputs.extend(said.map(Output::Send));
    }

    fn notice(&mut self, notice: Notice) {
        self.outputs.push_back(Output::Notice(notice));
    }

    fn enter(&mut self, stage: Stage) {
        if self.stage != stage {
            self.stage = stage;
            self.outputs.push_back(Output::Stage(stage));
        }
    }

    fn fail(&mut self, error: FalError) {
        self.state = State::Finished;
        self.outputs.push_back(Output::Failed(error));
    }
}

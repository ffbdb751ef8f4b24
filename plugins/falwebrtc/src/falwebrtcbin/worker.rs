//! The thread that brings signalling and media together: one for each running element.
//!
//! Everything that happens anywhere becomes an event in its queue, so nothing here needs a lock, and no callback of
//! GStreamer's ever waits. What must be done, [`Negotiation`] says; when to connect again, the [`Carrier`] decides.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use fal_client::{Dialect, FalError, Input, Negotiation, Notice, Output, RawMessage, Stage};
use gst::glib;

use super::attempt::Attempt;
use super::carrier::Carrier;
use super::errors::Refusal;
use super::flow::Flow;
use super::link::Happened;
use super::settings::Settings;
use super::{FalWebRTCBin, guard};
use crate::falwebrtcbin::imp::CAT;

/// Between two looks at reports, watchdogs and guards.
const TICK: Duration = Duration::from_millis(250);

/// What the worker hears of.
#[derive(Debug)]
pub(crate) enum Event {
    /// A socket is open: attempt `attempt`, begun at `started`, can speak.
    Opened {
        attempt: u32,
        started: Instant,
    },
    Message {
        attempt: u32,
        message: RawMessage,
    },
    Closed {
        attempt: u32,
        code: Option<u16>,
        reason: String,
    },
    /// The carrier's own progress: token, socket, waiting.
    Stage {
        stage: Stage,
        attempt: u32,
        elapsed: Duration,
        error: Option<FalError>,
    },
    Link {
        attempt: u32,
        what: Happened,
    },
    Parameters(fal_client::Parameters),
    /// A picture came while the session rested.
    Input,
    Reconnect,
    Stop,
}

/// The thread's belongings.
pub(crate) struct Worker {
    pub(crate) element: glib::WeakRef<FalWebRTCBin>,
    pub(crate) flow: Arc<Flow>,
    pub(crate) events: Receiver<Event>,
    pub(crate) tell: std::sync::mpsc::Sender<Event>,
    pub(crate) carrier: Carrier,
    pub(crate) guard: guard::Guard,
    attempt: Option<Attempt>,
}

impl Worker {
    pub(crate) fn new(
        element: glib::WeakRef<FalWebRTCBin>,
        flow: Arc<Flow>,
        (tell, events): (std::sync::mpsc::Sender<Event>, Receiver<Event>),
        carrier: Carrier,
        guard: guard::Guard,
    ) -> Self {
        Self {
            element,
            flow,
            events,
            tell,
            carrier,
            guard,
            attempt: None,
        }
    }

    /// Works until told to stop, or the element is gone.
    pub(crate) fn run(mut self) {
        let mut tick = Instant::now() + TICK;
        loop {
            let timeout = self
                .attempt
                .as_ref()
                .and_then(|attempt| attempt.negotiation.next_timeout());
            let due = timeout.map_or(tick, |timeout| timeout.min(tick));
            let event = match self
                .events
                .recv_timeout(due.saturating_duration_since(Instant::now()))
            {
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
            };
            let Some(element) = self.element.upgrade() else {
                break;
            };
            match event {
                Some(event) => self.take(&element, event),
                None => self.handle(&element, Input::Timeout),
            }
            if Instant::now() >= tick {
                tick = Instant::now() + TICK;
                self.tick(&element);
            }
        }
        self.attempt = None;
        self.carrier.stop();
    }

    fn take(&mut self, element: &FalWebRTCBin, event: Event) {
        match event {
            Event::Opened { attempt, started } => self.begin(element, attempt, started),
            Event::Message { attempt, message } if self.is_now(attempt) => {
                self.handle(element, Input::Message(message));
            }
            Event::Closed {
                attempt,
                code,
                reason,
            } if self.is_now(attempt) => {
                self.handle(element, Input::SocketClosed { code, reason });
            }
            Event::Stage {
                stage,
                attempt,
                elapsed,
                error,
            } => {
                if stage == Stage::Reconnecting || stage == Stage::Failed {
                    self.attempt = None;
                } else if self.is_now(attempt) {
                    // The pump repeats what the negotiation told it.
                    return;
                }
                let refusal = error.as_ref().map(Refusal::from);
                element.report(stage.as_str(), elapsed, attempt, refusal.as_ref());
                if let (Stage::Failed, Some(error)) = (stage, error) {
                    element.stop_for_good(&error);
                }
            }
            Event::Link { attempt, what } if self.is_now(attempt) => self.happened(element, what),
            Event::Parameters(patch) => self.handle(element, Input::Parameters(patch)),
            Event::Reconnect => {
                self.attempt = None;
                self.guard.wake(self.flow.now());
                self.carrier.reconnect_now(element);
            }
            Event::Input => {
                if self.guard.input_came(self.flow.now()) {
                    self.carrier.reconnect_now(element);
                }
            }
            // Of an attempt that is over.
            Event::Message { .. } | Event::Closed { .. } | Event::Link { .. } => {}
            // Taken by `run`.
            Event::Stop => {}
        }
    }

    fn is_now(&self, number: u32) -> bool {
        self.attempt
            .as_ref()
            .is_some_and(|attempt| attempt.number == number)
    }

    fn begin(&mut self, element: &FalWebRTCBin, number: u32, started: Instant) {
        self.attempt = None;
        let settings = element.settings();
        self.attempt = Some(Attempt::new(number, started, &settings));
        self.flow
            .count(|meter, _| meter.reconnects = u64::from(number.saturating_sub(1)));
        self.handle(element, Input::SocketOpened);
    }

    /// Tells the negotiation, and does what it says.
    fn handle(&mut self, element: &FalWebRTCBin, input: Input) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        attempt.negotiation.handle(Instant::now(), input);
        while let Some(output) = self
            .attempt
            .as_mut()
            .and_then(|attempt| attempt.negotiation.poll())
        {
            self.perform(element, output);
        }
    }

    fn perform(&mut self, element: &FalWebRTCBin, output: Output) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        let number = attempt.number;
        match output {
            Output::Send(message) => self.carrier.send(element, number, message),
            Output::Stage(stage) => {
                gst::info!(
                    CAT,
                    obj = element,
                    "attempt {number}: {stage} after {:?}",
                    attempt.started.elapsed()
                );
                self.carrier.entered(number, stage);
                if stage == Stage::Live {
                    self.guard.began(self.flow.now());
                }
                element.report(stage.as_str(), attempt.started.elapsed(), number, None);
            }
            Output::MakeOffer {
                dialect,
                ice_servers,
                whole,
            } => {
                let tell = self.tell.clone();
                let tell = move |what| {
                    // Nobody listens when the worker has ended.
                    tell.send(Event::Link {
                        attempt: number,
                        what,
                    })
                    .ok();
                };
                let settings = element.settings();
                let made = attempt.make_link(
                    element,
                    &settings,
                    (dialect.channel_label(), ice_servers, whole),
                    self.flow.clone(),
                    Arc::new(tell),
                );
                if let Err(error) = made {
                    self.handle(
                        element,
                        Input::PeerFailed {
                            reason: error.to_string(),
                        },
                    );
                }
            }
            Output::ApplyAnswer { sdp } => {
                if let Some(Err(error)) = attempt.link.as_ref().map(|link| link.apply_answer(&sdp))
                {
                    self.handle(
                        element,
                        Input::PeerFailed {
                            reason: error.to_string(),
                        },
                    );
                }
            }
            Output::AddCandidate(candidate) => {
                if let Some(link) = &attempt.link {
                    link.add_candidate(&candidate);
                }
            }
            // webrtcbin needs no telling.
            Output::RemoteCandidatesDone => {}
            Output::SendOnChannel(text) => {
                let sent = attempt
                    .link
                    .as_ref()
                    .is_some_and(|link| link.send_text(&text));
                if !sent {
                    gst::warning!(
                        CAT,
                        obj = element,
                        "a message was lost: the data channel is closed"
                    );
                }
            }
            Output::Notice(notice) => tell_notice(element, notice),
            Output::Failed(error) => self.fail(element, error),
        }
    }

    /// This attempt is over: its media go first, so that the fallback shows at once.
    fn fail(&mut self, element: &FalWebRTCBin, error: FalError) {
        if let Some(attempt) = self.attempt.take() {
            let number = attempt.number;
            drop(attempt);
            self.carrier.failed(element, number, error);
        }
    }

    fn happened(&mut self, element: &FalWebRTCBin, what: Happened) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        gst::debug!(CAT, obj = element, "{what:?}");
        let input = match what {
            Happened::Offer(sdp) => match attempt.offer(&sdp) {
                Some(sdp) => Input::LocalOffer { sdp },
                None => return,
            },
            Happened::Candidate(candidate) => {
                attempt.candidates.push(candidate.clone());
                Input::LocalCandidate(candidate)
            }
            Happened::CandidatesDone if attempt.has_no_way(&element.settings()) => {
                Input::PeerFailed {
                    reason: "no TURN server gave an address, and ice-transport-policy allows nothing else: \
                             check address, user and password in turn-servers"
                        .into(),
                }
            }
            Happened::CandidatesDone => {
                if let Some(sdp) = attempt.gathered() {
                    self.handle(element, Input::LocalOffer { sdp });
                }
                Input::LocalCandidatesDone
            }
            Happened::Answered => match attempt.start_sending(element, &self.flow) {
                Ok(()) => return,
                Err(error) => Input::PeerFailed {
                    reason: error.to_string(),
                },
            },
            Happened::Connected => {
                attempt.connected(self.flow.now());
                return;
            }
            Happened::ChannelOpened => {
                self.repeat_parameters(element);
                Input::ChannelOpened
            }
            Happened::ChannelClosed => Input::ChannelClosed,
            Happened::ChannelMessage(text) => Input::ChannelMessage(text),
            Happened::Picture => Input::Live,
            Happened::Failed(reason) => Input::PeerFailed { reason },
        };
        self.handle(element, input);
    }

    /// Apps of the webcam demo's kind leave unread what comes with an offer: those that listen to the channel are told
    /// there what is in force.
    fn repeat_parameters(&mut self, element: &FalWebRTCBin) {
        let dialect = self
            .attempt
            .as_ref()
            .and_then(|attempt| attempt.negotiation.dialect());
        if matches!(dialect, Some(Dialect::YoloJson | Dialect::YoloMsgpack)) {
            self.handle(element, Input::Parameters(element.settings().parameters));
        }
    }

    /// What no event tells.
    fn tick(&mut self, element: &FalWebRTCBin) {
        let settings = element.settings();
        element.settle_latency();
        let now = self.flow.now();
        if let Some(reason) = self.guard.check(now, self.flow.since_input(), &settings) {
            self.rest(element, reason);
            return;
        }
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        if self.flow.take_misfit() {
            let reason = "the input has another form than the connection was made for".into();
            return self.handle(element, Input::PeerFailed { reason });
        }
        attempt.keep_alive(&self.flow);
        self.flow.look_after();
        element.tell_lost();
        attempt.follow_network(&self.flow);
        if let Some(reason) = attempt.silence(&self.flow, &settings) {
            self.handle(element, Input::PeerFailed { reason });
        }
    }

    /// Ends the remote session to save money; it comes back when it is wanted.
    fn rest(&mut self, element: &FalWebRTCBin, reason: &'static str) {
        gst::info!(CAT, obj = element, "the session is ended: {reason}");
        self.attempt = None;
        self.carrier.rest(element, reason);
        element.report_rest(reason);
    }
}

fn tell_notice(element: &FalWebRTCBin, notice: Notice) {
    let (kind, text) = match notice {
        Notice::AppError(text) => ("error", Some(text)),
        Notice::Closing(text) => ("closing", Some(text)),
        Notice::StreamStopped(text) => ("stream-stopped", text),
        Notice::ParametersUpdated(parameters) => (
            "parameters",
            Some(serde_json::Value::Object(parameters).to_string()),
        ),
        Notice::Logs(lines) => ("logs", Some(lines.join("\n"))),
        Notice::Hardware(hardware) => (
            "hardware",
            Some(serde_json::Value::Object(hardware).to_string()),
        ),
    };
    element.notice(kind, text.as_deref());
}

/// What a negotiation needs to know.
pub(crate) fn negotiation(settings: &Settings, started: Instant) -> Negotiation {
    let config = fal_client::NegotiationConfig {
        dialect: settings.dialect.into(),
        encoding: settings.encoding.into(),
        app: settings.app_with_path(),
        initial_parameters: settings.parameters.clone(),
        initial_input: fal_client::Parameters::new(),
        user_id: settings.user_id.clone(),
        budget: settings.connect_timeout,
        ..fal_client::NegotiationConfig::default()
    };
    Negotiation::new(config, started)
}

//! Who owns token and socket: the element itself, or the application around it.
//!
//! One implementation, two owners: the element runs [`Pump`] when it has an `app-id`; without one the application does
//! (or something of its own) and the messages pass by signals.

use std::sync::LazyLock;
use std::sync::mpsc::Sender;

use fal_client::net::{self, Pump, PumpConfig};
use fal_client::{FalError, RawMessage, Stage};

use super::FalWebRTCBin;
use super::worker::Event;

/// One runtime for all the elements of a process; sockets are little work. `None` when the system refuses a thread.
static RUNTIME: LazyLock<Option<tokio::runtime::Runtime>> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("falwebrtc-net")
        .enable_all()
        .build()
        .ok()
});

/// What carries messages.
pub(crate) enum Carrier {
    /// Token and socket are ours.
    Own(Box<Own>),
    /// They are the application's.
    Application,
}

/// Our own pump, gone while the session rests.
pub(crate) struct Own {
    config: PumpConfig,
    tell: Sender<Event>,
    pump: Option<Pump>,
    /// Attempts of the pumps before this one: numbers never come twice.
    before: u32,
    last: u32,
}

impl Carrier {
    /// Begins to connect.
    ///
    /// # Errors
    ///
    /// There is no key, or no network at all.
    pub(crate) fn own(config: PumpConfig, tell: Sender<Event>) -> Result<Self, FalError> {
        let mut own = Own {
            config,
            tell,
            pump: None,
            before: 0,
            last: 0,
        };
        own.start()?;
        Ok(Self::Own(Box::new(own)))
    }

    pub(crate) fn send(&mut self, element: &FalWebRTCBin, attempt: u32, message: RawMessage) {
        match self {
            Self::Own(own) => {
                own.with(attempt, |pump, number| pump.send(number, message));
            }
            Self::Application => element.signalling_send(&message),
        }
    }

    pub(crate) fn entered(&mut self, attempt: u32, stage: Stage) {
        if let Self::Own(own) = self {
            own.with(attempt, |pump, number| pump.entered(number, stage));
        }
    }

    /// The attempt is over.
    pub(crate) fn failed(&mut self, element: &FalWebRTCBin, attempt: u32, error: FalError) {
        match self {
            Self::Own(own) => own.with(attempt, |pump, number| pump.failed(number, error)),
            Self::Application => element.signalling_failed(attempt, &error),
        }
    }

    /// A new attempt, at once.
    pub(crate) fn reconnect_now(&mut self, element: &FalWebRTCBin) {
        match self {
            Self::Own(own) => match &own.pump {
                Some(pump) => {
                    pump.reconnect_now();
                }
                None => {
                    if let Err(error) = own.start() {
                        element.stop_for_good(&error);
                    }
                }
            },
            Self::Application => element.signalling_wanted(),
        }
    }

    /// Closes the remote session; [`Carrier::reconnect_now`] makes another.
    pub(crate) fn rest(&mut self, element: &FalWebRTCBin, reason: &str) {
        match self {
            Self::Own(own) => own.stop(),
            Self::Application => element.signalling_ended(reason),
        }
    }

    /// Closes the remote session for good. Returns at once; the goodbye is said behind.
    pub(crate) fn stop(&mut self) {
        if let Self::Own(own) = self {
            own.stop();
        }
    }
}

impl Own {
    fn start(&mut self) -> Result<(), FalError> {
        let no_threads = || FalError::Unreachable {
            host: "the network".into(),
            reason: "the system gives no thread for it".into(),
        };
        let runtime = RUNTIME.as_ref().ok_or_else(no_threads)?;
        let (pump, mut events) = Pump::start(self.config.clone(), runtime.handle())?;
        self.before = self.last;
        let (tell, before) = (self.tell.clone(), self.before);
        runtime.spawn(async move {
            while let Some(event) = events.recv().await {
                // Nobody listens when the worker has ended, and then the pump has too.
                if tell.send(translated(event, before)).is_err() {
                    return;
                }
            }
        });
        self.pump = Some(pump);
        Ok(())
    }

    fn stop(&mut self) {
        if let (Some(pump), Some(runtime)) = (self.pump.take(), RUNTIME.as_ref()) {
            pump.stop();
            // Dropping it would do; this keeps the task until the socket has said goodbye.
            runtime.spawn(pump.ended());
        }
    }

    /// Tells the pump something about one of its own attempts.
    fn with(&mut self, attempt: u32, tell: impl FnOnce(&Pump, u32) -> bool) {
        self.last = self.last.max(attempt);
        if let (Some(pump), Some(number)) = (&self.pump, attempt.checked_sub(self.before)) {
            // Refused only by a pump that has ended; whoever ended it knows.
            tell(pump, number);
        }
    }
}

fn translated(event: net::Event, before: u32) -> Event {
    match event {
        net::Event::Stage(report) => Event::Stage {
            stage: report.stage,
            attempt: report.attempt + before,
            elapsed: report.elapsed,
            error: report.error,
        },
        net::Event::Opened { attempt, started } => Event::Opened {
            attempt: attempt + before,
            started,
        },
        net::Event::Message { attempt, message } => Event::Message {
            attempt: attempt + before,
            message,
        },
        net::Event::Closed {
            attempt,
            code,
            reason,
        } => Event::Closed {
            attempt: attempt + before,
            code,
            reason,
        },
    }
}

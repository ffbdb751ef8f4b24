//! What a session shares with other applications on this machine: its source, its picture, or both.
//!
//! Scope's keys `input_source` and `output_sinks` say what is wanted; [`wanted`] reads them and is pure. [`Shares`]
//! makes it so while the stream runs, whichever processor works.

use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::Parameters;
use crate::media::event::{Event, Events};
use crate::media::handover::{Handover, Output, Source};
use crate::media::share::{News, Received, Shared};

/// Scope's name for what goes out.
const DEFAULT_NAME: &str = "ScopeOut";

/// Names of senders to receive from and to be; an empty one to receive from means the active sender.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Wanted {
    input: Option<String>,
    output: Option<String>,
}

/// What is wanted according to everything a session remembers.
fn wanted(known: &Parameters) -> Wanted {
    let enabled = |value: &&Value| value.get("enabled").and_then(Value::as_bool) == Some(true);
    let text = |value: &Value, key: &str| {
        value
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let input = known
        .get("input_source")
        .filter(enabled)
        .filter(|source| text(source, "source_type") == "spout")
        .map(|source| text(source, "source_name"));
    let output = known
        .get("output_sinks")
        .and_then(|sinks| sinks.get("spout"))
        .filter(enabled)
        .map(|sink| Some(text(sink, "name")).filter(|name| !name.is_empty()))
        .map(|name| name.unwrap_or_else(|| DEFAULT_NAME.into()));
    Wanted { input, output }
}

/// The shares of one session.
#[derive(Debug)]
pub(super) struct Shares {
    handover: Arc<Handover>,
    events: Events,
    takes_input: bool,
    present: Mutex<Present>,
}

#[derive(Debug, Default)]
struct Present {
    is: Wanted,
    received: Option<Received>,
    shared: Option<Shared>,
    ended: bool,
}

impl Shares {
    pub(super) fn new(handover: Arc<Handover>, events: Events, takes_input: bool) -> Self {
        Self {
            handover,
            events,
            takes_input,
            present: Mutex::default(),
        }
    }

    /// Opens and closes what the remembered parameters say; blocks for milliseconds.
    ///
    /// # Errors
    ///
    /// A sentence; what could be done is done, and what failed is off.
    pub(super) fn follow(&self, known: &Parameters) -> Result<(), String> {
        let wanted = wanted(known);
        let mut present = self.present.lock().unwrap();
        if present.ended {
            return Ok(());
        }
        let mut outcome = Ok(());
        if wanted.input.is_some() && !self.takes_input {
            outcome = Err(
                "a text session makes its own frames; connect with `input_mode` `video` to receive"
                    .into(),
            );
        } else if wanted.input != present.is.input {
            present.received = None;
            present.is.input = None;
            self.handover.set_source(Source::Client);
            if let Some(name) = &wanted.input {
                match Received::start(name, &self.handover) {
                    Ok((received, news)) => {
                        self.soften(news);
                        self.handover.set_source(Source::Share);
                        present.received = Some(received);
                        present.is.input = Some(name.clone());
                    }
                    Err(error) => outcome = Err(format!("`{name}` cannot be received: {error}")),
                }
            }
        }
        if wanted.output != present.is.output {
            self.handover.set_output(Output::Share, None);
            present.shared = None;
            present.is.output = None;
            if let Some(name) = &wanted.output {
                match Shared::start(name) {
                    Ok((shared, door, news)) => {
                        self.soften(news);
                        self.handover
                            .set_output(Output::Share, Some(Arc::new(door)));
                        present.shared = Some(shared);
                        present.is.output = Some(name.clone());
                    }
                    Err(error) => {
                        outcome = Err(format!("the picture cannot be shared as `{name}`: {error}"));
                    }
                }
            }
        }
        outcome
    }

    /// A share that fails is told to the client, and ends nothing else.
    fn soften(&self, mut news: News) {
        let events = self.events.clone();
        tokio::spawn(async move {
            while let Some(event) = news.recv().await {
                if let Event::Failed(reason) = event {
                    events.send(Event::Refused(reason)).ok();
                }
            }
        });
    }

    /// Closes everything, for good.
    pub(super) fn stop(&self) {
        let present = {
            let mut present = self.present.lock().unwrap();
            present.ended = true;
            (present.received.take(), present.shared.take())
        };
        drop(present);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::session::parameters;

    fn of(patches: &[Value]) -> Wanted {
        let mut known = Parameters::new();
        for patch in patches {
            let patch = patch.as_object().unwrap();
            parameters::remember(&mut known, &parameters::route(patch).remembered);
        }
        wanted(&known)
    }

    fn output(name: &str) -> Wanted {
        Wanted {
            input: None,
            output: Some(name.into()),
        }
    }

    #[test]
    fn both_spellings_mean_the_same() {
        let on = json!({"spout_sender": {"enabled": true, "name": "Out"}});
        assert_eq!(of(std::slice::from_ref(&on)), output("Out"));
        assert_eq!(
            of(&[json!({"output_sinks": {"spout": {"enabled": true, "name": "Out"}}})]),
            output("Out")
        );
        let unnamed = json!({"spout_sender": {"enabled": true}});
        assert_eq!(of(&[unnamed]), output("ScopeOut"));
        assert_eq!(
            of(&[on, json!({"spout_sender": {"enabled": false}})]),
            Wanted::default()
        );
    }

    #[test]
    fn a_receiver_is_a_spout_source() {
        let wanted = of(&[json!({"spout_receiver": {"enabled": true, "name": "In"}})]);
        assert_eq!(wanted.input.as_deref(), Some("In"));

        let other =
            json!({"input_source": {"enabled": true, "source_type": "ndi", "source_name": "x"}});
        assert_eq!(of(&[other]).input, None);
        let active = json!({"input_source": {"enabled": true, "source_type": "spout"}});
        assert_eq!(of(&[active]).input.as_deref(), Some(""));
    }
}

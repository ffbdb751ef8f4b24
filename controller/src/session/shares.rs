//! Where a session's frames come from in place of a client, and where its picture goes besides: other applications on
//! this machine, a file, a test picture.
//!
//! Scope's keys `input_source` and `output_sinks` say what is wanted; [`wanted`] reads them and is pure. [`Shares`]
//! makes it so while the stream runs, whichever processor works.

use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::Parameters;
use crate::library::assets::Assets;
use crate::media::MediaError;
use crate::media::event::{Event, Events};
use crate::media::film::{Film, PATTERNS};
use crate::media::handover::{Handover, Output, Source};
use crate::media::share::{News, Received, Shared};

/// Scope's name for what goes out.
const DEFAULT_NAME: &str = "ScopeOut";

/// What a test source without a name shows.
const DEFAULT_PATTERN: &str = "ball";

/// A source by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Input {
    /// Another application; an empty name is the active sender.
    Spout(String),
    /// A video in the assets folder, and whether it stands on its head.
    File(String, bool),
    /// A test picture.
    Test(String),
}

impl Input {
    fn name(&self) -> &str {
        match self {
            Self::Spout(name) | Self::File(name, _) | Self::Test(name) => name,
        }
    }
}

/// What to receive, and the name to share the picture under.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Wanted {
    input: Option<Input>,
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
        .and_then(|source| {
            let name = text(source, "source_name");
            let flipped = source.get("flip_vertical").and_then(Value::as_bool) == Some(true);
            match text(source, "source_type").as_str() {
                "spout" => Some(Input::Spout(name)),
                "video_file" => Some(Input::File(name, flipped)),
                "test" => Some(Input::Test(name)),
                _ => None,
            }
        });
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
    assets: Option<Assets>,
    present: Mutex<Present>,
}

/// A source that runs until it is dropped.
#[derive(Debug)]
#[expect(dead_code, reason = "held to keep it running, never looked at")]
enum Feed {
    Spout(Received),
    Film(Film),
}

#[derive(Debug, Default)]
struct Present {
    is: Wanted,
    received: Option<Feed>,
    shared: Option<Shared>,
    ended: bool,
}

impl Shares {
    /// `assets` is where files are; without it there are none.
    pub(super) fn new(
        handover: Arc<Handover>,
        events: Events,
        takes_input: bool,
        assets: Option<Assets>,
    ) -> Self {
        Self {
            handover,
            events,
            takes_input,
            assets,
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
            if let Some(input) = &wanted.input {
                match self.receive(input) {
                    Ok((feed, source, news)) => {
                        self.soften(news);
                        self.handover.set_source(source);
                        present.received = Some(feed);
                        present.is.input = Some(input.clone());
                    }
                    Err(error) => {
                        outcome = Err(format!("`{}` cannot be received: {error}", input.name()));
                    }
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

    fn receive(&self, input: &Input) -> Result<(Feed, Source, News), String> {
        let sentence = |error: MediaError| error.to_string();
        match input {
            Input::Spout(name) => {
                let (received, news) = Received::start(name, &self.handover).map_err(sentence)?;
                Ok((Feed::Spout(received), Source::Share, news))
            }
            Input::File(name, flipped) => {
                let assets = self.assets.as_ref().ok_or("this server has no files")?;
                let path = assets.film(name).map_err(|error| error.to_string())?;
                let film = Film::file(&path, *flipped, &self.handover);
                let (film, news) = film.map_err(sentence)?;
                Ok((Feed::Film(film), Source::Film, news))
            }
            Input::Test(name) => {
                let name = Some(name.as_str()).filter(|name| !name.is_empty());
                let name = name.unwrap_or(DEFAULT_PATTERN);
                if !PATTERNS.contains(&name) {
                    return Err(format!("the test pictures are {}", PATTERNS.join(", ")));
                }
                let (film, news) = Film::pattern(name, &self.handover).map_err(sentence)?;
                Ok((Feed::Film(film), Source::Film, news))
            }
        }
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
        assert_eq!(wanted.input, Some(Input::Spout("In".into())));

        let other =
            json!({"input_source": {"enabled": true, "source_type": "ndi", "source_name": "x"}});
        assert_eq!(of(&[other]).input, None);
        let active = json!({"input_source": {"enabled": true, "source_type": "spout"}});
        assert_eq!(of(&[active]).input, Some(Input::Spout(String::new())));
    }

    #[test]
    fn a_file_and_a_test_picture_are_sources_too() {
        let of_type = |kind: &str| {
            let source = json!({"enabled": true, "source_type": kind, "source_name": "a", "flip_vertical": true});
            of(&[json!({"input_source": source})]).input
        };

        assert_eq!(of_type("video_file"), Some(Input::File("a".into(), true)));
        assert_eq!(of_type("test"), Some(Input::Test("a".into())));
    }
}

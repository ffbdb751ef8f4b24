//! The recordings of one session: begun, ended and fetched while it streams.
//!
//! Everything here may block on the disk, so it is called from threads of its own; the session goes on meanwhile.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use serde_json::{Value, json};

use super::building::spawn;
use super::{RecordNode, Tap};
use crate::library::shelf::{Shelf, ShelfError};
use crate::media::event::{Event, Events};
use crate::media::handover::{Handover, Output};
use crate::media::recorder::{Broken, Format, Recorder};

/// How long the end of a file may take: the pictures that wait, and the disk.
const ENDING: Duration = Duration::from_secs(10);
/// The same when the session ends: the program may be waiting to leave.
const LEAVING: Duration = Duration::from_millis(1500);

/// Why there is no recording.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordingError {
    /// No session of that id, and no recording of it either.
    #[error("Session {0} not found")]
    NoSession(String),
    /// The session's node graph has no record node.
    #[error("`{0}` is no record node: the session has none")]
    NoNodes(String),
    /// It has others.
    #[error("`{0}` is no record node of this session; it has {1}")]
    UnknownNode(String, String),
    /// It has record nodes, and none was named.
    #[error("the session has the record nodes {0}: name one as `node_id`")]
    NodeNeeded(String),
    /// What leads to the node is between two processors.
    #[error(
        "the record node `{0}` hangs between two pipelines; what comes from a source or goes to the sink can be recorded"
    )]
    Between(String),
    /// Nothing was recorded, or not yet.
    #[error("{0}")]
    Nothing(String),
    /// The disk has no room.
    #[error("{0}")]
    Full(String),
    /// It could not begin, or broke off.
    #[error("{0}")]
    Failed(String),
}

impl From<ShelfError> for RecordingError {
    fn from(error: ShelfError) -> Self {
        match error {
            ShelfError::Full { .. } | ShelfError::TooLarge(_) => Self::Full(error.to_string()),
            ShelfError::Unwritable { .. } => Self::Failed(error.to_string()),
        }
    }
}

/// One session's recordings.
#[derive(Debug)]
pub(super) struct Recordings {
    session: String,
    handover: Arc<Handover>,
    shelf: Option<Arc<Shelf>>,
    events: Events,
    nodes: Vec<RecordNode>,
    next: AtomicU64,
    present: Mutex<Present>,
}

#[derive(Debug, Default)]
struct Present {
    running: Vec<Running>,
    /// What broke off, by node, until whoever ends it has been told.
    broken: Vec<(Option<String>, RecordingError)>,
    ended: bool,
}

/// One file being written.
#[derive(Debug)]
struct Running {
    output: Output,
    node: Option<String>,
    path: PathBuf,
    recorder: Recorder,
}

impl Recordings {
    /// Without a shelf nothing can be recorded.
    pub(super) fn new(
        session: String,
        handover: Arc<Handover>,
        shelf: Option<Arc<Shelf>>,
        events: Events,
        nodes: Vec<RecordNode>,
    ) -> Self {
        Self {
            session,
            handover,
            shelf,
            events,
            nodes,
            next: AtomicU64::new(0),
            present: Mutex::default(),
        }
    }

    /// True when the session as a whole is recorded, not nodes of its graph.
    pub(super) fn is_whole(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Begins; false when it goes on already.
    pub(super) fn start(self: &Arc<Self>, node: Option<&str>) -> Result<bool, RecordingError> {
        let tap = self.tap(node)?;
        let mut present = self.present.lock().unwrap();
        if present.ended {
            return Err(RecordingError::NoSession(self.session.clone()));
        }
        if present.running.iter().any(|running| running.is_of(node)) {
            return Ok(false);
        }
        let running = self.begin(tap, node)?;
        present.broken.retain(|(known, _)| known.as_deref() != node);
        present.running.push(running);
        Ok(true)
    }

    /// Ends and completes; false when there was none.
    pub(super) fn stop(&self, node: Option<&str>) -> Result<bool, RecordingError> {
        self.tap(node)?;
        let running = {
            let mut present = self.present.lock().unwrap();
            let of_node = |(known, _): &(Option<String>, _)| known.as_deref() == node;
            if let Some(at) = present.broken.iter().position(of_node) {
                return Err(present.broken.remove(at).1);
            }
            present.remove(|running| running.is_of(node))
        };
        match running {
            Some(running) => self.complete(&running, ENDING).map(|()| true),
            None => Ok(false),
        }
    }

    /// The newest file. One being written is completed, and what comes next goes to another.
    pub(super) fn take(self: &Arc<Self>, node: Option<&str>) -> Result<PathBuf, RecordingError> {
        let tap = self.tap(node)?;
        let running = {
            let mut present = self.present.lock().unwrap();
            let at = present
                .running
                .iter()
                .position(|running| running.is_of(node));
            match at {
                Some(at) if present.running[at].recorder.passed().taken == 0 => {
                    return Err(nothing("no picture has been recorded yet"));
                }
                Some(at) => {
                    // The next file takes over before this one ends, so that no picture is lost between them.
                    match self.begin(tap, node) {
                        Ok(next) => Some(std::mem::replace(&mut present.running[at], next)),
                        Err(error) => {
                            self.tell(&format!("the recording ends here: {error}"));
                            Some(present.running.remove(at))
                        }
                    }
                }
                None => None,
            }
        };
        if let Some(running) = running {
            self.complete(&running, ENDING)?;
            return Ok(running.path);
        }
        let shelf = self.shelf.as_ref();
        shelf
            .and_then(|shelf| shelf.newest(&self.session, node))
            .ok_or_else(|| nothing("there is no recording of this session"))
    }

    /// Ends everything, for good.
    pub(super) fn end(&self) {
        let running = {
            let mut present = self.present.lock().unwrap();
            present.ended = true;
            std::mem::take(&mut present.running)
        };
        for running in running {
            match self.complete(&running, LEAVING) {
                Ok(()) | Err(RecordingError::Nothing(_)) => {}
                Err(error) => tracing::warn!(%error, "a recording was cut off"),
            }
        }
    }

    /// What is being recorded, node by node; empty while someone else changes it.
    pub(super) fn figures(&self) -> Vec<Value> {
        let Ok(present) = self.present.try_lock() else {
            return Vec::new();
        };
        let figures = |running: &Running| {
            let passed = running.recorder.passed();
            json!({
                "node_id": running.node,
                "seconds": passed.time.mseconds() as f64 / 1000.0,
                "frames": passed.taken,
                "frames_dropped": passed.dropped,
                "bytes": running.recorder.written(),
            })
        };
        present.running.iter().map(figures).collect()
    }

    /// What a request means by this node.
    fn tap(&self, node: Option<&str>) -> Result<Tap, RecordingError> {
        let known = || {
            let ids: Vec<_> = self
                .nodes
                .iter()
                .map(|node| format!("`{}`", node.id))
                .collect();
            ids.join(", ")
        };
        match node {
            None if self.nodes.is_empty() => Ok(Tap::Picture),
            None => Err(RecordingError::NodeNeeded(known())),
            Some(id) if self.nodes.is_empty() => Err(RecordingError::NoNodes(id.into())),
            Some(id) => {
                let found = self.nodes.iter().find(|node| node.id == id);
                found
                    .ok_or_else(|| RecordingError::UnknownNode(id.into(), known()))?
                    .tap
                    .ok_or_else(|| RecordingError::Between(id.into()))
            }
        }
    }

    /// Makes a file and lets pictures in.
    fn begin(self: &Arc<Self>, tap: Tap, node: Option<&str>) -> Result<Running, RecordingError> {
        let failed = |error: &dyn std::fmt::Display| RecordingError::Failed(error.to_string());
        let shelf = self.shelf.as_ref();
        let shelf = shelf.ok_or_else(|| failed(&"this server has no folder for recordings"))?;
        let format = Format::best().map_err(|error| failed(&error))?;
        let path = shelf.open(&self.session, node, format.ending)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let output = match tap {
            Tap::Picture => Output::Record(number),
            Tap::Input => Output::RecordInput(number),
        };
        let room = {
            let shelf = shelf.clone();
            move |written| shelf.room(written).map_err(|error| error.to_string())
        };
        let this = Arc::downgrade(self);
        let ended = move |why| give_up(&this, output, why);
        let recorder =
            Recorder::start(format, &path, Box::new(room), Box::new(ended)).map_err(|error| {
                shelf.discard(&path);
                failed(&error)
            })?;
        self.handover.set_output(output, Some(recorder.door()));
        tracing::info!(path = %path.display(), "recording");
        Ok(Running {
            output,
            node: node.map(str::to_owned),
            path,
            recorder,
        })
    }

    /// Closes a file; one without a picture is taken away again.
    fn complete(&self, running: &Running, patience: Duration) -> Result<(), RecordingError> {
        self.handover.set_output(running.output, None);
        let outcome = running.recorder.finish(patience);
        let passed = running.recorder.passed();
        let (frames, dropped) = (passed.taken, passed.dropped);
        tracing::info!(path = %running.path.display(), frames, dropped, "a recording has ended");
        self.put_away(&running.path, frames);
        match outcome {
            _ if frames == 0 => Err(nothing("nothing was recorded: no picture came")),
            Ok(()) => Ok(()),
            Err(reason) => Err(RecordingError::Failed(reason)),
        }
    }

    fn put_away(&self, path: &Path, frames: u64) {
        match &self.shelf {
            Some(shelf) if frames == 0 => shelf.discard(path),
            Some(shelf) => shelf.finish(path),
            None => {}
        }
    }

    /// To the client, as an error that changes nothing else.
    fn tell(&self, sentence: &str) {
        self.events.send(Event::Refused(sentence.to_owned())).ok();
    }
}

impl Running {
    fn is_of(&self, node: Option<&str>) -> bool {
        self.node.as_deref() == node
    }
}

impl Present {
    fn remove(&mut self, meant: impl Fn(&Running) -> bool) -> Option<Running> {
        let at = self.running.iter().position(meant)?;
        Some(self.running.remove(at))
    }
}

/// A recording cannot go on: it is completed as far as it goes, and whoever listens is told. Called from the
/// recording's own thread, which has to be free for that.
fn give_up(recordings: &Weak<Recordings>, output: Output, why: Broken) {
    let recordings = recordings.clone();
    spawn("recording-end", move || {
        let Some(recordings) = recordings.upgrade() else {
            return;
        };
        let (reason, refusal): (_, fn(String) -> RecordingError) = match why {
            Broken::Full(reason) => (reason, RecordingError::Full),
            Broken::Failed(reason) => (reason, RecordingError::Failed),
        };
        let sentence = format!("the recording ended early: {reason}");
        let running = {
            let mut present = recordings.present.lock().unwrap();
            let Some(running) = present.remove(|running| running.output == output) else {
                return;
            };
            let kept = format!("{sentence}; what was recorded until then can be fetched");
            present.broken.push((running.node.clone(), refusal(kept)));
            running
        };
        tracing::warn!(reason, "a recording ended early");
        // It says the same again, or nothing new.
        recordings.complete(&running, ENDING).ok();
        recordings.tell(&sentence);
    });
}

fn nothing(sentence: &str) -> RecordingError {
    RecordingError::Nothing(sentence.into())
}

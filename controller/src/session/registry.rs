//! All sessions of the process.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument;
use webrtc_live::Codec;

use super::actor::{self, Command};
use super::building::{Beginning, Client};
use super::recordings::Recordings;
use super::state::State;
use super::{
    Answer, Candidate, Furniture, HEADLESS, Offer, Parameters, RecordingError, SessionError,
    Sessions, Wanted, parameters,
};
use crate::config::OwnIce;
use crate::media::candidate::{self, Verdict};
use crate::media::codec;
use crate::media::offer;
use crate::media::peer::Connection;
use crate::media::still::{self, Still};

/// All sessions end within this, or are left to end by themselves.
const SHUTDOWN: Duration = Duration::from_millis(900);

/// How sessions are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Most sessions at once.
    pub limit: usize,
    /// Addresses to be reached at; empty is every address of the machine, or loopback where that is the only one.
    pub addresses: Vec<IpAddr>,
    /// STUN and TURN servers; none by default, nothing outside is contacted.
    pub ice: OwnIce,
    /// How long a lost packet may be waited for, milliseconds; delays nothing else.
    pub jitter_buffer_ms: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limit: 8,
            addresses: Vec::new(),
            ice: OwnIce::default(),
            jitter_buffer_ms: 80,
        }
    }
}

/// The sessions of this process.
#[derive(Debug)]
pub struct Registry {
    settings: Settings,
    able: Vec<Codec>,
    furniture: OnceLock<Furniture>,
    entries: Arc<Mutex<Vec<Entry>>>,
}

/// A live session, oldest first.
#[derive(Debug, Clone)]
struct Entry {
    id: String,
    commands: mpsc::UnboundedSender<Command>,
    state: Arc<State>,
}

impl Registry {
    /// Starts GStreamer and looks for codecs.
    ///
    /// # Errors
    ///
    /// When GStreamer cannot start or has no codec pair.
    pub fn new(settings: Settings) -> Result<Self, SessionError> {
        gst::init().map_err(|error| SessionError::Failed(error.to_string()))?;
        let able = codec::able();
        if able.is_empty() {
            return Err(SessionError::Failed(
                "GStreamer has neither VP8 nor H.264; install its good and bad plugins".into(),
            ));
        }
        Ok(Self {
            settings,
            able,
            furniture: OnceLock::new(),
            entries: Arc::default(),
        })
    }

    fn admit(
        &self,
        id: &str,
        wanted: &Wanted,
        codec: Option<Codec>,
    ) -> Result<(Entry, mpsc::UnboundedReceiver<Command>), SessionError> {
        let (commands, mailbox) = mpsc::unbounded_channel();
        let codec = codec.map(Codec::encoding_name);
        let state = Arc::new(State::new(codec, wanted));
        let entry = Entry {
            id: id.to_owned(),
            commands,
            state,
        };
        let mut entries = self.entries.lock().unwrap();
        if entries.iter().any(|entry| entry.id == id) {
            return Err(SessionError::Running);
        }
        if entries.len() >= self.settings.limit {
            return Err(SessionError::TooMany(self.settings.limit));
        }
        entries.push(entry.clone());
        Ok((entry, mailbox))
    }

    fn connection(&self) -> Connection {
        let Settings {
            addresses,
            ice,
            jitter_buffer_ms,
            ..
        } = self.settings.clone();
        Connection {
            addresses,
            ice,
            jitter_buffer: jitter_buffer_ms,
        }
    }

    fn entry(&self, id: &str) -> Result<Entry, SessionError> {
        let entries = self.entries.lock().unwrap();
        entries
            .iter()
            .find(|entry| entry.id == id)
            .cloned()
            .ok_or_else(|| SessionError::NotFound(id.into()))
    }

    /// Runs an admitted session; the answer to its client comes back.
    async fn run(
        &self,
        entry: Entry,
        mailbox: mpsc::UnboundedReceiver<Command>,
        wanted: Wanted,
        client: Option<Client>,
    ) -> Result<String, SessionError> {
        let Entry { id, state, .. } = entry;
        let span = tracing::info_span!("session", id = &id[..8]);
        let codec = client
            .as_ref()
            .map(|client| client.plan.codec.encoding_name());
        span.in_scope(|| tracing::info!(codec, "a session opens"));
        let beginning = Beginning {
            wanted,
            client,
            furniture: self.furniture.get().cloned(),
            state,
            id: id.clone(),
        };
        let (answered, answer) = oneshot::channel();
        let entries = Arc::downgrade(&self.entries);
        let leave = move || remove(&entries, &id);
        tokio::spawn(actor::run(beginning, mailbox, answered, leave).instrument(span));
        let ended = || SessionError::Failed("it ended before it was answered".into());
        answer.await.map_err(|_| ended())?
    }

    fn recordings(&self, id: &str) -> Result<Arc<Recordings>, RecordingError> {
        let found = self.entry(id).ok();
        found
            .and_then(|entry| entry.state.recordings.get().cloned())
            .ok_or_else(|| RecordingError::NoSession(id.to_owned()))
    }

    fn with_recordings(
        &self,
        id: &str,
        work: impl FnOnce(&Arc<Recordings>) -> Result<bool, RecordingError> + Send + 'static,
    ) -> BoxFuture<'_, Result<bool, RecordingError>> {
        let recordings = self.recordings(id);
        Box::pin(async move {
            let recordings = recordings?;
            blocking(move || work(&recordings)).await
        })
    }

    fn all(&self) -> Vec<Entry> {
        self.entries.lock().unwrap().clone()
    }
}

/// Work that waits for disks and encoders, off the runtime's own threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RecordingError> + Send + 'static,
) -> Result<T, RecordingError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(RecordingError::Failed("the work broke off".into())))
}

fn remove(entries: &Weak<Mutex<Vec<Entry>>>, id: &str) {
    if let Some(entries) = entries.upgrade() {
        entries.lock().unwrap().retain(|entry| entry.id != id);
    }
}

impl Entry {
    async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        // A session that has ended already needs no word.
        if self.commands.send(Command::Close { reply }).is_ok() {
            closed.await.ok();
        }
    }
}

impl Sessions for Registry {
    fn furnish(&self, furniture: Furniture) {
        if self.furniture.set(furniture).is_err() {
            tracing::error!("the sessions have their models already");
        }
    }

    fn open(&self, offer: Offer) -> BoxFuture<'_, Result<Answer, SessionError>> {
        Box::pin(async move {
            let Offer { sdp, wanted } = offer;
            parameters::check(&wanted.initial_parameters).map_err(SessionError::BadParameter)?;
            let plan = offer::read(&sdp, &self.able).map_err(SessionError::BadOffer)?;
            let id = uuid::Uuid::new_v4().to_string();
            let (entry, mailbox) = self.admit(&id, &wanted, Some(plan.codec))?;
            let client = Client {
                sdp,
                plan,
                connection: self.connection(),
            };
            let sdp = self.run(entry, mailbox, wanted, Some(client)).await?;
            Ok(Answer {
                sdp,
                session_id: id,
            })
        })
    }

    fn start(&self, wanted: Wanted) -> BoxFuture<'_, Result<(), SessionError>> {
        Box::pin(async move {
            parameters::check(&wanted.initial_parameters).map_err(SessionError::BadParameter)?;
            for (_, patch) in &wanted.node_parameters {
                parameters::check(patch).map_err(SessionError::BadParameter)?;
            }
            let (entry, mailbox) = self.admit(HEADLESS, &wanted, None)?;
            self.run(entry, mailbox, wanted, None).await.map(drop)
        })
    }

    fn stop(&self) -> BoxFuture<'_, bool> {
        let entry = self.entry(HEADLESS);
        Box::pin(async move {
            match entry {
                Ok(entry) => {
                    entry.close().await;
                    true
                }
                Err(_) => false,
            }
        })
    }

    fn picture(
        &self,
        sink_node_id: Option<String>,
        still: Still,
    ) -> BoxFuture<'_, Result<Vec<u8>, String>> {
        let entries = self.all();
        Box::pin(async move {
            let with_client = entries.iter().find(|entry| entry.id != HEADLESS);
            let entry = with_client.or(entries.first());
            let state = &entry.ok_or("no session is running")?.state;
            if let Some(sink) = sink_node_id
                && !state.sinks.contains(&sink)
            {
                let known = state.sinks.join("`, `");
                return Err(format!(
                    "the session has no sink `{sink}`; it has `{known}`"
                ));
            }
            let handover = state.handover.get();
            let frame = handover.and_then(|handover| handover.picture());
            let frame = frame.ok_or("no picture has come yet")?;
            tokio::task::spawn_blocking(move || still::encode(frame, still))
                .await
                .map_err(|_| "the encoding broke off".to_owned())?
                .map_err(|error| error.to_string())
        })
    }

    fn add_candidates(
        &self,
        id: &str,
        candidates: Vec<Candidate>,
    ) -> BoxFuture<'_, Result<(), SessionError>> {
        let entry = self.entry(id);
        Box::pin(async move {
            if candidates.is_empty() {
                return Ok(());
            }
            let entry = entry?;
            let mut usable = Vec::new();
            for Candidate {
                candidate,
                sdp_mid,
                sdp_m_line_index,
            } in candidates
            {
                match candidate::read(candidate.as_deref()).map_err(SessionError::BadCandidate)? {
                    Verdict::Use(text) => usable.push((sdp_mid, sdp_m_line_index, text.to_owned())),
                    Verdict::End => {}
                    Verdict::Ignore(reason) => {
                        tracing::debug!(reason, "a candidate was passed over")
                    }
                }
            }
            let gone = |_| SessionError::NotFound(entry.id.clone());
            entry
                .commands
                .send(Command::AddCandidates(usable))
                .map_err(gone)
        })
    }

    fn close(&self, id: &str) -> BoxFuture<'_, ()> {
        let entry = self.entry(id);
        Box::pin(async move {
            if let Ok(entry) = entry {
                entry.close().await;
            }
        })
    }

    fn apply_parameters(&self, patch: Parameters) -> BoxFuture<'_, Result<(), SessionError>> {
        Box::pin(async move {
            parameters::check(&patch).map_err(SessionError::BadParameter)?;
            let asked: Vec<_> = self
                .all()
                .iter()
                .filter_map(|entry| {
                    let (reply, applied) = oneshot::channel();
                    entry
                        .commands
                        .send(Command::Apply {
                            patch: patch.clone(),
                            reply,
                        })
                        .ok()?;
                    Some(applied)
                })
                .collect();
            // A session that ended meanwhile has nothing to say.
            join_all(asked).await.into_iter().flatten().collect()
        })
    }

    fn parameters(&self) -> Parameters {
        self.all()
            .first()
            .map(|entry| entry.state.parameters())
            .unwrap_or_default()
    }

    fn metrics(&self) -> Map<String, Value> {
        self.all()
            .iter()
            .map(|entry| (entry.id.clone(), entry.state.metrics()))
            .collect()
    }

    fn start_recording(
        &self,
        id: &str,
        node_id: Option<String>,
    ) -> BoxFuture<'_, Result<bool, RecordingError>> {
        self.with_recordings(id, move |recordings| recordings.start(node_id.as_deref()))
    }

    fn stop_recording(
        &self,
        id: &str,
        node_id: Option<String>,
    ) -> BoxFuture<'_, Result<bool, RecordingError>> {
        self.with_recordings(id, move |recordings| recordings.stop(node_id.as_deref()))
    }

    fn recording(
        &self,
        id: &str,
        node_id: Option<String>,
    ) -> BoxFuture<'_, Result<PathBuf, RecordingError>> {
        let (live, id) = (self.recordings(id), id.to_owned());
        let shelf = self.furniture.get().map(|known| known.shelf.clone());
        Box::pin(async move {
            blocking(move || match live {
                Ok(recordings) => recordings.take(node_id.as_deref()),
                // The session has ended; what it recorded has not.
                Err(gone) => shelf
                    .and_then(|shelf| shelf.newest(&id, node_id.as_deref()))
                    .ok_or(gone),
            })
            .await
        })
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let entries = self.all();
            tokio::time::timeout(SHUTDOWN, join_all(entries.iter().map(Entry::close)))
                .await
                .ok();
        })
    }
}

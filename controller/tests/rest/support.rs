//! A server without network, elements or media, and few words to talk to it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use futures_util::future::{BoxFuture, FutureExt};
use scope_controller::api::{AppState, router};
use scope_controller::app_socket::Sockets;
use scope_controller::cloud::Cloud;
use scope_controller::config::{Config, RawConfig, RawRecording};
use scope_controller::guard::Guard;
use scope_controller::library::Library;
use scope_controller::library::facts::Facts;
use scope_controller::library::keeper::{Keeper, KeeperError, Keepers, Stage};
use scope_controller::log::Ring;
use scope_controller::media::Still;
use scope_controller::processor::Processor;
use scope_controller::session::{
    Answer, Candidate, Furniture, Offer, Parameters, RecordingError, SessionError, Sessions, Wanted,
};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

/// Sessions that remember what they were told.
#[derive(Debug, Default)]
pub(crate) struct FakeSessions {
    pub(crate) offers: Mutex<Vec<Offer>>,
    pub(crate) candidates: Mutex<Vec<Candidate>>,
    pub(crate) patches: Mutex<Vec<Parameters>>,
    pub(crate) refusal: Mutex<Option<SessionError>>,
    pub(crate) closed: Mutex<Vec<String>>,
    pub(crate) recordings: Mutex<FakeRecordings>,
    pub(crate) headless: Mutex<Option<Wanted>>,
    pub(crate) picture: Mutex<Option<Vec<u8>>>,
    pub(crate) stills: Mutex<Vec<(Option<String>, Still)>>,
}

/// A recording that goes on or not, and the file it left.
#[derive(Debug, Default)]
pub(crate) struct FakeRecordings {
    pub(crate) goes_on: bool,
    pub(crate) file: Option<PathBuf>,
    pub(crate) refusal: Option<RecordingError>,
    /// Session and node of every call.
    pub(crate) asked: Vec<(String, Option<String>)>,
}

impl FakeRecordings {
    fn hear(&mut self, id: &str, node_id: Option<String>) -> Result<(), RecordingError> {
        self.asked.push((id.into(), node_id));
        self.refusal.take().map_or(Ok(()), Err)
    }
}

impl FakeSessions {
    fn reply<T: Send + 'static>(&self, good: T) -> BoxFuture<'_, Result<T, SessionError>> {
        let refusal = self.refusal.lock().unwrap().take();
        async move { refusal.map_or(Ok(good), Err) }.boxed()
    }
}

impl Sessions for FakeSessions {
    fn furnish(&self, _: Furniture) {}

    fn start(&self, wanted: Wanted) -> BoxFuture<'_, Result<(), SessionError>> {
        let mut headless = self.headless.lock().unwrap();
        if headless.is_some() {
            return async { Err(SessionError::Running) }.boxed();
        }
        let reply = self.reply(());
        *headless = Some(wanted);
        reply
    }

    fn stop(&self) -> BoxFuture<'_, bool> {
        let ran = self.headless.lock().unwrap().take().is_some();
        async move { ran }.boxed()
    }

    fn picture(
        &self,
        sink_node_id: Option<String>,
        still: Still,
    ) -> BoxFuture<'_, Result<Vec<u8>, String>> {
        self.stills.lock().unwrap().push((sink_node_id, still));
        let picture = self.picture.lock().unwrap().clone();
        async move { picture.ok_or_else(|| "no session is running".into()) }.boxed()
    }

    fn start_recording(
        &self,
        id: &str,
        node_id: Option<String>,
    ) -> BoxFuture<'_, Result<bool, RecordingError>> {
        let mut recordings = self.recordings.lock().unwrap();
        let heard = recordings.hear(id, node_id);
        let begun = heard.map(|()| !std::mem::replace(&mut recordings.goes_on, true));
        async { begun }.boxed()
    }

    fn stop_recording(
        &self,
        id: &str,
        node_id: Option<String>,
    ) -> BoxFuture<'_, Result<bool, RecordingError>> {
        let mut recordings = self.recordings.lock().unwrap();
        let heard = recordings.hear(id, node_id);
        let ended = heard.map(|()| std::mem::take(&mut recordings.goes_on));
        async { ended }.boxed()
    }

    fn recording(
        &self,
        id: &str,
        node_id: Option<String>,
    ) -> BoxFuture<'_, Result<PathBuf, RecordingError>> {
        let mut recordings = self.recordings.lock().unwrap();
        let heard = recordings.hear(id, node_id);
        let none = || RecordingError::Nothing("there is no recording of this session".into());
        let found = heard.and_then(|()| recordings.file.clone().ok_or_else(none));
        async { found }.boxed()
    }

    fn open(&self, offer: Offer) -> BoxFuture<'_, Result<Answer, SessionError>> {
        let mut offers = self.offers.lock().unwrap();
        offers.push(offer);
        self.reply(Answer {
            sdp: "v=0 answer".into(),
            session_id: format!("s{}", offers.len()),
        })
    }

    fn add_candidates(
        &self,
        id: &str,
        mut list: Vec<Candidate>,
    ) -> BoxFuture<'_, Result<(), SessionError>> {
        if !id.starts_with('s') && !list.is_empty() {
            *self.refusal.lock().unwrap() = Some(SessionError::NotFound(id.into()));
        }
        self.candidates.lock().unwrap().append(&mut list);
        self.reply(())
    }

    fn close(&self, id: &str) -> BoxFuture<'_, ()> {
        self.closed.lock().unwrap().push(id.into());
        async {}.boxed()
    }

    fn apply_parameters(&self, patch: Parameters) -> BoxFuture<'_, Result<(), SessionError>> {
        self.patches.lock().unwrap().push(patch);
        self.reply(())
    }

    fn parameters(&self) -> Parameters {
        self.patches
            .lock()
            .unwrap()
            .last()
            .cloned()
            .unwrap_or_default()
    }

    fn metrics(&self) -> Map<String, Value> {
        let count = self.offers.lock().unwrap().len().max(1);
        let closed = self.closed.lock().unwrap();
        let ids = (1..=count).map(|at| format!("s{at}"));
        ids.filter(|id| !closed.contains(id))
            .map(|id| (id, json!({ "frames_in": 3 })))
            .collect()
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

/// Keepers that open when told to, with the outcome they are told.
#[derive(Debug, Default)]
pub(crate) struct FakeKeepers {
    state: Mutex<KeepersState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct KeepersState {
    held: bool,
    outcomes: VecDeque<Result<(), KeeperError>>,
    opened: Vec<Processor>,
    open: usize,
}

#[derive(Debug)]
struct FakeKeeper(Arc<FakeKeepers>);

impl Keeper for FakeKeeper {
    fn facts(&self) -> Facts {
        facts(json!({ "provider": "cpu", "stream_batch": true }))
    }
}

fn facts(value: Value) -> Facts {
    match value {
        Value::Object(facts) => facts,
        other => panic!("{other} is no object"),
    }
}

impl Drop for FakeKeeper {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().open -= 1;
    }
}

/// The fake behind the trait; keepers hold on to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedKeepers(Arc<FakeKeepers>);

impl SharedKeepers {
    /// Loads wait until released.
    pub(crate) fn hold(&self) {
        self.0.state.lock().unwrap().held = true;
    }

    pub(crate) fn release(&self) {
        self.0.state.lock().unwrap().held = false;
        self.0.changed.notify_all();
    }

    /// The next load fails like this.
    pub(crate) fn fail_next(&self, reason: &str) {
        self.0
            .state
            .lock()
            .unwrap()
            .outcomes
            .push_back(Err(KeeperError::Refused(reason.into())));
    }

    /// Everything that was ever opened.
    pub(crate) fn opened(&self) -> Vec<Processor> {
        self.0.state.lock().unwrap().opened.clone()
    }

    /// What is open now.
    pub(crate) fn open_now(&self) -> usize {
        self.0.state.lock().unwrap().open
    }
}

impl Keepers for SharedKeepers {
    fn open(&self, processor: &Processor, stage: Stage) -> Result<Box<dyn Keeper>, KeeperError> {
        stage("reading graphs");
        let mut state = self.0.state.lock().unwrap();
        state.opened.push(processor.clone());
        while state.held {
            state = self.0.changed.wait(state).unwrap();
        }
        state.outcomes.pop_front().unwrap_or(Ok(()))?;
        state.open += 1;
        drop(state);
        Ok(Box::new(FakeKeeper(Arc::clone(&self.0))))
    }

    fn inspect(&self, dir: &Path) -> Result<Facts, KeeperError> {
        if dir.join("broken").exists() {
            let reason = "model file `unet/model.onnx` is damaged: cut short; copy it again";
            return Err(KeeperError::Refused(reason.into()));
        }
        Ok(facts(
            json!({ "family": "Stable Diffusion 1", "bytes": 5 << 20 }),
        ))
    }

    fn has_element(&self, _: &str) -> bool {
        false
    }
}

/// A reply, read whole.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|err| {
            panic!("{err}: {}", String::from_utf8_lossy(&self.body));
        })
    }

    /// Status and `code`, which most tests are about.
    #[track_caller]
    pub(crate) fn assert_error(&self, status: u16, code: &str) {
        let body = self.json();
        assert_eq!(
            (self.status.as_u16(), body["code"].as_str()),
            (status, Some(code)),
            "{body}"
        );
        assert!(
            !body["detail"].is_null() && body["hint"].as_str().is_some_and(|hint| !hint.is_empty()),
            "{body}"
        );
    }
}

/// The server under test.
pub(crate) struct Scope {
    pub(crate) sessions: Arc<FakeSessions>,
    pub(crate) keepers: SharedKeepers,
    pub(crate) logs: Arc<Ring>,
    pub(crate) folder: TempDir,
    router: Router,
}

impl Scope {
    pub(crate) fn new() -> Self {
        Self::with(RawConfig::default())
    }

    /// Models and assets live in a folder of the test's own.
    pub(crate) fn with(raw: RawConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let folders = RawConfig {
            models_dir: Some(folder.path().join("models")),
            assets_dir: Some(folder.path().join("assets")),
            recording: RawRecording {
                dir: Some(folder.path().join("recordings")),
                ..RawRecording::default()
            },
            ..RawConfig::default()
        };
        let config = Config::new(folders.overridden_by(raw), Path::new("/nowhere")).unwrap();
        let bound: SocketAddr = "127.0.0.1:8000".parse().unwrap();
        let (sessions, keepers, logs) = (
            Arc::new(FakeSessions::default()),
            SharedKeepers::default(),
            Arc::new(Ring::new(10)),
        );
        let state = AppState {
            cloud: Cloud::new(config.cloud.clone()),
            library: Arc::new(Library::new(&config, Arc::new(keepers.clone()))),
            sessions: Arc::clone(&sessions) as Arc<dyn Sessions>,
            logs: Arc::clone(&logs),
            guard: Arc::new(Guard::new(&config, bound)),
            started: SystemTime::UNIX_EPOCH + Duration::from_millis(1500),
            sockets: Sockets::default(),
            config: Arc::new(config),
        };
        Self {
            sessions,
            keepers,
            logs,
            folder,
            router: router(state),
        }
    }

    pub(crate) fn add_model(&self, name: &str) {
        let folder = self.folder.path().join("models").join(name);
        std::fs::create_dir_all(folder.join("unet")).unwrap();
        std::fs::write(folder.join("unet/model.onnx"), "").unwrap();
        std::fs::write(folder.join("model_index.json"), "{}").unwrap();
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Reply {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    pub(crate) async fn ask(&self, method: Method, path: &str, body: impl Into<Body>) -> Reply {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost:8000");
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask(Method::GET, path, Body::empty()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.ask(Method::POST, path, body.to_string()).await
    }

    pub(crate) async fn load(&self, body: Value) -> Value {
        let reply = self.post("/api/v1/pipeline/load", &body).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.json());
        self.status().await
    }

    pub(crate) async fn status(&self) -> Value {
        self.get("/api/v1/pipeline/status").await.json()
    }

    /// Waits until nothing is loading any more.
    pub(crate) async fn settled(&self) -> Value {
        for _ in 0..1000 {
            let status = self.status().await;
            if status["status"] != "loading" {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("still loading");
    }

    pub(crate) async fn load_and_settle(&self, id: &str) -> Value {
        self.load(json!({ "pipeline_ids": [id] })).await;
        self.settled().await
    }

    pub(crate) async fn offer(&self, parameters: Value) -> Reply {
        let body = json!({ "sdp": "v=0", "type": "offer", "initialParameters": parameters });
        self.post("/api/v1/webrtc/offer", &body).await
    }

    /// The one offer that reached the sessions.
    #[track_caller]
    pub(crate) fn only_offer(&self) -> Offer {
        let offers = self.sessions.offers.lock().unwrap();
        assert_eq!(offers.len(), 1);
        offers[0].clone()
    }
}

/// The body with what differs from run to run painted over.
pub(crate) fn painted(mut body: Value, pointers: &[&str]) -> Value {
    for pointer in pointers {
        *body.pointer_mut(pointer).unwrap() = "[painted over]".into();
    }
    body
}

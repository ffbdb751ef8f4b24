//! A server on a free port, and a WebSocket client that shares no code with it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use scope_controller::config::{Config, RawConfig};
use scope_controller::log::Ring;
use scope_controller::server::{Parts, Running, bind};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderMap;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::support::{FakeSessions, SharedKeepers};

/// Generous: nothing here measures.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    pub(crate) running: Running,
    pub(crate) sessions: Arc<FakeSessions>,
    pub(crate) keepers: SharedKeepers,
    pub(crate) logs: Arc<Ring>,
    pub(crate) folder: TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(RawConfig::default()).await
    }

    pub(crate) async fn with(raw: RawConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let raw = RawConfig {
            port: Some(0),
            models_dir: Some(folder.path().join("models")),
            assets_dir: Some(folder.path().join("assets")),
            ..RawConfig::default()
        }
        .overridden_by(raw);
        let (sessions, keepers, logs) = (
            Arc::new(FakeSessions::default()),
            SharedKeepers::default(),
            Arc::new(Ring::new(100)),
        );
        let parts = Parts {
            sessions: Arc::clone(&sessions) as _,
            keepers: Arc::new(keepers.clone()),
            logs: Arc::clone(&logs),
        };
        let bound = bind(Config::new(raw, Path::new("/nowhere")).unwrap())
            .await
            .unwrap();
        Self {
            running: bound.start(parts),
            sessions,
            keepers,
            logs,
            folder,
        }
    }

    /// A client that got in, before it has read anything.
    pub(crate) async fn connect(&self, path: &str) -> Client {
        self.try_connect(path, &[]).await.unwrap()
    }

    /// The refusal is an HTTP status and a body.
    pub(crate) async fn try_connect(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Client, (u16, Value)> {
        let url = format!("ws://{}{path}", self.running.address);
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match connect_async(request).await {
            Ok((stream, response)) => Ok(Client {
                stream,
                headers: response.headers().clone(),
                hardware: None,
            }),
            Err(Error::Http(response)) => {
                let body = response.body().as_deref().unwrap_or_default();
                let body = serde_json::from_slice(body).unwrap_or_default();
                Err((response.status().as_u16(), body))
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// A `/ws` client that has heard `ready`.
    pub(crate) async fn scope(&self) -> Client {
        let mut client = self.connect("/ws").await;
        client.hear("ready").await;
        client
    }

    /// Waits until exactly these sessions have been closed, in this order.
    pub(crate) async fn closed(&self, expected: &[&str]) {
        let seen = || self.sessions.closed.lock().unwrap().clone();
        let closed = async {
            while seen() != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(PATIENCE, closed).await.is_err() {
            panic!("{:?} were closed, not {expected:?}", seen());
        }
    }
}

pub(crate) struct Client {
    pub(crate) stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(crate) headers: HeaderMap,
    /// What the app runs on, as it said behind its newest answer.
    pub(crate) hardware: Option<Value>,
}

impl Client {
    pub(crate) async fn say(&mut self, message: &Value) {
        self.say_text(&message.to_string()).await;
    }

    pub(crate) async fn say_text(&mut self, text: &str) {
        self.stream.send(Message::text(text)).await.unwrap();
    }

    /// The next message, whatever it is; what the app runs on is kept, as it is an answer to nothing.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            let message = timeout(PATIENCE, self.stream.next()).await;
            match message.expect("nothing came") {
                Some(Ok(Message::Text(text))) => {
                    let message: Value = serde_json::from_str(&text).unwrap();
                    if message["type"] != "hardware" {
                        return message;
                    }
                    self.hardware = Some(message);
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no message but {other:?}"),
            }
        }
    }

    /// The next message, which must be of this type.
    pub(crate) async fn hear(&mut self, kind: &str) -> Value {
        let message = self.next().await;
        assert_eq!(message["type"], kind, "{message}");
        message
    }

    pub(crate) async fn ask(&mut self, message: Value) -> Value {
        self.say(&message).await;
        self.next().await
    }

    /// One API call; the reply must repeat its id.
    pub(crate) async fn call(&mut self, method: &str, path: &str, body: Value) -> Value {
        let reply = self
            .ask(json!({
                "type": "api", "request_id": "a", "method": method, "path": path, "body": body,
            }))
            .await;
        assert_eq!(
            (&reply["type"], &reply["request_id"]),
            (&json!("api_response"), &json!("a")),
            "{reply}"
        );
        reply
    }

    /// Loads a model through the socket and waits for it.
    pub(crate) async fn load(&mut self, id: &str) {
        let body = json!({ "pipeline_ids": [id] });
        self.call("POST", "/api/v1/pipeline/load", body).await;
        loop {
            let reply = self
                .call("GET", "/api/v1/pipeline/status", Value::Null)
                .await;
            match reply["data"]["status"].as_str() {
                Some("loading") => tokio::time::sleep(Duration::from_millis(5)).await,
                Some("loaded") => return,
                _ => panic!("{reply}"),
            }
        }
    }

    pub(crate) async fn offer(&mut self, id: &str) -> Value {
        self.ask(json!({
            "type": "offer", "request_id": id, "sdp": "v=0", "sdp_type": "offer",
        }))
        .await
    }

    /// The code the server closes with.
    pub(crate) async fn closing(&mut self) -> CloseCode {
        loop {
            let message = timeout(PATIENCE, self.stream.next()).await;
            match message.expect("the socket stays open") {
                Some(Ok(Message::Close(Some(frame)))) => return frame.code,
                Some(Ok(_)) => {}
                other => panic!("no close but {other:?}"),
            }
        }
    }
}

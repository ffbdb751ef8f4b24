//! A server that has fal's routes and does what a test says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::{
    Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection,
};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) authorization: String,
    pub(crate) body: String,
}

/// What the server does with the n-th request for a token (or any other plain request).
type Plain = dyn Fn(&Seen, usize) -> Response + Send + Sync;
/// What it does with the n-th socket.
type Socket = dyn Fn(usize) -> Upgrade + Send + Sync;

/// What comes of a request to open a socket.
pub(crate) enum Upgrade {
    Refuse(Response),
    /// The handshake pends for ever.
    Hang,
    Talk(Box<dyn FnOnce(WebSocket) -> BoxFuture<'static, ()> + Send>),
}

/// Lets a socket be talked to by an async function.
pub(crate) fn talk<F, Fut>(talk: F) -> Upgrade
where
    F: FnOnce(WebSocket) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Upgrade::Talk(Box::new(move |socket| Box::pin(talk(socket))))
}

struct Script {
    plain: Box<Plain>,
    socket: Box<Socket>,
    plains: AtomicUsize,
    sockets: AtomicUsize,
    seen: Mutex<Vec<Seen>>,
}

#[derive(Clone)]
pub(crate) struct Fal {
    pub(crate) address: SocketAddr,
    script: Arc<Script>,
}

impl Fal {
    /// Grants `token-1`, `token-2`, … and does with sockets what `socket` says.
    pub(crate) async fn granting(
        socket: impl Fn(usize) -> Upgrade + Send + Sync + 'static,
    ) -> Self {
        Self::new(|_, count| grant(count), socket).await
    }

    pub(crate) async fn new(
        plain: impl Fn(&Seen, usize) -> Response + Send + Sync + 'static,
        socket: impl Fn(usize) -> Upgrade + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::listening(listener, plain, socket)
    }

    /// The same behind any kind of listener.
    pub(crate) fn listening<L: Listener<Addr = SocketAddr>>(
        listener: L,
        plain: impl Fn(&Seen, usize) -> Response + Send + Sync + 'static,
        socket: impl Fn(usize) -> Upgrade + Send + Sync + 'static,
    ) -> Self {
        let script = Arc::new(Script {
            plain: Box::new(plain),
            socket: Box::new(socket),
            plains: AtomicUsize::new(0),
            sockets: AtomicUsize::new(0),
            seen: Mutex::default(),
        });
        let router = Router::new().fallback(serve).with_state(script.clone());
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, script }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.script.seen.lock().unwrap().clone()
    }
}

async fn serve(
    State(script): State<Arc<Script>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let authorization = headers.get(header::AUTHORIZATION);
    let seen = Seen {
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        authorization: authorization
            .map_or("", |value| value.to_str().unwrap())
            .to_owned(),
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    script.seen.lock().unwrap().push(seen.clone());
    match upgrade {
        Ok(upgrade) if method == Method::GET => {
            let count = script.sockets.fetch_add(1, Ordering::SeqCst) + 1;
            match (script.socket)(count) {
                Upgrade::Refuse(response) => response,
                Upgrade::Hang => std::future::pending().await,
                Upgrade::Talk(talk) => upgrade.on_upgrade(talk),
            }
        }
        _ => {
            let count = script.plains.fetch_add(1, Ordering::SeqCst) + 1;
            (script.plain)(&seen, count)
        }
    }
}

pub(crate) fn grant(count: usize) -> Response {
    format!("\"token-{count}\"").into_response()
}

pub(crate) fn refuse(status: u16, body: &str) -> Response {
    (StatusCode::from_u16(status).unwrap(), body.to_owned()).into_response()
}

pub(crate) fn redirect(status: u16, to: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (status, [(header::LOCATION, to.to_owned())]).into_response()
}

/// Says `ready` and then repeats every message, until the client goes.
pub(crate) async fn echo(mut socket: WebSocket) {
    let ready = Message::text(r#"{"type":"ready"}"#);
    if socket.send(ready).await.is_err() {
        return;
    }
    while let Some(Ok(message)) = socket.recv().await {
        if matches!(message, Message::Text(_) | Message::Binary(_))
            && socket.send(message).await.is_err()
        {
            return;
        }
    }
}

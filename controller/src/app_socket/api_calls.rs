//! REST calls through the socket, made to the routes in this process: nothing goes over the network.
//!
//! A call carries what the socket's own handshake carried (Host, Origin, token), so the guard judges it like the
//! handshake: through a socket nobody gets further than beside it. Only `/api/v1` and `/health` are reached.
//!
//! Calls that read run beside each other; one that writes waits for those before it and keeps those after it waiting.
//! A client that sends without waiting for replies finds its changes made in the order it made them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, HeaderName, Method, Request, StatusCode, Uri, header};
use axum::response::Response;
use fal_client::signalling::{ApiReply, ApiRequest, ServerMessage};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::Instrument;

use super::binary::{self, Upload};
use super::cdn::Cdn;
use super::owned::Owned;
use super::socket::Outbox;

/// Reading calls of one socket at once.
const AT_ONCE: usize = 16;
/// What of the handshake the guard looks at.
const CARRIED: [HeaderName; 5] = [
    header::HOST,
    header::ORIGIN,
    header::AUTHORIZATION,
    header::SEC_WEBSOCKET_PROTOCOL,
    HeaderName::from_static("sec-fetch-site"),
];
/// Where sessions are opened.
const OFFERS: &str = "/api/v1/webrtc/offer";

/// The routes, as this socket's client reaches them.
#[derive(Debug, Clone)]
pub(super) struct Inside {
    rest: Router,
    carried: HeaderMap,
    cdn: Arc<Cdn>,
    /// Largest message, bytes.
    limit: usize,
}

/// One call and what its reply repeats.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) request_id: Option<Value>,
    pub(super) request: ApiRequest,
}

impl Call {
    /// There are too many of them.
    pub(super) async fn refuse_for_haste(self, outbox: &Outbox) {
        let refusal = Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too many requests wait already; send the next ones when replies have come",
        );
        outbox
            .say(
                &ServerMessage::Api(refusal.into()),
                self.request_id.as_ref(),
            )
            .await;
    }
}

/// The API calls of one socket.
#[derive(Debug)]
pub(super) struct ApiCalls {
    inside: Inside,
    outbox: Outbox,
    owned: Arc<Owned>,
    over: CancellationToken,
}

impl ApiCalls {
    /// Calls that end when `over` does.
    pub(super) fn new(
        inside: Inside,
        outbox: Outbox,
        owned: Arc<Owned>,
        over: CancellationToken,
    ) -> Self {
        Self {
            inside,
            outbox,
            owned,
            over,
        }
    }

    /// Answers until the socket is over. A call that writes is finished even then.
    pub(super) async fn run(self, mut calls: mpsc::Receiver<Call>) {
        let this = Arc::new(self);
        let mut reads = JoinSet::new();
        while let Some(Some(call)) = this.over.run_until_cancelled(calls.recv()).await {
            let room = if call.request.method == "GET" {
                AT_ONCE - 1
            } else {
                0
            };
            let finished =
                async { while reads.len() > room && reads.join_next().await.is_some() {} };
            if this.over.run_until_cancelled(finished).await.is_none() {
                return;
            }
            let answered = Arc::clone(&this).answer(call).in_current_span();
            if room > 0 {
                reads.spawn(answered);
            } else {
                answered.await;
            }
        }
    }

    async fn answer(self: Arc<Self>, call: Call) {
        let path = call.request.path.clone();
        let reply = self.inside.call(call.request).await;
        let opened = (path.split('?').next() == Some(OFFERS) && reply.status == 200)
            .then(|| reply.data["sessionId"].as_str())
            .flatten();
        if let Some(id) = opened {
            self.owned.add(id.to_owned()).await;
        }
        self.outbox
            .say(&ServerMessage::Api(reply), call.request_id.as_ref())
            .await;
    }
}

impl Inside {
    /// `handshake` is what the socket's client came in with.
    pub(super) fn new(rest: Router, handshake: &HeaderMap, cdn: Arc<Cdn>, limit: usize) -> Self {
        let carried = CARRIED.into_iter().flat_map(|name| {
            let values = handshake.get_all(&name).iter().cloned();
            values.map(move |value| (name.clone(), value))
        });
        Self {
            rest,
            carried: carried.collect(),
            cdn,
            limit,
        }
    }

    /// Makes the call; whatever goes wrong is a reply.
    async fn call(&self, request: ApiRequest) -> ApiReply {
        self.try_call(request).await.unwrap_or_else(ApiReply::from)
    }

    async fn try_call(&self, call: ApiRequest) -> Result<ApiReply, Refusal> {
        let method = method(&call.method)?;
        let uri = uri(&call.path)?;
        let upload = match &call.body {
            Value::Object(body) => self.upload(body).await?,
            _ => None,
        };
        let patience = patience(&method, uri.path(), upload.is_some());
        let request = self.request(method, uri, upload, &call.body);
        let answered = async {
            // A router cannot fail: its error is a response.
            let Ok(response) = self.rest.clone().oneshot(request).await;
            self.read(response).await
        };
        timeout(patience, answered).await.unwrap_or_else(|_| {
            let seconds = patience.as_secs();
            Err(Refusal::new(
                StatusCode::GATEWAY_TIMEOUT,
                format!("the request was not answered within {seconds} seconds"),
            ))
        })
    }

    /// The file that a body holds or names, if it does.
    async fn upload(&self, body: &Map<String, Value>) -> Result<Option<Upload>, Refusal> {
        let held = binary::decode(body)
            .map_err(|sentence| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, sentence))?;
        if held.is_some() {
            return Ok(held);
        }
        let named = self.cdn.upload(body).await;
        named.map_err(|sentence| Refusal::new(StatusCode::BAD_GATEWAY, sentence))
    }

    fn request(
        &self,
        method: Method,
        uri: Uri,
        upload: Option<Upload>,
        body: &Value,
    ) -> Request<Body> {
        let (content_type, body) = match upload {
            Some(Upload {
                content_type,
                bytes,
            }) => (content_type, Body::from(bytes)),
            None if body.is_null() => (String::new(), Body::empty()),
            None => ("application/json".to_owned(), Body::from(body.to_string())),
        };
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.carried.clone();
        if let Ok(content_type) = content_type.parse() {
            request
                .headers_mut()
                .insert(header::CONTENT_TYPE, content_type);
        }
        request
    }

    async fn read(&self, response: Response) -> Result<ApiReply, Refusal> {
        let (parts, body) = response.into_parts();
        let content_type = parts.headers.get(header::CONTENT_TYPE);
        let content_type = content_type
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        if content_type.starts_with("multipart/") || content_type.starts_with("text/event-stream") {
            return Err(Refusal::new(
                StatusCode::NOT_IMPLEMENTED,
                "this route is a stream without an end, which cannot travel through the socket; fetch it by HTTP",
            ));
        }
        // Base64 makes four bytes of three.
        let bytes = to_bytes(body, self.limit / 4 * 3).await.map_err(|err| {
            let megabytes = self.limit >> 20;
            Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "the reply does not fit in a message of {megabytes} MiB ({err}); fetch it by HTTP, or raise \
                     `socket_message_mib`"
                ),
            )
        })?;
        Ok(ApiReply {
            request_id: String::new(),
            status: parts.status.as_u16(),
            data: data(&content_type, &bytes),
            error: None,
        })
    }
}

fn data(content_type: &str, bytes: &Bytes) -> Value {
    if bytes.is_empty() {
        Value::Null
    } else if binary::is_text(content_type) {
        serde_json::from_slice(bytes)
            .unwrap_or_else(|_| String::from_utf8_lossy(bytes).into_owned().into())
    } else {
        binary::encode(content_type, bytes)
    }
}

fn method(name: &str) -> Result<Method, Refusal> {
    match name {
        "GET" => Ok(Method::GET),
        "POST" => Ok(Method::POST),
        "PUT" => Ok(Method::PUT),
        "PATCH" => Ok(Method::PATCH),
        "DELETE" => Ok(Method::DELETE),
        other => {
            let shown: String = other.chars().take(20).collect();
            Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                format!("Unsupported method: {shown}; use GET, POST, PUT, PATCH or DELETE"),
            ))
        }
    }
}

fn uri(path: &str) -> Result<Uri, Refusal> {
    let uri: Uri = path.parse().map_err(|err| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("the path is none: {err}; send one such as /api/v1/pipeline/status"),
        )
    })?;
    let is_local = uri.scheme().is_none() && uri.authority().is_none();
    if is_local && (uri.path() == "/health" || uri.path().starts_with("/api/v1/")) {
        Ok(uri)
    } else {
        Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "only paths under /api/v1 and /health can be reached through the socket",
        ))
    }
}

/// How long a call may take.
fn patience(method: &Method, path: &str, is_upload: bool) -> Duration {
    let seconds = if *method == Method::GET && path.contains("/recordings/") {
        120
    } else if *method == Method::POST && path == "/api/v1/loras" {
        300
    } else if is_upload {
        60
    } else {
        30
    };
    Duration::from_secs(seconds)
}

/// A call that is not made, or not answered: status and sentence.
#[derive(Debug)]
struct Refusal(StatusCode, String);

impl Refusal {
    fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Self(status, sentence.into())
    }
}

impl From<Refusal> for ApiReply {
    fn from(Refusal(status, sentence): Refusal) -> Self {
        Self {
            request_id: String::new(),
            status: status.as_u16(),
            data: Value::Null,
            error: Some(sentence),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_api_is_reached() {
        for path in [
            "/health",
            "/api/v1/assets?type=image",
            "/api/v1/a%2f..%2fws",
        ] {
            assert!(uri(path).is_ok(), "{path}");
        }
        for path in [
            "",
            "/",
            "/ws",
            "/webrtc",
            "/ui/app.js",
            "/api/v1",
            "/api/v2/x",
            "api/v1/x",
            "//evil.example/api/v1/x",
            "http://evil.example/api/v1/x",
            "/health/../ws",
            "/api/v1/x y",
            "*",
        ] {
            assert!(uri(path).is_err(), "{path}");
        }
    }

    #[test]
    fn methods_are_those_of_rest() {
        assert!(method("PUT").is_ok());
        for other in ["", "CONNECT", "OPTIONS", "get"] {
            assert_eq!(
                method(other).unwrap_err().0,
                StatusCode::BAD_REQUEST,
                "{other}"
            );
        }
    }

    #[test]
    fn long_work_gets_long() {
        let of = |method: Method, path, upload| patience(&method, path, upload).as_secs();

        assert_eq!(of(Method::GET, "/api/v1/assets", false), 30);
        assert_eq!(of(Method::GET, "/api/v1/recordings/x", false), 120);
        assert_eq!(of(Method::POST, "/api/v1/assets", true), 60);
        assert_eq!(of(Method::POST, "/api/v1/loras", false), 300);
    }
}

//! One WebSocket: what comes in one by one, what goes out in a bounded queue, and every reason to end it.
//!
//! A client that does not read fills the queue, then nobody takes its next message, then the write runs out of time:
//! it ends, and holds up nobody but itself.

use std::time::Duration;

use axum::extract::ws::{CloseCode, CloseFrame, Message, WebSocket, close_code};
use fal_client::signalling::{AppDialect, RawMessage, ServerMessage};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval_at, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// Messages that may wait to be sent.
const WAITING: usize = 64;
/// A message that cannot be written for so long has a client that does not read; a large one gets longer.
const WRITING: Duration = Duration::from_secs(10);
/// The slowest connection worth waiting for, bytes a second.
const SLOWEST: usize = 64 * 1024;
/// How often we ask whether anybody is there: proxies drop sockets that say nothing.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// Nothing came for so long, not even the answers to our heartbeat.
const SILENCE: Duration = Duration::from_secs(65);
/// How long the last words may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a socket may do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Largest message in either direction, bytes.
    pub(super) message: usize,
    /// How long it may last.
    pub(super) age: Option<Duration>,
}

/// The receiving half, and the life of the whole.
pub(super) struct Socket {
    stream: SplitStream<WebSocket>,
    outbox: Outbox,
    writer: JoinHandle<()>,
    limits: Limits,
    end: Option<Instant>,
    stopping: CancellationToken,
}

/// The way out; any number of tasks may hold one.
#[derive(Debug, Clone)]
pub(super) struct Outbox {
    dialect: AppDialect,
    queue: mpsc::Sender<Message>,
}

impl Socket {
    /// Takes a new socket; `stopping` ends it with the server.
    pub(super) fn new(
        socket: WebSocket,
        dialect: AppDialect,
        limits: Limits,
        stopping: CancellationToken,
    ) -> Self {
        let (sink, stream) = socket.split();
        let (queue, messages) = mpsc::channel(WAITING);
        Self {
            stream,
            outbox: Outbox { dialect, queue },
            writer: tokio::spawn(write(sink, messages)),
            limits,
            end: limits.age.map(|age| Instant::now() + age),
            stopping,
        }
    }

    /// The way out.
    pub(super) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The client's next message; `None` when the conversation is over and whatever there was to say is said.
    pub(super) async fn next(&mut self) -> Option<RawMessage> {
        loop {
            let heard = tokio::select! {
                heard = timeout(SILENCE, self.stream.next()) => heard,
                () = self.outbox.queue.closed() => return None,
                () = reached(self.end) => {
                    self.say_goodbye(
                        "the longest time a connection may last is over; connect again",
                        Some("MAX_DURATION_EXCEEDED"),
                        close_code::NORMAL,
                    )
                    .await;
                    return None;
                }
                () = self.stopping.cancelled() => {
                    self.say_goodbye("the server stops", None, close_code::AWAY).await;
                    return None;
                }
            };
            match heard {
                Ok(Some(Ok(Message::Text(text)))) => {
                    return Some(RawMessage::Text(text.as_str().to_owned()));
                }
                Ok(Some(Ok(Message::Binary(bytes)))) => {
                    return Some(RawMessage::Binary(bytes.into()));
                }
                // Answered by the library; they only show that somebody is there.
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
                Ok(Some(Ok(Message::Close(_))) | None) => return None,
                Ok(Some(Err(error))) => {
                    let megabytes = self.limits.message >> 20;
                    let sentence = format!(
                        "the message could not be read ({error}); one message may have {megabytes} MiB at most"
                    );
                    self.say_goodbye(&sentence, None, close_code::SIZE).await;
                    return None;
                }
                Err(_) => {
                    tracing::info!("a client has not been heard for a minute");
                    return None;
                }
            }
        }
    }

    /// Whether a message is larger than it may be.
    pub(super) fn is_too_large(&self, message: &RawMessage) -> bool {
        let size = match message {
            RawMessage::Text(text) => text.len(),
            RawMessage::Binary(bytes) => bytes.len(),
        };
        size > self.limits.message
    }

    /// Largest message in either direction, bytes.
    pub(super) fn message_limit(&self) -> usize {
        self.limits.message
    }

    /// The reason travels as a message too: through fal's gateway most closes look like 1006 and say nothing.
    async fn say_goodbye(&self, sentence: &str, code: Option<&str>, close: CloseCode) {
        let farewell = ServerMessage::Error {
            text: sentence.into(),
            code: code.map(str::to_owned),
        };
        let said = async {
            self.outbox.say(&farewell, None).await;
            self.outbox.close(close, sentence).await;
        };
        // A client that does not read is not waited for.
        let _ = timeout(FAREWELL, said).await;
    }

    /// Lets what waits be written, hears the client's farewell, then drops the connection. Without the farewell, what
    /// the client was sent last could be lost with what it was still sending.
    pub(super) async fn finish(self) {
        let Self {
            mut stream,
            outbox,
            writer,
            ..
        } = self;
        let stop = writer.abort_handle();
        let farewell = async move {
            outbox.close(close_code::NORMAL, "").await;
            drop(outbox);
            let _ = writer.await;
            while let Some(Ok(_)) = stream.next().await {}
        };
        if timeout(FAREWELL, farewell).await.is_err() {
            stop.abort();
        }
    }
}

impl Outbox {
    /// Says something, in answer to `request_id` where there is one. False when nobody will read it.
    ///
    /// Waits for room. What the dialect has no word for is not said.
    pub(super) async fn say(&self, message: &ServerMessage, request_id: Option<&Value>) -> bool {
        match self.dialect.encode(message, request_id) {
            Some(raw) => self.queue.send(travelling(raw)).await.is_ok(),
            None => !self.queue.is_closed(),
        }
    }

    /// Says it only where there is room at once.
    pub(super) fn try_say(&self, message: &ServerMessage) -> bool {
        let raw = self.dialect.encode(message, None);
        raw.is_some_and(|raw| self.queue.try_send(travelling(raw)).is_ok())
    }

    /// An error in answer to `request_id`.
    pub(super) async fn refuse(&self, sentence: impl Into<String>, request_id: Option<&Value>) {
        let message = ServerMessage::Error {
            text: sentence.into(),
            code: None,
        };
        self.say(&message, request_id).await;
    }

    /// Ends the connection once everything before it is written.
    pub(super) async fn close(&self, code: CloseCode, reason: &str) {
        // A control frame has 125 bytes, two of them the code.
        let end = (0..=120.min(reason.len()))
            .rev()
            .find(|at| reason.is_char_boundary(*at));
        let frame = CloseFrame {
            code,
            reason: reason[..end.unwrap_or(0)].into(),
        };
        // Gone already: as well.
        let _ = self.queue.send(Message::Close(Some(frame))).await;
    }
}

fn travelling(raw: RawMessage) -> Message {
    match raw {
        RawMessage::Text(text) => Message::Text(text.into()),
        RawMessage::Binary(bytes) => Message::Binary(bytes.into()),
    }
}

async fn reached(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// Writes until the farewell is out, the queue is dropped, or the client does not read.
async fn write(mut sink: SplitSink<WebSocket, Message>, mut messages: mpsc::Receiver<Message>) {
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    loop {
        let message = tokio::select! {
            message = messages.recv() => match message {
                Some(message) => message,
                None => return,
            },
            _ = heartbeat.tick() => Message::Ping(Vec::new().into()),
        };
        let (size, is_last) = match &message {
            Message::Text(text) => (text.len(), false),
            Message::Binary(bytes) => (bytes.len(), false),
            Message::Ping(_) | Message::Pong(_) => (0, false),
            Message::Close(_) => (0, true),
        };
        let patience = WRITING + Duration::from_secs((size / SLOWEST) as u64);
        match timeout(patience, sink.send(message)).await {
            Ok(Ok(())) if !is_last => {}
            Ok(_) => return,
            Err(_) => {
                tracing::info!("a client does not read what it asked for");
                return;
            }
        }
    }
}

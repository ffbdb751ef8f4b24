//! What is said on one socket, from `ready` to the end.
//!
//! This task only reads and hands over: signalling to one task, API calls to another, each in the order they came.

use std::sync::Arc;

use fal_client::signalling::{AppDialect, ClientMessage, RawMessage, Request, ServerMessage};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::api_calls::{ApiCalls, Call, Inside};
use super::log_feed;
use super::owned::Owned;
use super::signalling::{Signal, Signalling};
use super::socket::{Outbox, Socket};
use crate::api::AppState;

/// Messages of one kind that may wait for their turn.
const WAITING: usize = 64;

/// Where messages are handed over.
struct Desks {
    dialect: AppDialect,
    outbox: Outbox,
    signals: mpsc::Sender<Signal>,
    calls: mpsc::Sender<Call>,
    /// Taken when the log feed starts.
    log_feed: Option<log_feed::LogFeed>,
    over: CancellationToken,
}

/// Holds the conversation until either side ends it.
pub(super) async fn hold(
    mut socket: Socket,
    dialect: AppDialect,
    id: String,
    state: AppState,
    inside: Inside,
) {
    tracing::info!(?dialect, "a client connects");
    let over = CancellationToken::new();
    let owned = Arc::new(Owned::new(Arc::clone(&state.sessions)));
    let mut desks = open_desks(&socket, dialect, &state, inside, &owned, &over);
    if dialect == AppDialect::Scope {
        let ready = ServerMessage::Ready {
            connection_id: Some(id),
            ice_servers: Vec::new(),
        };
        socket.outbox().say(&ready, None).await;
    }
    while let Some(raw) = socket.next().await {
        let limit = socket.is_too_large(&raw).then(|| socket.message_limit());
        desks.take(&raw, limit).await;
    }
    over.cancel();
    drop(desks);
    owned.end().await;
    socket.finish().await;
    tracing::info!("a client is gone");
}

fn open_desks(
    socket: &Socket,
    dialect: AppDialect,
    state: &AppState,
    inside: Inside,
    owned: &Arc<Owned>,
    over: &CancellationToken,
) -> Desks {
    let outbox = socket.outbox().clone();
    let (signals, heard) = mpsc::channel(WAITING);
    let (calls, called) = mpsc::channel(WAITING);
    let signalling = Signalling::new(
        dialect,
        outbox.clone(),
        state.clone(),
        Arc::clone(owned),
        over.clone(),
    );
    tokio::spawn(signalling.run(heard).in_current_span());
    let api_calls = ApiCalls::new(inside, outbox.clone(), Arc::clone(owned), over.clone());
    tokio::spawn(api_calls.run(called).in_current_span());
    Desks {
        dialect,
        outbox: outbox.clone(),
        signals,
        calls,
        log_feed: Some(log_feed::LogFeed::new(Arc::clone(&state.logs), outbox)),
        over: over.clone(),
    }
}

impl Desks {
    /// Reads a message and hands it to whoever answers it. `limit` is the size it is over, if it is.
    async fn take(&mut self, raw: &RawMessage, limit: Option<usize>) {
        let Request {
            request_id,
            message,
        } = match self.dialect.decode(raw) {
            Ok(request) => request,
            Err(malformed) => {
                let request_id = AppDialect::request_id(raw);
                self.outbox
                    .refuse(format!("Invalid message: {malformed}"), request_id.as_ref())
                    .await;
                return;
            }
        };
        if let Some(limit) = limit {
            let megabytes = limit >> 20;
            let sentence = format!(
                "the message is larger than {megabytes} MiB; send less at once, or raise `socket_message_mib`"
            );
            self.outbox.refuse(sentence, request_id.as_ref()).await;
            return;
        }
        match message {
            ClientMessage::Ping => {
                self.outbox
                    .say(&ServerMessage::Pong, request_id.as_ref())
                    .await;
            }
            ClientMessage::SetUserId { user_id } => {
                let accepted = ServerMessage::UserIdSet { user_id };
                self.outbox.say(&accepted, request_id.as_ref()).await;
                if let Some(feed) = self.log_feed.take() {
                    tokio::spawn(self.over.clone().run_until_cancelled_owned(feed.run()));
                }
            }
            ClientMessage::GetIceServers => {
                self.signal(Signal::GetIceServers { request_id }).await;
            }
            ClientMessage::Offer {
                sdp,
                initial_parameters,
                user_id: _,
            } => {
                self.signal(Signal::Offer {
                    request_id,
                    sdp,
                    initial_parameters,
                })
                .await;
            }
            ClientMessage::Candidate {
                candidate,
                session_id,
            } => {
                self.signal(Signal::Candidate {
                    request_id,
                    candidate,
                    session_id,
                })
                .await;
            }
            ClientMessage::Api(request) => {
                let refused = self.calls.try_send(Call {
                    request_id,
                    request,
                });
                if let Err(TrySendError::Full(call)) = refused {
                    call.refuse_for_haste(&self.outbox).await;
                }
            }
            ClientMessage::ModelInput(_) | ClientMessage::Heartbeat { .. } => {}
            ClientMessage::Unknown { kind } => self.unknown(&kind, request_id.as_ref()).await,
        }
    }

    async fn signal(&self, signal: Signal) {
        if let Err(TrySendError::Full(signal)) = self.signals.try_send(signal) {
            let sentence = format!("{WAITING} messages wait already; send them more slowly");
            self.outbox.refuse(sentence, signal.request_id()).await;
        }
    }

    /// A scope app says so, because its clients wait for a reply to everything; the webcam demo keeps quiet.
    async fn unknown(&self, kind: &str, request_id: Option<&Value>) {
        match self.dialect {
            AppDialect::Scope => {
                let kind: String = kind.chars().take(40).collect();
                self.outbox
                    .refuse(format!("Unknown message type: {kind}"), request_id)
                    .await;
            }
            AppDialect::Yolo => {}
        }
    }
}

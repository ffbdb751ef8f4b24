//! Offers and candidates of one socket, in the order they came.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::close_code;
use axum::http::StatusCode;
use fal_client::signalling::{AppDialect, IceCandidate, IceServer, Parameters, ServerMessage};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::model;
use super::owned::Owned;
use super::socket::Outbox;
use crate::api::{self, ApiError, AppState};
use crate::config;
use crate::secret::Secret;
use crate::session::Candidate;

/// An offer is answered within this; clients of Scope wait as long.
const ANSWERING: Duration = Duration::from_secs(30);
/// How often a session is looked after, in a dialect whose socket ends with it.
const LOOKING: Duration = Duration::from_secs(1);

/// What a client asks of signalling.
#[derive(Debug)]
pub(super) enum Signal {
    GetIceServers {
        request_id: Option<Value>,
    },
    Offer {
        request_id: Option<Value>,
        sdp: String,
        initial_parameters: Parameters,
    },
    Candidate {
        request_id: Option<Value>,
        candidate: Option<IceCandidate>,
        session_id: Option<String>,
    },
}

impl Signal {
    /// What the reply repeats.
    pub(super) fn request_id(&self) -> Option<&Value> {
        match self {
            Self::GetIceServers { request_id }
            | Self::Offer { request_id, .. }
            | Self::Candidate { request_id, .. } => request_id.as_ref(),
        }
    }
}

/// The signalling of one socket.
pub(super) struct Signalling {
    dialect: AppDialect,
    outbox: Outbox,
    state: AppState,
    owned: Arc<Owned>,
    over: CancellationToken,
    /// The session of the newest offer.
    current: Option<String>,
}

impl Signalling {
    /// Signalling without a session; `over` is the end of the socket.
    pub(super) fn new(
        dialect: AppDialect,
        outbox: Outbox,
        state: AppState,
        owned: Arc<Owned>,
        over: CancellationToken,
    ) -> Self {
        Self {
            dialect,
            outbox,
            state,
            owned,
            over,
            current: None,
        }
    }

    /// Answers until the socket is over. A session that is being opened then is never opened.
    pub(super) async fn run(mut self, signals: mpsc::Receiver<Signal>) {
        let over = self.over.clone();
        over.run_until_cancelled(self.answer_all(signals)).await;
    }

    async fn answer_all(&mut self, mut signals: mpsc::Receiver<Signal>) {
        if self.dialect == AppDialect::Yolo {
            // A model that loads now belongs to the start of this app, as clients see it: they wait for `ready`
            // longer than for an answer.
            self.state.library.loader.settled().await;
            let ready = ServerMessage::Ready {
                connection_id: None,
                ice_servers: Vec::new(),
            };
            self.outbox.say(&ready, None).await;
        }
        let mut look = interval(LOOKING);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                signal = signals.recv() => match signal {
                    Some(signal) => self.answer(signal).await,
                    None => return,
                },
                _ = look.tick(), if self.dialect == AppDialect::Yolo => self.look_after().await,
            }
        }
    }

    async fn answer(&mut self, signal: Signal) {
        match signal {
            Signal::GetIceServers { request_id } => {
                let servers = self.state.config.ice_servers.iter().map(ice_server);
                let message = ServerMessage::IceServers(servers.collect());
                self.outbox.say(&message, request_id.as_ref()).await;
            }
            Signal::Offer {
                request_id,
                sdp,
                initial_parameters,
            } => {
                let answered = timeout(ANSWERING, self.open(sdp, initial_parameters)).await;
                self.reply_to_offer(answered.ok(), request_id.as_ref())
                    .await;
            }
            Signal::Candidate {
                request_id,
                candidate,
                session_id,
            } => {
                self.add_candidate(candidate, session_id, request_id.as_ref())
                    .await;
            }
        }
    }

    /// A new session. Nothing is awaited between its opening and its being ours, so none is ever forgotten.
    async fn open(
        &mut self,
        sdp: String,
        initial_parameters: Parameters,
    ) -> Result<ServerMessage, ApiError> {
        model::ensure(&self.state.library.loader, &initial_parameters).await;
        let body = Map::from_iter([
            ("sdp".into(), sdp.into()),
            ("type".into(), "offer".into()),
            ("initialParameters".into(), json!(initial_parameters)),
        ]);
        let mut opened = api::open_session(&self.state, body.clone()).await;
        let is_full = |err: &ApiError| err.status() == StatusCode::SERVICE_UNAVAILABLE;
        if opened.as_ref().is_err_and(is_full)
            && let Some(former) = self.current.take()
        {
            self.owned.close(&former).await;
            opened = api::open_session(&self.state, body).await;
        }
        let answer = opened?;
        let former = self.current.replace(answer.session_id.clone());
        self.owned.add(answer.session_id.clone()).await;
        if let Some(former) = former {
            // One client, one picture: its newest offer is the one it means.
            self.owned.close(&former).await;
        }
        Ok(ServerMessage::Answer {
            sdp: answer.sdp,
            session_id: Some(answer.session_id),
        })
    }

    /// `None` is an offer that took too long.
    async fn reply_to_offer(
        &self,
        answered: Option<Result<ServerMessage, ApiError>>,
        request_id: Option<&Value>,
    ) {
        match answered {
            Some(Ok(answer)) => {
                self.outbox.say(&answer, request_id).await;
                let hardware = ServerMessage::Hardware(api::hardware().await);
                self.outbox.say(&hardware, None).await;
            }
            Some(Err(err)) => {
                let sentence = format!(
                    "Offer failed: {}: {}",
                    err.status().as_u16(),
                    err.sentence()
                );
                self.outbox.refuse(sentence, request_id).await;
            }
            None => {
                let seconds = ANSWERING.as_secs();
                let sentence = format!(
                    "Offer failed: it could not be answered within {seconds} seconds; offer again when the model is loaded"
                );
                self.outbox.refuse(sentence, request_id).await;
            }
        }
    }

    async fn add_candidate(
        &self,
        candidate: Option<IceCandidate>,
        session_id: Option<String>,
        request_id: Option<&Value>,
    ) {
        let ack = |status: &str| ServerMessage::CandidateAck {
            status: status.into(),
        };
        let Some(session_id) = session_id.or_else(|| self.current.clone()) else {
            let sentence = "there is no session for this candidate; send an offer first";
            self.outbox.refuse(sentence, request_id).await;
            return;
        };
        let Some(candidate) = candidate else {
            self.outbox.say(&ack("end_of_candidates"), request_id).await;
            return;
        };
        let candidate = Candidate {
            candidate: Some(candidate.candidate),
            sdp_mid: candidate.sdp_mid,
            sdp_m_line_index: candidate.sdp_mline_index.map(u32::from),
        };
        let added = self
            .state
            .sessions
            .add_candidates(&session_id, vec![candidate]);
        match added.await.map_err(ApiError::from) {
            Ok(()) => {
                self.outbox.say(&ack("ok"), request_id).await;
            }
            Err(err) => {
                let status = err.status().as_u16();
                let sentence = format!("ICE candidate failed: {status}: {}", err.sentence());
                self.outbox.refuse(sentence, request_id).await;
            }
        }
    }

    /// The webcam demo's socket ends with its session.
    async fn look_after(&mut self) {
        let Some(id) = &self.current else { return };
        if self.state.sessions.metrics().contains_key(id) {
            return;
        }
        self.current = None;
        let sentence = "the session has ended; connect again for a new one";
        self.outbox.refuse(sentence, None).await;
        self.outbox.close(close_code::NORMAL, sentence).await;
    }
}

fn ice_server(server: &config::IceServer) -> IceServer {
    IceServer {
        urls: server.urls.clone(),
        username: server.username.clone(),
        credential: server
            .credential
            .as_ref()
            .map(Secret::expose)
            .map(fal_client::Secret::new),
    }
}

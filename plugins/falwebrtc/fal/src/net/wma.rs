//! The WMA dialect's way to carry messages: each is an HTTP POST, each reply a message.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::http::{Http, place};
use super::socket::Incoming;
use crate::credentials::ApiKey;
use crate::error::FalError;
use crate::signalling::RawMessage;
use crate::signalling::dialect::wma;
use crate::token::shortened;

/// ICE servers are a help, not a must.
const ICE_TIMEOUT: Duration = Duration::from_secs(5);
/// The answer pends while the runner starts; the budget of the attempt ends it earlier.
const SESSION_TIMEOUT: Duration = Duration::from_secs(600);
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(4);
/// Heartbeats in a row without an answer that end the session.
const MOST_FAILURES: u32 = 3;

/// Requests under way. Dropping it drops them.
pub(super) struct Wma {
    http: Http,
    key: Option<ApiKey>,
    under_way: JoinSet<()>,
    replies: mpsc::Receiver<Reply>,
    reply: mpsc::Sender<Reply>,
    beating: bool,
    missed: u32,
}

enum Reply {
    Said(RawMessage),
    Refused(FalError),
    Heartbeat(Option<RawMessage>),
}

impl Wma {
    pub(super) fn new(http: Http, key: Option<ApiKey>) -> Self {
        let (reply, replies) = mpsc::channel(8);
        Self {
            http,
            key,
            under_way: JoinSet::new(),
            replies,
            reply,
            beating: false,
            missed: 0,
        }
    }

    pub(super) fn send(&mut self, message: &RawMessage) {
        let RawMessage::Text(body) = message else {
            return;
        };
        let path = wma::path_of(message);
        let heartbeat = path == "session/heartbeat";
        if heartbeat && std::mem::replace(&mut self.beating, true) {
            return;
        }
        let (http, key, reply) = (self.http.clone(), self.key.clone(), self.reply.clone());
        let body = body.clone();
        self.under_way.spawn(async move {
            let answer = match path {
                "ice" => Reply::Said(
                    post(&http, key.as_ref(), path, body, ICE_TIMEOUT)
                        .await
                        .unwrap_or_else(|_| wma::no_ice_servers()),
                ),
                "session" => post(&http, key.as_ref(), path, body, SESSION_TIMEOUT)
                    .await
                    .map_or_else(Reply::Refused, Reply::Said),
                _ => Reply::Heartbeat(
                    post(&http, key.as_ref(), path, body, HEARTBEAT_TIMEOUT)
                        .await
                        .ok(),
                ),
            };
            // Nobody listens when the attempt is over.
            let _ = reply.send(answer).await;
        });
    }

    /// The next reply. May be dropped at any `.await` and called again.
    pub(super) async fn next(&mut self) -> Incoming {
        loop {
            let Some(reply) = self.replies.recv().await else {
                // Cannot happen: we hold a sender.
                return std::future::pending().await;
            };
            // Finished tasks would pile up.
            while self.under_way.try_join_next().is_some() {}
            match reply {
                Reply::Said(message) => return Incoming::Message(message),
                Reply::Refused(error) => return Incoming::Broken(error),
                Reply::Heartbeat(Some(message)) => {
                    self.beating = false;
                    self.missed = 0;
                    return Incoming::Message(message);
                }
                Reply::Heartbeat(None) => {
                    self.beating = false;
                    self.missed += 1;
                    if self.missed >= MOST_FAILURES {
                        let reason = "heartbeats are not answered".into();
                        return Incoming::Closed { code: None, reason };
                    }
                }
            }
        }
    }
}

async fn post(
    http: &Http,
    key: Option<&ApiKey>,
    path: &str,
    body: String,
    within: Duration,
) -> Result<RawMessage, FalError> {
    let url = http.endpoints().wma(path);
    let host = place(&url);
    let (status, body) = timeout(within, http.post(url, body, key))
        .await
        .map_err(|_| FalError::Unreachable {
            host,
            reason: "it did not answer in time".into(),
        })??;
    if status.is_success() {
        Ok(RawMessage::Text(body))
    } else {
        Err(FalError::UpgradeRefused {
            status: status.as_u16(),
            body: shortened(&body),
        })
    }
}

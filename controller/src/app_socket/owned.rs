//! The sessions that were opened over one socket and end with it.

use std::sync::{Arc, Mutex};

use crate::session::Sessions;

/// A socket's sessions. Whoever opens one hands it over here at once; after the end it is closed on arrival.
#[derive(Debug)]
pub(super) struct Owned {
    sessions: Arc<dyn Sessions>,
    /// `None` after the end.
    ids: Mutex<Option<Vec<String>>>,
}

impl Owned {
    /// None so far.
    pub(super) fn new(sessions: Arc<dyn Sessions>) -> Self {
        Self {
            sessions,
            ids: Mutex::new(Some(Vec::new())),
        }
    }

    /// Takes a session over.
    pub(super) async fn add(&self, id: String) {
        let late = match &mut *self.ids.lock().unwrap() {
            Some(ids) => {
                ids.push(id);
                None
            }
            None => Some(id),
        };
        if let Some(id) = late {
            self.sessions.close(&id).await;
        }
    }

    /// Closes one of them.
    pub(super) async fn close(&self, id: &str) {
        if let Some(ids) = &mut *self.ids.lock().unwrap() {
            ids.retain(|known| known != id);
        }
        self.sessions.close(id).await;
    }

    /// Closes all of them, and whatever comes later.
    pub(super) async fn end(&self) {
        let ids = self.ids.lock().unwrap().take();
        for id in ids.into_iter().flatten() {
            self.sessions.close(&id).await;
        }
    }
}

//! Placeholder until the sessions' own implementation is wired in.

use futures_util::future::{BoxFuture, FutureExt};
use serde_json::{Map, Value};

use super::{Answer, Candidate, Offer, Parameters, SessionError, Sessions};

/// Refuses every offer.
#[derive(Debug, Default)]
pub struct NoSessions;

impl Sessions for NoSessions {
    fn open(&self, _: Offer) -> BoxFuture<'_, Result<Answer, SessionError>> {
        async { Err(SessionError::Failed("no media in this build".into())) }.boxed()
    }

    fn add_candidates(
        &self,
        id: &str,
        candidates: Vec<Candidate>,
    ) -> BoxFuture<'_, Result<(), SessionError>> {
        let found = if candidates.is_empty() {
            Ok(())
        } else {
            Err(SessionError::NotFound(id.into()))
        };
        async { found }.boxed()
    }

    fn close(&self, _: &str) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }

    fn apply_parameters(&self, _: Parameters) -> BoxFuture<'_, Result<(), SessionError>> {
        async { Ok(()) }.boxed()
    }

    fn parameters(&self) -> Parameters {
        Parameters::new()
    }

    fn metrics(&self) -> Map<String, Value> {
        Map::new()
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

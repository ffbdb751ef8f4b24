//! Asking for a short-lived token.

use std::time::{Duration, Instant};

use super::http::Http;
use crate::app_id::AppId;
use crate::credentials::ApiKey;
use crate::error::FalError;
use crate::token::{Token, TokenEndpoint};

/// A token endpoint that does not answer within this time is not going to.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A token that opens `path` of `app`. Asks the newer endpoint where the older one does not exist.
///
/// # Errors
///
/// [`FalError::TokenRefused`] with status and body, [`FalError::Unreachable`], or [`FalError::ForeignHost`] when a
/// redirect leads where the key must not go.
pub async fn mint(http: &Http, key: &ApiKey, app: &AppId, path: &str) -> Result<Token, FalError> {
    let mut endpoint = TokenEndpoint::Tokens;
    loop {
        let asked = Instant::now();
        let url = http.endpoints().rest(endpoint.path());
        let host = super::http::place(&url);
        let body = endpoint.body(app, path).to_string();
        let (status, body) = tokio::time::timeout(TIMEOUT, http.post(url, body, Some(key)))
            .await
            .map_err(|_| FalError::Unreachable {
                host,
                reason: "it did not answer in time".into(),
            })??;
        match endpoint.after(status.as_u16()) {
            Some(next) => endpoint = next,
            None => return Token::from_reply(status.as_u16(), &body, asked),
        }
    }
}

//! Files that others put into fal's storage and name by their address.

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use url::Url;

use super::http::{Ask, Http, Reach, place, read, read_bytes};
use crate::error::FalError;
use crate::token::shortened;

/// A file as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// As the storage gives it; empty when it gives none.
    pub content_type: String,
    /// The whole of it.
    pub bytes: Vec<u8>,
}

/// Fetches a file of at most `most` bytes that a client named by its address, e.g. `_cdn_url` of an upload.
///
/// Only fal's storage, fal's own and configured hosts are asked, through redirects too, so that no client can make us
/// knock at doors of our own network. No key goes along. Takes as long as it takes: put a time limit around it.
///
/// # Errors
///
/// [`FalError::InvalidUrl`], [`FalError::ForeignStorage`], [`FalError::FileRefused`], or [`FalError::Unreachable`], also
/// for a file that is too long.
pub async fn fetch(http: &Http, url: &str, most: usize) -> Result<StoredFile, FalError> {
    let url = Url::parse(url).map_err(|err| FalError::InvalidUrl {
        option: "file",
        url: url.split(['?', '#']).next().unwrap_or_default().to_owned(),
        reason: err.to_string(),
    })?;
    let ask = Ask {
        method: Method::GET,
        url,
        headers: HeaderMap::new(),
        body: String::new(),
        key: None,
        sends_key: false,
        token: None,
        reach: Reach::Storage,
    };
    let response = http.send(&ask).await?;
    let status = response.status();
    if !status.is_success() {
        let body = read(response, &ask).await.unwrap_or_default();
        return Err(FalError::FileRefused {
            status: status.as_u16(),
            body: shortened(&body),
        });
    }
    if response
        .content_length()
        .is_some_and(|length| length > most as u64)
    {
        return Err(FalError::Unreachable {
            host: place(&ask.url),
            reason: format!("the file is longer than {most} bytes"),
        });
    }
    let content_type = response.headers().get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    Ok(StoredFile {
        content_type: content_type.unwrap_or_default().to_owned(),
        bytes: read_bytes(response, &ask, most).await?,
    })
}

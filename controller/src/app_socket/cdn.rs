//! Uploads that lie on fal's CDN and are only named: they need not fit in a message.

use std::sync::OnceLock;
use std::time::Duration;

use fal_client::net::{Http, fetch};
use fal_client::{Endpoints, FalError};
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::binary::Upload;
use crate::config::CloudConfig;

/// The largest file that is fetched, bytes: it is held in memory.
const LARGEST: usize = 256 << 20;
/// How long a file may take.
const FETCHING: Duration = Duration::from_secs(120);

/// The way to stored files, made with the first of them.
#[derive(Debug)]
pub(super) struct Cdn {
    endpoints: Endpoints,
    http: OnceLock<Result<Http, FalError>>,
}

impl Cdn {
    /// Files come from fal's storage or the configured hosts, and from nowhere else.
    pub(super) fn new(config: &CloudConfig) -> Self {
        Self {
            endpoints: endpoints(config),
            http: OnceLock::new(),
        }
    }

    /// The file that a body names; `None` when it names none.
    ///
    /// # Errors
    ///
    /// A sentence.
    pub(super) async fn upload(&self, body: &Map<String, Value>) -> Result<Option<Upload>, String> {
        let Some(url) = body.get("_cdn_url") else {
            return Ok(None);
        };
        let url = url.as_str().ok_or("`_cdn_url` must be a text")?;
        let http = self.http.get_or_init(|| Http::new(self.endpoints.clone()));
        let http = http.as_ref().map_err(ToString::to_string)?;
        let seconds = FETCHING.as_secs();
        let file = timeout(FETCHING, fetch(http, url, LARGEST))
            .await
            .map_err(|_| format!("the file did not arrive within {seconds} seconds"))?
            .map_err(|err| err.to_string())?;
        let content_type = body.get("_content_type").and_then(Value::as_str);
        Ok(Some(Upload {
            content_type: content_type.map_or(file.content_type, str::to_owned),
            bytes: file.bytes,
        }))
    }
}

/// Fal's hosts, or those configured in their place; one that is no URL is complained about where it is connected to.
fn endpoints(config: &CloudConfig) -> Endpoints {
    let mut endpoints = Endpoints::default();
    for (property, url) in &config.properties {
        let changed = match *property {
            "run-url" => endpoints.clone().with_run_url(url),
            "rest-url" => endpoints.clone().with_rest_url(url),
            _ => continue,
        };
        endpoints = changed.unwrap_or(endpoints);
    }
    endpoints
}

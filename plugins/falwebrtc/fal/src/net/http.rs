//! HTTP requests that take care where the key goes.
//!
//! Redirects are followed by hand: a request with a key or token goes on only to a host that may see it. Loopback
//! hosts are never asked through a proxy; others are where `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say so.

use std::error::Error;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Client, Method, Response, StatusCode};
use url::{Host, Url};

use super::tls;
use crate::credentials::ApiKey;
use crate::endpoint::Endpoints;
use crate::error::FalError;
use crate::secret::Secret;

/// A host that does not take a connection within this time is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Redirects followed in a row.
const MOST_REDIRECTS: usize = 5;
/// Bytes of a reply's body that are read; signalling is far smaller.
const MOST_BODY: usize = 1 << 20;

/// Makes requests; cheap to clone.
#[derive(Debug, Clone)]
pub struct Http {
    direct: Client,
    proxied: Client,
    endpoints: Endpoints,
}

/// One request, with what must not leak.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
    pub(super) key: Option<&'a ApiKey>,
    pub(super) token: Option<&'a Secret>,
}

impl Ask<'_> {
    pub(super) fn is_secret(&self) -> bool {
        self.key.is_some() || self.token.is_some()
    }

    /// `text` of the other side without key and token.
    pub(super) fn hide_in(&self, text: &str) -> String {
        let text = self
            .key
            .map_or_else(|| text.to_owned(), |key| key.hide_in(text));
        match self.token {
            Some(token) => token.hide_in(&text),
            None => text,
        }
    }
}

impl Http {
    /// Prepares requests to these hosts.
    ///
    /// # Errors
    ///
    /// [`FalError::Unreachable`] when the system has no usable certificates.
    pub fn new(endpoints: Endpoints) -> Result<Self, FalError> {
        let tls = tls::config()?;
        let build = |proxy: bool| {
            let builder = Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_max_idle_per_host(0)
                .user_agent(concat!("gst-scope/", env!("CARGO_PKG_VERSION")));
            let builder = if proxy { builder } else { builder.no_proxy() };
            builder.build().map_err(|err| FalError::Unreachable {
                host: "any host".into(),
                reason: reason(&err),
            })
        };
        Ok(Self {
            direct: build(false)?,
            proxied: build(true)?,
            endpoints,
        })
    }

    /// The hosts in use.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// A POST of JSON with the key, answered by status and body.
    pub(super) async fn post(
        &self,
        url: Url,
        body: String,
        key: Option<&ApiKey>,
    ) -> Result<(StatusCode, String), FalError> {
        let json = HeaderValue::from_static("application/json");
        let ask = Ask {
            method: Method::POST,
            url,
            headers: HeaderMap::from_iter([(CONTENT_TYPE, json)]),
            body,
            key,
            token: None,
        };
        let response = self.send(&ask).await?;
        let status = response.status();
        Ok((status, read(response, &ask).await?))
    }

    /// Sends a request and follows its redirects.
    pub(super) async fn send(&self, ask: &Ask<'_>) -> Result<Response, FalError> {
        let mut url = ask.url.clone();
        for _ in 0..=MOST_REDIRECTS {
            if ask.is_secret() && !self.endpoints.trusts(&url) {
                return Err(FalError::ForeignHost { host: place(&url) });
            }
            let response = self.send_to(&url, ask).await?;
            let Some(next) = redirect(&response, ask, &url) else {
                return Ok(response);
            };
            url = next?;
        }
        Err(FalError::Unreachable {
            host: place(&ask.url),
            reason: format!("more than {MOST_REDIRECTS} redirects"),
        })
    }

    async fn send_to(&self, url: &Url, ask: &Ask<'_>) -> Result<Response, FalError> {
        let client = if is_loopback(url) {
            &self.direct
        } else {
            &self.proxied
        };
        let mut headers = ask.headers.clone();
        if let Some(key) = ask.key {
            let mut value = HeaderValue::from_str(key.authorization().expose())
                .map_err(|_| FalError::InvalidKey)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let request = client
            .request(ask.method.clone(), url.clone())
            .headers(headers)
            .body(ask.body.clone());
        request.send().await.map_err(|err| FalError::Unreachable {
            host: place(url),
            reason: ask.hide_in(&reason(&err)),
        })
    }
}

/// Where a reply sends us, if it does.
fn redirect(response: &Response, ask: &Ask<'_>, from: &Url) -> Option<Result<Url, FalError>> {
    let follows = match response.status() {
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
        // These turn a POST into a GET.
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => {
            ask.method == Method::GET
        }
        _ => false,
    };
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    follows.then(|| {
        let mut url = from.join(location).map_err(|_| FalError::Unreachable {
            host: place(from),
            reason: "it redirects to what is no URL".into(),
        })?;
        if url.query().is_none() {
            url.set_query(from.query());
        }
        Ok(url)
    })
}

/// The body as text, without secrets that it repeats.
pub(super) async fn read(mut response: Response, ask: &Ask<'_>) -> Result<String, FalError> {
    let host = place(&ask.url);
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|err| FalError::Unreachable {
            host: host.clone(),
            reason: ask.hide_in(&reason(&err)),
        })?
    {
        if body.len() + chunk.len() > MOST_BODY {
            let reason = format!("its reply is longer than {MOST_BODY} bytes");
            return Err(FalError::Unreachable { host, reason });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(ask.hide_in(&String::from_utf8_lossy(&body)))
}

/// Host and port, for people.
pub(super) fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or("the host");
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The innermost cause; the outer ones repeat the URL, and the token is in it.
fn reason(err: &reqwest::Error) -> String {
    let mut cause: &dyn Error = err;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if std::ptr::eq(cause, err as &dyn Error) {
        return if err.is_timeout() {
            "it did not answer in time".into()
        } else {
            "the request failed".into()
        };
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_known_in_every_spelling() {
        for (url, loopback) in [
            ("http://127.0.0.1:1/x", true),
            ("http://127.1.2.3", true),
            ("http://[::1]:80", true),
            ("http://localhost", true),
            ("http://a.localhost", true),
            ("http://192.0.2.1", false),
            ("https://fal.run", false),
            ("http://localhost.example.com", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), loopback, "{url}");
        }
    }
}

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
use crate::endpoint::{Endpoints, is_storage};
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
    /// Why nothing can be asked over TLS, if so.
    tls_trouble: Option<FalError>,
}

/// Which hosts a request may reach, its redirects included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Any, unless it carries a key or token: then as the key may.
    Any,
    /// fal's storage, fal's own and configured hosts: for addresses that a stranger named.
    Storage,
}

/// One request, with what must not leak.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
    /// Never shown, and sent if `sends_key`.
    pub(super) key: Option<&'a ApiKey>,
    pub(super) sends_key: bool,
    /// Never shown; it is in the URL.
    pub(super) token: Option<&'a Secret>,
    pub(super) reach: Reach,
}

impl Ask<'_> {
    /// Why the request must not go to `url`.
    fn refusal(&self, endpoints: &Endpoints, url: &Url) -> Option<FalError> {
        let secret = self.sent_key().is_some() || self.token.is_some();
        let host = || place(url);
        match self.reach {
            _ if endpoints.trusts(url) => None,
            Reach::Any if secret => Some(FalError::ForeignHost { host: host() }),
            Reach::Storage if !is_storage(url) => Some(FalError::ForeignStorage { host: host() }),
            Reach::Any | Reach::Storage => None,
        }
    }

    fn sent_key(&self) -> Option<&ApiKey> {
        self.key.filter(|_| self.sends_key)
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
    /// Prepares requests to these hosts. A system without certificates can still ask hosts without TLS.
    ///
    /// # Errors
    ///
    /// [`FalError::Unreachable`] when no request at all can be made.
    pub fn new(endpoints: Endpoints) -> Result<Self, FalError> {
        let (tls, tls_trouble) = match tls::config() {
            Ok(tls) => (tls, None),
            Err(trouble) => (tls::distrusting()?, Some(trouble)),
        };
        let build = |proxy: bool| {
            let builder = Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_max_idle_per_host(0)
                // Some proxies know the headers of a handshake in this spelling only.
                .http1_title_case_headers()
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
            tls_trouble,
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
            sends_key: true,
            token: None,
            reach: Reach::Any,
        };
        let response = self.send(&ask).await?;
        let status = response.status();
        Ok((status, read(response, &ask).await?))
    }

    /// Sends a request and follows its redirects.
    pub(super) async fn send(&self, ask: &Ask<'_>) -> Result<Response, FalError> {
        let mut url = ask.url.clone();
        for _ in 0..=MOST_REDIRECTS {
            if let Some(refusal) = ask.refusal(&self.endpoints, &url) {
                return Err(refusal);
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
        if let (Some(trouble), "https") = (&self.tls_trouble, url.scheme()) {
            return Err(trouble.clone());
        }
        let client = if is_loopback(url) {
            &self.direct
        } else {
            &self.proxied
        };
        let mut headers = ask.headers.clone();
        if let Some(key) = ask.sent_key() {
            let mut value = HeaderValue::from_str(key.authorization().expose())
                .map_err(|_| FalError::InvalidKey)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut request = client
            .request(ask.method.clone(), url.clone())
            .headers(headers);
        if !ask.body.is_empty() {
            request = request.body(ask.body.clone());
        }
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
        let scheme = url.scheme().replace("ws", "http");
        // From one special scheme to another, or to itself.
        let _ = url.set_scheme(&scheme);
        if url.query().is_none() {
            url.set_query(from.query());
        }
        Ok(url)
    })
}

/// The body as text, without secrets that it repeats.
pub(super) async fn read(response: Response, ask: &Ask<'_>) -> Result<String, FalError> {
    let body = read_bytes(response, ask, MOST_BODY).await?;
    Ok(ask.hide_in(&String::from_utf8_lossy(&body)))
}

/// The body, of at most `most` bytes.
pub(super) async fn read_bytes(
    mut response: Response,
    ask: &Ask<'_>,
    most: usize,
) -> Result<Vec<u8>, FalError> {
    let broken = |reason: String| FalError::Unreachable {
        host: place(&ask.url),
        reason,
    };
    let mut body = Vec::new();
    loop {
        let chunk = response.chunk().await;
        let Some(chunk) = chunk.map_err(|err| broken(ask.hide_in(&reason(&err))))? else {
            return Ok(body);
        };
        if body.len() + chunk.len() > most {
            return Err(broken(format!("its reply is longer than {most} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
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

//! Where everything is: hosts, URLs, and who may see the key.

use std::fmt;

use url::Url;

use crate::app_id::AppId;
use crate::error::FalError;
use crate::secret::Secret;

/// Query key of the token in a socket's URL.
const TOKEN_QUERY: &str = "fal_jwt_token";

/// True for `fal.ai`, `fal.run` and every host below them.
pub(crate) fn is_fal_host(host: &str) -> bool {
    is_below(host, &["fal.ai", "fal.run"])
}

/// True for files that fal stores, over TLS. The key does not go there: their addresses are public.
#[cfg(feature = "net")]
pub(crate) fn is_storage(url: &Url) -> bool {
    is_secure(url)
        && url
            .host_str()
            .is_some_and(|host| is_below(host, &["fal.media"]))
}

fn is_below(host: &str, domains: &[&str]) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    domains.iter().any(|domain| {
        host.strip_suffix(domain)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

/// The hosts in use. The default is fal's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    run: Url,
    rest: Url,
    wma: Url,
}

impl Default for Endpoints {
    fn default() -> Self {
        // Each literal is read by a test of this file.
        let fal = |url| Url::parse(url).expect("a literal URL");
        Self {
            run: fal(Self::RUN_URL),
            rest: fal(Self::REST_URL),
            wma: fal(Self::WMA_URL),
        }
    }
}

impl Endpoints {
    /// Default of the socket's host.
    pub const RUN_URL: &str = "wss://fal.run";
    /// Default of the host of tokens and storage.
    pub const REST_URL: &str = "https://rest.fal.ai";
    /// Default of the host of the WMA dialect.
    pub const WMA_URL: &str = "https://wma.fal.run";

    /// Takes another host for sockets: `ws`, `wss`, `http` or `https`, a path in it stands before the app id.
    ///
    /// # Errors
    ///
    /// [`FalError::InvalidUrl`], as for every host.
    pub fn with_run_url(mut self, url: &str) -> Result<Self, FalError> {
        self.run = base("run-url", url, true)?;
        Ok(self)
    }

    /// Takes another host for tokens and storage: `http` or `https`.
    ///
    /// # Errors
    ///
    /// [`FalError::InvalidUrl`], as for every host.
    pub fn with_rest_url(mut self, url: &str) -> Result<Self, FalError> {
        self.rest = base("rest-url", url, false)?;
        Ok(self)
    }

    /// Takes another host for the WMA dialect: `http` or `https`.
    ///
    /// # Errors
    ///
    /// [`FalError::InvalidUrl`], as for every host.
    pub fn with_wma_url(mut self, url: &str) -> Result<Self, FalError> {
        self.wma = base("wma-url", url, false)?;
        Ok(self)
    }

    /// The app's socket, without credentials.
    pub fn socket(&self, app: &AppId, path: &str) -> SocketUrl {
        SocketUrl {
            url: below(&self.run, &[&app.base(), path]),
            token: None,
        }
    }

    /// A path below the host of tokens and storage, ending as given: `/tokens/` keeps its last slash.
    pub fn rest(&self, path: &str) -> Url {
        let mut url = below(&self.rest, &[path]);
        if path.ends_with('/') {
            url.set_path(&format!("{}/", url.path().trim_end_matches('/')));
        }
        url
    }

    /// A path below the host of the WMA dialect.
    pub fn wma(&self, path: &str) -> Url {
        below(&self.wma, &[path])
    }

    /// Whether the key or a token may be sent to `url`: a fal host over TLS, or the very host, port and scheme that
    /// was configured.
    pub fn trusts(&self, url: &Url) -> bool {
        let fal = url.host_str().is_some_and(is_fal_host) && is_secure(url);
        fal || [&self.run, &self.rest, &self.wma].iter().any(|known| {
            known.host_str() == url.host_str()
                && known.port_or_known_default() == url.port_or_known_default()
                && is_secure(known) == is_secure(url)
        })
    }
}

/// A socket's address. What it prints has no query, because the token is there.
#[derive(Clone, PartialEq, Eq)]
pub struct SocketUrl {
    url: Url,
    token: Option<Secret>,
}

impl SocketUrl {
    /// The same address with a token in its query.
    #[must_use]
    pub fn with_token(mut self, token: Secret) -> Self {
        self.token = Some(token);
        self
    }

    /// The address without the token.
    pub fn public(&self) -> &Url {
        &self.url
    }

    /// The address to connect to, token and all.
    pub fn expose(&self) -> Secret {
        let mut url = self.url.clone();
        if let Some(token) = &self.token {
            url.query_pairs_mut()
                .append_pair(TOKEN_QUERY, token.expose());
        }
        Secret::new(String::from(url))
    }
}

impl fmt::Display for SocketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_query(&self.url))
    }
}

impl fmt::Debug for SocketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SocketUrl({self})")
    }
}

/// A URL fit for logs: no user, no password, no query, no fragment.
pub fn without_query(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    format!("{}://{host}{port}{}", url.scheme(), url.path())
}

fn is_secure(url: &Url) -> bool {
    matches!(url.scheme(), "https" | "wss")
}

/// A configured host as a URL that paths can be hung below.
fn base(option: &'static str, text: &str, socket: bool) -> Result<Url, FalError> {
    let text = text.trim();
    let invalid = |reason: String| FalError::InvalidUrl {
        option,
        url: text.split(['?', '#']).next().unwrap_or_default().to_owned(),
        reason,
    };
    let mut url = Url::parse(text).map_err(|err| invalid(err.to_string()))?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(invalid("it names no host".into()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("it must have no query".into()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // The text above may show a password: say nothing of it.
        return Err(FalError::InvalidUrl {
            option,
            url: without_query(&url),
            reason: "it must have no user or password".into(),
        });
    }
    let scheme = match (url.scheme(), socket) {
        ("http" | "ws", true) => "ws",
        ("https" | "wss", true) => "wss",
        ("http", false) => "http",
        ("https", false) => "https",
        (_, true) => return Err(invalid("it must be wss, ws, https or http".into())),
        (_, false) => return Err(invalid("it must be https or http".into())),
    };
    if url.host_str().is_some_and(is_fal_host) && !matches!(scheme, "wss" | "https") {
        return Err(invalid("a fal host is only spoken to over TLS".into()));
    }
    // Between two special schemes; cannot fail.
    let _ = url.set_scheme(scheme);
    Ok(url)
}

/// `base` with parts hung below its path: one slash between two, none at the end.
fn below(base: &Url, parts: &[&str]) -> Url {
    let mut url = base.clone();
    let mut path = url.path().trim_end_matches('/').to_owned();
    for part in parts {
        let part = part.trim_matches('/');
        if !part.is_empty() {
            path.push('/');
            path.push_str(part);
        }
    }
    url.set_path(&path);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(id: &str) -> AppId {
        id.parse().unwrap()
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn addresses_are_built_below_their_hosts() {
        let fal = Endpoints::default();

        assert_eq!(
            fal.socket(&app("o/a"), "webrtc").to_string(),
            "wss://fal.run/o/a/webrtc"
        );
        assert_eq!(
            fal.socket(&app("workflows/o/a"), "/x/y/").to_string(),
            "wss://fal.run/workflows/o/a/x/y"
        );
        assert_eq!(
            fal.socket(&app("123-myapp"), "").to_string(),
            "wss://fal.run/123/myapp"
        );
        assert_eq!(fal.rest("/tokens/").as_str(), "https://rest.fal.ai/tokens/");
        assert_eq!(
            fal.rest("/tokens/realtime").as_str(),
            "https://rest.fal.ai/tokens/realtime"
        );
        assert_eq!(fal.wma("session").as_str(), "https://wma.fal.run/session");
        let local = fal.with_run_url("http://127.0.0.1:9000/fal/").unwrap();
        assert_eq!(
            local.socket(&app("o/a"), "ws").to_string(),
            "ws://127.0.0.1:9000/fal/o/a/ws"
        );
    }

    #[test]
    fn the_token_is_in_the_address_and_not_in_its_print() {
        let socket = Endpoints::default()
            .socket(&app("o/a"), "webrtc")
            .with_token(Secret::new("canary-jwt"));

        assert_eq!(
            socket.expose().expose(),
            "wss://fal.run/o/a/webrtc?fal_jwt_token=canary-jwt"
        );
        assert!(!format!("{socket} {socket:?}").contains("canary"));
    }

    #[test]
    fn the_key_goes_to_fal_and_configured_hosts_alone() {
        let fal = Endpoints::default();
        for trusted in [
            "https://fal.run/x",
            "https://rest.alpha.fal.ai/tokens/",
            "wss://FAL.run",
            "https://fal.ai",
        ] {
            assert!(fal.trusts(&url(trusted)), "{trusted}");
        }
        for foreign in [
            "https://notfal.run",
            "https://fal.run.example.com",
            "https://fal.ai.evil",
            "http://fal.run",
            "ws://rest.fal.ai",
            "https://example.com",
        ] {
            assert!(!fal.trusts(&url(foreign)), "{foreign}");
        }

        let own = fal.with_rest_url("http://127.0.0.1:9000").unwrap();
        assert!(own.trusts(&url("http://127.0.0.1:9000/tokens/")));
        for foreign in [
            "http://127.0.0.1:9001",
            "https://127.0.0.1:9000",
            "http://127.0.0.2:9000",
        ] {
            assert!(!own.trusts(&url(foreign)), "{foreign}");
        }
    }

    #[test]
    fn a_host_that_cannot_be_used_says_why() {
        for (text, reason) in [
            ("fal.run", "relative URL without a base"),
            ("ftp://fal.run", "it must be wss, ws, https or http"),
            ("wss://fal.run?x=1", "it must have no query"),
            ("wss://u:canary@fal.run", "it must have no user or password"),
            ("ws://fal.run", "a fal host is only spoken to over TLS"),
        ] {
            let refused = Endpoints::default().with_run_url(text).unwrap_err();
            let sentence = refused.to_string();
            assert!(sentence.contains(reason), "{sentence}");
            assert!(!sentence.contains("canary"), "{sentence}");
        }
        assert!(Endpoints::default().with_rest_url("wss://fal.run").is_err());
    }
}

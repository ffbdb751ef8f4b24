//! Who may come in: Host, Origin, fetch metadata and token, checked on every route and WebSocket.
//!
//! Decision: no CORS at all. A page of another site can neither read an answer (no header allows it) nor cause an
//! effect (its Origin is refused before the route runs). A name that was rebound to 127.0.0.1 fails on Host, which
//! still says the name; an address needs no name lookup, so any address with our port is as good as our own.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header, uri::Authority};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::api::ApiError;
use crate::config::Config;
use crate::secret::Secret;

/// What our WebSockets call themselves; the answer to a client that names protocols.
pub const SUBPROTOCOL: &str = "gst-scope";
/// A protocol that is none: the token follows, as base64 for URLs without padding.
const TOKEN_PREFIX: &str = "bearer.";

/// The rules, made once for the bound address.
#[derive(Debug)]
pub struct Guard {
    allowed_hosts: Vec<String>,
    port: u16,
    beyond_loopback: bool,
    token: Option<Secret>,
}

impl Guard {
    /// The rules for a server listening on `bound`.
    pub fn new(config: &Config, bound: SocketAddr) -> Self {
        Self {
            allowed_hosts: config
                .allowed_hosts
                .iter()
                .map(|host| host.to_lowercase())
                .collect(),
            port: bound.port(),
            beyond_loopback: !bound.ip().is_loopback(),
            token: config.token.clone(),
        }
    }

    fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        let is_api = is_api(uri.path());
        if !self.allows_host(uri, headers) {
            return Err(forbidden(
                "host_not_allowed",
                "this server does not answer to that Host",
                "use the address it was started on, or add the name to `allowed_hosts`",
            ));
        }
        if !self.allows_origin(headers) || (is_api && is_foreign_fetch(headers)) {
            return Err(forbidden(
                "origin_not_allowed",
                "pages of other sites may not use this server",
                "open the page this server serves, or add the site's host to `allowed_hosts`",
            ));
        }
        if is_api && !self.allows_token(headers) {
            return Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "token_required",
                "a valid token is needed",
                "send `Authorization: Bearer <token>`",
            ));
        }
        Ok(())
    }

    /// Exactly one Host, ours; a request line with an address of its own must agree.
    fn allows_host(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return false;
        };
        let allows = |host: &str| host.parse().is_ok_and(|host| self.allows(&host, 80));
        host.to_str().is_ok_and(allows) && uri.authority().is_none_or(|host| self.allows(host, 80))
    }

    /// No Origin (not a browser, or a plain visit), or one on an allowed host.
    fn allows_origin(&self, headers: &HeaderMap) -> bool {
        headers.get_all(header::ORIGIN).iter().all(|origin| {
            let Ok(origin) = origin.to_str() else {
                return false;
            };
            let (origin, default_port) = match origin.split_once("://") {
                Some(("http", host)) => (host, 80),
                Some(("https", host)) => (host, 443),
                Some(_) | None => return false,
            };
            origin
                .parse()
                .is_ok_and(|host| self.allows(&host, default_port))
        })
    }

    fn allows(&self, authority: &Authority, default_port: u16) -> bool {
        if authority.as_str().contains('@') {
            return false;
        }
        let name = authority.host().to_lowercase();
        let port = authority.port_u16().unwrap_or(default_port);
        let listed = self.allowed_hosts.iter();
        if listed
            .into_iter()
            .any(|host| *host == name || *host == format!("{name}:{port}"))
        {
            return true;
        }
        let address = name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>();
        let ours = match address {
            Ok(address) => address.is_loopback() || self.beyond_loopback,
            Err(_) => name == "localhost",
        };
        ours && port == self.port
    }

    fn allows_token(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        header_token(headers).is_some_and(|given| token.matches(&given))
            || subprotocol_token(headers).is_some_and(|given| token.matches(&given))
    }
}

fn header_token(headers: &HeaderMap) -> Option<String> {
    let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, given) = given.split_once(' ')?;
    // `Key` is what clients of fal apps say.
    let known = ["bearer", "key"];
    let is_known = known.iter().any(|known| scheme.eq_ignore_ascii_case(known));
    is_known.then(|| given.trim().to_owned())
}

/// A browser can give a WebSocket no header but this one, and an address with a token in it would end up in logs.
fn subprotocol_token(headers: &HeaderMap) -> Option<String> {
    let mut offered = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let encoded = offered.find_map(|name| name.trim().strip_prefix(TOKEN_PREFIX))?;
    let given = URL_SAFE_NO_PAD.decode(encoded).ok()?;
    String::from_utf8(given).ok()
}

/// Everything but the page and the health check.
fn is_api(path: &str) -> bool {
    path == "/api"
        || path.starts_with("/api/")
        || path.ends_with("/ws")
        || path.ends_with("/webrtc")
}

/// Browsers say when a request was started by another site, even where they send no Origin (an `<img>`, say).
fn is_foreign_fetch(headers: &HeaderMap) -> bool {
    headers
        .get("sec-fetch-site")
        .is_some_and(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"))
}

fn forbidden(code: &'static str, detail: &str, hint: &str) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, code, detail, hint)
}

/// The middleware: the rules first, then the route.
pub async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    if let Err(refusal) = guard.check(request.uri(), request.headers()) {
        tracing::debug!(path = request.uri().path(), "request refused");
        return refusal.into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use axum::http::HeaderValue;

    use super::*;
    use crate::config::RawConfig;

    fn guard(bound: &str, raw: RawConfig) -> Guard {
        let config = Config::new(raw, Path::new("/home/ada")).unwrap();
        Guard::new(&config, bound.parse().unwrap())
    }

    fn local() -> Guard {
        guard("127.0.0.1:8000", RawConfig::default())
    }

    /// Whether a request to `/api/v1/x` with these headers comes in.
    fn admits(guard: &Guard, headers: &[(&'static str, &str)]) -> bool {
        let pairs = headers.iter().map(|(name, value)| {
            (
                header::HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        });
        guard
            .check(&Uri::from_static("/api/v1/x"), &pairs.collect())
            .is_ok()
    }

    #[test]
    fn loopback_is_answered_under_all_its_names() {
        for host in [
            "127.0.0.1:8000",
            "localhost:8000",
            "LOCALHOST:8000",
            "[::1]:8000",
            "127.0.0.2:8000",
        ] {
            assert!(admits(&local(), &[("host", host)]), "{host}");
        }
    }

    #[test]
    fn a_rebound_name_is_refused() {
        for host in [
            "evil.example:8000",
            "localhost.evil.example:8000",
            "localhost",
            "127.0.0.1:8001",
            "",
            "x@localhost:8000",
        ] {
            assert!(!admits(&local(), &[("host", host)]), "{host}");
        }
    }

    #[test]
    fn a_request_without_host_is_refused() {
        assert!(!admits(&local(), &[]));
    }

    #[test]
    fn a_page_of_another_site_is_refused() {
        for origin in [
            "http://evil.example",
            "https://127.0.0.1.evil.example:8000",
            "http://localhost:3000",
            "null",
            "file://",
            "http://localhost:8000.evil.example",
        ] {
            assert!(
                !admits(&local(), &[("host", "localhost:8000"), ("origin", origin)]),
                "{origin}"
            );
        }
    }

    #[test]
    fn our_own_page_is_admitted() {
        for origin in [
            "http://localhost:8000",
            "http://127.0.0.1:8000",
            "http://[::1]:8000",
        ] {
            assert!(
                admits(&local(), &[("host", "localhost:8000"), ("origin", origin)]),
                "{origin}"
            );
        }
    }

    #[test]
    fn a_picture_tag_on_another_site_is_refused_by_its_fetch_metadata() {
        for (site, admitted) in [
            ("cross-site", false),
            ("same-site", false),
            ("same-origin", true),
            ("none", true),
        ] {
            assert_eq!(
                admits(
                    &local(),
                    &[("host", "localhost:8000"), ("sec-fetch-site", site)]
                ),
                admitted,
                "{site}"
            );
        }
    }

    #[test]
    fn a_link_on_another_site_may_open_the_page() {
        let headers = HeaderMap::from_iter([
            (header::HOST, HeaderValue::from_static("localhost:8000")),
            (
                header::HeaderName::from_static("sec-fetch-site"),
                HeaderValue::from_static("cross-site"),
            ),
        ]);

        assert!(local().check(&Uri::from_static("/"), &headers).is_ok());
    }

    #[test]
    fn a_listed_host_may_stand_for_us() {
        let raw = RawConfig {
            allowed_hosts: Some(vec!["scope.example".into(), "localhost:3000".into()]),
            ..RawConfig::default()
        };
        let guard = guard("127.0.0.1:8000", raw);

        assert!(admits(
            &guard,
            &[
                ("host", "scope.example"),
                ("origin", "https://scope.example")
            ]
        ));
        assert!(admits(
            &guard,
            &[
                ("host", "localhost:8000"),
                ("origin", "http://localhost:3000")
            ]
        ));
        assert!(!admits(&guard, &[("host", "other.example")]));
    }

    #[test]
    fn beyond_loopback_addresses_are_answered_and_names_are_not() {
        let raw = RawConfig {
            token: Some(Secret::new("t")),
            ..RawConfig::default()
        };
        let guard = guard("0.0.0.0:8000", raw);
        let token = ("authorization", "Bearer t");

        assert!(admits(&guard, &[("host", "192.168.1.5:8000"), token]));
        assert!(!admits(&guard, &[("host", "evil.example:8000"), token]));
    }

    #[test]
    fn the_token_is_needed_whole_and_as_bearer() {
        let guard = guard(
            "127.0.0.1:8000",
            RawConfig {
                token: Some(Secret::new("t0k")),
                ..RawConfig::default()
            },
        );

        for (given, admitted) in [
            ("Bearer t0k", true),
            ("bearer t0k", true),
            ("Key t0k", true),
            ("Bearer t0", false),
            ("Basic t0k", false),
            ("t0k", false),
        ] {
            assert_eq!(
                admits(
                    &guard,
                    &[("host", "localhost:8000"), ("authorization", given)]
                ),
                admitted,
                "{given}"
            );
        }
        assert!(!admits(&guard, &[("host", "localhost:8000")]));
    }

    #[test]
    fn a_browsers_socket_may_carry_the_token_as_a_protocol() {
        let raw = RawConfig {
            token: Some(Secret::new("t0k")),
            ..RawConfig::default()
        };
        let guard = guard("127.0.0.1:8000", raw);

        for (offered, admitted) in [
            ("gst-scope, bearer.dDBr", true),
            ("bearer.dDBr", true),
            ("gst-scope, bearer.dDBs", false),
            ("gst-scope, bearer.dDB", false),
            ("gst-scope, bearer.", false),
            ("gst-scope", false),
        ] {
            let headers = [
                ("host", "localhost:8000"),
                ("sec-websocket-protocol", offered),
            ];
            assert_eq!(admits(&guard, &headers), admitted, "{offered}");
        }
    }
}

//! The web page: built into the program, or a folder named by `--frontend-dir`.
//!
//! Any path that is no file answers with the page itself, as single-page applications expect. Our own page comes with
//! a policy that lets it load and reach nothing but this server; a foreign page in a folder brings its own.

use std::path::Path;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::api::{ApiError, AppState, serve_file};

const INDEX: &str = "index.html";
/// Our page's own folder in URLs.
const OURS: &str = "ui/";
const POLICY: &str = "default-src 'self'; media-src 'self' blob:; img-src 'self' blob: data:; connect-src 'self'; \
    frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

#[derive(RustEmbed)]
#[folder = "ui"]
struct BuiltIn;

/// The fallback route: whatever is no API.
pub async fn serve(State(state): State<AppState>, request: Request) -> Response {
    let Some(path) = plain_path(request.uri().path()) else {
        return outside().into_response();
    };
    match &state.config.frontend_dir {
        Some(folder) => from_folder(folder, &path, request.headers()).await,
        None => built_in(&path, request.headers()),
    }
}

/// The decoded path without its leading slash; `None` when it holds steps upwards.
fn plain_path(path: &str) -> Option<String> {
    let path = percent_encoding::percent_decode_str(path.trim_start_matches('/'))
        .decode_utf8()
        .ok()?;
    let is_plain = path.split('/').all(|step| step != ".." && step != ".")
        && !path.contains('\\')
        && !path.chars().any(char::is_control);
    is_plain.then(|| path.into_owned())
}

fn outside() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "invalid_path",
        "Invalid path",
        "ask for a plain path",
    )
}

fn built_in(path: &str, headers: &HeaderMap) -> Response {
    let name = path.strip_prefix(OURS).unwrap_or(path);
    match BuiltIn::get(name) {
        Some(file) => built_in_file(name, &file, headers),
        // A missing part of the page must not answer as HTML: the browser would call it a broken script.
        None if path.starts_with(OURS) => ApiError::not_found(
            "no_such_file",
            "the page has no such file",
            "reload the page",
        )
        .into_response(),
        None => BuiltIn::get(INDEX).map_or_else(
            || outside().into_response(),
            |file| built_in_file(INDEX, &file, headers),
        ),
    }
}

fn built_in_file(name: &str, file: &EmbeddedFile, headers: &HeaderMap) -> Response {
    let hash: String = file.metadata.sha256_hash()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let tag = format!("\"{hash}\"");
    let known = headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let body = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        file.data.clone().into_response()
    };
    let kind = mime_guess::from_path(name).first_or_octet_stream();
    let fixed = [
        // Kept, but asked about each time: a new program brings a new page.
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    let content_type = if kind.type_() == "text" {
        format!("{kind}; charset=utf-8")
    } else {
        kind.to_string()
    };
    (
        fixed,
        [(header::CONTENT_TYPE, content_type), (header::ETAG, tag)],
        body,
    )
        .into_response()
}

async fn from_folder(folder: &Path, path: &str, headers: &HeaderMap) -> Response {
    let wanted = folder.join(path);
    let (root, real) = (
        tokio::fs::canonicalize(folder).await,
        tokio::fs::canonicalize(&wanted).await,
    );
    let file = match (root, real) {
        (Ok(root), Ok(real)) if !real.starts_with(&root) => return outside().into_response(),
        (Ok(_), Ok(real))
            if tokio::fs::metadata(&real)
                .await
                .is_ok_and(|found| found.is_file()) =>
        {
            real
        }
        _ => folder.join(INDEX),
    };
    let is_page = file
        .extension()
        .is_some_and(|extension| extension == "html");
    let range = headers
        .get(header::RANGE)
        .and_then(|range| range.to_str().ok());
    match serve_file(&file, range).await {
        Ok(mut response) if is_page => {
            let never = HeaderValue::from_static("no-cache, no-store, must-revalidate");
            response.headers_mut().insert(header::CACHE_CONTROL, never);
            response
        }
        Ok(response) => response,
        Err(err) => err.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_upwards_are_no_plain_path() {
        for path in [
            "/../x",
            "/a/%2e%2e/x",
            "/a/..%2fx",
            "/a%5c..",
            "/a%00",
            "/%ff",
        ] {
            assert_eq!(plain_path(path), None, "{path}");
        }
        assert_eq!(plain_path("/ui/app.js").as_deref(), Some("ui/app.js"));
    }

    #[test]
    fn the_page_and_its_parts_are_built_in() {
        assert!(BuiltIn::get(INDEX).is_some());
        assert_eq!(
            built_in("ui/nothing.js", &HeaderMap::new()).status(),
            StatusCode::NOT_FOUND
        );
        assert_eq!(
            built_in("some/place", &HeaderMap::new()).status(),
            StatusCode::OK
        );
    }

    #[test]
    fn a_page_the_browser_has_is_not_sent_again() {
        let first = built_in("", &HeaderMap::new());
        let known =
            HeaderMap::from_iter([(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone())]);

        assert_eq!(built_in("", &known).status(), StatusCode::NOT_MODIFIED);
    }
}

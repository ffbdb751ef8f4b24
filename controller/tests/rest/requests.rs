//! What is the same on every route: unknown paths, wrong methods, bodies that are none, and the page.

use axum::http::{Method, StatusCode};
use scope_controller::config::RawConfig;
use serde_json::json;

use crate::support::Scope;

#[tokio::test]
async fn an_unknown_route_under_api_is_404_in_json() {
    let scope = Scope::new();

    for path in [
        "/api",
        "/api/v1/nope",
        "/api/v2/health",
        "/api/v1/session/nothing",
    ] {
        scope.get(path).await.assert_error(404, "unknown_route");
        scope
            .ask(Method::POST, path, "")
            .await
            .assert_error(404, "unknown_route");
    }
}

#[tokio::test]
async fn a_wrong_method_is_405_and_names_the_right_one() {
    let scope = Scope::new();

    let reply = scope.ask(Method::DELETE, "/api/v1/pipeline/load", "").await;
    reply.assert_error(405, "method_not_allowed");
    assert_eq!(reply.headers["allow"], "POST");
    scope
        .ask(Method::POST, "/some/page", "")
        .await
        .assert_error(405, "method_not_allowed");
    scope
        .ask(Method::OPTIONS, "/api/v1/pipeline/status", "")
        .await
        .assert_error(405, "method_not_allowed");
}

#[tokio::test]
async fn a_head_request_has_headers_and_no_body() {
    let reply = Scope::new().ask(Method::HEAD, "/health", "").await;

    assert_eq!((reply.status, reply.body.len()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn a_body_that_is_none_is_named_as_fastapi_does() {
    let scope = Scope::new();
    let send = |body: &'static str| scope.ask(Method::POST, "/api/v1/pipeline/load", body);

    insta::assert_json_snapshot!("no body", send("").await.json());
    insta::assert_json_snapshot!(
        "broken JSON",
        send("{\"pipeline_ids\": [NaN]}").await.json()
    );
    insta::assert_json_snapshot!("no object", send("[1]").await.json());
}

#[tokio::test]
async fn a_body_without_end_is_413() {
    let body = format!("{{\"pipeline_ids\":[\"{}\"]}}", "x".repeat(2 << 20));

    Scope::new()
        .ask(Method::POST, "/api/v1/pipeline/load", body)
        .await
        .assert_error(413, "body_too_large");
}

#[tokio::test]
async fn the_page_is_served_for_any_other_path_with_its_policy() {
    let scope = Scope::new();

    for path in ["/", "/some/place"] {
        let reply = scope.get(path).await;
        assert_eq!(reply.headers["content-type"], "text/html; charset=utf-8");
        assert_eq!(
            reply.headers["content-security-policy"],
            "default-src 'self'; media-src 'self' blob:; img-src 'self' blob: data:; connect-src 'self'; \
             frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
        );
        assert_eq!(reply.headers["cache-control"], "no-cache");
    }
    let script = scope.get("/ui/app.js").await;
    assert!(
        script.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/javascript")
    );
    scope
        .get("/ui/nope.js")
        .await
        .assert_error(404, "no_such_file");
    scope
        .get("/../../etc/passwd")
        .await
        .assert_error(403, "invalid_path");
}

#[tokio::test]
async fn a_folder_takes_the_place_of_the_page_and_is_not_left() {
    let page = tempfile::tempdir().unwrap();
    std::fs::create_dir(page.path().join("assets")).unwrap();
    std::fs::write(page.path().join("index.html"), "their page").unwrap();
    std::fs::write(page.path().join("assets/a.js"), "code").unwrap();
    let out = tempfile::tempdir().unwrap();
    std::fs::write(out.path().join("secret"), "secret").unwrap();
    std::os::unix::fs::symlink(out.path(), page.path().join("out")).unwrap();
    let scope = Scope::with(RawConfig {
        frontend_dir: Some(page.path().into()),
        ..RawConfig::default()
    });

    assert_eq!(scope.get("/").await.body, b"their page");
    assert_eq!(scope.get("/assets/a.js").await.body, b"code");
    assert_eq!(scope.get("/any/place").await.body, b"their page");
    scope
        .get("/out/secret")
        .await
        .assert_error(403, "invalid_path");
    scope
        .get("/%2e%2e/secret")
        .await
        .assert_error(403, "invalid_path");
}

#[tokio::test]
async fn unknown_keys_are_let_through() {
    let scope = Scope::new();

    let body =
        json!({ "pipeline_ids": ["passthrough"], "user_id": "x", "connection_info": { "a": 1 } });

    assert_eq!(
        scope.post("/api/v1/pipeline/load", &body).await.status,
        StatusCode::OK
    );
}

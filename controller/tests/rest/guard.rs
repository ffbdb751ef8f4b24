//! A page of another site has no effect.

use axum::body::Body;
use axum::http::Request;
use scope_controller::config::RawConfig;
use scope_controller::secret::Secret;

use crate::support::{Reply, Scope};

async fn load(scope: &Scope, headers: &[(&str, &str)]) -> Reply {
    let request = headers.iter().fold(
        Request::post("/api/v1/pipeline/load"),
        |request, (name, value)| request.header(*name, *value),
    );
    scope
        .send(
            request
                .body(Body::from(r#"{"pipeline_ids":["passthrough"]}"#))
                .unwrap(),
        )
        .await
}

#[tokio::test]
async fn a_post_from_another_site_changes_nothing() {
    let scope = Scope::new();

    let headers = [
        ("host", "localhost:8000"),
        ("origin", "https://evil.example"),
        ("content-type", "text/plain"),
    ];
    let reply = load(&scope, &headers).await;

    reply.assert_error(403, "origin_not_allowed");
    assert!(reply.headers.get("access-control-allow-origin").is_none());
    assert_eq!(scope.status().await["status"], "not_loaded");
}

#[tokio::test]
async fn a_rebound_name_is_refused_everywhere() {
    let scope = Scope::new();

    for path in [
        "/",
        "/health",
        "/api/v1/pipeline/status",
        "/api/v1/nope",
        "/ui/app.js",
        "/ws",
    ] {
        let request = Request::get(path)
            .header("host", "evil.example:8000")
            .body(Body::empty())
            .unwrap();
        scope
            .send(request)
            .await
            .assert_error(403, "host_not_allowed");
    }
}

#[tokio::test]
async fn with_a_token_the_page_is_open_and_the_api_is_not() {
    let scope = Scope::with(RawConfig {
        token: Some(Secret::new("canary")),
        ..RawConfig::default()
    });

    assert_eq!(scope.get("/").await.status, 200);
    let refused = scope.get("/api/v1/pipeline/status").await;
    refused.assert_error(401, "token_required");
    assert_eq!(refused.headers["www-authenticate"], "Bearer");
    assert!(!String::from_utf8(refused.body).unwrap().contains("canary"));
    scope
        .get("/api/v1/nope")
        .await
        .assert_error(401, "token_required");
    let admitted = load(
        &scope,
        &[
            ("host", "localhost:8000"),
            ("authorization", "Bearer canary"),
        ],
    )
    .await;
    assert_eq!(admitted.status, 200);
}

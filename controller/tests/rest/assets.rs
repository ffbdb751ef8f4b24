//! Uploads and downloads.

use axum::body::Body;
use axum::http::{Method, Request};
use futures_util::stream;
use scope_controller::config::RawConfig;
use serde_json::json;

use crate::support::{Reply, Scope, painted};

async fn upload(scope: &Scope, name: &str, bytes: &'static [u8]) -> Reply {
    scope
        .ask(
            Method::POST,
            &format!("/api/v1/assets?filename={name}"),
            bytes,
        )
        .await
}

#[tokio::test]
async fn an_uploaded_file_is_described_listed_and_served() {
    let scope = Scope::new();

    let reply = upload(&scope, "sub/a.png", b"0123456789").await;

    let asset = reply.json();
    insta::assert_json_snapshot!(painted(asset.clone(), &["/path", "/created_at"]));
    assert!(
        asset["path"]
            .as_str()
            .unwrap()
            .ends_with("/assets/sub/a.png")
    );
    assert_eq!(
        scope.get("/api/v1/assets?type=image").await.json()["assets"],
        json!([asset])
    );
    let served = scope.get("/api/v1/assets/sub/a.png").await;
    assert_eq!(
        (served.body.as_slice(), &served.headers["content-type"]),
        (b"0123456789".as_slice(), &"image/png".parse().unwrap())
    );
}

#[tokio::test]
async fn a_player_may_ask_for_a_part() {
    let scope = Scope::new();
    upload(&scope, "a.mp4", b"0123456789").await;
    let ask = |range: &'static str| {
        let request = Request::get("/api/v1/assets/a.mp4")
            .header("host", "localhost:8000")
            .header("range", range);
        scope.send(request.body(Body::empty()).unwrap())
    };

    let part = ask("bytes=2-4").await;
    assert_eq!(
        (part.status.as_u16(), part.body.as_slice()),
        (206, b"234".as_slice())
    );
    assert_eq!(part.headers["content-range"], "bytes 2-4/10");
    assert_eq!(ask("bytes=99-").await.status, 416);
}

#[tokio::test]
async fn names_that_lead_out_are_refused_both_ways() {
    let scope = Scope::new();

    for name in [
        "../x.png",
        "..%2Fx.png",
        "a/../../x.png",
        "%2Fetc%2Fx.png",
        ".png",
        "",
    ] {
        upload(&scope, name, b"")
            .await
            .assert_error(400, "invalid_filename");
    }
    for name in ["..%2F..%2Fetc%2Fpasswd", "a/..%2F..%2Fx", ".hidden"] {
        scope
            .get(&format!("/api/v1/assets/{name}"))
            .await
            .assert_error(403, "invalid_path");
    }
    scope
        .get("/api/v1/assets/none.png")
        .await
        .assert_error(404, "asset_not_found");
    scope
        .get("/api/v1/assets/%2Fetc%2Fpasswd")
        .await
        .assert_error(404, "asset_not_found");
}

#[tokio::test]
async fn a_page_is_no_asset() {
    upload(&Scope::new(), "a.html", b"")
        .await
        .assert_error(400, "invalid_file_type");
}

#[tokio::test]
async fn an_upload_without_name_is_named() {
    Scope::new()
        .ask(Method::POST, "/api/v1/assets", "")
        .await
        .assert_error(422, "invalid_request");
}

fn small() -> Scope {
    Scope::with(RawConfig {
        upload_limit_mib: Some(1),
        ..RawConfig::default()
    })
}

#[tokio::test]
async fn an_upload_that_announces_too_much_is_refused_unread() {
    let request = Request::post("/api/v1/assets?filename=a.mp4")
        .header("host", "localhost:8000")
        .header("content-length", 10_u64 << 30);
    let never = stream::pending::<Result<Vec<u8>, std::io::Error>>();

    let reply = small()
        .send(request.body(Body::from_stream(never)).unwrap())
        .await;

    reply.assert_error(413, "upload_too_large");
}

#[tokio::test]
async fn an_endless_upload_is_refused_at_the_limit_and_leaves_nothing() {
    let scope = small();
    let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(vec![0_u8; 1 << 16]));
    let request =
        Request::post("/api/v1/assets?filename=sub/a.mp4").header("host", "localhost:8000");

    let reply = scope
        .send(request.body(Body::from_stream(endless)).unwrap())
        .await;

    reply.assert_error(413, "upload_too_large");
    assert_eq!(
        std::fs::read_dir(scope.folder.path().join("assets/sub"))
            .unwrap()
            .count(),
        0
    );
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let scope = Scope::new();
    let pieces = stream::iter([Ok(vec![0_u8]), Err(std::io::Error::other("gone"))]);
    let request = Request::post("/api/v1/assets?filename=a.mp4").header("host", "localhost:8000");

    let reply = scope
        .send(request.body(Body::from_stream(pieces)).unwrap())
        .await;

    reply.assert_error(400, "upload_interrupted");
    assert_eq!(
        std::fs::read_dir(scope.folder.path().join("assets"))
            .unwrap()
            .count(),
        0
    );
}

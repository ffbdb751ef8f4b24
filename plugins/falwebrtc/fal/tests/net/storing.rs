//! Fetching files that a client named by their address.

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use fal_client::net::{Http, StoredFile, fetch};
use fal_client::{Endpoints, FalError};

use crate::fal::{Fal, Upgrade, redirect, refuse};

async fn server() -> (Fal, Http) {
    let fal = Fal::new(
        |seen, _| match seen.path.as_str() {
            "/a.png" => ([(CONTENT_TYPE, "image/png")], vec![7; 1000]).into_response(),
            "/moved" => redirect(302, "/a.png"),
            "/out" => redirect(302, "http://127.0.0.1:9/a.png"),
            _ => refuse(404, "no such file"),
        },
        |_| Upgrade::Hang,
    )
    .await;
    let hosts = Endpoints::default().with_rest_url(&fal.url()).unwrap();
    (fal, Http::new(hosts).unwrap())
}

#[tokio::test]
async fn a_file_comes_with_its_type() {
    let (fal, http) = server().await;
    for path in ["/a.png", "/moved"] {
        let file = fetch(&http, &format!("{}{path}", fal.url()), 1000).await;
        assert_eq!(
            file,
            Ok(StoredFile {
                content_type: "image/png".into(),
                bytes: vec![7; 1000]
            })
        );
    }
    assert!(fal.seen().iter().all(|seen| seen.authorization.is_empty()));
}

#[tokio::test]
async fn what_cannot_be_fetched_says_why() {
    let (fal, http) = server().await;
    let mut told = Vec::new();
    for path in ["/a.png", "/none"] {
        let refused = fetch(&http, &format!("{}{path}", fal.url()), 999).await;
        told.push(refused.unwrap_err().to_string());
    }
    let address = fal.address;
    assert_eq!(
        told,
        [
            format!("{address} cannot be reached: the file is longer than 999 bytes"),
            "the file cannot be fetched: 404 no such file".to_owned(),
        ]
    );
    assert!(matches!(
        fetch(&http, "no url", 9).await,
        Err(FalError::InvalidUrl { .. })
    ));
}

#[tokio::test]
async fn a_client_cannot_send_us_into_our_own_network() {
    let (fal, http) = server().await;
    for address in [
        "http://127.0.0.1:9/a.png".to_owned(),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "https://fal.media.example.com/a".to_owned(),
        "http://v3.fal.media/a".to_owned(),
        "file:///etc/passwd".to_owned(),
        format!("{}/out", fal.url()),
    ] {
        let refused = fetch(&http, &address, 1000).await;
        assert!(
            matches!(refused, Err(FalError::ForeignStorage { .. })),
            "{address}: {refused:?}"
        );
    }
}

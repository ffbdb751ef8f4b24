//! Recordings over REST: bodies, refusals, and the file as a download.

use axum::http::{Method, Request, header};
use scope_controller::session::RecordingError;
use serde_json::{Value, json};

use crate::support::Scope;

async fn post(scope: &Scope, path: &str) -> (u16, Value) {
    let path = format!("/api/v1/recordings/{path}");
    let reply = scope.ask(Method::POST, &path, "").await;
    (reply.status.as_u16(), reply.json())
}

#[tokio::test]
async fn starting_and_stopping_say_what_became_of_it() {
    let scope = Scope::new();
    let mut bodies = serde_json::Map::new();
    for (turn, verb) in ["stop", "start", "start", "stop", "stop"]
        .into_iter()
        .enumerate()
    {
        let (status, body) = post(&scope, &format!("s1/{verb}")).await;
        assert_eq!(status, 200, "{body}");
        bodies.insert(format!("{turn} {verb}"), body);
    }

    insta::assert_json_snapshot!(bodies);
    assert!(
        scope
            .sessions
            .recordings
            .lock()
            .unwrap()
            .asked
            .contains(&("s1".into(), None))
    );
}

#[tokio::test]
async fn a_node_is_named_in_the_address() {
    let scope = Scope::new();

    post(&scope, "headless/start?node_id=film%20one").await;

    let asked = scope.sessions.recordings.lock().unwrap().asked.clone();
    assert_eq!(asked, [("headless".into(), Some("film one".into()))]);
}

#[tokio::test]
async fn every_refusal_has_its_status_and_says_what_to_do() {
    let scope = Scope::new();
    let text = || "why".to_owned();
    let refusals = [
        (
            RecordingError::NoSession("x".into()),
            404,
            "session_not_found",
        ),
        (RecordingError::NoNodes(text()), 400, "no_record_nodes"),
        (
            RecordingError::UnknownNode(text(), text()),
            400,
            "unknown_record_node",
        ),
        (
            RecordingError::NodeNeeded(text()),
            400,
            "record_node_needed",
        ),
        (RecordingError::Between(text()), 400, "record_node_between"),
        (RecordingError::Nothing(text()), 404, "no_recording"),
        (RecordingError::Full(text()), 507, "disk_full"),
        (RecordingError::Failed(text()), 500, "recording_failed"),
    ];
    for (refusal, status, code) in refusals {
        for (method, path) in [
            (Method::POST, "/start"),
            (Method::POST, "/stop"),
            (Method::GET, ""),
        ] {
            scope.sessions.recordings.lock().unwrap().refusal = Some(refusal.clone());
            let path = format!("/api/v1/recordings/x{path}");
            scope
                .ask(method, &path, "")
                .await
                .assert_error(status, code);
        }
    }
    let unknown = RecordingError::NoSession("x".into()).to_string();
    assert_eq!(unknown, "Session x not found", "clients match on it");
}

#[tokio::test]
async fn a_recording_is_a_download_under_the_name_clients_expect() {
    let scope = Scope::new();
    scope
        .get("/api/v1/recordings/s1")
        .await
        .assert_error(404, "no_recording");
    let file = scope
        .folder
        .path()
        .join("recording-20261121_174455-1f4712db_2.mp4");
    std::fs::write(&file, b"0123456789").unwrap();
    scope.sessions.recordings.lock().unwrap().file = Some(file);

    let whole = scope.get("/api/v1/recordings/s1").await;
    assert_eq!(
        (whole.status.as_u16(), whole.body.as_slice()),
        (200, &b"0123456789"[..])
    );
    assert_eq!(whole.headers[header::CONTENT_TYPE], "video/mp4");
    assert_eq!(
        whole.headers[header::CONTENT_DISPOSITION],
        "attachment; filename=\"recording-20261121_174455.mp4\""
    );
    let node = scope.get("/api/v1/recordings/s1?node_id=film").await;
    assert_eq!(
        node.headers[header::CONTENT_DISPOSITION],
        "attachment; filename=\"recording-film-20261121_174455.mp4\""
    );
    let request = Request::get("/api/v1/recordings/s1")
        .header("host", "localhost:8000")
        .header(header::RANGE, "bytes=2-4");
    let part = scope.send(request.body("".into()).unwrap()).await;
    assert_eq!(
        (part.status.as_u16(), part.body.as_slice()),
        (206, &b"234"[..])
    );
    assert_eq!(
        json!(part.headers[header::CONTENT_RANGE].to_str().unwrap()),
        "bytes 2-4/10"
    );
    let piece = scope.get("/api/v1/recordings/s1?range=bytes=8-20").await;
    assert_eq!(
        (piece.status.as_u16(), piece.body.as_slice()),
        (206, &b"89"[..])
    );
    let beyond = scope.get("/api/v1/recordings/s1?range=bytes=10-").await;
    assert_eq!(beyond.status, 416);
}

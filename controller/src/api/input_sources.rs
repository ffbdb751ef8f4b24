//! Pictures that a session can take in place of a client's: other applications', videos among the assets, test pictures.
//! Which there are, how large they are, what they look like.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::AppState;
use super::error::ApiError;
use super::extract::query_values;
use super::shape::{Field, Shape, check_fields, optional};
use crate::library::assets::Asset;
use crate::media::film;
use crate::media::senders::{self, Origin, Preview, Sender};

/// Every kind a client may ask for: name, title, description.
const KINDS: [(&str, &str, &str); 5] = [
    (
        "spout",
        "Spout",
        "Pictures that other applications on this machine share by name",
    ),
    (
        "video_file",
        "Video file",
        "Videos of the assets folder, over and over",
    ),
    ("test", "Test picture", "Pictures that this server draws"),
    ("ndi", "NDI", "Pictures from the network"),
    (
        "syphon",
        "Syphon",
        "Pictures that other applications on a Mac share",
    ),
];
const SPOUT: &str = "spout";
const FILE: &str = "video_file";
const TEST: &str = "test";
/// How long a preview waits for a picture before it ends.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a sender without a size is looked at again.
const LOOK: Duration = Duration::from_millis(50);

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/v1/input-sources", get(kinds))
        .route("/api/v1/input-sources/{kind}/sources", get(sources))
        .route(
            "/api/v1/input-sources/{kind}/sources/{identifier}/resolution",
            get(resolution),
        )
        .route(
            "/api/v1/input-sources/{kind}/sources/{identifier}/stream",
            get(stream),
        )
}

async fn kinds(State(state): State<AppState>) -> Json<Value> {
    let kind = |(id, name, description): (&str, &str, &str)| {
        json!({
            "source_id": id,
            "source_name": name,
            "source_description": description,
            "available": is_able(&state, id),
        })
    };
    Json(json!({ "input_sources": KINDS.map(kind) }))
}

async fn sources(
    State(state): State<AppState>,
    Path(kind): Path<String>,
) -> Result<Json<Value>, ApiError> {
    check(&state, &kind)?;
    let found: Vec<Value> = match kind.as_str() {
        FILE => films(&state).await.iter().map(film_source).collect(),
        TEST => film::PATTERNS.map(pattern_source).to_vec(),
        _ => list().await.iter().map(sender_source).collect(),
    };
    Ok(Json(json!({ "source_type": kind, "sources": found })))
}

fn sender_source(sender: &Sender) -> Value {
    let size = |(width, height)| json!({"width": width, "height": height});
    json!({
        "name": sender.name,
        "identifier": sender.name,
        "metadata": sender.size.map(size),
    })
}

fn film_source(film: &Asset) -> Value {
    json!({
        "name": film.name,
        "identifier": film.path,
        "metadata": {"filename": film.path.file_name().map(|name| name.to_string_lossy())},
    })
}

fn pattern_source(name: &str) -> Value {
    json!({ "name": name, "identifier": name, "metadata": null })
}

async fn films(state: &AppState) -> Vec<Asset> {
    let assets = state.library.assets.clone();
    tokio::task::spawn_blocking(move || assets.list(Some("video")))
        .await
        .unwrap_or_default()
}

async fn resolution(
    State(state): State<AppState>,
    Path((kind, identifier)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, ApiError> {
    check(&state, &kind)?;
    let query = read(
        query,
        &[optional("timeout_ms", Shape::Whole(0.0, 30_000.0))],
    )?;
    let wait = query.get("timeout_ms").and_then(Value::as_u64);
    let patience = Duration::from_millis(wait.unwrap_or(5000));
    let known = match origin(&state, &kind, &identifier).await? {
        Origin::Pattern(_) => Some(Some(film::PATTERN_SIZE)),
        Origin::File(path) => {
            let size = tokio::task::spawn_blocking(move || film::size(&path, patience));
            Some(size.await.ok().flatten())
        }
        Origin::Sender(_) => None,
    };
    if let Some(size) = known {
        let (width, height) = size.ok_or_else(|| no_picture(&identifier, patience))?;
        return Ok(Json(json!({ "width": width, "height": height })));
    }
    let end = Instant::now() + patience;
    loop {
        let found = find(&identifier).await?;
        if let Some((width, height)) = found.size {
            return Ok(Json(json!({ "width": width, "height": height })));
        }
        if Instant::now() >= end {
            return Err(no_picture(&identifier, patience));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn no_picture(identifier: &str, patience: Duration) -> ApiError {
    ApiError::new(
        StatusCode::REQUEST_TIMEOUT,
        "no_picture_yet",
        format!("`{identifier}` has shown no picture within {patience:?}"),
        "start its output, then ask again",
    )
}

/// What is meant by a name, when it is there.
async fn origin(state: &AppState, kind: &str, identifier: &str) -> Result<Origin, ApiError> {
    let missing = |hint: &str| {
        ApiError::not_found(
            "no_such_source",
            format!("there is no `{identifier}` of the kind `{kind}`"),
            hint,
        )
    };
    match kind {
        FILE => {
            let (assets, name) = (state.library.assets.clone(), identifier.to_owned());
            let found = tokio::task::spawn_blocking(move || assets.film(&name)).await;
            match found {
                Ok(Ok(path)) => Ok(Origin::File(path)),
                Ok(Err(_)) | Err(_) => Err(missing("see GET /api/v1/assets?type=video")),
            }
        }
        TEST if film::PATTERNS.contains(&identifier) => Ok(Origin::Pattern(identifier.into())),
        TEST => Err(missing("see GET /api/v1/input-sources/test/sources")),
        _ => Ok(Origin::Sender(find(identifier).await?.name)),
    }
}

/// JPEG after JPEG, for an `<img>`; ends when the sender has gone or the reader leaves.
async fn stream(
    State(state): State<AppState>,
    Path((kind, identifier)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, ApiError> {
    check(&state, &kind)?;
    let fields = [
        optional("fps", Shape::Whole(1.0, 30.0)),
        optional("flip_vertical", Shape::Flag),
    ];
    let query = read(query, &fields)?;
    let rate = query.get("fps").and_then(Value::as_u64);
    let rate = rate.and_then(|rate| u32::try_from(rate).ok()).unwrap_or(2);
    let flipped = query.get("flip_vertical").and_then(Value::as_bool) == Some(true);
    let origin = origin(&state, &kind, &identifier).await?;
    let started = tokio::task::spawn_blocking(move || Preview::start(&origin, rate, flipped)).await;
    let preview = match started {
        Ok(Ok(preview)) => preview,
        Ok(Err(error)) => return Err(ApiError::internal("no_preview", error.to_string())),
        Err(_) => return Err(ApiError::internal("no_preview", "the preview broke off")),
    };
    let parts = futures_util::stream::unfold(preview, |mut preview| async move {
        let picture = preview.next(PATIENCE).await?;
        let part = part(&picture)?;
        Some((Ok::<_, Infallible>(part), preview))
    });
    let kind = "multipart/x-mixed-replace; boundary=frame";
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::from_stream(parts)).into_response())
}

/// One picture in its wrapping.
fn part(picture: &gst::BufferRef) -> Option<Bytes> {
    let jpeg = picture.map_readable().ok()?;
    let head = format!(
        "--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n",
        jpeg.len()
    );
    Some([head.as_bytes(), &jpeg, b"\r\n"].concat().into())
}

fn read(query: HashMap<String, String>, fields: &[Field]) -> Result<Map<String, Value>, ApiError> {
    let values = query_values(query);
    let issues = check_fields(fields, &values, &["query".into()]);
    if issues.is_empty() {
        Ok(values)
    } else {
        Err(issues.into())
    }
}

async fn list() -> Vec<Sender> {
    tokio::task::spawn_blocking(senders::list)
        .await
        .unwrap_or_default()
}

async fn find(name: &str) -> Result<Sender, ApiError> {
    let found = list().await.into_iter().find(|sender| sender.name == name);
    found.ok_or_else(|| {
        ApiError::not_found(
            "no_such_sender",
            format!("nobody shares a picture as `{name}`"),
            "see GET /api/v1/input-sources/spout/sources",
        )
    })
}

fn is_able(state: &AppState, kind: &str) -> bool {
    match kind {
        SPOUT => state.library.keepers.has_element(senders::SOURCE),
        _ => [FILE, TEST].contains(&kind),
    }
}

fn check(state: &AppState, kind: &str) -> Result<(), ApiError> {
    let known = KINDS.map(|(id, _, _)| id);
    if !known.contains(&kind) {
        return Err(ApiError::not_found(
            "unknown_input_source",
            format!("there is no input source `{kind}`"),
            format!("known are {}", known.join(", ")),
        ));
    }
    if !is_able(state, kind) {
        return Err(ApiError::bad_request(
            "input_source_unavailable",
            format!("`{kind}` is not available on this system"),
            "see `available` in GET /api/v1/input-sources",
        ));
    }
    Ok(())
}

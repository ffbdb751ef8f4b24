//! Listing, uploading and serving files.
//!
//! An upload streams to disk: its size costs no memory. One that is too large is refused before its first byte when it
//! says so, else on the byte too many. What is still coming is then read and thrown away for a while, because many
//! clients read the answer only after their last byte.

use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::AppState;
use super::error::ApiError;
use super::files;
use super::issue::Issue;
use crate::library::assets::{Asset, AssetError, Upload};

/// Longest silence within an upload.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the rest of a refused upload is read.
const LINGER: Duration = Duration::from_secs(10);

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/v1/assets", get(list).post(upload))
        .route("/api/v1/assets/{*path}", get(serve))
        // Uploads have a limit of their own.
        .layer(DefaultBodyLimit::disable())
}

#[derive(Deserialize)]
struct ListQuery {
    r#type: Option<String>,
}

async fn list(
    State(state): State<AppState>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, ApiError> {
    let look = move || Ok(state.library.assets.list(query.r#type.as_deref()));
    let assets: Vec<Asset> = blocking(look).await?;
    Ok(Json(json!({ "assets": assets })))
}

#[derive(Deserialize)]
struct UploadQuery {
    filename: Option<String>,
}

async fn upload(
    State(state): State<AppState>,
    Query(query): Query<UploadQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Asset>, ApiError> {
    let loc = || vec!["query".into(), "filename".into()];
    let name = query.filename.ok_or_else(|| Issue::missing(loc()))?;
    let mut stream = body.into_data_stream();
    let received = receive(&state, name, &headers, &mut stream).await;
    if received.is_err() {
        tokio::spawn(timeout(LINGER, async move {
            while let Some(Ok(_)) = stream.next().await {}
        }));
    }
    Ok(Json(received?))
}

async fn receive(
    state: &AppState,
    name: String,
    headers: &HeaderMap,
    stream: &mut BodyDataStream,
) -> Result<Asset, ApiError> {
    let assets = state.library.assets.clone();
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok());
    if announced
        .and_then(|length| length.parse::<u64>().ok())
        .is_some_and(|size| size > assets.limit())
    {
        return Err(upload_error(AssetError::TooLarge(assets.limit())));
    }
    let opened = assets.clone();
    let upload = blocking(move || opened.receive(&name))
        .await
        .map_err(as_upload_error)?;
    let upload = store(upload, stream).await?;
    let finish = move || assets.describe_file(&upload.finish()?);
    blocking(finish).await.map_err(as_upload_error)
}

/// Hands the stream to a thread that may block on the disk, a few pieces ahead at most.
async fn store(mut upload: Upload, stream: &mut BodyDataStream) -> Result<Upload, ApiError> {
    let (pieces, mut incoming) = mpsc::channel::<Bytes>(4);
    let writer = spawn_blocking(move || {
        while let Some(piece) = incoming.blocking_recv() {
            upload.write(&piece)?;
        }
        Ok(upload)
    });
    let fed = feed(stream, pieces).await;
    // Waited for in any case: an upload that broke off is gone before it is answered.
    let written = writer
        .await
        .map_err(|err| ApiError::internal("upload_failed", err.to_string()))?;
    fed.and(written).map_err(upload_error)
}

/// Passes pieces on until the last one, or until nobody wants more of them.
async fn feed(stream: &mut BodyDataStream, pieces: mpsc::Sender<Bytes>) -> Result<(), AssetError> {
    loop {
        match timeout(PATIENCE, stream.next()).await {
            Ok(Some(Ok(piece))) => {
                if pieces.send(piece).await.is_err() {
                    return Ok(());
                }
            }
            Ok(Some(Err(err))) => return Err(AssetError::Interrupted(err.to_string())),
            Ok(None) => return Ok(()),
            Err(_) => return Err(AssetError::Interrupted("no bytes for 30 seconds".into())),
        }
    }
}

async fn serve(
    State(state): State<AppState>,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let assets = state.library.assets.clone();
    let file = blocking(move || assets.find(&path))
        .await
        .map_err(|err| match err {
            Blocked::Refused(err) => serve_error(&err),
            Blocked::Crashed(err) => err,
        })?;
    let range = headers
        .get(header::RANGE)
        .and_then(|range| range.to_str().ok());
    files::serve(&file, range).await
}

/// What a closure on the disk's thread came back with instead of a result.
enum Blocked {
    Refused(AssetError),
    Crashed(ApiError),
}

impl From<Blocked> for ApiError {
    fn from(blocked: Blocked) -> Self {
        match blocked {
            Blocked::Refused(err) => Self::internal("assets_failed", err.to_string()),
            Blocked::Crashed(err) => err,
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AssetError> + Send + 'static,
) -> Result<T, Blocked> {
    match spawn_blocking(work).await {
        Ok(result) => result.map_err(Blocked::Refused),
        Err(err) => Err(Blocked::Crashed(ApiError::internal(
            "assets_failed",
            err.to_string(),
        ))),
    }
}

fn as_upload_error(blocked: Blocked) -> ApiError {
    match blocked {
        Blocked::Refused(err) => upload_error(err),
        Blocked::Crashed(err) => err,
    }
}

fn upload_error(err: AssetError) -> ApiError {
    let detail = err.to_string();
    match err {
        AssetError::BadName(_) => ApiError::bad_request(
            "invalid_filename",
            "Invalid filename",
            "send a plain name such as clips/a.mp4",
        ),
        AssetError::BadType => ApiError::bad_request(
            "invalid_file_type",
            detail,
            "convert the file, or correct its extension",
        ),
        AssetError::TooLarge(_) => ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "upload_too_large",
            detail,
            "send a smaller file, or raise `upload_limit_mib`",
        ),
        AssetError::Interrupted(_) => {
            ApiError::bad_request("upload_interrupted", detail, "send the file again")
        }
        AssetError::Io(err) if err.kind() == std::io::ErrorKind::StorageFull => ApiError::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "disk_full",
            "the disk is full",
            "make room in the assets folder",
        ),
        AssetError::NotFound | AssetError::NoFilm(_) | AssetError::Io(_) => {
            ApiError::internal("upload_failed", detail)
        }
    }
}

fn serve_error(err: &AssetError) -> ApiError {
    match err {
        AssetError::BadName(_) => ApiError::new(
            StatusCode::FORBIDDEN,
            "invalid_path",
            "Invalid path",
            "ask for a path inside the assets folder",
        ),
        AssetError::NotFound => ApiError::not_found(
            "asset_not_found",
            "Asset not found",
            "see GET /api/v1/assets",
        ),
        AssetError::BadType
        | AssetError::NoFilm(_)
        | AssetError::TooLarge(_)
        | AssetError::Interrupted(_)
        | AssetError::Io(_) => ApiError::internal("assets_failed", err.to_string()),
    }
}

//! Sending a file, whole or in part: players seek by asking for ranges.

use std::io::SeekFrom;
use std::path::Path;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::error::ApiError;

/// What a `Range` header asks for.
#[derive(Debug, PartialEq)]
enum Part {
    Whole,
    /// First byte and number of bytes.
    Bytes(u64, u64),
    OutOfFile,
}

/// Sends the file at `path`.
pub(crate) async fn serve(path: &Path, range: Option<&str>) -> Result<Response, ApiError> {
    let unreadable = |err: std::io::Error| ApiError::internal("file_unreadable", err.to_string());
    let mut file = File::open(path).await.map_err(unreadable)?;
    let size = file.metadata().await.map_err(unreadable)?.len();
    let kind = mime_guess::from_path(path).first_or_octet_stream();
    let (status, start, length) = match part(range, size) {
        Part::Whole => (StatusCode::OK, 0, size),
        Part::Bytes(start, length) => (StatusCode::PARTIAL_CONTENT, start, length),
        Part::OutOfFile => {
            let headers = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response());
        }
    };
    file.seek(SeekFrom::Start(start))
        .await
        .map_err(unreadable)?;
    let body = Body::from_stream(ReaderStream::with_capacity(file.take(length), 64 * 1024));

    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.extend(
        HeaderValue::try_from(kind.as_ref())
            .ok()
            .map(|kind| (header::CONTENT_TYPE, kind)),
    );
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {start}-{}/{size}", start + length - 1);
        headers.extend(
            HeaderValue::try_from(range)
                .ok()
                .map(|range| (header::CONTENT_RANGE, range)),
        );
    }
    Ok(response)
}

/// Reads `bytes=first-last`, `bytes=first-` and `bytes=-count`; anything else is answered with the whole file.
fn part(range: Option<&str>, size: u64) -> Part {
    let parse = |range: &str| {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        let number = |text: &str| text.trim().parse::<u64>().ok();
        if first.trim().is_empty() {
            let count = number(last)?.min(size);
            return Some(if count == 0 {
                Part::OutOfFile
            } else {
                Part::Bytes(size - count, count)
            });
        }
        let first = number(first)?;
        let last = if last.trim().is_empty() {
            u64::MAX
        } else {
            number(last)?
        };
        let last = last.min(size.saturating_sub(1));
        if first >= size {
            return Some(Part::OutOfFile);
        }
        (first <= last).then(|| Part::Bytes(first, last - first + 1))
    };
    range.and_then(parse).unwrap_or(Part::Whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_file() {
        for (range, expected) in [
            (None, Part::Whole),
            (Some("bytes=0-3"), Part::Bytes(0, 4)),
            (Some("bytes=8-"), Part::Bytes(8, 2)),
            (Some("bytes=8-99"), Part::Bytes(8, 2)),
            (Some("bytes=-4"), Part::Bytes(6, 4)),
            (Some("bytes=-99"), Part::Bytes(0, 10)),
            (Some("bytes=10-"), Part::OutOfFile),
            (Some("bytes=-0"), Part::OutOfFile),
            (Some("bytes=5-3"), Part::Whole),
            (Some("bytes=0-1,3-4"), Part::Whole),
            (Some("lines=1-2"), Part::Whole),
        ] {
            assert_eq!(part(range, 10), expected, "{range:?}");
        }
        assert_eq!(part(Some("bytes=0-"), 0), Part::OutOfFile);
    }
}

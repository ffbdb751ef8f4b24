//! Plain HTTP/1.1, one request a connection, nothing tidied up on the way.
//!
//! Hand-made, because the tests send what a well-behaved client library would refuse to send.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Nothing in the contract takes longer; loading a model has its own polling.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Status line and header lines as they came.
    pub head: String,
    /// The body, whatever its type.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as JSON; `null` when there is none.
    ///
    /// # Errors
    ///
    /// The body is something else.
    pub fn json(&self) -> Result<Value> {
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body).with_context(|| format!("no JSON: {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends a request with an optional JSON body to `host:port`.
///
/// # Errors
///
/// No connection, or no complete reply in time.
pub fn request(address: &str, method: &str, path: &str, body: Option<&Value>) -> Result<Reply> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut stream = open(address)?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    read(&mut stream)
}

/// A connection to `host:port`, for requests of an unusual shape.
///
/// # Errors
///
/// Nobody listens there.
pub fn open(address: &str) -> Result<TcpStream> {
    let stream =
        TcpStream::connect(address).with_context(|| format!("nobody listens on {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Reads a reply up to the end of the connection or of its announced length.
///
/// # Errors
///
/// It is cut off, or no HTTP.
pub fn read(stream: &mut TcpStream) -> Result<Reply> {
    let mut bytes = Vec::new();
    let mut piece = [0; 16 * 1024];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        let count = stream.read(&mut piece).context("no reply")?;
        ensure!(count > 0, "the connection ended before the reply");
        bytes.extend_from_slice(&piece[..count]);
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut body = bytes.split_off(end + 4);
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, length)| length.trim().parse::<usize>().ok());
    while length.is_none_or(|length| body.len() < length) && !head.contains(" 204 ") {
        match stream.read(&mut piece)? {
            0 => break,
            count => body.extend_from_slice(&piece[..count]),
        }
    }
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .context("no HTTP")?;
    Ok(Reply { status, head, body })
}

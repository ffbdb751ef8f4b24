//! As much HTTP as a bench needs: one request a connection, JSON both ways, threads that wait.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::trouble::{Outcome, trouble};

const PATIENCE: Duration = Duration::from_secs(20);

/// One request to `host:port`; anything but success is trouble.
pub(super) fn request(address: &str, method: &str, path: &str, body: &Value) -> Outcome<Value> {
    let text = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = text.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{text}"
    )?;
    let (first, body) = read(&mut stream)?;
    let status: u16 = first
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or_default();
    if !(200..300).contains(&status) {
        return Err(trouble(format!(
            "{method} {path} was answered with {status}: {}",
            String::from_utf8_lossy(&body)
        )));
    }
    if body.is_empty() {
        return Ok(Value::Null);
    }
    Ok(serde_json::from_slice(&body)?)
}

/// Answers requests for ever; `act` gets method, path and body, and gives the reply or nothing (204).
pub(super) fn serve(
    listener: &TcpListener,
    act: impl Fn(&str, &str, &[u8]) -> Option<Value> + Send + Sync + 'static,
) -> Outcome<()> {
    let act = Arc::new(act);
    for stream in listener.incoming() {
        let (mut stream, act) = (stream?, Arc::clone(&act));
        thread::spawn(move || -> Outcome<()> {
            let (first, body) = read(&mut stream)?;
            let mut words = first.split(' ');
            let reply = act(
                words.next().unwrap_or_default(),
                words.next().unwrap_or_default(),
                &body,
            );
            let text = reply.as_ref().map(Value::to_string).unwrap_or_default();
            let status = if reply.is_some() { 200 } else { 204 };
            write!(
                stream,
                "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
                text.len()
            )?;
            Ok(())
        });
    }
    Ok(())
}

/// First line and body of a message.
fn read(stream: &mut TcpStream) -> Outcome<(String, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(trouble)?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((first, body))
}

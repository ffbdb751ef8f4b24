//! Binding and stopping, over a real socket on loopback.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scope_controller::config::{Config, RawConfig};
use scope_controller::log::Ring;
use scope_controller::server::{Parts, Running, StartError, bind};

use crate::support::{FakeSessions, SharedKeepers};

async fn run(raw: RawConfig) -> Result<Running, StartError> {
    let home = tempfile::tempdir().unwrap();
    let raw = RawConfig {
        port: Some(0),
        ..RawConfig::default()
    }
    .overridden_by(raw);
    let parts = Parts {
        sessions: Arc::new(FakeSessions::default()),
        keepers: Arc::new(SharedKeepers::default()),
        logs: Arc::new(Ring::new(10)),
    };
    let bound = bind(Config::new(raw, Path::new(home.path())).unwrap()).await?;
    Ok(bound.start(parts))
}

fn on(host: &str) -> RawConfig {
    RawConfig {
        host: Some(host.into()),
        ..RawConfig::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_free_port_is_taken_and_answers() {
    let running = run(RawConfig::default()).await.unwrap();
    let url = running.url();

    let text = tokio::task::spawn_blocking(move || {
        let host = url.strip_prefix("http://").unwrap().to_owned();
        let mut stream = TcpStream::connect(&host).unwrap();
        write!(
            stream,
            "GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    });

    assert!(text.await.unwrap().starts_with("HTTP/1.1 200 OK"));
    running.stop().await;
}

#[tokio::test]
async fn a_second_instance_on_the_same_port_is_told_so() {
    let first = run(RawConfig::default()).await.unwrap();

    let port = first.address.port();
    let second = run(RawConfig {
        port: Some(port),
        ..RawConfig::default()
    })
    .await;

    let err = second.unwrap_err();
    assert!(matches!(err, StartError::PortInUse { .. }), "{err}");
    first.stop().await;
}

#[tokio::test]
async fn open_to_other_machines_needs_a_token() {
    for host in ["0.0.0.0", "::", "[::]"] {
        let refused = run(on(host)).await;
        assert!(matches!(refused, Err(StartError::TokenNeeded(_))), "{host}");
    }
    let token = RawConfig {
        token: Some(scope_controller::secret::Secret::new("t")),
        ..on("0.0.0.0")
    };
    run(token).await.unwrap().stop().await;
}

#[tokio::test]
async fn a_host_that_is_none_is_told_so() {
    assert!(matches!(
        run(on("no such host")).await,
        Err(StartError::NoAddress { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_does_not_wait_for_connections_that_hang() {
    let running = run(RawConfig::default()).await.unwrap();
    let mut hanging = TcpStream::connect(running.address).unwrap();
    write!(
        hanging,
        "POST /api/v1/assets?filename=a.png HTTP/1.1\r\nHost: {}\r\nContent-Length: 99\r\n\r\nx",
        running.address
    )
    .unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;

    let before = Instant::now();
    running.stop().await;

    assert!(
        before.elapsed() < Duration::from_secs(2),
        "{:?}",
        before.elapsed()
    );
}

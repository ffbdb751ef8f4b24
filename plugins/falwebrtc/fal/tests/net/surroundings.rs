//! Proxies and certificates: what the environment of the process decides, so each test has a process of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use axum::serve::Listener;
use fal_client::Stage;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto::ring};
use tokio_rustls::server::TlsStream;

use crate::fal::{Fal, echo, grant, talk};
use crate::owner::{Owner, config};

const PROXIES: [&str; 5] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
];

/// Runs one test of this program in a process with this environment.
#[track_caller]
fn run(test: &str, environment: &[(&str, &str)]) {
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--include-ignored"])
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .env_remove("SSL_CERT_DIR")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && out.contains("1 passed"), "{out}");
}

#[test]
fn loopback_is_never_asked_through_a_proxy() {
    let nowhere = PROXIES.map(|name| (name, "http://127.0.0.1:9"));
    run("connecting::a_connection_comes_up_stage_by_stage", &nowhere);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_hosts_are_asked_through_the_proxy() {
    let proxy = Fal::granting(|_| talk(echo)).await;
    let url = proxy.url();
    let environment = PROXIES.map(|name| (name, url.as_str()));

    tokio::task::block_in_place(|| run("surroundings::asking_a_distant_host", &environment));

    let paths: Vec<_> = proxy.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/tokens/", "/o/a/webrtc"]);
}

#[tokio::test]
#[ignore = "run by the test above in a process of its own"]
async fn asking_a_distant_host() {
    let here = Fal::granting(|_| talk(echo)).await;
    let mut config = config(&here);
    // A name that nobody has: only a proxy can be asked for it.
    let hosts = config.endpoints.with_run_url("http://fal.invalid");
    config.endpoints = hosts.unwrap().with_rest_url("http://fal.invalid").unwrap();
    Owner::new(config).opened().await;
}

#[test]
fn a_system_without_certificates_says_so_and_still_speaks_without_tls() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    let environment = [("SSL_CERT_FILE", empty.path().to_str().unwrap())];
    run(
        "connecting::a_connection_comes_up_stage_by_stage",
        &environment,
    );
    run("surroundings::asking_without_certificates", &environment);
}

#[tokio::test]
#[ignore = "run by the test above in a process of its own"]
async fn asking_without_certificates() {
    let fal = Fal::granting(|_| talk(echo)).await;
    let mut config = config(&fal);
    let tls = fal.url().replace("http:", "https:");
    config.endpoints = config.endpoints.with_rest_url(&tls).unwrap();
    let report = Owner::new(config).stage(Stage::Reconnecting).await;
    let error = report.error.unwrap().to_string();
    assert!(error.contains("certificates cannot be used"), "{error}");
}

#[test]
fn token_and_socket_go_over_tls_to_whom_the_system_trusts() {
    let folder = tempfile::tempdir().unwrap();
    let names = vec!["localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let (cert, key) = (folder.path().join("cert"), folder.path().join("key"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let folder = folder.path().to_str().unwrap();
    let trusting = ("SSL_CERT_FILE", cert.to_str().unwrap());
    run(
        "surroundings::asking_over_tls",
        &[trusting, ("FAL_TEST_FOLDER", folder)],
    );
    run(
        "surroundings::asking_a_stranger_over_tls",
        &[("FAL_TEST_FOLDER", folder)],
    );
}

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Tls {
    async fn new(folder: &Path) -> Self {
        let cert = CertificateDer::from_pem_file(folder.join("cert")).unwrap();
        let key = PrivateKeyDer::from_pem_file(folder.join("key")).unwrap();
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .unwrap();
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            acceptor: Arc::new(config).into(),
        }
    }
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            // A client that does not trust us breaks off here.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

async fn over_tls() -> Owner {
    let folder = std::env::var("FAL_TEST_FOLDER").unwrap();
    let tls = Tls::new(folder.as_ref()).await;
    let port = Listener::local_addr(&tls).unwrap().port();
    let fal = Fal::listening(tls, |_, count| grant(count), |_| talk(echo));
    let mut config = config(&fal);
    let hosts = config
        .endpoints
        .with_run_url(&format!("wss://localhost:{port}"));
    let rest = format!("https://localhost:{port}");
    config.endpoints = hosts.unwrap().with_rest_url(&rest).unwrap();
    Owner::new(config)
}

#[tokio::test]
#[ignore = "run by a test above in a process of its own"]
async fn asking_over_tls() {
    assert_eq!(over_tls().await.opened().await, 1);
}

#[tokio::test]
#[ignore = "run by a test above in a process of its own"]
async fn asking_a_stranger_over_tls() {
    let report = over_tls().await.stage(Stage::Reconnecting).await;
    let error = report.error.unwrap().to_string();
    assert!(error.contains("invalid peer certificate"), "{error}");
}

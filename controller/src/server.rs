//! The server: bound, serving, stopped.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::serve::ListenerExt;
use tokio::net::{TcpListener, lookup_host};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::api::{self, AppState};
use crate::app_socket::Sockets;
use crate::cloud::Cloud;
use crate::config::Config;
use crate::guard::Guard;
use crate::library::Library;
use crate::library::keeper::Keepers;
use crate::library::shelf::Shelf;
use crate::library::wish::Wish;
use crate::log::Ring;
use crate::session::{Furniture, Sessions};

/// How long each step of stopping may take; both together stay below two seconds.
const PATIENCE: Duration = Duration::from_millis(900);

/// How often old recordings are looked for.
const TIDY: Duration = Duration::from_secs(3600);

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The name leads nowhere.
    #[error("`{host}` is no address of this machine: {reason}")]
    NoAddress {
        /// The name as configured.
        host: String,
        /// What the system said.
        reason: String,
    },
    /// Open to other machines and without a token.
    #[error("`{0}` is open to other machines, which needs a token")]
    TokenNeeded(String),
    /// Somebody else has the port, another instance perhaps.
    #[error("port {port} of {host} is in use, perhaps by another gst-scope")]
    PortInUse {
        /// The name as configured.
        host: String,
        /// The port as configured.
        port: u16,
    },
    /// The system refused for another reason.
    #[error("cannot listen on {host}:{port}: {source}")]
    CannotListen {
        /// The name as configured.
        host: String,
        /// The port as configured.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
}

impl StartError {
    /// What to do next.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NoAddress { .. } => "give --host a name or address of this machine",
            Self::TokenNeeded(_) => "set SCOPE_TOKEN, or leave --host at 127.0.0.1",
            Self::PortInUse { .. } => "stop it, or choose another port with --port",
            Self::CannotListen { .. } => "choose another --host or --port",
        }
    }
}

/// What the server is made of besides its configuration.
#[derive(Debug)]
pub struct Parts {
    /// Remote peers.
    pub sessions: Arc<dyn Sessions>,
    /// The way to the elements.
    pub keepers: Arc<dyn Keepers>,
    /// The newest log lines.
    pub logs: Arc<Ring>,
}

/// A server that takes requests.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    state: AppState,
    stopping: CancellationToken,
    serving: JoinHandle<io::Result<()>>,
}

/// A port that is ours; connections wait in line.
#[derive(Debug)]
pub struct Bound {
    config: Config,
    listener: TcpListener,
    address: SocketAddr,
}

/// Takes the configured port. First of all, so that a second instance ends before it has begun.
pub async fn bind(config: Config) -> Result<Bound, StartError> {
    let listener = listen(&config).await?;
    let address = listener
        .local_addr()
        .map_err(|source| cannot_listen(&config, source))?;
    Ok(Bound {
        config,
        listener,
        address,
    })
}

impl Bound {
    /// What it was started with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Preloads and serves.
    pub fn start(self, parts: Parts) -> Running {
        let Self {
            config,
            listener,
            address,
        } = self;
        let state = AppState {
            library: Arc::new(Library::new(&config, parts.keepers)),
            cloud: Cloud::new(config.cloud.clone()),
            sessions: parts.sessions,
            logs: parts.logs,
            guard: Arc::new(Guard::new(&config, address)),
            started: SystemTime::now(),
            sockets: Sockets::default(),
            config: Arc::new(config),
        };
        state.sessions.furnish(Furniture {
            models: Arc::new(state.library.loader.clone()),
            cloud: state.cloud.clone(),
            shelf: Arc::clone(&state.library.shelf),
            assets: state.library.assets.clone(),
        });
        let assets = state.library.assets.clone();
        tokio::task::spawn_blocking(move || assets.sweep());
        tokio::spawn(tidy(Arc::clone(&state.library.shelf)));
        if let Some(id) = &state.config.preload {
            let wish = Wish {
                node_id: id.clone(),
                pipeline_id: id.clone(),
                load_params: None,
            };
            state.library.loader.load(vec![wish]);
        }
        serve(state, listener, address)
    }
}

/// Removes old recordings, for as long as the program runs.
async fn tidy(shelf: Arc<Shelf>) {
    loop {
        let shelf = Arc::clone(&shelf);
        let swept = tokio::task::spawn_blocking(move || shelf.sweep(SystemTime::now()));
        if swept.await.is_err() {
            return;
        }
        tokio::time::sleep(TIDY).await;
    }
}

fn serve(state: AppState, listener: TcpListener, address: SocketAddr) -> Running {
    let stopping = CancellationToken::new();
    // An answer of a few bytes must not wait for more to send.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let serve = axum::serve(listener, api::router(state.clone()))
        .with_graceful_shutdown(stopping.clone().cancelled_owned());
    let serving = tokio::spawn(serve.into_future());
    Running {
        address,
        state,
        stopping,
        serving,
    }
}

impl Running {
    /// The address of the page.
    pub fn url(&self) -> String {
        match self.address.ip() {
            ip if ip.is_unspecified() => format!("http://127.0.0.1:{}", self.address.port()),
            _ => format!("http://{}", self.address),
        }
    }

    /// Ends sessions, connections and models, within two seconds whatever they do.
    pub async fn stop(self) {
        self.stopping.cancel();
        let mut serving = self.serving;
        let quiet = async {
            tokio::join!(
                self.state.sessions.shutdown(),
                self.state.sockets.end(),
                self.state.cloud.disconnect(),
                timeout(PATIENCE, &mut serving)
            )
        };
        if timeout(PATIENCE, quiet).await.is_err() {
            tracing::debug!("some connections were cut");
        }
        serving.abort();
        let library = Arc::clone(&self.state.library);
        let unloading = tokio::task::spawn_blocking(move || library.loader.unload());
        if timeout(PATIENCE, unloading).await.is_err() {
            tracing::warn!("a model did not stop in time");
        }
    }
}

async fn listen(config: &Config) -> Result<TcpListener, StartError> {
    let host = config.host.trim_start_matches('[').trim_end_matches(']');
    let no_address = |reason: String| StartError::NoAddress {
        host: config.host.clone(),
        reason,
    };
    let found = lookup_host((host, config.port))
        .await
        .map_err(|err| no_address(err.to_string()))?;
    let addresses: Vec<_> = found.collect();
    if addresses.is_empty() {
        return Err(no_address("the name has no address".into()));
    }
    if config.token.is_none() && !addresses.iter().all(|address| address.ip().is_loopback()) {
        return Err(StartError::TokenNeeded(config.host.clone()));
    }
    TcpListener::bind(addresses.as_slice())
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => StartError::PortInUse {
                host: config.host.clone(),
                port: config.port,
            },
            _ => cannot_listen(config, source),
        })
}

fn cannot_listen(config: &Config, source: io::Error) -> StartError {
    StartError::CannotListen {
        host: config.host.clone(),
        port: config.port,
        source,
    }
}

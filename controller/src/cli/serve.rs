//! `gst-scope serve`.

use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::{CommandError, heaps};
use crate::config::{Config, RawConfig, env};
use crate::library::keeper::GstKeepers;
use crate::log;
use crate::media::warm;
use crate::server::{self, Parts, Running};
use crate::session::registry::{Registry, Settings};

/// How the server is started. What is left out comes from the environment, the configuration file or a default.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name or address to listen on; anything but loopback needs a token [default: 127.0.0.1]
    #[arg(long)]
    host: Option<String>,
    /// Port to listen on; 0 takes a free one [default: 8000]
    #[arg(long)]
    port: Option<u16>,
    /// Serve this folder in place of the built-in page
    #[arg(long, value_name = "DIR")]
    frontend_dir: Option<PathBuf>,
    /// Do not open a browser
    #[arg(long, short = 'N')]
    no_browser: bool,
    /// Configuration file; controller.toml shows every key
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> Result<(), CommandError> {
    heaps::limit();
    let no_browser = args.no_browser;
    let config = configure(args).map_err(|err| CommandError::new(&err, err.remedy()))?;
    let logs = log::init(&config.log)
        .map_err(|err| CommandError::new(&err, "write error, warn, info, debug or trace"))?;
    let runtime =
        Runtime::new().map_err(|err| CommandError::new(&err, "free some memory or threads"))?;
    let outcome = runtime.block_on(async {
        let bound = server::bind(config)
            .await
            .map_err(|err| CommandError::new(&err, err.remedy()))?;
        prepare_gstreamer()?;
        let parts = Parts {
            sessions: Arc::new(sessions(bound.config())?),
            keepers: Arc::new(GstKeepers),
            logs,
        };
        until_stopped(bound.start(parts), no_browser).await
    });
    // A model that is still loading cannot be interrupted; it ends with the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}

fn configure(args: Args) -> Result<Config, crate::config::ConfigError> {
    let variable = |name: &str| std::env::var(name).ok();
    let file = args
        .config
        .as_deref()
        .map(RawConfig::from_file)
        .transpose()?
        .unwrap_or_default();
    let line = RawConfig {
        host: args.host,
        port: args.port,
        frontend_dir: args.frontend_dir,
        ..RawConfig::default()
    };
    let raw = file
        .overridden_by(RawConfig::from_env(variable)?)
        .overridden_by(line);
    Config::new(
        raw,
        &PathBuf::from(variable(env::HOME).unwrap_or_else(|| ".".into())),
    )
}

fn sessions(config: &Config) -> Result<Registry, CommandError> {
    let settings = Settings {
        limit: config.max_sessions,
        addresses: config.media_addresses.clone(),
        ice: config.own_ice.clone(),
        jitter_buffer_ms: config.jitter_buffer_ms,
    };
    Registry::new(settings)
        .map_err(|err| CommandError::new(&err, "install GStreamer's base, good and bad plugins"))
}

fn prepare_gstreamer() -> Result<(), CommandError> {
    gst::init().map_err(|err| CommandError::new(&err, "install GStreamer 1.22 or newer"))?;
    log::bridge_gstreamer(std::env::var_os(env::GST_DEBUG).is_some());
    for register in [
        gstscopediffusion::plugin_register_static,
        gstfalwebrtc::plugin_register_static,
        gstspout::plugin_register_static,
    ] {
        register().map_err(|err| {
            CommandError::new(&err, "unset GST_PLUGIN_PATH, or rebuild its plugins")
        })?;
    }
    Ok(())
}

#[expect(
    clippy::print_stdout,
    reason = "the one line a person or a script waits for"
)]
async fn until_stopped(running: Running, no_browser: bool) -> Result<(), CommandError> {
    let unhandled = |err| CommandError::new(&err, "start gst-scope again");
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unhandled)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(unhandled)?;
    println!("gst-scope is ready at {}", running.url());
    if !no_browser {
        open_browser(&running.url());
    }
    let mut warming = None;
    // The first client shall wait no longer than the second.
    let warm_up = async {
        warm::libraries().await;
        warming = Some(warm::certificate());
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = warm_up => {}
    }
    tracing::info!("stopping");
    let outcome = tokio::select! {
        () = running.stop() => Ok(()),
        _ = interrupt.recv() => Err(CommandError::new(&"stopped at once", "wait a moment after the first Ctrl-C")),
    };
    // What is under way is waited for last.
    drop(warming);
    outcome
}

/// Opens the page where there is a screen; nobody waits for it.
fn open_browser(url: &str) {
    if !env::SCREENS
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
    {
        return;
    }
    let opener = Command::new("xdg-open")
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if let Ok(mut opener) = opener {
        // Reaped in a thread of its own, or it would stay a zombie.
        std::thread::spawn(move || {
            opener
                .wait()
                .as_ref()
                .map(ExitStatus::success)
                .unwrap_or(false)
        });
    }
}

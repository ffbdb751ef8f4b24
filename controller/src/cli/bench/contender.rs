//! Who is measured: three servers behind the same REST calls, each a process of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::http;
use super::trouble::{Outcome, trouble};

/// One way of sending a picture back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub(super) enum Contender {
    /// This program, passing frames through.
    Scope,
    /// A Python server.
    Aiortc,
    /// webrtcbin with nothing around it.
    Bridge,
}

impl Contender {
    pub(super) const ALL: [Self; 3] = [Self::Scope, Self::Aiortc, Self::Bridge];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Scope => "gst-scope",
            Self::Aiortc => "aiortc",
            Self::Bridge => "bare webrtcbin",
        }
    }

    /// What goes with the offer.
    pub(super) fn parameters(self) -> Value {
        match self {
            Self::Scope => json!({"input_mode": "video", "pipeline_ids": ["passthrough"]}),
            Self::Aiortc | Self::Bridge => Value::Null,
        }
    }
}

/// Where the Python contender and the browser driver are.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Python {
    /// Python with aiortc, as `make setup` installs it
    #[arg(long, default_value = ".venv/bin/python")]
    pub(super) python: PathBuf,
    /// Folder of the test peers' programs
    #[arg(long, default_value = "tests/support/peers")]
    pub(super) peers: PathBuf,
}

impl Python {
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(self.peers.join(program));
        command
    }
}

/// A running contender; killed when dropped.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    pub(super) address: String,
    /// From starting the process to its saying that it is ready, seconds.
    pub(super) ready: f64,
    _home: Home,
}

impl Server {
    /// Starts a contender and waits until it is ready to take an offer.
    pub(super) fn start(contender: Contender, python: &Python) -> Outcome<Self> {
        let ourselves = std::env::current_exe()?;
        let home = Home::new()?;
        let mut command = match contender {
            Contender::Scope => arguments(&ourselves, &["serve", "--port", "0", "--no-browser"]),
            Contender::Bridge => arguments(&ourselves, &["bench", "bridge"]),
            Contender::Aiortc => python.command("echo_server.py"),
        };
        Self::launch(contender.name(), &mut command, home)
    }

    /// Starts this program on a port (0 takes a free one), with another one, at `cloud`, as its cloud.
    pub(super) fn scope(port: u16, cloud: Option<&str>) -> Outcome<Self> {
        let home = Home::new()?;
        let port = port.to_string();
        let mut command = arguments(
            &std::env::current_exe()?,
            &["serve", "--no-browser", "--port", &port],
        );
        if let Some(address) = cloud {
            let file = home.0.join("controller.toml");
            let config = format!(
                "[cloud]\nrun_url = \"ws://{address}\"\nauth = \"none\"\npath = \"webrtc\"\n"
            );
            std::fs::write(&file, config)?;
            command.arg("--config").arg(file);
        }
        Self::launch("gst-scope", &mut command, home)
    }

    fn launch(name: &str, command: &mut Command, home: Home) -> Outcome<Self> {
        command
            .env("DAYDREAM_SCOPE_DIR", &home.0)
            .env_remove("SCOPE_TOKEN")
            .env_remove("PIPELINE");
        let began = Instant::now();
        let started = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = started.map_err(|err| trouble(format!("{name} does not start: {err}")))?;
        let mut line = String::new();
        let output = child.stdout.take().ok_or_else(|| trouble("no output"))?;
        BufReader::new(output).read_line(&mut line)?;
        let ready = began.elapsed().as_secs_f64();
        let address = line
            .trim()
            .split_once("http://")
            .map(|(_, address)| address.trim_end_matches('/').to_owned());
        let Some(address) = address else {
            child.kill()?;
            return Err(trouble(format!("{name} did not come up")));
        };
        let server = Self {
            child,
            address,
            ready,
            _home: home,
        };
        Ok(server)
    }

    /// Loads a pipeline and waits for it.
    pub(super) fn load(&self, pipeline: &str) -> Outcome<()> {
        let body = json!({"pipelines": [{"node_id": pipeline, "pipeline_id": pipeline, "load_params": {}}]});
        http::request(&self.address, "POST", "/api/v1/pipeline/load", &body)?;
        let end = Instant::now() + Duration::from_secs(60);
        while Instant::now() < end {
            let status = http::request(
                &self.address,
                "GET",
                "/api/v1/pipeline/status",
                &Value::Null,
            )?;
            match status["status"].as_str() {
                Some("loaded") => return Ok(()),
                Some("error") => {
                    return Err(trouble(format!("{pipeline} does not load: {status}")));
                }
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        Err(trouble(format!("{pipeline} did not load within a minute")))
    }

    /// Where it listens.
    pub(super) fn port(&self) -> Outcome<u16> {
        let (_, port) = self.address.rsplit_once(':').unwrap_or_default();
        port.parse().map_err(trouble)
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn arguments(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// An empty folder for the server's files, so that the user's own play no part; removed when dropped.
#[derive(Debug)]
struct Home(PathBuf);

impl Home {
    fn new() -> Outcome<Self> {
        let folder = std::env::temp_dir().join(format!("gst-scope-bench-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

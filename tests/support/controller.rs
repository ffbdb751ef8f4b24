//! The built `gst-scope`, run as a user runs it: another process, a free port, a home of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};

use crate::http::{self, Reply};
use crate::programs;

/// From the start of the process to the line with its address, on a busy machine without a GStreamer registry.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// A running controller; killed when dropped.
#[derive(Debug)]
pub struct Controller {
    child: Child,
    /// `127.0.0.1:port`.
    pub address: String,
    home: tempfile::TempDir,
    said: Arc<Mutex<String>>,
}

impl Controller {
    /// Starts `gst-scope serve` and waits until it says its address.
    ///
    /// # Errors
    ///
    /// It is not built, or does not come up; what it said is in the error.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// The same with these variables in its environment.
    ///
    /// # Errors
    ///
    /// It is not built, or does not come up; what it said is in the error.
    pub fn start_with(environment: &[(&str, &str)]) -> Result<Self> {
        Self::start_configured("", environment)
    }

    /// The same with this text as its configuration file.
    ///
    /// # Errors
    ///
    /// It is not built, or does not come up; what it said is in the error.
    pub fn start_configured(config: &str, environment: &[(&str, &str)]) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let file = home.path().join("controller.toml");
        std::fs::write(&file, config)?;
        let file = file.display().to_string();
        let mut child = command(home.path(), &["--port", "0", "--config", &file])?
            .envs(environment.iter().copied())
            .spawn()?;
        let said = Arc::new(Mutex::new(String::new()));
        let (tell, told) = mpsc::channel();
        listen(child.stdout.take(), &said, Some(tell));
        listen(child.stderr.take(), &said, None);
        match told.recv_timeout(READY_WITHIN) {
            Ok(address) => Ok(Self {
                child,
                address,
                home,
                said,
            }),
            Err(_) => {
                child.kill()?;
                Err(anyhow!(
                    "gst-scope did not come up; it said:\n{}",
                    said.lock().unwrap()
                ))
            }
        }
    }

    /// Runs `gst-scope serve` with `arguments` until it ends by itself.
    ///
    /// # Errors
    ///
    /// It is not built.
    pub fn run(arguments: &[&str]) -> Result<(ExitStatus, String)> {
        let home = tempfile::tempdir()?;
        let output = command(home.path(), arguments)?.output()?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status, text(&output.stdout) + &text(&output.stderr)))
    }

    /// One REST call; any status is a reply.
    ///
    /// # Errors
    ///
    /// No complete reply came.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Reply> {
        http::request(&self.address, method, path, body)
            .with_context(|| format!("gst-scope said:\n{}", self.said()))
    }

    /// One REST call that must succeed.
    ///
    /// # Errors
    ///
    /// The status says no, with what the server says about it.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let reply = self.call(method, path, body)?;
        ensure!(
            reply.status < 300,
            "{method} {path}: {} {}",
            reply.status,
            reply.text()
        );
        reply.json()
    }

    /// Loads a pipeline and waits for it.
    ///
    /// # Errors
    ///
    /// It cannot be loaded.
    pub fn load(&self, pipeline: &str, parameters: &Value) -> Result<()> {
        let body = json!({"pipelines": [{"node_id": pipeline, "pipeline_id": pipeline, "load_params": parameters}]});
        self.ask("POST", "/api/v1/pipeline/load", Some(&body))?;
        let end = Instant::now() + Duration::from_secs(60);
        while Instant::now() < end {
            let status = self.ask("GET", "/api/v1/pipeline/status", None)?;
            match status["status"].as_str() {
                Some("loaded") => return Ok(()),
                Some("error") => bail!("{pipeline} was not loaded: {status}"),
                _ => thread::sleep(Duration::from_millis(50)),
            }
        }
        bail!("{pipeline} was not loaded within a minute")
    }

    /// Ids of the sessions that run now.
    ///
    /// # Errors
    ///
    /// The server does not answer.
    pub fn sessions(&self) -> Result<Vec<String>> {
        let metrics = self.ask("GET", "/api/v1/session/metrics", None)?;
        Ok(metrics["sessions"]
            .as_object()
            .map(|sessions| sessions.keys().cloned().collect())
            .unwrap_or_default())
    }

    /// Waits until so many sessions run.
    ///
    /// # Errors
    ///
    /// They are more or fewer for too long.
    pub fn wait_for_sessions(&self, count: usize, within: Duration) -> Result<()> {
        let end = Instant::now() + within;
        while self.sessions()?.len() != count {
            ensure!(
                Instant::now() < end,
                "{:?} instead of {count} sessions after {within:?}",
                self.sessions()?
            );
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Asks it to end, as the system does at shut-down, and tells how long it took.
    ///
    /// # Errors
    ///
    /// It stays.
    pub fn terminate(&mut self, within: Duration) -> Result<(ExitStatus, Duration)> {
        let began = Instant::now();
        signal(&self.child, "TERM")?;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok((status, began.elapsed()));
            }
            ensure!(
                began.elapsed() < within,
                "gst-scope still runs {within:?} after SIGTERM; it said:\n{}",
                self.said()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it without any warning, as a crash or a power cut does.
    ///
    /// # Errors
    ///
    /// It has ended already.
    pub fn crash(&mut self) -> Result<()> {
        signal(&self.child, "KILL")?;
        self.child.wait()?;
        Ok(())
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The folder it was given for models and assets.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The configuration of another one whose cloud is this one.
    pub fn as_cloud(&self) -> String {
        format!(
            "[cloud]\napp_id = \"local/scope\"\nrun_url = \"ws://{}\"\nauth = \"none\"\npath = \"webrtc\"\n",
            self.address
        )
    }

    /// Everything it wrote so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal by name, without code that could send it to anything but this child.
///
/// # Errors
///
/// The child is gone.
pub fn signal(child: &Child, name: &str) -> Result<()> {
    let status = Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status()?;
    ensure!(status.success(), "process {} is gone", child.id());
    Ok(())
}

/// `gst-scope serve` in a home of its own, with nothing of the caller's settings but where ONNX Runtime lies.
fn command(home: &Path, arguments: &[&str]) -> Result<Command> {
    let user = std::env::var_os("HOME").unwrap_or_default();
    let shared = |name: &str, folder: &str| {
        std::env::var_os(name).unwrap_or_else(|| Path::new(&user).join(folder).into_os_string())
    };
    let mut command = Command::new(programs::gst_scope()?);
    command.arg("serve").arg("--no-browser").args(arguments);
    command.env("HOME", home).env("DAYDREAM_SCOPE_DIR", home);
    command.env("XDG_DATA_HOME", shared("XDG_DATA_HOME", ".local/share"));
    // GStreamer's registry; scanning 250 plugins anew would cost every test a second.
    command.env("XDG_CACHE_HOME", shared("XDG_CACHE_HOME", ".cache"));
    for foreign in [
        "SCOPE_TOKEN",
        "SCOPE_ALLOWED_HOSTS",
        "SCOPE_SOCKET_MESSAGE_MIB",
        "SCOPE_SOCKET_SECONDS",
        "PIPELINE",
        "SCOPE_CLOUD_APP_ID",
        "SCOPE_CLOUD_API_KEY",
        "FAL_APP_ID",
        "FAL_KEY",
        "FAL_KEY_ID",
        "FAL_KEY_SECRET",
        "FAL_API_KEY",
        "DAYDREAM_SCOPE_MODELS_DIR",
        "DAYDREAM_SCOPE_ASSETS_DIR",
        "DAYDREAM_SCOPE_RECORDINGS_DIR",
    ] {
        command.env_remove(foreign);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command)
}

/// Collects what a stream says; the first address on it goes to `tell`.
fn listen(
    stream: Option<impl Read + Send + 'static>,
    said: &Arc<Mutex<String>>,
    tell: Option<mpsc::Sender<String>>,
) {
    let said = Arc::clone(said);
    let Some(stream) = stream else { return };
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if let (Some(tell), Some(address)) = (&tell, address_in(&line)) {
                // Only the first is waited for.
                let _ = tell.send(address);
            }
            let mut said = said.lock().unwrap();
            said.push_str(&line);
            said.push('\n');
        }
    });
}

/// `host:port` of the first `http://` address in a line.
fn address_in(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("http://")?;
    let end = rest
        .find(|c: char| c.is_whitespace() || c == '/' || c == '\u{1b}')
        .unwrap_or(rest.len());
    rest[..end].contains(':').then(|| rest[..end].to_owned())
}

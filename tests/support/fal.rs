//! A fal app of another make, with the fal around it, in another process: aiortc, inverting what it gets.
//!
//! `peers/fal_app/faults.py` lists what can be made to go wrong.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{http, programs};

/// Reports are asked for this often by [`FalApp::wait`].
const PERIOD: Duration = Duration::from_millis(30);

/// The running app; killed when dropped.
#[derive(Debug)]
pub struct FalApp {
    child: Child,
    /// Its end is the app's.
    _input: ChildStdin,
    /// `host:port` of everything: tokens, gateway, control.
    pub address: String,
}

impl FalApp {
    /// Starts an app that lets in whoever has this key; any key, or none, when it is `None`.
    ///
    /// # Errors
    ///
    /// Python or one of its packages is missing.
    pub fn start(key: Option<&str>) -> Result<Self> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("support/peers/fal_app");
        let mut child = Command::new(programs::python()?)
            .arg(program)
            .args(key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().context("no input")?;
        let output = child.stdout.take().context("no output")?;
        let mut address = String::new();
        BufReader::new(output).read_line(&mut address)?;
        if address.trim().is_empty() {
            bail!("the fal app did not start: run `make setup`");
        }
        Ok(Self {
            child,
            _input: input,
            address: address.trim().to_owned(),
        })
    }

    /// Chooses what goes wrong from here on, see `faults.py`.
    ///
    /// # Errors
    ///
    /// The app has died.
    pub fn faults(&self, faults: &Value) -> Result<()> {
        self.post("/control/faults", faults).map(drop)
    }

    /// Makes something happen to every open session, now: `drop_socket`, `drop_media`, `replace`, `say`, `notice`.
    ///
    /// # Errors
    ///
    /// The app has died, or does not know the word.
    pub fn act(&self, name: &str, mut with: Value) -> Result<()> {
        with["do"] = json!(name);
        self.post("/control/act", &with).map(drop)
    }

    /// What the app has seen so far.
    ///
    /// # Errors
    ///
    /// It has died.
    pub fn report(&self) -> Result<Value> {
        http::request(&self.address, "GET", "/control/report", None)?.json()
    }

    /// Waits until the report is as wanted.
    ///
    /// # Errors
    ///
    /// It is not, after `patience`; the report says what it is instead.
    pub fn wait(
        &self,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let end = Instant::now() + patience;
        loop {
            let report = self.report()?;
            if wanted(&report) {
                return Ok(report);
            }
            if Instant::now() > end {
                bail!("{what}: not within {patience:?}; the app says {report:#}");
            }
            thread::sleep(PERIOD);
        }
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let reply = http::request(&self.address, "POST", path, Some(body))?;
        if reply.status != 200 {
            bail!("{path}: {}", reply.text());
        }
        reply.json()
    }
}

impl Drop for FalApp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

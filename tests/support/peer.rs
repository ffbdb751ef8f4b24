//! A peer of another make, in another process: commands in, replies out.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{Controller, programs};

/// Longer than any wait a command may ask for.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a picture may take to become another.
const SEEING: Duration = Duration::from_secs(30);
/// How long a peer may take to leave.
const FAREWELL: Duration = Duration::from_secs(5);

/// A driven peer; killed when dropped.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    /// Gone when the peer is to end.
    commands: Option<ChildStdin>,
    replies: Receiver<String>,
}

impl Peer {
    /// An aiortc client of this controller.
    ///
    /// # Errors
    ///
    /// Python or aiortc is missing.
    pub fn client(controller: &Controller) -> Result<Self> {
        Self::start("client.py", &format!("http://{}", controller.address))
    }

    /// An aiortc client of this controller's WebSocket at `path`.
    ///
    /// # Errors
    ///
    /// Python, aiortc or aiohttp is missing.
    pub fn socket_client(controller: &Controller, path: &str) -> Result<Self> {
        let url = format!("ws://{}{path}", controller.address);
        Self::start("socket_client.py", &url)
    }

    /// A headless Chromium with its fake camera.
    ///
    /// # Errors
    ///
    /// Python, Playwright or Chromium is missing.
    pub fn browser() -> Result<Self> {
        Self::start("browser.py", &programs::chromium()?.display().to_string())
    }

    /// A WebSocket to a fal app, with the key in its handshake.
    ///
    /// # Errors
    ///
    /// Python or aiohttp is missing.
    pub fn socket(url: &str, key: &str) -> Result<Self> {
        Self::start_with("raw_socket.py", &[url, key])
    }

    fn start(program: &str, argument: &str) -> Result<Self> {
        Self::start_with(program, &[argument])
    }

    fn start_with(program: &str, arguments: &[&str]) -> Result<Self> {
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("support/peers");
        let mut child = Command::new(programs::python()?)
            .arg(peers.join(program))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let commands = child.stdin.take().context("no input")?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let (tell, replies) = mpsc::channel();
        thread::spawn(move || {
            output
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| tell.send(line))
        });
        Ok(Self {
            child,
            commands: Some(commands),
            replies,
        })
    }

    /// Gives one command and waits for its reply.
    ///
    /// # Errors
    ///
    /// The peer could not do it, or has died.
    pub fn ask(&mut self, name: &str, mut command: Value) -> Result<Value> {
        command["do"] = name.into();
        let commands = self.commands.as_mut().context("the peer has ended")?;
        writeln!(commands, "{command}")?;
        let line = self
            .replies
            .recv_timeout(PATIENCE)
            .with_context(|| format!("no reply to {command}"))?;
        let reply: Value =
            serde_json::from_str(&line).with_context(|| format!("no JSON: {line}"))?;
        match reply["error"].as_str() {
            Some(error) => bail!("{error}"),
            None => Ok(reply),
        }
    }

    /// Makes an offer that must be answered; the session's id.
    ///
    /// # Errors
    ///
    /// It was refused.
    pub fn offer(&mut self, offer: Value) -> Result<String> {
        let answer = self.ask("offer", offer)?;
        match answer["reply"]["sessionId"].as_str() {
            Some(id) => Ok(id.to_owned()),
            None => bail!("the offer was refused: {answer}"),
        }
    }

    /// Waits for so many frames and tells what the last one looks like.
    ///
    /// # Errors
    ///
    /// They do not come.
    pub fn frames(&mut self, count: u32) -> Result<Value> {
        self.ask("frames", json!({"count": count}))
    }

    /// Waits until the left and the right half of the client's picture have these mean colours, about.
    ///
    /// # Errors
    ///
    /// They do not within half a minute, or no frames come.
    pub fn sees(&mut self, what: &str, halves: [[f64; 3]; 2]) -> Result<()> {
        let end = Instant::now() + SEEING;
        loop {
            let seen = self.frames(1)?;
            let [left, right] = [colour(&seen, "left")?, colour(&seen, "right")?];
            if distance(left, halves[0]) < 40.0 && distance(right, halves[1]) < 40.0 {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("{what} was not seen within {SEEING:?}: {seen}");
            }
        }
    }

    /// Ends the peer without any farewell, as a crash does.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Peer {
    /// Lets it end by itself first: Chromium has processes of its own to take along.
    fn drop(&mut self) {
        self.commands = None;
        let end = Instant::now() + FAREWELL;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The three channels of a mean colour in a peer's reply.
///
/// # Errors
///
/// There is none under this key.
pub fn colour(reply: &Value, key: &str) -> Result<[f64; 3]> {
    let channel = |at| {
        reply[key][at]
            .as_f64()
            .with_context(|| format!("no colour `{key}` in {reply}"))
    };
    Ok([channel(0)?, channel(1)?, channel(2)?])
}

/// The greatest difference between two colours in any channel.
pub fn distance(one: [f64; 3], other: [f64; 3]) -> f64 {
    one.iter()
        .zip(other)
        .map(|(one, other)| (one - other).abs())
        .fold(0.0, f64::max)
}

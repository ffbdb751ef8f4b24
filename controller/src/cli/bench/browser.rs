//! The built-in model through the whole browser path: page, camera, network, model, and back onto the page.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use serde_json::{Value, json};

use super::contender::{Contender, Python, Server};
use super::trouble::{Outcome, trouble};

/// Frames per second that headless Chromium shows of its fake camera, redrawn at 256×256.
pub(super) fn frame_rate(python: &Python) -> Outcome<f64> {
    let server = Server::start(Contender::Scope, python)?;
    let presets = "source=camera&model=scope-tiny&prompt=blueprint&size=256&autostart=1";
    let commands = [
        json!({"do": "open", "url": format!("http://{}/?{presets}", server.address)}),
        json!({"do": "reaches", "state": "live", "timeout": 60}),
        json!({"do": "rate", "seconds": 3}),
        json!({"do": "rate", "seconds": 10}),
    ];
    let mut driver = python
        .command("browser.py")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let replies = BufReader::new(driver.stdout.take().ok_or_else(|| trouble("no output"))?);
    if let Some(mut input) = driver.stdin.take() {
        for command in &commands {
            writeln!(input, "{command}")?;
        }
    }
    let mut last = Value::Null;
    for line in replies.lines() {
        last = serde_json::from_str(&line?)?;
        if let Some(error) = last["error"].as_str() {
            driver.kill()?;
            return Err(trouble(error));
        }
    }
    driver.wait()?;
    last["fps"]
        .as_f64()
        .ok_or_else(|| trouble("the browser told no frame rate"))
}

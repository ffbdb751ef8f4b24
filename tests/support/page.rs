//! The web page in headless Chromium, used as a person does.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::Controller;
use crate::peer::{Peer, colour};

/// How long what was done may take to show.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// A browser with the page in its first tab; further tabs by [`Page::open_tab`].
#[derive(Debug)]
pub struct Page {
    browser: Peer,
}

impl Page {
    /// The page of this controller with these presets, not started.
    ///
    /// # Errors
    ///
    /// Python, Playwright or Chromium is missing.
    pub fn open(controller: &Controller, presets: &str) -> Result<Self> {
        let mut browser = Peer::browser()?;
        browser.ask("open", json!({"url": address(controller, presets)}))?;
        Ok(Self { browser })
    }

    /// The same, live.
    ///
    /// # Errors
    ///
    /// It does not come to that; in the page's words.
    pub fn live(controller: &Controller, presets: &str) -> Result<Self> {
        let mut page = Self::open(controller, &format!("autostart=1&{presets}"))?;
        page.reaches("live")?;
        Ok(page)
    }

    /// Another tab with the page, live.
    ///
    /// # Errors
    ///
    /// It does not come to that; in the page's words.
    pub fn open_tab(&mut self, controller: &Controller, tab: &str, presets: &str) -> Result<()> {
        let url = address(controller, &format!("autostart=1&{presets}"));
        self.ask("open", json!({"url": url, "tab": tab}))?;
        self.ask(
            "reaches",
            json!({"state": "live", "tab": tab, "timeout": 60}),
        )?;
        Ok(())
    }

    /// Waits for a state of the page: `idle`, `live`, `error` and so on.
    ///
    /// # Errors
    ///
    /// It does not come; in the page's words.
    pub fn reaches(&mut self, state: &str) -> Result<()> {
        self.ask("reaches", json!({"state": state, "timeout": 60}))?;
        Ok(())
    }

    /// Looks at the output until its mean colour satisfies, and gives the picture that did.
    ///
    /// # Errors
    ///
    /// It does not.
    pub fn shows(&mut self, what: &str, satisfied: impl Fn([f64; 3]) -> bool) -> Result<Value> {
        let end = Instant::now() + PATIENCE;
        loop {
            let seen = self.ask("look", json!({}))?;
            if satisfied(colour(&seen, "mean")?) {
                return Ok(seen);
            }
            ensure!(Instant::now() < end, "{what} did not appear: {seen}");
            thread::sleep(LOOK);
        }
    }

    /// What stands in a part of the page.
    ///
    /// # Errors
    ///
    /// There is no such part.
    pub fn text(&mut self, of: &str) -> Result<String> {
        let reply = self.ask("text", json!({"of": of}))?;
        Ok(reply["text"].as_str().context("no text")?.to_owned())
    }

    /// Reads a part of the page until it satisfies.
    ///
    /// # Errors
    ///
    /// It does not.
    pub fn says(&mut self, of: &str, satisfied: impl Fn(&str) -> bool) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let text = self.text(of)?;
            if satisfied(&text) {
                return Ok(text);
            }
            ensure!(Instant::now() < end, "`{of}` says: {text}");
            thread::sleep(LOOK);
        }
    }

    /// Clicks.
    ///
    /// # Errors
    ///
    /// It cannot be clicked.
    pub fn click(&mut self, on: &str) -> Result<()> {
        self.ask("click", json!({"on": on}))?;
        Ok(())
    }

    /// Writes the prompt and applies it.
    ///
    /// # Errors
    ///
    /// It takes none.
    pub fn prompt(&mut self, text: &str) -> Result<()> {
        self.ask("prompt", json!({"text": text}))?;
        Ok(())
    }

    /// That no script of the page has failed so far.
    ///
    /// # Errors
    ///
    /// What failed.
    pub fn is_sound(&mut self) -> Result<()> {
        let complaints = self.ask("complaints", json!({}))?;
        ensure!(complaints["errors"] == json!([]), "{complaints}");
        Ok(())
    }

    /// Any other command, see `peers/browser.py`.
    ///
    /// # Errors
    ///
    /// It could not be done.
    pub fn ask(&mut self, name: &str, command: Value) -> Result<Value> {
        self.browser.ask(name, command)
    }
}

fn address(controller: &Controller, presets: &str) -> String {
    format!("http://{}/?{presets}", controller.address)
}

//! The programs that tests start: ours, and those of `make setup`.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::house;

/// The built controller.
///
/// # Errors
///
/// It has not been built.
pub fn gst_scope() -> Result<PathBuf> {
    let program = house::artefacts().join("gst-scope");
    ensure!(
        program.exists(),
        "{} is missing: run `cargo build --workspace`, or `make test`",
        program.display()
    );
    Ok(program)
}

/// The Python of the test peers.
///
/// # Errors
///
/// It has not been set up.
pub fn python() -> Result<PathBuf> {
    let python = house::root().join(".venv/bin/python");
    ensure!(
        python.exists(),
        "the Python test peers are missing: run `make setup`"
    );
    Ok(python)
}

/// Debian's Chromium, or the one that `CHROMIUM` names.
///
/// # Errors
///
/// There is none.
pub fn chromium() -> Result<PathBuf> {
    let named = std::env::var_os("CHROMIUM");
    let chromium = named.map_or_else(|| "/usr/bin/chromium".into(), PathBuf::from);
    ensure!(
        chromium.exists(),
        "{} is missing: run `make setup`, or set CHROMIUM",
        chromium.display()
    );
    Ok(chromium)
}

//! What a recorded file shows, in the eyes of FFmpeg.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::programs;

/// Decodes a whole file; see `peers/film.py` for what it tells.
///
/// # Errors
///
/// It cannot be played.
pub fn watch(file: &Path) -> Result<Value> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("support/peers/film.py");
    let output = Command::new(programs::python()?)
        .arg(program)
        .arg(file)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", file.display());
    serde_json::from_slice(&output.stdout).context("no JSON")
}

//! Text that is none, from a program in C, ends no program.

use std::process::Command;

use anyhow::{Result, ensure};
use scope_tests::{house, programs};

#[test]
fn every_text_property_and_action_survives_bytes_that_are_no_text() -> Result<()> {
    let elements = [
        "scopediffusion",
        "scopediffusionsrc",
        "falwebrtcbin",
        "spoutsink",
        "spoutsrc",
    ];
    let peer = house::root().join("tests/support/peers/foreign_text.py");

    let out = Command::new(programs::python()?)
        .arg(peer)
        .args(elements)
        .env("GST_PLUGIN_PATH", house::artefacts())
        .env_remove("G_DEBUG")
        .output()?;

    let (said, complaints) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    ensure!(out.status.success(), "{said}{complaints}");
    ensure!(said.lines().count() == elements.len(), "{said}");
    for line in said.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let (written, warnings): (u32, u32) = (words[1].parse()?, words[2].parse()?);
        ensure!(written > 0, "{line}");
        // Paths and sender names may be any bytes; what must be text is refused in words.
        let sharing = words[0].starts_with("spout");
        ensure!(sharing || warnings > 0, "{line}");
    }
    Ok(())
}

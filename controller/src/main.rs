//! `gst-scope`: live AI video from a terminal.
//!
//! Decision: the process ends without the C libraries' exit handlers. A thread that loads a model or makes a key cannot
//! be interrupted, and those handlers would pull the ground from under it: a crash where a clean end was promised.

use std::io::Write;

use clap::Parser;
use scope_controller::cli::Cli;
use scope_controller::log;

#[expect(clippy::print_stderr, reason = "where a command says why it failed")]
fn main() {
    // First of all: the time zone is not to be had once there are threads.
    log::learn_time_zone();
    let code = match Cli::parse().run() {
        Ok(()) => 0,
        Err(err) => {
            eprintln!("gst-scope: {err}");
            1
        }
    };
    // Whoever reads has gone if this fails.
    let _ = std::io::stdout().flush();
    signal_hook::low_level::exit(code)
}

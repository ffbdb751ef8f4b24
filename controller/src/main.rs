//! `gst-scope`: live AI video from a terminal.

use std::process::ExitCode;

use clap::Parser;
use scope_controller::cli::Cli;
use scope_controller::log;

#[expect(clippy::print_stderr, reason = "where a command says why it failed")]
fn main() -> ExitCode {
    // First of all: the time zone is not to be had once there are threads.
    log::learn_time_zone();
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("gst-scope: {err}");
            ExitCode::FAILURE
        }
    }
}

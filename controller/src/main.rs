//! `gst-scope`: live AI video from a terminal.

use clap::Parser;
use scope_controller::cli::Cli;
use scope_controller::log;

fn main() -> anyhow::Result<()> {
    // First of all: the time zone is not to be had once there are threads.
    log::learn_time_zone();
    Ok(Cli::parse().run()?)
}

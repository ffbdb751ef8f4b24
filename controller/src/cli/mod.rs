//! The command line: one file per command.
//!
//! To add a command: a file with its arguments and a `run`, a variant here, an arm in [`Cli::run`].

mod bench;
mod heaps;
mod model;
mod senders;
mod serve;
mod version;

use clap::{Parser, Subcommand};

/// Live AI video: REST, browser sessions, pipelines and the web page.
#[derive(Debug, Parser)]
#[command(name = "gst-scope", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the page and the REST interface until Ctrl-C
    Serve(serve::Args),
    /// Measure this machine, next to other servers
    Bench(bench::Args),
    /// List the applications that share a picture on this machine
    Senders(senders::Args),
    /// Look at a model folder
    Model(model::Args),
    /// Say which versions this is made of
    Version,
}

/// Why a command failed: a sentence, and what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}\nhint: {remedy}")]
pub struct CommandError {
    sentence: String,
    remedy: String,
}

impl CommandError {
    fn new(sentence: &impl ToString, remedy: impl Into<String>) -> Self {
        Self {
            sentence: sentence.to_string(),
            remedy: remedy.into(),
        }
    }
}

impl Cli {
    /// Carries the command out; returns when it is done.
    pub fn run(self) -> Result<(), CommandError> {
        match self.command {
            Command::Serve(args) => serve::run(args),
            Command::Bench(args) => bench::run(&args),
            Command::Senders(args) => senders::run(&args),
            Command::Model(args) => model::run(&args),
            Command::Version => version::run(),
        }
    }
}

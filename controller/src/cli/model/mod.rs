//! `gst-scope model`: what is done with model folders from a terminal.

mod export;
mod inspect;
mod python;

use super::CommandError;

/// What to do with a model.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Load a model, draw some frames, and tell what it is and what would make it faster
    Inspect(inspect::Inspect),
    /// Turn a diffusers folder into one of ONNX graphs that the elements run, and compare it with torch
    Export(Box<export::Export>),
}

pub(super) fn run(args: &Args) -> Result<(), CommandError> {
    match &args.what {
        What::Inspect(args) => inspect::run(args),
        What::Export(args) => export::run(args),
    }
}

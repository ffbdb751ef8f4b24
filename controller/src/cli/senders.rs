//! `gst-scope senders`: which applications share a picture on this machine.

use std::thread;
use std::time::Duration;

use super::CommandError;
use crate::media::senders::{self, Sender};

/// How often `--watch` looks.
const LOOK: Duration = Duration::from_millis(500);

/// What to show.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Go on and tell who comes and goes, until Ctrl-C
    #[arg(long, short)]
    watch: bool,
}

#[expect(
    clippy::print_stdout,
    reason = "the list is the answer of this command"
)]
pub(super) fn run(args: &Args) -> Result<(), CommandError> {
    gst::init().map_err(|err| CommandError::new(&err, "install GStreamer 1.22 or newer"))?;
    gstspout::plugin_register_static()
        .map_err(|err| CommandError::new(&err, "unset GST_PLUGIN_PATH, or rebuild its plugins"))?;
    let mut known = senders::list();
    for sender in &known {
        println!("{}", line(sender));
    }
    if known.is_empty() && !args.watch {
        println!("nobody shares a picture");
    }
    if !args.watch {
        return Ok(());
    }
    loop {
        thread::sleep(LOOK);
        let now = senders::list();
        for gone in known.iter().filter(|sender| !now.contains(sender)) {
            println!("- {}", line(gone));
        }
        for came in now.iter().filter(|sender| !known.contains(sender)) {
            println!("+ {}", line(came));
        }
        known = now;
    }
}

fn line(Sender { name, size }: &Sender) -> String {
    match size {
        Some((width, height)) => format!("{name}  {width}×{height}"),
        None => format!("{name}  no picture yet"),
    }
}

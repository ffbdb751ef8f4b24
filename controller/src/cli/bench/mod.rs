//! `gst-scope bench`: how much the server adds, measured on the machine it will run on.
//!
//! ```text
//! gst-scope bench webrtc    the whole way of a frame, next to an aiortc server and a bare webrtcbin
//! gst-scope bench engine    the model alone and inside its element, next to Python, PyTorch and the roofline
//! gst-scope bench cloud     a session whose pictures are made elsewhere, and losing that
//! gst-scope bench share     a frame handed to another process, next to shmsink and to one memcpy
//! ```
//!
//! Decision: contenders are measured in turns (A B C A B C …) by the same client in the same run and reported as
//! ratios, because a figure in milliseconds says more about the machine and its other tenants than about us.

mod bridge;
mod browser;
mod client;
mod cloud;
mod contender;
mod engine;
mod figures;
mod http;
mod negotiate;
mod plot;
mod process;
mod report;
mod share;
mod stamp;
mod trouble;
mod webrtc;

use clap::Subcommand;

use super::CommandError;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Debug, Subcommand)]
enum Subject {
    /// Latency, connecting, recovery and cost of a session, next to an aiortc server and a bare webrtcbin
    Webrtc(webrtc::Args),
    /// A model frame by frame: its element, the bare graphs, the same in Python and in PyTorch, and the roofline
    Engine(engine::Args),
    /// Connecting to the cloud, what it adds, and how losses are survived; the cloud is a second server
    Cloud(cloud::Args),
    /// A frame handed to another process: spoutsink and spoutsrc, next to shmsink and shmsrc and to one memcpy
    Share(share::Args),
    /// One side of a turn of `share`
    #[command(hide = true)]
    SharePeer(share::PeerArgs),
    /// The bare webrtcbin that `webrtc` compares with; prints its address and serves until killed
    #[command(hide = true)]
    Bridge,
}

pub(super) fn run(args: &Args) -> Result<(), CommandError> {
    gst::init().map_err(|err| CommandError::new(&err, "install GStreamer 1.22 or newer"))?;
    let outcome = match &args.subject {
        Subject::Webrtc(args) => webrtc::run(args),
        Subject::Engine(args) => engine::run(args),
        Subject::Cloud(args) => cloud::run(args),
        Subject::Share(args) => share::run(args),
        Subject::SharePeer(args) => share::run_peer(args),
        Subject::Bridge => bridge::run(),
    };
    outcome.map_err(|err| CommandError::new(&err, err.remedy()))
}

//! Why sharing does not work, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::{Adapter, AdapterError, NameError};

/// Why a sender or receiver cannot do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// The name breaks a rule.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No folder that only this user can enter was found for the senders' sockets.
    #[error("there is no folder for shared video: {}", tried.join("; "))]
    NoFolder {
        /// Each place and what is wrong with it.
        tried: Vec<String>,
    },
    /// The folder belongs to somebody else.
    #[error("`{}` belongs to user {owner}, not to this user", path.display())]
    FolderForeign {
        /// The folder.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
    },
    /// Others may enter the folder.
    #[error("`{}` is open to other users (mode {mode:03o})", path.display())]
    FolderOpen {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another process keeps the directory locked.
    #[error("another program keeps the sender directory `{}` locked", path.display())]
    FolderBusy {
        /// The folder.
        path: PathBuf,
    },
    /// The system refused something.
    #[error("{doing} failed: {source}")]
    System {
        /// What was tried, and on what.
        doing: String,
        /// Its answer.
        source: io::Error,
    },
    /// A size, format or stride that cannot be shared.
    #[error("video of {width}×{height} cannot be shared: {reason}")]
    BadVideo {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A frame that is shorter than its video.
    #[error("a frame of {actual} bytes was given where the video needs {expected}")]
    ShortFrame {
        /// Bytes needed.
        expected: usize,
        /// Bytes given.
        actual: usize,
    },
    /// The other side does not speak the protocol.
    #[error("sender `{sender}` broke the protocol: {reason}")]
    Protocol {
        /// Its name, or where it listens.
        sender: String,
        /// What it did.
        reason: String,
    },
    /// The sender's texture opens on no adapter of this machine, or not on the one asked for.
    #[error(
        "the texture of sender `{sender}` does not open on {}",
        match adapter {
            Adapter::Auto => "any of this machine's graphics adapters".into(),
            Adapter::Index(_) | Adapter::Luid(_) => format!("graphics adapter {adapter}"),
        }
    )]
    Unreachable {
        /// Its name.
        sender: String,
        /// The adapter asked for.
        adapter: Adapter,
    },
    /// A text that names no adapter.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// This machine has no such adapter.
    #[error("this machine has no graphics adapter {adapter}, only {present}")]
    NoAdapter {
        /// The adapter asked for.
        adapter: Adapter,
        /// Those that are there.
        present: String,
    },
    /// The picture cannot be published to PipeWire.
    #[error("PipeWire does not show this picture: {reason}")]
    PipeWire {
        /// What it lacks or said.
        reason: String,
    },
    /// This build has no such backend.
    #[error("video sharing by `{backend}` is not available on this system")]
    NoBackend {
        /// The backend asked for.
        backend: &'static str,
    },
    /// This system has no backend at all.
    #[error(
        "this system has nothing to share video by: `spout` needs Windows' Direct3D 11, `shm` Linux' sealed memory and packet sockets"
    )]
    NoneHere,
}

impl ShareError {
    /// What the operator can do next; one imperative sentence, no full stop.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Name(_) => "choose another name",
            Self::NoFolder { .. } => {
                "set XDG_RUNTIME_DIR or SPOUT_RUNTIME_DIR to a folder that only this user can enter"
            }
            Self::FolderForeign { .. } => {
                "remove it, or set SPOUT_RUNTIME_DIR to a folder of your own"
            }
            Self::FolderOpen { .. } => "run chmod 700 on it",
            Self::FolderBusy { .. } => "end the program that is stuck there and try again",
            Self::System { .. } => {
                "see the system's reason; memory, open files and the folder's disk are the usual ones"
            }
            Self::BadVideo { .. } => "send 1 to 16384 pixels a side in a format the element lists",
            Self::ShortFrame { .. } => "send frames as large as the caps say",
            Self::Protocol { .. } => {
                "restart the sending program; both sides should be of the same version"
            }
            Self::Unreachable {
                adapter: Adapter::Index(_) | Adapter::Luid(_),
                ..
            } => "choose `auto` to have it looked for on each",
            Self::Unreachable { .. } => {
                "run both programs on one adapter: Windows' graphics settings choose it for each program"
            }
            Self::Adapter(_) | Self::NoAdapter { .. } => {
                "choose `auto` for the system's own choice"
            }
            Self::PipeWire { .. } => {
                "start PipeWire and a session manager (packages pipewire, wireplumber) as this user; it is tried again"
            }
            Self::NoBackend { .. } => "set the backend to `auto`",
            Self::NoneHere => {
                "run both programs on Linux or on Windows; other systems are not supported yet"
            }
        }
    }
}

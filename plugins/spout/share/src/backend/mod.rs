//! Which backends this build has.

use std::sync::Arc;

use crate::{Adapter, Directory, Publisher, SenderName, ShareError};

#[cfg(target_os = "linux")]
mod pipewire;

#[cfg(target_os = "linux")]
pub mod shm;

#[cfg(windows)]
pub mod spout;

/// How video is shared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Backend {
    /// The system's own: Spout on Windows, shared memory on Linux.
    #[default]
    Auto,
    /// The Spout protocol over Direct3D 11.
    Spout,
    /// Sealed memory over a local socket.
    Shm,
}

/// Opens the directory of a backend. Its senders and receivers have their textures on `adapter`; one that shares
/// ordinary memory takes any.
///
/// # Errors
///
/// If this system has no such backend or adapter, or the place where senders register cannot be used.
pub fn open(backend: Backend, adapter: Adapter) -> Result<Arc<dyn Directory>, ShareError> {
    #[cfg(not(windows))]
    let _ = adapter;
    match backend {
        #[cfg(target_os = "linux")]
        Backend::Auto | Backend::Shm => Ok(Arc::new(shm::ShmDirectory::open()?)),
        #[cfg(windows)]
        Backend::Auto | Backend::Spout => Ok(Arc::new(spout::SpoutDirectory::open(adapter)?)),
        #[cfg(not(any(target_os = "linux", windows)))]
        Backend::Auto => Err(ShareError::NoneHere),
        #[cfg(not(target_os = "linux"))]
        Backend::Shm => Err(ShareError::NoBackend { backend: "shm" }),
        #[cfg(not(windows))]
        Backend::Spout => Err(ShareError::NoBackend { backend: "spout" }),
    }
}

/// Publishes a sender's frames as a camera of this name, by PipeWire. `complain` is told, once each time, that PipeWire
/// does not run or went away; it is looked for until the publisher is dropped.
///
/// # Errors
///
/// If this system has no PipeWire at all, or refuses a thread.
pub fn publish(
    name: &SenderName,
    complain: Box<dyn Fn(ShareError) + Send>,
) -> Result<Box<dyn Publisher>, ShareError> {
    #[cfg(target_os = "linux")]
    return Ok(Box::new(pipewire::PipeWirePublisher::start(
        name, complain,
    )?));
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (name, complain);
        Err(ShareError::PipeWire {
            reason: "it is a system of Linux".into(),
        })
    }
}

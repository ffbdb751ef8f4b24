//! Named senders over shared memory, on Linux.
//!
//! ```text
//!   sender   ── writes ──► memfd ◄── reads, read-only ──  receiver        one copy, or none
//!            ── puts ───► mailbox ◄── takes ───────────                   the newest frame, atomically
//!            ── wakes ─►  SEQPACKET socket in the folder                  proof of life, introductions
//! ```
//!
//! Decision: the memory belongs to descriptors and the proof of life is the connection, so a process that is killed
//! leaves nothing but a socket that refuses, and no lock to be poisoned. There is no lock between sender and receiver.

use std::sync::Arc;

use crate::directory::choose;
use crate::{Description, Directory, Receiver, Sender, SenderName, SenderWish, ShareError, Target};

mod folder;
mod link;
mod listing;
mod mailbox;
mod memory;
mod message;
mod receiver;
mod sender;
mod service;
mod shelf;
mod socket;

pub use folder::Folder;

/// The senders of one folder.
#[derive(Debug, Clone)]
pub struct ShmDirectory {
    folder: Arc<Folder>,
}

impl ShmDirectory {
    /// The folder that the environment says.
    ///
    /// # Errors
    ///
    /// If there is no folder that only this user can enter.
    pub fn open() -> Result<Self, ShareError> {
        Ok(Self::of(Folder::of_environment()?))
    }

    /// This folder.
    pub fn of(folder: Folder) -> Self {
        Self {
            folder: Arc::new(folder),
        }
    }
}

impl Directory for ShmDirectory {
    fn backend(&self) -> &'static str {
        "shm"
    }

    fn senders(&self) -> Result<Vec<Description>, ShareError> {
        listing::describe_all(&self.folder)
    }

    fn active(&self) -> Result<Option<SenderName>, ShareError> {
        let active = self.folder.active();
        let senders = self.senders()?;
        let named = senders
            .iter()
            .map(|sender| &sender.name)
            .find(|name| Some(self.folder.socket(name)) == active);
        Ok(choose(named, senders.iter().map(|sender| &sender.name)).cloned())
    }

    fn set_active(&self, name: &SenderName) -> Result<bool, ShareError> {
        let socket = self.folder.socket(name);
        let locked = self.folder.lock()?;
        if !folder::is_alive(&socket) {
            return Ok(false);
        }
        locked
            .set_active(Some(&socket))
            .map_err(|source| ShareError::System {
                doing: format!("making sender `{name}` active"),
                source,
            })?;
        Ok(true)
    }

    fn sender(&self, wish: &SenderWish) -> Result<Box<dyn Sender>, ShareError> {
        Ok(Box::new(sender::ShmSender::register(&self.folder, wish)?))
    }

    fn receiver(&self, target: Target) -> Result<Box<dyn Receiver>, ShareError> {
        let folder = Folder::clone(&self.folder);
        Ok(Box::new(receiver::ShmReceiver::new(folder, target)?))
    }
}

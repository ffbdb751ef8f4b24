//! Asking every sender who it is, all at once, with one deadline for all.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::folder::Folder;
use super::message::{Ask, Word};
use super::socket::{self, Packet};
use crate::{Description, ShareError};

/// How long a sender may take to answer; one that is stopped never does.
const DEADLINE: Duration = Duration::from_millis(250);

/// The senders that are alive and answer, sorted by name. Sockets of dead ones are removed.
pub(super) fn describe_all(folder: &Folder) -> Result<Vec<Description>, ShareError> {
    let mut asked: Vec<OwnedFd> = Vec::new();
    for path in folder.sockets()? {
        let connected =
            Folder::address(&path).and_then(|(address, _open)| socket::connect_to(&address));
        match connected {
            Ok(socket) => {
                // Whoever hung up meanwhile does not answer either.
                let _ = socket::send(&socket, &Ask::Describe.encode(), None);
                asked.push(socket);
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                folder.lock()?.remove_dead(&path);
            }
            Err(error) => tracing::debug!("{} cannot be asked: {error}", path.display()),
        }
    }
    let until = Instant::now() + DEADLINE;
    let mut found = Vec::new();
    while !asked.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        let files: Vec<_> = asked.iter().map(AsFd::as_fd).collect();
        let ready = socket::wait(&files, Some(left)).map_err(|source| ShareError::System {
            doing: "waiting for senders to answer".into(),
            source,
        })?;
        if left.is_zero() && !ready.contains(&true) {
            break;
        }
        let mut ready = ready.into_iter();
        asked.retain(|socket| match ready.next() {
            Some(true) => match socket::receive(socket) {
                Packet::Message(bytes, _) => {
                    match Word::decode(&bytes) {
                        Ok(Word::Hello { description, .. }) => found.push(description),
                        Ok(_) => tracing::debug!("a sender did not say who it is"),
                        Err(reason) => tracing::debug!("a sender is not understood: {reason}"),
                    }
                    false
                }
                Packet::Nothing => true,
                Packet::End => false,
            },
            _ => true,
        });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

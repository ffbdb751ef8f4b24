//! A receiver's connection to one sender.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::mailbox::{Mailbox, Token};
use super::memory::{View, Words};
use super::message::{Ask, Word};
use super::shelf::unpack;
use super::socket::{self, Packet};
use crate::{Description, Event, Frame, Pixels, ShareError};

/// Frames a receiver may hold for long; those beyond it are to be copied.
const QUOTA: usize = 2;

/// How long a sender may take to say hello; one that is stopped never does.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a sender that says nothing is looked after: one that was killed wakes nobody.
pub(super) const LOOK_AFTER: Duration = Duration::from_millis(50);

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    path: PathBuf,
    socket: Arc<OwnedFd>,
    asked: Instant,
    mailbox: Option<Arc<Mailbox>>,
    description: Option<Description>,
    generation: u16,
    views: Vec<Option<Arc<View>>>,
    held: Arc<AtomicUsize>,
    last: u64,
    /// Messages that have been read, and when the socket was last looked at.
    heard: u64,
    looked: Instant,
    unread: bool,
    ended: bool,
}

impl Link {
    /// Asks for frames. `None` if the sender hung up already.
    pub(super) fn ask(socket: OwnedFd, path: &Path) -> Result<Option<Self>, ShareError> {
        if socket::send(&socket, &Ask::Subscribe.encode(), None).is_err() {
            return Ok(None);
        }
        Ok(Some(Self {
            path: path.to_owned(),
            socket: Arc::new(socket),
            asked: Instant::now(),
            mailbox: None,
            description: None,
            generation: 0,
            views: Vec::new(),
            held: Arc::default(),
            last: 0,
            heard: 0,
            looked: Instant::now(),
            unread: true,
            ended: false,
        }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it said hello.
    pub(super) fn is_connected(&self) -> bool {
        self.mailbox.is_some()
    }

    /// Whether the sender is gone, or never spoke.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// How much longer a hello is waited for.
    pub(super) fn patience(&self) -> Option<Duration> {
        (!self.is_connected()).then(|| PATIENCE.saturating_sub(self.asked.elapsed()))
    }

    /// What the sender leaves frames in, once it said hello.
    pub(super) fn mailbox(&self) -> Option<&Arc<Mailbox>> {
        self.mailbox.as_ref()
    }

    /// Whether the sender may have said something, or died.
    fn is_to_listen(&mut self) -> bool {
        let Some(mailbox) = &self.mailbox else {
            return true;
        };
        let messages = mailbox.messages();
        let news = std::mem::replace(&mut self.heard, messages) != messages;
        let due = self.looked.elapsed() >= LOOK_AFTER;
        if news || due {
            self.looked = Instant::now();
        }
        news || due
    }

    /// Takes in what the sender said; then the newest frame, if there is one.
    pub(super) fn advance(&mut self) -> Result<Option<Event>, ShareError> {
        self.unread |= self.is_to_listen();
        while self.unread {
            match socket::receive(&self.socket) {
                Packet::Message(bytes, file) => {
                    let heard = self.hear(&bytes, file.as_ref());
                    if let Some(event) = heard.map_err(|reason| self.breach(reason))? {
                        return Ok(Some(event));
                    }
                }
                Packet::Nothing => self.unread = false,
                Packet::End => {
                    self.ended = true;
                    return Ok(None);
                }
            }
        }
        if !self.is_connected() && self.asked.elapsed() >= PATIENCE {
            self.ended = true;
            return Ok(None);
        }
        let token = self.mailbox.as_ref().and_then(|mailbox| mailbox.take());
        match token {
            Some(token) => self.frame(token).map(Some),
            None => Ok(None),
        }
    }

    fn breach(&self, reason: String) -> ShareError {
        let sender = self.description.as_ref().map_or_else(
            || self.path.display().to_string(),
            |description| description.name.to_string(),
        );
        ShareError::Protocol { sender, reason }
    }

    fn hear(&mut self, bytes: &[u8], file: Option<&OwnedFd>) -> Result<Option<Event>, String> {
        match Word::decode(bytes)? {
            Word::Hello {
                generation,
                description,
            } => {
                let changed = self
                    .description
                    .as_ref()
                    .is_none_or(|before| !before.video.same_geometry(&description.video));
                if self.generation != generation || changed {
                    self.views.clear();
                }
                self.generation = generation;
                self.description = Some(description.clone());
                if self.mailbox.is_some() {
                    return Ok(Some(Event::Resized(description)));
                }
                let file = file.ok_or("it said hello without a mailbox")?;
                self.mailbox = Some(Arc::new(Mailbox(Words::open(file)?)));
                Ok(Some(Event::Connected(description)))
            }
            Word::Slot { generation, index } => {
                let description = self
                    .description
                    .as_ref()
                    .ok_or("it spoke before its hello")?;
                let file = file.ok_or("it offered memory without a file")?;
                // One that was sent before the last hello is of no use any more.
                if generation == self.generation {
                    let index = usize::from(index);
                    if self.views.len() <= index {
                        self.views.resize(index + 1, None);
                    }
                    let view = View::new(file, description.video.frame_len())?;
                    self.views[index] = Some(Arc::new(view));
                }
                Ok(None)
            }
        }
    }

    fn frame(&mut self, token: Token) -> Result<Event, ShareError> {
        // Put in after the hello or the slot that we have not read yet: they are there to be read.
        while token.generation != self.generation || self.view(token).is_none() {
            match socket::receive(&self.socket) {
                Packet::Message(bytes, file) => {
                    let heard = self.hear(&bytes, file.as_ref());
                    if let Some(event) = heard.map_err(|reason| self.breach(reason))? {
                        self.give_back(token);
                        return Ok(event);
                    }
                }
                Packet::Nothing | Packet::End => {
                    return Err(self.breach(format!(
                        "it showed a frame in unknown memory {}",
                        token.slot
                    )));
                }
            }
        }
        let (Some(view), Some(mailbox)) = (self.view(token), self.mailbox.clone()) else {
            return Err(self.breach("it showed a frame before its hello".into()));
        };
        let missed = match self.last {
            0 => 0,
            last => token.ticket.saturating_sub(last + 1),
        };
        self.last = token.ticket;
        let held = self.held.fetch_add(1, Ordering::AcqRel) + 1;
        Ok(Event::Frame(Frame {
            stamp: unpack(view.stamp()),
            pixels: Some(Box::new(Held {
                view,
                mailbox,
                token,
                held: self.held.clone(),
                _connection: self.socket.clone(),
            })),
            sequence: token.ticket,
            missed,
            over_quota: held > QUOTA,
        }))
    }

    fn view(&self, token: Token) -> Option<Arc<View>> {
        self.views.get(usize::from(token.slot)).cloned().flatten()
    }

    fn give_back(&self, token: Token) {
        if let Some(mailbox) = &self.mailbox {
            mailbox.give_back(token);
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A frame in a receiver's hands.
#[derive(Debug)]
struct Held {
    view: Arc<View>,
    mailbox: Arc<Mailbox>,
    token: Token,
    held: Arc<AtomicUsize>,
    /// Kept open: when the connection ends, the sender takes all frames for given back.
    _connection: Arc<OwnedFd>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.view.frame()
    }
}

impl Pixels for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        self.mailbox.give_back(self.token);
        self.held.fetch_sub(1, Ordering::AcqRel);
    }
}

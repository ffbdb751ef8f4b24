//! A receiver: looks for its sender until it is there, follows it, and looks again when it is gone.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::folder::{Folder, listener};
use super::link::{LOOK_AFTER, Link};
use super::listing;
use super::mailbox::Mailbox;
use super::socket::{self, Bell};
use crate::directory::choose;
use crate::{Event, Receiver, ShareError, Target, Waker};

/// How often a sender that is not there is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How often all senders are asked who they are, while none is active.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// See the module.
#[derive(Debug)]
pub(super) struct ShmReceiver {
    folder: Folder,
    target: Target,
    alarm: Arc<Alarm>,
    link: Option<Link>,
    events: VecDeque<Event>,
    asked: Option<Instant>,
}

/// Ends a wait from another thread, whatever is waited for: a sender that is looked for, or the next frame.
#[derive(Debug)]
struct Alarm {
    bell: Bell,
    mailbox: Mutex<Option<Arc<Mailbox>>>,
}

impl ShmReceiver {
    pub(super) fn new(folder: Folder, target: Target) -> Result<Self, ShareError> {
        let bell = Bell::new().map_err(|source| ShareError::System {
            doing: "making a bell for the receiver".into(),
            source,
        })?;
        Ok(Self {
            folder,
            target,
            alarm: Arc::new(Alarm {
                bell,
                mailbox: Mutex::new(None),
            }),
            link: None,
            events: VecDeque::new(),
            asked: None,
        })
    }

    /// One look for the sender.
    fn look(&mut self) -> Result<Option<Link>, ShareError> {
        let socket = match &self.target {
            Target::Named(name) => Some(self.folder.socket(name)),
            Target::Active { own } => {
                let own = *own;
                let counts = |pid| own || pid != std::process::id();
                match self
                    .folder
                    .active()
                    .filter(|socket| listener(socket).is_some_and(counts))
                {
                    Some(socket) => Some(socket),
                    None => self.first_living(counts)?,
                }
            }
        };
        match socket {
            Some(socket) => self.call(&socket),
            None => Ok(None),
        }
    }

    /// Spout finds nobody when the active sender crashed; we take the first that lives.
    fn first_living(
        &mut self,
        counts: impl Fn(u32) -> bool,
    ) -> Result<Option<PathBuf>, ShareError> {
        if self.asked.is_some_and(|asked| asked.elapsed() < ASK_EVERY) {
            return Ok(None);
        }
        let living = listing::describe_all(&self.folder)?;
        self.asked = Some(Instant::now());
        let names: Vec<_> = living
            .into_iter()
            .filter(|description| counts(description.process))
            .map(|description| description.name)
            .collect();
        Ok(choose(None, names.iter()).map(|name| self.folder.socket(name)))
    }

    fn call(&self, path: &Path) -> Result<Option<Link>, ShareError> {
        let connected =
            Folder::address(path).and_then(|(address, _open)| socket::connect_to(&address));
        let error = match connected {
            Ok(socket) => return Link::ask(socket, path),
            Err(error) => error,
        };
        let kind = error.kind();
        if kind == io::ErrorKind::ConnectionRefused {
            self.folder.lock()?.remove_dead(path);
        } else if kind != io::ErrorKind::NotFound && kind != io::ErrorKind::WouldBlock {
            return Err(ShareError::System {
                doing: format!("connecting to the sender at `{}`", path.display()),
                source: error,
            });
        }
        Ok(None)
    }

    /// Lets go of the sender. What it left behind is cleaned up: it may have been killed.
    fn hang_up(&mut self) -> Option<Event> {
        let link = self.link.take()?;
        *self.alarm.mailbox.lock().unwrap() = None;
        if let Ok(locked) = self.folder.lock() {
            locked.remove_dead(link.path());
        }
        link.is_connected().then_some(Event::Lost)
    }
}

impl ShmReceiver {
    /// Where frames come, once there is a sender that said hello.
    fn mailbox(&self) -> Option<Arc<Mailbox>> {
        self.link.as_ref()?.mailbox().cloned()
    }

    /// Waits for a hello, or until it is time to look for a sender again.
    fn wait_for_sender(&self, left: Duration) -> Result<(), ShareError> {
        let mut files = vec![self.alarm.bell.as_fd()];
        let wait = match &self.link {
            Some(link) => {
                files.push(link.as_fd());
                link.patience().map_or(left, |patience| patience.min(left))
            }
            None => left.min(LOOK_EVERY),
        };
        socket::wait(&files, Some(wait)).map_err(|source| ShareError::System {
            doing: "waiting for the sender".into(),
            source,
        })?;
        Ok(())
    }
}

impl Receiver for ShmReceiver {
    fn next(&mut self, wait: Duration) -> Result<Event, ShareError> {
        let until = Instant::now() + wait;
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            if self.link.is_none() {
                self.link = self.look()?;
            }
            let known = self.mailbox();
            // Before we look: what comes after that keeps us from falling asleep.
            let rung = known.as_ref().map(|mailbox| mailbox.rung());
            let outcome = self.link.as_mut().map(Link::advance);
            match outcome {
                Some(Ok(Some(event))) => {
                    if known.is_none() {
                        *self.alarm.mailbox.lock().unwrap() = self.mailbox();
                    }
                    return Ok(event);
                }
                Some(Ok(None)) => {
                    if self.link.as_ref().is_some_and(Link::has_ended)
                        && let Some(lost) = self.hang_up()
                    {
                        return Ok(lost);
                    }
                }
                Some(Err(error)) => {
                    let lost = self.hang_up();
                    self.events.extend(lost);
                    return Err(error);
                }
                None => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Event::Idle);
            }
            if self.alarm.bell.silence() {
                return Ok(Event::Idle);
            }
            match (self.mailbox(), rung) {
                (Some(mailbox), Some(rung)) => mailbox.sleep(rung, left.min(LOOK_AFTER)),
                _ => self.wait_for_sender(left)?,
            }
        }
    }

    fn waker(&self) -> Arc<dyn Waker> {
        self.alarm.clone()
    }
}

impl Waker for Alarm {
    fn wake(&self) {
        self.bell.ring();
        if let Some(mailbox) = &*self.mailbox.lock().unwrap() {
            mailbox.ring();
        }
    }
}

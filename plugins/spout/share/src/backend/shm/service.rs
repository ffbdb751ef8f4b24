//! A sender's doorman: one thread that answers who asks, lets receivers in, and notices when they are gone.
//!
//! It sleeps while frames flow; the thread that sends frames never waits for it longer than for a greeting.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::mailbox::Mailbox;
use super::memory::Words;
use super::message::Ask;
use super::shelf::{MOST_RECEIVERS, Shelf};
use super::socket::{self, Bell, Packet};

/// How long a caller may take to say what it wants.
const COURTESY: Duration = Duration::from_secs(2);

/// How long a receiver may hold frames without giving one back while others go without.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Callers that have not yet said what they want.
const MOST_CALLERS: usize = 256;

/// The thread, ended when dropped.
#[derive(Debug)]
pub(super) struct Service {
    bell: Arc<Bell>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    pub(super) fn start(listener: OwnedFd, shelf: Arc<Mutex<Shelf>>) -> std::io::Result<Self> {
        let bell = Arc::new(Bell::new()?);
        let stop = Arc::new(AtomicBool::new(false));
        let doorman = Doorman {
            listener,
            shelf,
            bell: bell.clone(),
            stop: stop.clone(),
            callers: Vec::new(),
        };
        let thread = thread::Builder::new()
            .name("spout-sender".into())
            .spawn(move || doorman.run())?;
        Ok(Self {
            bell,
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.bell.ring();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that serves receivers had panicked");
        }
    }
}

struct Doorman {
    listener: OwnedFd,
    shelf: Arc<Mutex<Shelf>>,
    bell: Arc<Bell>,
    stop: Arc<AtomicBool>,
    callers: Vec<(OwnedFd, Instant)>,
}

impl Doorman {
    fn run(mut self) {
        while !self.stop.load(Ordering::Acquire) {
            let viewers: Vec<Arc<OwnedFd>> = {
                let shelf = self.shelf.lock().unwrap();
                shelf
                    .viewers
                    .iter()
                    .map(|viewer| viewer.socket.clone())
                    .collect()
            };
            let mut files = vec![self.bell.as_fd(), self.listener.as_fd()];
            files.extend(self.callers.iter().map(|(socket, _)| socket.as_fd()));
            files.extend(viewers.iter().map(|socket| socket.as_fd()));
            let limit = (!self.callers.is_empty()).then_some(COURTESY);
            let ready = match socket::wait(&files, limit) {
                Ok(ready) => ready,
                Err(error) => {
                    // Out of memory for a poll: frames go on, newcomers wait.
                    tracing::warn!("waiting for receivers failed: {error}");
                    thread::sleep(Duration::from_millis(100));
                    continue;
                }
            };
            self.bell.silence();
            let (callers, viewers_ready) = ready[2..].split_at(self.callers.len());
            self.see_off(&viewers, viewers_ready);
            self.hear(callers);
            if ready[1] {
                self.let_in();
            }
        }
    }

    /// A receiver says nothing once it is in: a byte is a breach of protocol and an end is an end.
    fn see_off(&self, viewers: &[Arc<OwnedFd>], ready: &[bool]) {
        for (socket, _) in viewers.iter().zip(ready).filter(|(_, ready)| **ready) {
            match socket::receive(socket) {
                Packet::Nothing => {}
                Packet::End => self.shelf.lock().unwrap().see_off(socket),
                Packet::Message(..) => self.shelf.lock().unwrap().expel_one(socket),
            }
        }
    }

    fn let_in(&mut self) {
        while let Some(caller) = socket::accept(&self.listener) {
            if self.callers.len() < MOST_CALLERS {
                self.callers.push((caller, Instant::now()));
            }
        }
    }

    fn hear(&mut self, ready: &[bool]) {
        let mut ready = ready.iter();
        for (caller, since) in std::mem::take(&mut self.callers) {
            match ready.next() {
                Some(true) => match socket::receive(&caller) {
                    Packet::Message(bytes, _) => self.answer(caller, &bytes),
                    Packet::Nothing => self.callers.push((caller, since)),
                    Packet::End => {}
                },
                _ if since.elapsed() < COURTESY => self.callers.push((caller, since)),
                _ => {}
            }
        }
    }

    fn answer(&self, caller: OwnedFd, bytes: &[u8]) {
        let ask = match Ask::decode(bytes) {
            Ok(ask) => ask,
            Err(reason) => {
                tracing::debug!("a caller was turned away: {reason}");
                // Says who we are, so that a program of another version can tell its user.
                let hello = self.shelf.lock().unwrap().hello().encode();
                let _ = socket::send(&caller, &hello, None);
                return;
            }
        };
        let mut shelf = self.shelf.lock().unwrap();
        let hello = shelf.hello().encode();
        if ask == Ask::Describe {
            // A caller that hung up gets no answer.
            let _ = socket::send(&caller, &hello, None);
            return;
        }
        if shelf.viewers.len() >= MOST_RECEIVERS {
            tracing::warn!("a receiver was turned away: {MOST_RECEIVERS} are connected");
            return;
        }
        let words = match Words::new() {
            Ok(words) => words,
            Err(error) => {
                tracing::warn!("a receiver was turned away: {error}");
                return;
            }
        };
        let (words, file) = words;
        if socket::send(&caller, &hello, Some(file.as_fd())).is_ok() {
            shelf.admit(Arc::new(caller), Mailbox(words), Instant::now());
        }
    }
}

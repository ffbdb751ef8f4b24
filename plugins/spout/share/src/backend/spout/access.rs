//! Turns at a texture: who writes or copies it, and whether there is a new frame in it.

use std::time::{Duration, Instant};

use windows::core::Result;

use super::kernel::{Held, Mutex, PATIENCE, Semaphore};

/// After so long without a turn the other side is taken for hung, and the texture is used without asking.
const HUNG: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug)]
pub(super) struct Access {
    mutex: Mutex,
    counter: Semaphore,
    /// Since when there has been no turn.
    waiting: Option<Instant>,
}

/// A turn; the mutex is held if it could be had.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    held: Option<Held<'a>>,
    counter: &'a Semaphore,
}

impl Turn<'_> {
    /// Frames so far; 0 is not known.
    pub(super) fn count(&self) -> u32 {
        self.counter.read()
    }

    /// Ends a turn in which a frame was written.
    pub(super) fn written(self) {
        self.counter.count_up();
        drop(self.held);
    }
}

impl Access {
    pub(super) fn new(name: &[u8]) -> Result<Self> {
        Ok(Self {
            mutex: Mutex::named(name, "_SpoutAccessMutex")?,
            counter: Semaphore::named(name, "_Count_Semaphore")?,
            waiting: None,
        })
    }

    /// A turn, or `None`: then this frame is left out.
    pub(super) fn turn(&mut self) -> Option<Turn<'_>> {
        let hung = self.waiting.is_some_and(|since| since.elapsed() > HUNG);
        let patience = if hung { Duration::ZERO } else { PATIENCE };
        let held = self.mutex.hold(patience);
        match (&held, self.waiting) {
            (Some(_), _) => self.waiting = None,
            (None, None) => self.waiting = Some(Instant::now()),
            (None, Some(since)) if !hung && since.elapsed() > HUNG => {
                tracing::warn!(
                    "another program keeps a shared texture locked; it is used without the lock"
                );
            }
            (None, Some(_)) => {}
        }
        let counter = &self.counter;
        (held.is_some() || hung).then_some(Turn { held, counter })
    }
}

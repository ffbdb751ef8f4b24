//! Turns at a texture: who writes or copies it, and whether there is a new frame in it.

use std::time::{Duration, Instant};

use windows::core::Result;

use super::device::Texture;
use super::kernel::{Held, Mutex, PATIENCE, Semaphore};
use super::keyed::{self, Asked, Keyed};

/// After so long without a turn the other side is taken for hung, and the texture is used without asking.
const HUNG: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug)]
pub(super) struct Access {
    mutex: Mutex,
    counter: Semaphore,
    waiting: Waiting,
    /// The texture's own mutex was left behind by who died with it.
    spoilt: bool,
}

/// A turn, until dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    _held: Hold<'a>,
    counter: &'a Semaphore,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held, not looked at")]
enum Hold<'a> {
    Named(Held<'a>),
    Keyed(Keyed),
    /// Of one who keeps it for good.
    None,
}

impl Turn<'_> {
    /// Frames so far; 0 is not known.
    pub(super) fn count(&self) -> u32 {
        self.counter.read()
    }

    /// Ends a turn in which a frame was written.
    pub(super) fn written(self) {
        self.counter.count_up();
    }
}

impl Access {
    pub(super) fn new(name: &[u8]) -> Result<Self> {
        Ok(Self {
            mutex: Mutex::named(name, "_SpoutAccessMutex")?,
            counter: Semaphore::named(name, "_Count_Semaphore")?,
            waiting: Waiting::default(),
            spoilt: false,
        })
    }

    /// A turn at `texture`, by its own mutex if it has one; or `None`: then this frame is left out.
    pub(super) fn turn(&mut self, texture: &Texture) -> Option<Turn<'_>> {
        let _held = match texture.is_keyed() {
            false => named(&self.mutex, &mut self.waiting)?,
            true => match keyed::ask(texture) {
                Asked::Turn(keyed) => Hold::Keyed(keyed),
                Asked::Busy => return None,
                Asked::Spoilt => {
                    self.spoilt = true;
                    return None;
                }
            },
        };
        let counter = &self.counter;
        Some(Turn { _held, counter })
    }

    /// Whether the texture has to be made anew; asked once.
    pub(super) fn take_spoilt(&mut self) -> bool {
        std::mem::take(&mut self.spoilt)
    }
}

/// How long there has been no turn by the named mutex.
#[derive(Debug, Clone, Copy, Default)]
struct Waiting {
    since: Option<Instant>,
    said: bool,
}

/// A turn by a named mutex.
fn named<'a>(mutex: &'a Mutex, waiting: &mut Waiting) -> Option<Hold<'a>> {
    let hung = waiting.since.is_some_and(|since| since.elapsed() > HUNG);
    let patience = if hung { Duration::ZERO } else { PATIENCE };
    if let Some(held) = mutex.hold(patience) {
        *waiting = Waiting::default();
        return Some(Hold::Named(held));
    }
    waiting.since.get_or_insert_with(Instant::now);
    if hung && !waiting.said {
        waiting.said = true;
        tracing::warn!(
            "another program keeps a shared texture locked; it is used without the lock"
        );
    }
    hung.then_some(Hold::None)
}

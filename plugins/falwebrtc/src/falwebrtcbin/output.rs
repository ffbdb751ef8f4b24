//! What waits for the source pad's thread: frames and events in order, the newest frames first to survive.
//!
//! Holds a few frames at most. A frame that comes when the queue is full displaces the oldest that waits, so that
//! memory and delay stay bounded. Events are never dropped.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};

/// What waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item<F, E> {
    Frame(F),
    Event(E),
}

/// The pad is being flushed or was deactivated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flushing;

#[derive(Debug)]
struct Inner<F, E> {
    items: VecDeque<Item<F, E>>,
    capacity: usize,
    flushing: bool,
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Output<F, E> {
    inner: Mutex<Inner<F, E>>,
    changed: Condvar,
}

impl<F, E> Default for Output<F, E> {
    /// Flushing: nothing passes until [`Output::set_flushing`] says so.
    fn default() -> Self {
        let inner = Inner {
            items: VecDeque::new(),
            capacity: 1,
            flushing: true,
        };
        Self {
            inner: Mutex::new(inner),
            changed: Condvar::new(),
        }
    }
}

impl<F, E> Inner<F, E> {
    fn frames(&self) -> usize {
        self.items
            .iter()
            .filter(|item| matches!(item, Item::Frame(_)))
            .count()
    }
}

impl<F, E> Output<F, E> {
    /// How many frames may wait.
    pub(crate) fn set_capacity(&self, frames: usize) {
        self.inner.lock().unwrap().capacity = frames.max(1);
    }

    /// Adds an item; true if the oldest frame had to go for it. Never waits.
    ///
    /// # Errors
    ///
    /// [`Flushing`], and the item is dropped.
    pub(crate) fn push(&self, item: Item<F, E>) -> Result<bool, Flushing> {
        let mut inner = self.inner.lock().unwrap();
        if inner.flushing {
            return Err(Flushing);
        }
        let full = matches!(item, Item::Frame(_)) && inner.frames() >= inner.capacity;
        if full
            && let Some(oldest) = inner
                .items
                .iter()
                .position(|item| matches!(item, Item::Frame(_)))
        {
            inner.items.remove(oldest);
        }
        inner.items.push_back(item);
        self.changed.notify_all();
        Ok(full)
    }

    /// Adds a frame when there is room for it: for streams that must not lose any.
    ///
    /// # Errors
    ///
    /// [`Flushing`] as soon as the queue is flushed.
    pub(crate) fn push_waiting(&self, frame: F) -> Result<(), Flushing> {
        let mut inner = self.inner.lock().unwrap();
        while !inner.flushing && inner.frames() >= inner.capacity {
            inner = self.changed.wait(inner).unwrap();
        }
        if inner.flushing {
            return Err(Flushing);
        }
        inner.items.push_back(Item::Frame(frame));
        self.changed.notify_all();
        Ok(())
    }

    /// Whether so many frames more can wait.
    pub(crate) fn has_room_for(&self, frames: usize) -> bool {
        let inner = self.inner.lock().unwrap();
        inner.frames() + frames <= inner.capacity
    }

    /// Waits for the next item.
    ///
    /// # Errors
    ///
    /// [`Flushing`] as soon as the queue is flushed.
    pub(crate) fn pop(&self) -> Result<Item<F, E>, Flushing> {
        let mut inner = self.inner.lock().unwrap();
        loop {
            if inner.flushing {
                return Err(Flushing);
            }
            if let Some(item) = inner.items.pop_front() {
                self.changed.notify_all();
                return Ok(item);
            }
            inner = self.changed.wait(inner).unwrap();
        }
    }

    /// Empties the queue and turns it off (`true`) or on.
    pub(crate) fn set_flushing(&self, flushing: bool) {
        let mut inner = self.inner.lock().unwrap();
        inner.flushing = flushing;
        inner.items.clear();
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(capacity: usize) -> Output<u32, &'static str> {
        let queue = Output::default();
        queue.set_flushing(false);
        queue.set_capacity(capacity);
        queue
    }

    fn drain(queue: &Output<u32, &'static str>) -> Vec<Item<u32, &'static str>> {
        queue.push(Item::Event("end")).unwrap();
        std::iter::from_fn(|| queue.pop().ok().filter(|item| *item != Item::Event("end"))).collect()
    }

    #[test]
    fn the_newest_frames_win() {
        let queue = open(2);
        let displaced: Vec<_> = (1..5)
            .map(|frame| queue.push(Item::Frame(frame)).unwrap())
            .collect();

        assert_eq!(displaced, [false, false, true, true]);
        assert_eq!(drain(&queue), [Item::Frame(3), Item::Frame(4)]);
    }

    #[test]
    fn a_frame_never_overtakes_an_event() {
        let queue = open(1);
        for item in [
            Item::Event("caps"),
            Item::Frame(1),
            Item::Event("segment"),
            Item::Frame(2),
            Item::Event("eos"),
        ] {
            queue.push(item).unwrap();
        }

        assert_eq!(
            drain(&queue),
            [
                Item::Event("caps"),
                Item::Event("segment"),
                Item::Frame(2),
                Item::Event("eos")
            ]
        );
    }

    #[test]
    fn who_must_not_lose_any_waits_for_room() {
        let queue = open(1);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| (0..50).try_for_each(|frame| queue.push_waiting(frame)));
            for frame in 0..50 {
                assert_eq!(queue.pop(), Ok(Item::Frame(frame)));
            }
            assert_eq!(writer.join().unwrap(), Ok(()));
        });
    }

    #[test]
    fn flushing_wakes_everyone_and_empties_the_queue() {
        let queue = open(1);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| while queue.pop().is_ok() {});
            queue.set_flushing(true);
            reader.join().unwrap();
        });
        assert_eq!(queue.push(Item::Frame(2)), Err(Flushing));
        assert_eq!(queue.push_waiting(2), Err(Flushing));

        queue.set_flushing(false);
        assert!(drain(&queue).is_empty());
    }
}

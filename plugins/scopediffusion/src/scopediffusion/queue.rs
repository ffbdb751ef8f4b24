//! The hand-over between the streaming thread and the inference thread: newest frame wins.
//!
//! Holds at most one frame. A frame that arrives while another still waits takes its place at the end, so events keep
//! their order towards the frames that survive, and memory stays bounded. Events are never dropped.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};

/// What waits for the inference thread.
#[derive(Debug)]
pub(crate) enum Item<F, E> {
    Frame(F),
    Event(E),
}

/// Why [`NewestFirst::pop`] came back without an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flushing;

#[derive(Debug)]
struct Inner<F, E> {
    items: VecDeque<Item<F, E>>,
    flushing: bool,
}

/// The queue. `F` is a frame, `E` a serialised event.
#[derive(Debug)]
pub(crate) struct NewestFirst<F, E> {
    inner: Mutex<Inner<F, E>>,
    filled: Condvar,
}

impl<F, E> Default for NewestFirst<F, E> {
    /// Flushing: nothing passes until [`NewestFirst::set_flushing`] says so.
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner {
                items: VecDeque::new(),
                flushing: true,
            }),
            filled: Condvar::new(),
        }
    }
}

impl<F, E> NewestFirst<F, E> {
    /// Adds an item; returns the frame it displaced, if any. Never waits.
    ///
    /// # Errors
    ///
    /// [`Flushing`], and the item is dropped.
    pub(crate) fn push(&self, item: Item<F, E>) -> Result<Option<F>, Flushing> {
        let mut inner = self.inner.lock().unwrap();
        if inner.flushing {
            return Err(Flushing);
        }
        let waiting = match item {
            Item::Frame(_) => inner
                .items
                .iter()
                .position(|waiting| matches!(waiting, Item::Frame(_))),
            Item::Event(_) => None,
        };
        let displaced = waiting.and_then(|index| inner.items.remove(index));
        inner.items.push_back(item);
        self.filled.notify_one();
        Ok(displaced.and_then(|item| match item {
            Item::Frame(frame) => Some(frame),
            Item::Event(_) => None,
        }))
    }

    /// Waits for the next item.
    ///
    /// # Errors
    ///
    /// [`Flushing`] as soon as the queue is flushed, whoever waits.
    pub(crate) fn pop(&self) -> Result<Item<F, E>, Flushing> {
        let mut inner = self.inner.lock().unwrap();
        loop {
            if inner.flushing {
                return Err(Flushing);
            }
            match inner.items.pop_front() {
                Some(item) => return Ok(item),
                None => inner = self.filled.wait(inner).unwrap(),
            }
        }
    }

    /// Empties the queue and turns it off (`true`) or on.
    pub(crate) fn set_flushing(&self, flushing: bool) {
        let mut inner = self.inner.lock().unwrap();
        inner.flushing = flushing;
        inner.items.clear();
        self.filled.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> NewestFirst<u32, &'static str> {
        let queue = NewestFirst::default();
        queue.set_flushing(false);
        queue
    }

    fn drain(queue: &NewestFirst<u32, &'static str>) -> Vec<String> {
        let mut seen = Vec::new();
        queue.push(Item::Event("end")).unwrap();
        loop {
            match queue.pop().unwrap() {
                Item::Event("end") => return seen,
                Item::Event(event) => seen.push(event.to_owned()),
                Item::Frame(frame) => seen.push(frame.to_string()),
            }
        }
    }

    #[test]
    fn the_newest_frame_wins_and_the_loser_comes_back() {
        let queue = open();

        assert_eq!(queue.push(Item::Frame(1)), Ok(None));
        assert_eq!(queue.push(Item::Frame(2)), Ok(Some(1)));
        assert_eq!(queue.push(Item::Frame(3)), Ok(Some(2)));

        assert_eq!(drain(&queue), ["3"]);
    }

    #[test]
    fn a_surviving_frame_never_overtakes_an_event() {
        let queue = open();

        queue.push(Item::Event("caps")).unwrap();
        queue.push(Item::Frame(1)).unwrap();
        queue.push(Item::Event("segment")).unwrap();
        queue.push(Item::Frame(2)).unwrap();
        queue.push(Item::Event("eos")).unwrap();

        assert_eq!(drain(&queue), ["caps", "segment", "2", "eos"]);
    }

    #[test]
    fn flushing_wakes_the_waiter_and_empties_the_queue() {
        let queue = open();
        queue.push(Item::Frame(1)).unwrap();

        std::thread::scope(|scope| {
            assert!(matches!(queue.pop(), Ok(Item::Frame(1))));
            let waiter = scope.spawn(|| queue.pop().map(|_| ()));
            queue.set_flushing(true);
            assert_eq!(waiter.join().unwrap(), Err(Flushing));
        });

        assert_eq!(queue.push(Item::Frame(2)), Err(Flushing));
        queue.set_flushing(false);
        assert_eq!(drain(&queue), Vec::<String>::new());
    }
}

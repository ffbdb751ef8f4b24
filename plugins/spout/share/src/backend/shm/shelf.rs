//! A sender's memory and who looks at it: which slot may be written next, and what each receiver gets.
//!
//! A slot is free when nobody writes it, it is not the newest frame, and no receiver has it in its mailbox or hands.
//! When none is free there is one more, up to [`SPARE`] and one per receiver; after that the frame is dropped, and a
//! receiver that has not given anything back for [`super::service::PATIENCE`] is expelled.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;
use std::{io, mem};

use super::mailbox::{Mailbox, SLOTS, Token};
use super::memory::{Board, Canvas, STAMP_WORDS};
use super::message::Word;
use super::socket;
use crate::{Description, Figures, Stamp};

/// Slots beyond one for each receiver: one newest, one being written, two on their way round.
const SPARE: usize = 4;

/// Receivers that one sender serves.
pub(super) const MOST_RECEIVERS: usize = SLOTS - SPARE;

/// Written where a stamp has no value.
const UNKNOWN: u64 = u64::MAX;

#[derive(Debug)]
struct Slot {
    board: Arc<Board>,
    file: OwnedFd,
    /// The frame that lies here; 0 is none yet.
    ticket: u64,
    /// What lies here was shown; it is not shown again under another ticket.
    spent: bool,
    /// Somebody who is no longer connected may look at it whenever he wakes: to be replaced before it is written.
    haunted: bool,
}

/// A connected receiver.
#[derive(Debug)]
pub(super) struct Viewer {
    pub(super) socket: Arc<OwnedFd>,
    mailbox: Mailbox,
    /// The hello it has heard.
    heard: Option<u16>,
    /// Slots of this generation it knows.
    known: usize,
    /// Per slot, the frame it was shown and has not given back as far as we have looked.
    shown: Vec<Option<u64>>,
    /// When it last gave something back or had nothing.
    moved: Instant,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) description: Description,
    generation: u16,
    slots: Vec<Slot>,
    newest: Option<usize>,
    ticket: u64,
    pub(super) viewers: Vec<Viewer>,
    pub(super) figures: Figures,
}

impl Shelf {
    pub(super) fn new(description: Description) -> Self {
        Self {
            description,
            generation: 0,
            slots: Vec::new(),
            newest: None,
            ticket: 0,
            viewers: Vec::new(),
            figures: Figures::default(),
        }
    }

    /// A new geometry: nothing of the old one is shown any more. Receivers keep what they hold until they let go.
    pub(super) fn reshape(&mut self, description: Description) {
        self.description = description;
        self.generation = self.generation.wrapping_add(1);
        self.slots.clear();
        self.newest = None;
        for viewer in &mut self.viewers {
            // First the old frame out of the mailbox, then the hello: so what is taken after a hello is of its kind.
            viewer.mailbox.take();
            viewer.shown.clear();
            viewer.known = 0;
        }
        self.greet_all();
    }

    /// Whether every receiver has taken the newest frame.
    pub(super) fn is_taken(&self) -> bool {
        self.viewers.iter().all(|viewer| viewer.mailbox.is_empty())
    }

    /// Tells those who have not heard of the present geometry.
    fn greet_all(&mut self) {
        let generation = self.generation;
        // With every frame, so not even the words are put together for nothing.
        let knows = |viewer: &Viewer| viewer.heard == Some(generation);
        if self.viewers.iter().all(knows) {
            return;
        }
        let hello = self.hello().encode();
        self.keep_viewers(|viewer| {
            if viewer.heard != Some(generation) {
                match viewer.say(&hello, None) {
                    Err(error) => return tolerate_full(error),
                    Ok(()) => viewer.heard = Some(generation),
                }
            }
            Ok(())
        });
    }

    pub(super) fn hello(&self) -> Word {
        Word::Hello {
            generation: self.generation,
            description: self.description.clone(),
        }
    }

    /// A receiver that has heard the hello comes in; it is shown the newest frame at once.
    pub(super) fn admit(&mut self, socket: Arc<OwnedFd>, mailbox: Mailbox, now: Instant) {
        let mut viewer = Viewer {
            socket,
            mailbox,
            heard: Some(self.generation),
            known: 0,
            shown: Vec::new(),
            moved: now,
        };
        // To this one alone: the others have seen it.
        let shown = self.newest.map_or(Ok(()), |newest| {
            viewer.show(self.generation, &self.slots, newest)
        });
        match shown {
            Ok(()) => self.viewers.push(viewer),
            Err(error) => tracing::debug!("a receiver left as it came: {error}"),
        }
    }

    /// Memory that nobody looks at, to be written.
    pub(super) fn canvas(&mut self, now: Instant) -> io::Result<Option<Canvas>> {
        for viewer in &mut self.viewers {
            viewer.look(now);
        }
        let free = (0..self.slots.len()).find(|index| {
            Some(*index) != self.newest
                && !self.slots[*index].board.is_written()
                && !self.viewers.iter().any(|viewer| viewer.has(*index))
        });
        if let Some(index) = free {
            if self.slots[index].haunted {
                self.replace(index)?;
            }
            let slot = &mut self.slots[index];
            slot.spent = false;
            return Ok(slot.board.canvas());
        }
        if self.slots.len() >= (SPARE + self.viewers.len()).min(SLOTS) {
            return Ok(None);
        }
        let slot = self.slot()?;
        let canvas = slot.board.canvas();
        self.slots.push(slot);
        self.figures.buffers = self.slots.len();
        Ok(canvas)
    }

    fn slot(&self) -> io::Result<Slot> {
        let (board, file) = Board::new(self.description.video.frame_len())?;
        Ok(Slot {
            board,
            file,
            ticket: 0,
            spent: false,
            haunted: false,
        })
    }

    /// The slot that `frame` is the memory of, if it is one of the present geometry's and was not shown yet.
    pub(super) fn slot_of(&self, frame: &[u8]) -> Option<usize> {
        self.slots
            .iter()
            .position(|slot| !slot.spent && slot.board.is(frame))
    }

    /// Hands the frame that lies in a slot to every receiver; its ticket.
    pub(super) fn publish(&mut self, index: usize, stamp: &Stamp) -> u64 {
        self.ticket += 1;
        let slot = &mut self.slots[index];
        slot.ticket = self.ticket;
        slot.spent = true;
        slot.board.set_stamp(pack(stamp));
        self.newest = Some(index);
        self.show(index);
        self.figures.sent += 1;
        self.ticket
    }

    /// Whether anybody may look at this frame; the newest counts, a receiver that comes in is shown it.
    pub(super) fn is_shown(&self, ticket: u64) -> bool {
        let Some(index) = self.slots.iter().position(|slot| slot.ticket == ticket) else {
            return false;
        };
        self.newest == Some(index) || self.viewers.iter().any(|viewer| viewer.holds(index))
    }

    fn show(&mut self, index: usize) {
        self.greet_all();
        let generation = self.generation;
        let slots = mem::take(&mut self.slots);
        self.keep_viewers(|viewer| {
            viewer
                .show(generation, &slots, index)
                .or_else(tolerate_full)
        });
        self.slots = slots;
    }

    fn keep_viewers(&mut self, mut each: impl FnMut(&mut Viewer) -> io::Result<()>) {
        self.viewers.retain_mut(|viewer| {
            each(viewer)
                .inspect_err(|error| tracing::debug!("a receiver is gone: {error}"))
                .is_ok()
        });
    }

    /// Shows the door to receivers that hold frames and have not moved since `before`. They may look at their frames
    /// whenever they wake, so that memory is replaced.
    pub(super) fn expel_stuck(&mut self, before: Instant) -> usize {
        let expelled =
            self.expel(|viewer| viewer.moved < before && viewer.shown.iter().any(Option::is_some));
        self.figures.expelled += expelled as u64;
        expelled
    }

    /// Shows a receiver the door because it does not keep to the protocol.
    pub(super) fn expel_one(&mut self, socket: &Arc<OwnedFd>) {
        let expelled = self.expel(|viewer| Arc::ptr_eq(&viewer.socket, socket));
        self.figures.expelled += expelled as u64;
    }

    /// A receiver has hung up, which it does when it has let go of its last frame, or died.
    pub(super) fn see_off(&mut self, socket: &Arc<OwnedFd>) {
        self.viewers
            .retain(|viewer| !Arc::ptr_eq(&viewer.socket, socket));
    }

    fn expel(&mut self, mut unwanted: impl FnMut(&Viewer) -> bool) -> usize {
        let mut viewers = mem::take(&mut self.viewers);
        let expelled: Vec<_> = viewers.extract_if(.., |viewer| unwanted(viewer)).collect();
        self.viewers = viewers;
        for (index, slot) in self.slots.iter_mut().enumerate() {
            slot.haunted |= expelled.iter().any(|viewer| viewer.has(index));
        }
        expelled.len()
    }

    /// Fresh memory under the same number.
    fn replace(&mut self, index: usize) -> io::Result<()> {
        self.slots[index] = self.slot()?;
        for viewer in &mut self.viewers {
            // Everybody learns the slots from here on anew, in order.
            viewer.known = viewer.known.min(index);
        }
        Ok(())
    }
}

impl Viewer {
    /// Notes what was given back.
    fn look(&mut self, now: Instant) {
        let mut holds = false;
        for (index, shown) in self.shown.iter_mut().enumerate() {
            let slot = u8::try_from(index).unwrap_or(u8::MAX);
            if shown.is_some_and(|ticket| self.mailbox.is_back(slot, ticket)) {
                *shown = None;
                self.moved = now;
            }
            holds |= shown.is_some();
        }
        if !holds {
            self.moved = now;
        }
    }

    /// Whether it had the slot at the last look.
    fn has(&self, index: usize) -> bool {
        self.shown.get(index).is_some_and(Option::is_some)
    }

    /// Whether it has the slot now.
    fn holds(&self, index: usize) -> bool {
        let slot = u8::try_from(index).unwrap_or(u8::MAX);
        let shown = self.shown.get(index).copied().flatten();
        shown.is_some_and(|ticket| !self.mailbox.is_back(slot, ticket))
    }

    fn show(&mut self, generation: u16, slots: &[Slot], index: usize) -> io::Result<()> {
        if self.heard != Some(generation) {
            return Ok(());
        }
        while self.known <= index {
            let word = Word::Slot {
                generation,
                index: u8::try_from(self.known).unwrap_or(u8::MAX),
            };
            let file = slots[self.known].file.as_fd();
            self.say(&word.encode(), Some(file))?;
            self.known += 1;
        }
        let token = Token {
            ticket: slots[index].ticket,
            generation,
            slot: u8::try_from(index).unwrap_or(u8::MAX),
        };
        if self.shown.len() <= index {
            self.shown.resize(index + 1, None);
        }
        // Before it can be seen: from here on the slot counts as held.
        self.shown[index] = Some(token.ticket);
        match self.mailbox.put(token) {
            // It has not come for the last one, so it has been woken and not yet come.
            Some(old) => match self.shown.get_mut(usize::from(old.slot)) {
                Some(shown) if *shown == Some(old.ticket) => {
                    *shown = None;
                    Ok(())
                }
                _ => Err(io::Error::other("it wrote into its own mailbox")),
            },
            None => {
                self.mailbox.ring();
                Ok(())
            }
        }
    }

    fn say(&self, message: &[u8], file: Option<BorrowedFd<'_>>) -> io::Result<()> {
        socket::send(&self.socket, message, file)?;
        self.mailbox.note_message();
        Ok(())
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        // Hung up first, so that it finds the end when it wakes.
        socket::hang_up(&self.socket);
        self.mailbox.ring();
    }
}

/// A receiver that does not read misses this one; it will be told with a later frame.
fn tolerate_full(error: io::Error) -> io::Result<()> {
    match error.kind() == io::ErrorKind::WouldBlock {
        true => Ok(()),
        false => Err(error),
    }
}

fn pack(stamp: &Stamp) -> [u64; STAMP_WORDS] {
    let known = [
        stamp.captured,
        stamp.presentation.unwrap_or(UNKNOWN),
        stamp.duration.unwrap_or(UNKNOWN),
    ];
    let mut words = [UNKNOWN; STAMP_WORDS];
    words[..3].copy_from_slice(&known);

    words
}

pub(super) fn unpack(words: [u64; STAMP_WORDS]) -> Stamp {
    let known = |word: u64| (word != UNKNOWN).then_some(word);
    Stamp {
        captured: words[0],
        presentation: known(words[1]),
        duration: known(words[2]),
    }
}

//! The hand-over of frames: one cell per receiver that holds the newest, and a note for each frame given back.
//!
//! ```text
//!   word 0        the mailbox: 0, or the newest frame nobody has taken
//!   word 1 + s    the highest ticket given back for slot s
//!   word 257      the bell: counts up whenever there is something new; its lower half is what a receiver sleeps on
//!   word 258      how many messages the sender has sent over the socket
//! ```
//!
//! The sender swaps a frame in, the receiver swaps 0 in. What the sender swaps out was not taken and is free; so an
//! old frame never waits behind an older one, and neither side ever waits. The only system call is the one that wakes
//! a receiver.
//!
//! Decision: it is woken by a futex, not by the socket. A packet costs twice the time on its way, and the kernel takes
//! it for a sign that the sender is about to sleep: it puts the receiver on the sender's core, where both stand in
//! each other's way.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::event::Timespec;
use rustix::thread::futex;

use super::memory::Words;

/// Slots a sender may have.
pub(super) const SLOTS: usize = 256;

/// A frame in a mailbox: which, and in which memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    /// Counts up with every frame; never 0. 40 bits.
    pub(super) ticket: u64,
    /// Counts up with every change of geometry.
    pub(super) generation: u16,
    /// Which memory of this generation.
    pub(super) slot: u8,
}

const TICKETS: u64 = (1 << 40) - 1;

impl Token {
    fn pack(self) -> u64 {
        (self.ticket & TICKETS) << 24 | u64::from(self.generation) << 8 | u64::from(self.slot)
    }

    fn unpack(word: u64) -> Option<Self> {
        let [slot, low, high, ..] = word.to_le_bytes();
        let ticket = word >> 24;
        (ticket != 0).then(|| Self {
            ticket,
            generation: u16::from_le_bytes([low, high]),
            slot,
        })
    }
}

/// One connection's words.
#[derive(Debug)]
pub(super) struct Mailbox(pub(super) Words);

const BELL: usize = SLOTS + 1;
const SAID: usize = SLOTS + 2;

const _: () = assert!(SAID < Words::COUNT);

impl Mailbox {
    /// Sender: puts the newest frame in; gives back the one that was not taken.
    pub(super) fn put(&self, token: Token) -> Option<Token> {
        Token::unpack(self.0.word(0).swap(token.pack(), Ordering::AcqRel))
    }

    /// Either side: takes what is there.
    pub(super) fn take(&self) -> Option<Token> {
        Token::unpack(self.0.word(0).swap(0, Ordering::AcqRel))
    }

    /// Sender: whether the newest frame was taken, or there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.word(0).load(Ordering::Acquire) == 0
    }

    /// Receiver: the sender may write this memory again.
    pub(super) fn give_back(&self, token: Token) {
        self.0
            .word(1 + usize::from(token.slot))
            .fetch_max(token.ticket, Ordering::AcqRel);
    }

    /// Either side: wakes the receiver, or keeps it from falling asleep.
    pub(super) fn ring(&self) {
        let bell = self.0.half_word(BELL);
        bell.fetch_add(1, Ordering::AcqRel);
        // It cannot fail but for an address that is none.
        let _ = futex::wake(bell, futex::Flags::empty(), 1);
    }

    /// Receiver: how often it rang, to be read before looking whether there is anything.
    pub(super) fn rung(&self) -> u32 {
        self.0.half_word(BELL).load(Ordering::Acquire)
    }

    /// Receiver: sleeps until it rings, unless it has since `rung`, or for `wait`.
    pub(super) fn sleep(&self, rung: u32, wait: Duration) {
        let timeout = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        };
        // Whatever ends it, the caller looks what there is.
        let _ = futex::wait(
            self.0.half_word(BELL),
            futex::Flags::empty(),
            rung,
            Some(&timeout),
        );
    }

    /// Sender: there is one more message to be read.
    pub(super) fn note_message(&self) {
        self.0.word(SAID).fetch_add(1, Ordering::AcqRel);
        self.ring();
    }

    /// Receiver: how many messages there have been.
    pub(super) fn messages(&self) -> u64 {
        self.0.word(SAID).load(Ordering::Acquire)
    }

    /// Sender: whether this frame was given back.
    pub(super) fn is_back(&self, slot: u8, ticket: u64) -> bool {
        self.0.word(1 + usize::from(slot)).load(Ordering::Acquire) >= ticket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Mailbox, Mailbox) {
        let (ours, file) = Words::new().unwrap();
        (Mailbox(ours), Mailbox(Words::open(&file).unwrap()))
    }

    fn token(ticket: u64, slot: u8) -> Token {
        Token {
            ticket,
            generation: 513,
            slot,
        }
    }

    #[test]
    fn the_receiver_takes_the_newest_and_the_sender_gets_the_older_back() {
        let (sender, receiver) = pair();

        assert_eq!(sender.put(token(1, 0)), None);
        assert_eq!(sender.put(token(2, 255)), Some(token(1, 0)));
        assert_eq!(receiver.take(), Some(token(2, 255)));
        assert_eq!(receiver.take(), None);
        assert_eq!(sender.put(token(3, 1)), None);
    }

    #[test]
    fn a_frame_is_back_when_it_or_a_later_one_of_its_slot_was_given_back() {
        let (sender, receiver) = pair();

        assert!(!sender.is_back(7, 10));
        receiver.give_back(token(10, 7));
        assert!(sender.is_back(7, 10));
        // A frame of an earlier geometry, let go late, does not undo it.
        receiver.give_back(token(4, 7));
        assert!(sender.is_back(7, 10));
        assert!(!sender.is_back(7, 11));
        assert!(!sender.is_back(6, 1));
    }

    #[test]
    fn a_sleeping_receiver_is_woken_and_one_that_is_about_to_sleep_does_not() {
        let (sender, receiver) = pair();
        let rung = receiver.rung();
        sender.ring();
        receiver.sleep(rung, Duration::from_secs(60));

        let rung = receiver.rung();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(30));
                sender.note_message();
            });
            receiver.sleep(rung, Duration::from_secs(60));
        });
        assert_eq!(receiver.messages(), 1);
    }

    #[test]
    fn the_largest_ticket_fits() {
        let token = Token {
            ticket: TICKETS,
            generation: u16::MAX,
            slot: 255,
        };
        assert_eq!(Token::unpack(token.pack()), Some(token));
        assert_eq!(Token::unpack(255), None);
    }
}

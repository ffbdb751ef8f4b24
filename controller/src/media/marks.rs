//! Which RTP timestamp a frame came with, carried to the packets it leaves in.
//!
//! Pure. A client that measures its round trip, or puts returned pictures back in time, recognises a frame by its
//! timestamp; between decoder, processor and encoder only a frame's place in each pipeline's own time is kept. So each
//! passage notes (its own time, the mark) and gives the mark back for that time.

use std::collections::VecDeque;
use std::sync::Mutex;

/// More frames than any pipeline holds.
const MOST: usize = 256;

/// The marks of the frames that passed last, by their time in nanoseconds.
#[derive(Debug, Default)]
pub struct Marks(Mutex<VecDeque<(u64, u32)>>);

impl Marks {
    /// A frame of this time has this mark. Said again (each packet of a frame says it) it changes nothing.
    pub fn note(&self, time: u64, mark: u32) {
        let mut known = self.0.lock().unwrap();
        if known.back() == Some(&(time, mark)) {
            return;
        }
        if known.len() == MOST {
            known.pop_front();
        }
        known.push_back((time, mark));
    }

    /// The mark of the frame of this time.
    pub fn of(&self, time: u64) -> Option<u32> {
        let known = self.0.lock().unwrap();
        let found = known.iter().rev().find(|(noted, _)| *noted == time);
        found.map(|(_, mark)| *mark)
    }
}

/// Turns a payloader's timestamps into those of the frames' marks.
///
/// A frame without a mark (one that is repeated, or that someone else made) goes on from the last one at the
/// payloader's pace. Nothing ever goes back: a receiver would take that for a packet out of order.
#[derive(Debug, Default)]
pub struct Stamps {
    last: Option<Last>,
    /// What is added to marks, so that the first one joins what went before.
    offset: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    own: u32,
    said: u32,
}

impl Stamps {
    /// The timestamp to send in place of `own`, the payloader's.
    pub fn next(&mut self, own: u32, mark: Option<u32>) -> u32 {
        let said = match (self.last, mark) {
            (Some(last), _) if last.own == own => last.said,
            (None, None) => own,
            (None, Some(mark)) => {
                self.offset = Some(0);
                mark
            }
            (Some(last), mark) => {
                let pace = last.said.wrapping_add(own.wrapping_sub(last.own));
                let wanted = mark.map_or(pace, |mark| {
                    let offset = *self.offset.get_or_insert(pace.wrapping_sub(mark));
                    mark.wrapping_add(offset)
                });
                let forward = wanted.wrapping_sub(last.said).cast_signed() > 0;
                if forward {
                    wanted
                } else {
                    last.said.wrapping_add(1)
                }
            }
        };
        self.last = Some(Last { own, said });
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_by_its_time_until_many_have_passed() {
        let marks = Marks::default();
        for n in 0..300_u32 {
            marks.note(u64::from(n) * 10, n);
            marks.note(u64::from(n) * 10, n);
        }

        assert_eq!(marks.of(2990), Some(299));
        assert_eq!((marks.of(440), marks.of(430)), (Some(44), None));
        assert_eq!(marks.of(5), None);
    }

    #[test]
    fn marked_frames_leave_as_they_came() {
        let mut stamps = Stamps::default();

        let said = [(7, 1000), (7, 1000), (3007, 4000), (6107, 7000)]
            .map(|(own, mark)| stamps.next(own, Some(mark)));

        assert_eq!(said, [1000, 1000, 4000, 7000]);
    }

    #[test]
    fn frames_without_a_mark_keep_the_pace_and_nothing_goes_back() {
        let mut stamps = Stamps::default();
        stamps.next(0, Some(1000));

        assert_eq!(stamps.next(3000, None), 4000);
        assert_eq!(
            stamps.next(6000, Some(3500)),
            4001,
            "a late one follows at once"
        );
        assert_eq!(stamps.next(9000, Some(10_000)), 10_000);
    }

    #[test]
    fn the_first_mark_joins_what_went_before_it() {
        let mut stamps = Stamps::default();
        stamps.next(500, None);

        assert_eq!(stamps.next(3500, Some(90_000)), 3500);
        assert_eq!(stamps.next(6500, Some(93_000)), 6500);
    }

    #[test]
    fn timestamps_wrap_around() {
        let mut stamps = Stamps::default();
        stamps.next(u32::MAX - 10, Some(u32::MAX - 100));

        assert_eq!(stamps.next(2990, Some(2900)), 2900);
    }
}

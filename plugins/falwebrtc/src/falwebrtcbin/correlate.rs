//! Which sent picture a returned one was made from, told by RTP timestamps alone.
//!
//! Pure. A peer that keeps timestamps (aiortc does, when the app copies `pts`) answers with ours shifted by a constant
//! that it chose by chance. Every returned timestamp therefore names one possible shift for each picture sent, and
//! the true one is the shift that all returned timestamps have in common. Sent timestamps are uneven by a few ticks
//! ([`unevenness`]), so a few returned pictures leave only one. A peer that stamps by a clock of its own leaves
//! none.

use std::collections::VecDeque;

/// Sent pictures remembered: ten seconds at 30 a second.
const REMEMBERED: usize = 300;
/// Returned pictures that may fail to fit before the shift is doubted.
const DOUBTS: u32 = 5;
/// Returned pictures after which a peer counts as having a clock of its own.
const TRIALS: u32 = 18;
/// A picture fits a wrong shift by chance one time in 25, and there are hundreds of wrong ones to fit.
const WITNESSES: u32 = 6;
/// Ticks by which a timestamp may be off: on its way through an app's time base it is rounded.
const ROUNDING: u32 = 2;

/// What is known of one returned picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin<T> {
    /// It was made from this one.
    Known(T),
    /// Too early to tell; ask again with the next one.
    Undecided,
    /// The peer does not keep timestamps, or this picture is none of ours.
    Unknown,
}

#[derive(Debug)]
enum Shift {
    Sought {
        possible: Vec<u32>,
        witnesses: u32,
        trials: u32,
    },
    Found {
        shift: u32,
        doubts: u32,
    },
}

/// Remembers what was sent, and recognises it when it returns. `T` is what the caller knows of a picture.
#[derive(Debug)]
pub(crate) struct Correlation<T> {
    sent: VecDeque<(u32, T)>,
    shift: Shift,
}

impl<T> Default for Correlation<T> {
    fn default() -> Self {
        Self {
            sent: VecDeque::new(),
            shift: Shift::sought(0),
        }
    }
}

impl Shift {
    fn sought(trials: u32) -> Self {
        Self::Sought {
            possible: Vec::new(),
            witnesses: 0,
            trials,
        }
    }
}

impl<T: Clone> Correlation<T> {
    /// A picture left with this RTP timestamp.
    pub(crate) fn sent(&mut self, timestamp: u32, what: T) {
        if self.sent.len() == REMEMBERED {
            self.sent.pop_front();
        }
        self.sent.push_back((timestamp, what));
    }

    /// A picture came back with this RTP timestamp.
    pub(crate) fn returned(&mut self, timestamp: u32) -> Origin<T> {
        match &mut self.shift {
            Shift::Found { shift, doubts } => {
                let found = find(&self.sent, timestamp.wrapping_sub(*shift));
                if let Some(what) = found {
                    *doubts = 0;
                    return Origin::Known(what);
                }
                *doubts += 1;
                if *doubts >= DOUBTS {
                    self.shift = Shift::sought(0);
                }
                Origin::Unknown
            }
            Shift::Sought {
                possible,
                witnesses,
                trials,
            } => {
                *trials += 1;
                let all = self
                    .sent
                    .iter()
                    .map(|(sent, _)| timestamp.wrapping_sub(*sent));
                possible.retain(|shift| all.clone().any(|other| near(other, *shift)));
                if possible.is_empty() {
                    *possible = all.collect();
                    *witnesses = 1;
                } else {
                    *witnesses += 1;
                }
                if let ([shift], WITNESSES..) = (&possible[..], *witnesses) {
                    let shift = *shift;
                    self.shift = Shift::Found { shift, doubts: 0 };
                    return match find(&self.sent, timestamp.wrapping_sub(shift)) {
                        Some(what) => Origin::Known(what),
                        None => Origin::Unknown,
                    };
                }
                if *trials < TRIALS {
                    Origin::Undecided
                } else {
                    Origin::Unknown
                }
            }
        }
    }

    /// The picture that a timestamp returned earlier belongs to, if that can be told by now.
    pub(crate) fn settle(&self, timestamp: u32) -> Option<T> {
        match self.shift {
            Shift::Found { shift, .. } => find(&self.sent, timestamp.wrapping_sub(shift)),
            Shift::Sought { .. } => None,
        }
    }

    /// Whether it is still open what the peer does with timestamps.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.shift, Shift::Sought { trials, .. } if trials < TRIALS)
    }

    /// Whether the peer is known to keep timestamps.
    pub(crate) fn keeps_timestamps(&self) -> bool {
        matches!(self.shift, Shift::Found { .. })
    }
}

fn find<T: Clone>(sent: &VecDeque<(u32, T)>, timestamp: u32) -> Option<T> {
    sent.iter()
        .rev()
        .find(|(sent, _)| near(*sent, timestamp))
        .map(|(_, what)| what.clone())
}

fn near(one: u32, other: u32) -> bool {
    one.wrapping_sub(other).wrapping_add(ROUNDING) <= 2 * ROUNDING
}

/// Ticks of 1/90 000 s to add to the n-th picture's timestamp: below two milliseconds, and no two stretches alike.
pub(crate) fn unevenness(n: u64) -> u64 {
    // SplitMix64 (Steele, Lea, Flood 2014). A simple multiplicative hash would space its values evenly.
    let mut mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) & 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends `count` pictures, 3000 ticks apart but for the unevenness.
    fn send(correlation: &mut Correlation<u64>, from: u64, count: u64) {
        for n in from..from + count {
            correlation.sent(stamp(n), n);
        }
    }

    fn stamp(n: u64) -> u32 {
        (n * 3000 + unevenness(n)) as u32
    }

    #[test]
    fn the_shift_is_found_within_a_few_pictures() {
        for shift in [0, 77, 3000, u32::MAX - 40_000] {
            let mut correlation = Correlation::default();
            send(&mut correlation, 0, 120);

            let verdicts: Vec<_> = (100..109)
                .map(|n| correlation.returned(stamp(n).wrapping_add(shift)))
                .collect();

            assert_eq!(verdicts[0], Origin::Undecided);
            assert_eq!(verdicts[8], Origin::Known(108));
            assert_eq!(
                correlation.settle(stamp(100).wrapping_add(shift)),
                Some(100)
            );
        }
    }

    #[test]
    fn rounding_on_the_way_does_no_harm() {
        let mut correlation = Correlation::default();
        send(&mut correlation, 0, 200);

        let off = |n: u64| stamp(n).wrapping_add(700 + (n % 3) as u32).wrapping_sub(1);
        let known: Vec<_> = (0..40).map(|n| correlation.returned(off(n))).collect();

        assert!(
            (9..40).all(|n| known[n] == Origin::Known(n as u64)),
            "{known:?}"
        );
    }

    #[test]
    fn pictures_that_the_peer_left_out_do_no_harm() {
        let mut correlation = Correlation::default();
        send(&mut correlation, 0, 60);

        let last =
            [3, 9, 10, 31, 32, 40, 41, 43].map(|n| correlation.returned(stamp(n).wrapping_add(9)));

        assert_eq!(last[7], Origin::Known(43));
    }

    #[test]
    fn a_peer_with_its_own_clock_is_recognised() {
        let mut correlation = Correlation::default();
        let mut last = Origin::Undecided;
        for n in 0..40 {
            send(&mut correlation, n, 1);
            last = correlation.returned((n * 2990 + n * n % 17) as u32);
        }

        assert_eq!(last, Origin::Unknown);
        assert!(!correlation.keeps_timestamps());
    }

    #[test]
    fn a_new_shift_is_found_after_the_old_one_stops_to_fit() {
        let mut correlation = Correlation::default();
        send(&mut correlation, 0, 200);
        for n in 0..10 {
            correlation.returned(stamp(n));
        }
        assert!(correlation.keeps_timestamps());

        let last = (20..40)
            .map(|n| correlation.returned(stamp(n).wrapping_add(123_456)))
            .last();

        assert_eq!(last, Some(Origin::Known(39)));
    }

    #[test]
    fn timestamps_may_wrap() {
        let mut correlation = Correlation::default();
        let at = |n: u32| (u32::MAX - 9000).wrapping_add(n * 3000 + n * n % 61);
        (0..20).for_each(|n| correlation.sent(at(n), n));

        let last = (0..8)
            .map(|n| correlation.returned(at(n).wrapping_add(5)))
            .last();

        assert_eq!(last, Some(Origin::Known(7)));
    }
}

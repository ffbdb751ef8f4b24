//! When the pictures of a source are due.

use gst::prelude::*;

/// The moments of a stream with a fixed rate, counted from its start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moments {
    numer: u64,
    denom: u64,
    next: u64,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) number: u64,
    pub(super) start: gst::ClockTime,
    pub(super) end: gst::ClockTime,
}

impl Moments {
    /// Moments at a rate of frames each second; a rate of 0 counts as 30.
    pub(super) fn new(rate: gst::Fraction) -> Self {
        let positive = |value: i32| u64::try_from(value).ok().filter(|value| *value > 0);
        let (numer, denom) = positive(rate.numer())
            .zip(positive(rate.denom()))
            .unwrap_or((30, 1));
        let next = 0;
        Self { numer, denom, next }
    }

    /// Goes on at another rate from where this one has got to.
    pub(super) fn at_rate(self, other: Self) -> Self {
        let mut other = other;
        other.catch_up(self.at(self.next));
        other
    }

    /// The next one.
    pub(super) fn next(&mut self) -> Moment {
        let number = self.next;
        self.next += 1;
        Moment {
            number,
            start: self.at(number),
            end: self.at(number + 1),
        }
    }

    /// Leaves out the moments that are over at running time `now`, and says how many.
    pub(super) fn catch_up(&mut self, now: gst::ClockTime) -> u64 {
        let current = now
            .mul_div_floor(self.numer, self.denom)
            .map_or(self.next, |frames| frames.nseconds() / SECOND);
        let missed = current.saturating_sub(self.next);
        self.next += missed;
        missed
    }

    fn at(&self, number: u64) -> gst::ClockTime {
        gst::ClockTime::SECOND
            .mul_div_round(number.saturating_mul(self.denom), self.numer)
            .unwrap_or(gst::ClockTime::MAX)
    }
}

const SECOND: u64 = gst::ClockTime::SECOND.nseconds();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_follow_each_other_without_gap_or_drift() {
        let mut moments = Moments::new(gst::Fraction::new(30_000, 1001));
        let mut before = moments.next();
        assert_eq!(before.start, gst::ClockTime::ZERO);
        for _ in 0..30_000 {
            let moment = moments.next();
            assert_eq!(moment.start, before.end);
            before = moment;
        }
        assert_eq!(before.start, gst::ClockTime::from_seconds(1001));
    }

    #[test]
    fn moments_that_are_over_are_left_out() {
        let mut moments = Moments::new(gst::Fraction::new(10, 1));
        moments.next();

        assert_eq!(moments.catch_up(gst::ClockTime::from_mseconds(150)), 0);
        assert_eq!(moments.catch_up(gst::ClockTime::from_mseconds(450)), 3);
        assert_eq!(moments.next().number, 4);
    }

    #[test]
    fn a_new_rate_goes_on_where_the_old_one_was() {
        let mut moments = Moments::new(gst::Fraction::new(10, 1));
        (0..20).for_each(|_| _ = moments.next());

        let first = moments
            .at_rate(Moments::new(gst::Fraction::new(30, 1)))
            .next();

        assert_eq!(first.start, gst::ClockTime::from_seconds(2));
    }

    #[test]
    fn without_a_rate_there_are_thirty_a_second() {
        let mut moments = Moments::new(gst::Fraction::new(0, 1));

        let first = moments.next();

        assert_eq!(first.end.mseconds(), 33);
    }
}

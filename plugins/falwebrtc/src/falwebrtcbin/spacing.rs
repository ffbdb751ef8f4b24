//! Which pictures to leave out so that the round trip stays below a bound.
//!
//! Pure. A far end that works slower than pictures come (aiortc decodes into an endless queue) does not drop any: it
//! falls behind. Sending fewer is the only remedy, and the growing round trip the only sign.

use std::time::Duration;

/// Between two decisions; a change needs a round trip to show.
const PERIOD: Duration = Duration::from_millis(500);
/// Never fewer pictures than one in this time.
const WIDEST: Duration = Duration::from_millis(400);
/// The first step when nothing was left out so far.
const FIRST: Duration = Duration::from_millis(40);

/// The least time between two pictures sent.
#[derive(Debug, Default)]
pub(crate) struct Spacing {
    bound: Option<Duration>,
    least: Duration,
    decided: Duration,
    /// The round trip that was decided on.
    judged: Duration,
    /// Slots, not pictures, keep the time, so that an uneven source still gets its share.
    next: Duration,
}

impl Spacing {
    /// Without a `bound` everything is sent.
    pub(crate) fn new(bound: Option<Duration>) -> Self {
        Self {
            bound,
            ..Self::default()
        }
    }

    /// Whether a picture that is there at `now` goes out.
    pub(crate) fn admits(&mut self, now: Duration) -> bool {
        if self.least.is_zero() {
            return true;
        }
        if now < self.next {
            return false;
        }
        self.next = (self.next + self.least).max(now.saturating_sub(self.least) + self.least);
        true
    }

    /// A round trip was measured; pictures come back `gap` apart.
    pub(crate) fn measured(&mut self, now: Duration, round_trip: Duration, gap: Duration) {
        let Some(bound) = self.bound else { return };
        // The far end's jitter buffer gives a picture out when the next one comes: that wait is our own doing, and
        // sending even fewer would lengthen it.
        let theirs = round_trip.saturating_sub(self.least);
        // After a change at least a round trip must pass, or its effect is judged before it shows.
        if now.saturating_sub(self.decided) < PERIOD.max(round_trip) {
            return;
        }
        let before = std::mem::replace(&mut self.judged, round_trip);
        if theirs > bound {
            self.decided = now;
            // While it falls the last step is enough: what has piled up takes its time to go away.
            if self.least.is_zero() || round_trip >= before {
                // Slower than the far end works, or it never does.
                self.least = self.least.max(gap).mul_f64(1.5).clamp(FIRST, WIDEST);
            }
        } else if theirs < bound.mul_f64(0.7) && !self.least.is_zero() {
            let less = self.least.mul_f64(0.8);
            self.least = if less < FIRST { Duration::ZERO } else { less };
            self.decided = now;
        }
    }

    /// Pictures a second that are let through, where that is bounded.
    pub(crate) fn limit(&self) -> Option<f64> {
        (!self.least.is_zero()).then(|| 1.0 / self.least.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    /// 30 a second.
    const GAP: Duration = Duration::from_millis(33);

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// How many of 30 pictures in a second get through.
    fn through(spacing: &mut Spacing, from: Duration) -> usize {
        (0..30)
            .filter(|n| spacing.admits(from + ms(n * 33)))
            .count()
    }

    #[test]
    fn nothing_is_left_out_while_the_round_trip_is_short() {
        let mut spacing = Spacing::new(Some(SECOND));
        (1..20).for_each(|n| spacing.measured(SECOND * n, ms(300), GAP));

        assert_eq!(through(&mut spacing, SECOND * 20), 30);
        assert_eq!(spacing.limit(), None);
    }

    #[test]
    fn a_growing_round_trip_thins_the_stream_and_a_short_one_fills_it_again() {
        let mut spacing = Spacing::new(Some(SECOND));
        (1..5).for_each(|n| spacing.measured(SECOND * n * 3, ms(1500), GAP));
        assert!(
            (4..12).contains(&through(&mut spacing, SECOND * 20)),
            "{spacing:?}"
        );

        (0..60).for_each(|n| spacing.measured(SECOND * (30 + n), ms(100), GAP));
        assert_eq!(through(&mut spacing, SECOND * 100), 30);
    }

    #[test]
    fn the_wait_that_fewer_pictures_cause_is_not_counted() {
        let mut spacing = Spacing::new(Some(ms(300)));
        (1..9).for_each(|n| spacing.measured(SECOND * n * 3, ms(900), GAP));
        let widest = spacing.limit();

        (0..40).for_each(|n| spacing.measured(SECOND * (40 + n), ms(150) + spacing.least, GAP));

        assert!(
            spacing.limit() > widest || spacing.limit().is_none(),
            "{spacing:?}"
        );
    }

    #[test]
    fn it_never_stops_altogether() {
        let mut spacing = Spacing::new(Some(ms(10)));
        (1..200).for_each(|n| spacing.measured(SECOND * n * 20, SECOND * 15, GAP));

        assert!(through(&mut spacing, SECOND * 9000) >= 2);
    }

    #[test]
    fn without_a_bound_nothing_is_ever_left_out() {
        let mut spacing = Spacing::new(None);
        (1..9).for_each(|n| spacing.measured(SECOND * n * 20, SECOND * 15, GAP));

        assert_eq!(through(&mut spacing, SECOND), 30);
    }
}

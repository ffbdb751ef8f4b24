//! Which pictures to leave out so that the round trip stays below a bound.
//!
//! Pure. A far end that works slower than pictures come (aiortc decodes into an endless queue) does not drop any: it
//! falls behind, and sending fewer is the only remedy. By Little's law a picture takes as long as there are pictures
//! under way, divided by those that are done in a second; so the number under way is bounded, like the window of a
//! TCP connection.
//!
//! Decision: a window and no rate. What comes back lets the next picture out, so the pace is the far end's own, and one
//! that stood still for a second (its processor was busy elsewhere) is sent everything again as soon as it works. A
//! rate must be found anew, step by step, each a round trip apart, and stays low while such moments come often.

use std::collections::VecDeque;
use std::time::Duration;

/// Of the bound, this much is aimed at: encoders and networks need the rest.
const SHARE: f64 = 0.7;
/// The far end's jitter buffer holds one picture back until the next one comes, and one more is on the way.
const LEAST: usize = 3;
/// Without any picture back so many may be under way: an app may load its model when the first one comes.
const UNKNOWN: usize = 150;
/// Never fewer pictures than one in this time.
const WIDEST: Duration = Duration::from_millis(400);
/// The far end's pace is taken over this long.
const WINDOW: Duration = Duration::from_secs(1);
/// The best pace counts until it is so old: a far end that stood still is none that has become slow.
const MEMORY: Duration = Duration::from_secs(2);

/// What is under way, and how many may be.
#[derive(Debug, Default)]
pub(crate) struct Spacing {
    bound: Option<Duration>,
    /// Numbers of the pictures that were sent and are not known to be done, oldest first.
    under_way: VecDeque<u64>,
    /// When how many were done, over the last [`WINDOW`].
    done: VecDeque<(Duration, usize)>,
    /// Pictures a second, and when that was measured.
    best: Option<(f64, Duration)>,
    admitted: Duration,
    /// When a picture was left out last.
    left_out: Option<Duration>,
}

impl Spacing {
    /// Without a `bound` everything is sent.
    pub(crate) fn new(bound: Option<Duration>) -> Self {
        Self {
            bound,
            ..Self::default()
        }
    }

    /// Another far end, of which nothing is known.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.bound);
    }

    /// Whether the picture of this number, which is there at `now`, goes out.
    pub(crate) fn admits(&mut self, now: Duration, number: u64) -> bool {
        let Some(bound) = self.bound else { return true };
        let full = self.under_way.len() >= self.most(bound);
        if full && now.saturating_sub(self.admitted) < WIDEST {
            self.left_out = Some(now);
            return false;
        }
        self.admitted = now;
        self.under_way.push_back(number);
        true
    }

    /// The picture of this number is back, and so are those before it, or they never will be.
    pub(crate) fn returned(&mut self, now: Duration, number: u64) {
        let done = self.under_way.partition_point(|sent| *sent <= number);
        self.under_way.drain(..done);
        self.done.push_back((now, done));
        let since = now.saturating_sub(WINDOW);
        while self.done.front().is_some_and(|(at, _)| *at < since) {
            self.done.pop_front();
        }
        // What was done by the first moment was done before it.
        let count: usize = self.done.iter().skip(1).map(|(_, count)| count).sum();
        let first = self.done.front().map_or(now, |(at, _)| *at);
        let span = now.saturating_sub(first);
        // A few pictures at once tell nothing.
        if span < WINDOW / 4 {
            return;
        }
        let pace = count as f64 / span.as_secs_f64();
        let outdone = |(best, at): (f64, Duration)| pace >= best || now.saturating_sub(at) > MEMORY;
        if self.best.is_none_or(outdone) {
            self.best = Some((pace, now));
        }
    }

    /// A picture is back, and nobody can tell which.
    pub(crate) fn returned_unknown(&mut self) {
        self.under_way.clear();
    }

    /// Pictures a second that are let through, where pictures were left out in the last second.
    pub(crate) fn limit(&self, now: Duration) -> Option<f64> {
        let recent = self
            .left_out
            .is_some_and(|at| now.saturating_sub(at) < WINDOW);
        let since = now.saturating_sub(WINDOW);
        let done = self.done.iter().filter(|(at, _)| *at >= since);
        recent.then(|| done.map(|(_, count)| *count as f64).sum())
    }

    fn most(&self, bound: Duration) -> usize {
        match self.best {
            Some((pace, _)) => ((pace * bound.as_secs_f64() * SHARE) as usize).max(LEAST),
            None => UNKNOWN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a minute of 30 pictures a second through a far end looked like.
    #[derive(Debug)]
    struct Minute {
        /// Pictures a second that came back.
        pace: f64,
        /// Sorted.
        trips: Vec<Duration>,
    }

    impl Minute {
        fn quantile(&self, share: f64) -> Duration {
            self.trips[((self.trips.len() - 1) as f64 * share) as usize]
        }
    }

    /// A far end that does one picture after the other, none before the next one has come, in the time that `takes`
    /// tells for each moment (in seconds; `None` stands still). The network takes 20 ms each way.
    fn minute(bound: Duration, takes: impl Fn(f64) -> Option<f64>) -> Minute {
        const WAY: Duration = Duration::from_millis(20);
        let mut spacing = Spacing::new(Some(bound));
        let mut queue = VecDeque::new();
        let mut back = VecDeque::<(Duration, u64, Duration)>::new();
        let (mut working, mut progress): (Option<(u64, Duration)>, f64) = (None, 0.0);
        let mut trips = Vec::new();
        for milliseconds in 0..60_000 {
            let now = Duration::from_millis(milliseconds);
            while back.front().is_some_and(|(at, ..)| *at <= now)
                && let Some((_, number, sent)) = back.pop_front()
            {
                spacing.returned(now, number);
                trips.push(now - sent);
            }
            if milliseconds * 30 / 1000 != (milliseconds + 1) * 30 / 1000
                && spacing.admits(now, milliseconds)
            {
                queue.push_back((now + WAY, milliseconds, now));
            }
            if working.is_none() && queue.get(1).is_some_and(|(there, ..)| *there <= now) {
                working = queue.pop_front().map(|(_, number, sent)| (number, sent));
            }
            if let (Some((number, sent)), Some(takes)) = (working, takes(now.as_secs_f64())) {
                progress += 0.001 / takes;
                if progress >= 1.0 {
                    (working, progress) = (None, 0.0);
                    back.push_back((now + WAY, number, sent));
                }
            }
        }
        trips.sort_unstable();
        Minute {
            pace: trips.len() as f64 / 60.0,
            trips,
        }
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_fast_far_end_gets_everything() {
        for bound in [ms(400), ms(1500)] {
            let seen = minute(bound, |_| Some(0.01));

            assert!(seen.pace > 29.0, "{}", seen.pace);
            assert!(seen.quantile(1.0) < ms(120), "{:?}", seen.quantile(1.0));
        }
    }

    #[test]
    fn a_slow_far_end_is_kept_busy_within_the_bound() {
        for bound in [ms(400), ms(1500)] {
            let seen = minute(bound, |_| Some(0.1));

            assert!(seen.pace > 9.5, "{}", seen.pace);
            assert!(seen.quantile(0.9) < bound, "{:?}", seen.quantile(0.9));
        }
    }

    #[test]
    fn one_that_becomes_slow_is_back_within_the_bound_in_seconds() {
        let seen = minute(ms(1500), |now| Some(if now < 20.0 { 0.015 } else { 0.125 }));

        assert!(seen.pace > 14.5, "{}", seen.pace);
        assert!(seen.quantile(0.95) < ms(1500), "{:?}", seen.quantile(0.95));
    }

    /// Its processor is busy with something else for two seconds out of six: four sixths are the most it can do.
    #[test]
    fn one_that_stands_still_at_times_gets_everything_between() {
        let still = |now: f64| (now % 6.0 >= 2.0).then_some(0.015);

        let seen = minute(ms(1500), still);

        assert!(seen.pace > 23.0, "{}", seen.pace);
        assert!(seen.quantile(0.5) < ms(150), "{:?}", seen.quantile(0.5));
    }

    #[test]
    fn one_that_is_slow_at_times_loses_little_between() {
        let starved = |now: f64| Some(if now % 5.0 < 2.0 { 0.15 } else { 0.015 });

        let seen = minute(ms(400), starved);

        // 13 while it is starved, 90 while it is not, is 20.6 a second; twice as much as if the pace were kept low.
        assert!(seen.pace > 19.0, "{}", seen.pace);
        assert!(seen.quantile(0.5) < ms(150), "{:?}", seen.quantile(0.5));
    }

    #[test]
    fn pictures_that_never_come_back_are_not_waited_for() {
        let mut spacing = Spacing::new(Some(ms(400)));
        let every_third: usize = (0..300_u64)
            .filter(|number| {
                let now = ms(number * 33);
                let admitted = spacing.admits(now, *number);
                if number % 3 == 0 {
                    spacing.returned(now, number.saturating_sub(3));
                }
                admitted
            })
            .count();

        assert!(every_third > 290, "{every_third}");
    }

    #[test]
    fn what_cannot_be_told_apart_is_not_bounded() {
        let mut spacing = Spacing::new(Some(ms(400)));
        for number in 0..1000 {
            assert!(spacing.admits(ms(number * 33), number));
            spacing.returned_unknown();
        }
    }

    #[test]
    fn it_never_stops_altogether() {
        let mut spacing = Spacing::new(Some(ms(10)));
        let through = (0..900)
            .filter(|number| spacing.admits(ms(number * 33), *number))
            .count();

        assert!((150 + 50..150 + 70).contains(&through), "{through}");
        assert_eq!(spacing.limit(ms(900 * 33)), Some(0.0));
    }

    #[test]
    fn without_a_bound_nothing_is_ever_left_out() {
        let mut spacing = Spacing::new(None);

        assert!((0..900).all(|number| spacing.admits(ms(number * 33), number)));
        assert_eq!(spacing.limit(ms(900 * 33)), None);
    }
}

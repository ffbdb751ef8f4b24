//! How many, how fast, how late: figures over the last seconds.
//!
//! Pure: every call brings the time since any fixed start.

use std::collections::VecDeque;
use std::time::Duration;

/// Rates and latencies are taken over this long.
const WINDOW: Duration = Duration::from_secs(3);
/// More moments than 3 s of any stream have.
const MOST: usize = 1024;

/// Counts events and knows their recent rate.
#[derive(Debug, Clone, Default)]
pub struct Rate {
    total: u64,
    recent: VecDeque<Duration>,
}

impl Rate {
    /// One more.
    pub fn count(&mut self, now: Duration) {
        self.total += 1;
        self.recent.push_back(now);
        if self.recent.len() > MOST {
            self.recent.pop_front();
        }
        self.forget(now);
    }

    /// Events so far.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Events a second over the window.
    pub fn per_second(&self, now: Duration) -> f64 {
        let since = now.saturating_sub(WINDOW);
        let mut kept = self.recent.iter().filter(|moment| **moment >= since);
        let Some(first) = kept.next() else { return 0.0 };
        let count = kept.count();
        // Events that stopped must show: the span runs to now once the usual gap has passed.
        let last = self.recent.back().copied().unwrap_or(now);
        let gap = (last - *first).checked_div(count as u32).unwrap_or(WINDOW);
        let end = if now > last + gap * 2 { now } else { last };
        let span = (end - *first).as_secs_f64();
        if span > 0.0 { count as f64 / span } else { 0.0 }
    }

    /// The usual time between two events, from the last few.
    pub fn gap(&self) -> Option<Duration> {
        let newest = self.recent.len().saturating_sub(8);
        let (first, last) = (self.recent.get(newest)?, self.recent.back()?);
        let count = u32::try_from(self.recent.len() - newest).unwrap_or(u32::MAX) - 1;
        (*last - *first).checked_div(count)
    }

    /// When the last event was.
    pub fn last(&self) -> Option<Duration> {
        self.recent.back().copied()
    }

    fn forget(&mut self, now: Duration) {
        // One is kept whatever its age, so that `last` still knows.
        while self.recent.len() > 1
            && self
                .recent
                .front()
                .is_some_and(|first| *first + WINDOW < now)
        {
            self.recent.pop_front();
        }
    }
}

/// The last durations measured.
#[derive(Debug, Clone, Default)]
pub struct Recent(VecDeque<Duration>);

impl Recent {
    const MOST: usize = 64;

    /// One more.
    pub fn add(&mut self, value: Duration) {
        self.0.push_back(value);
        if self.0.len() > Self::MOST {
            self.0.pop_front();
        }
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value that `share` of them stay below.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let mut sorted: Vec<Duration> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        sorted.get((last as f64 * share).round() as usize).copied()
    }

    /// The middle one.
    pub fn median(&self) -> Option<Duration> {
        self.quantile(0.5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn steady(count: u64, gap: u64) -> Rate {
        let mut rate = Rate::default();
        (0..count).for_each(|n| rate.count(ms(n * gap)));
        rate
    }

    #[test]
    fn a_steady_stream_has_its_own_rate() {
        let rate = steady(300, 40);

        assert!((rate.per_second(ms(299 * 40)) - 25.0).abs() < 0.1);
        assert_eq!(rate.total(), 300);
    }

    #[test]
    fn a_stopped_stream_falls_to_nothing() {
        let rate = steady(100, 40);

        assert!(rate.per_second(ms(4_000 + 1_500)) < 20.0);
        assert!(rate.per_second(ms(8_000)).abs() < f64::EPSILON);
        assert_eq!(rate.last(), Some(ms(99 * 40)));
    }

    #[test]
    fn nothing_and_one_event_have_no_rate() {
        assert!(Rate::default().per_second(ms(5)).abs() < f64::EPSILON);
        assert!(steady(1, 40).per_second(ms(5)).abs() < f64::EPSILON);
    }

    #[test]
    fn the_gap_is_that_of_the_last_few() {
        assert_eq!(steady(300, 40).gap(), Some(ms(40)));
        assert_eq!(steady(1, 40).gap(), None);
        assert_eq!(Rate::default().gap(), None);
    }

    #[test]
    fn quantiles_are_of_the_last_ones() {
        let mut recent = Recent::default();
        assert_eq!(recent.median(), None);
        (0..500).for_each(|_| recent.add(ms(90)));
        (0..=63).for_each(|n| recent.add(ms(n)));

        assert_eq!(recent.median(), Some(ms(32)));
        assert_eq!(recent.quantile(1.0), Some(ms(63)));
    }
}

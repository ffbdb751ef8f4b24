//! How many frames, how fast, how late.
//!
//! Pure: every call brings the time since the element was made.

use std::collections::VecDeque;
use std::time::Duration;

/// Rates are taken over this long.
const WINDOW: Duration = Duration::from_secs(2);
/// More moments than that of any stream.
const MOST: usize = 1024;

/// Counts events and knows their recent rate.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rate {
    pub(crate) total: u64,
    recent: VecDeque<Duration>,
}

impl Rate {
    pub(crate) fn count(&mut self, now: Duration) {
        self.total += 1;
        self.recent.push_back(now);
        while self.recent.len() > MOST
            || self
                .recent
                .front()
                .is_some_and(|first| *first + WINDOW < now)
        {
            self.recent.pop_front();
        }
    }

    /// Events a second over the window.
    pub(crate) fn per_second(&self, now: Duration) -> f64 {
        let since = now.saturating_sub(WINDOW);
        let kept: Vec<_> = self
            .recent
            .iter()
            .filter(|moment| **moment >= since)
            .collect();
        let [first, .., last] = kept[..] else {
            return 0.0;
        };
        // Events that stopped must show: once twice the usual gap has passed, the span runs to now.
        let gap = (*last - *first) / u32::try_from(kept.len() - 1).unwrap_or(u32::MAX);
        let end = if now > *last + gap * 2 { now } else { *last };
        (kept.len() - 1) as f64 / (end - *first).as_secs_f64().max(1e-9)
    }

    /// The usual time between two events, from the last few.
    pub(crate) fn gap(&self) -> Option<Duration> {
        let newest = self.recent.len().saturating_sub(8);
        let (first, last) = (self.recent.get(newest)?, self.recent.back()?);
        let count = u32::try_from(self.recent.len() - newest).unwrap_or(u32::MAX) - 1;
        (*last - *first).checked_div(count)
    }
}

/// The last durations measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recent(VecDeque<Duration>);

impl Recent {
    const MOST: usize = 64;

    pub(crate) fn add(&mut self, value: Duration) {
        self.0.push_back(value);
        if self.0.len() > Self::MOST {
            self.0.pop_front();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The value that `share` of them stay below; 0.5 is the median.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        let mut sorted: Vec<Duration> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        sorted.get((last as f64 * share).round() as usize).copied()
    }
}

/// What one look at the network tells; rates in bit/s.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Network {
    pub(crate) sent: u32,
    pub(crate) received: u32,
    /// What the encoder is set to.
    pub(crate) target: u32,
    /// What the far end is told it may send.
    pub(crate) limit: u32,
    /// Share of our packets that did not arrive, 0.0 to 1.0.
    pub(crate) loss: f64,
    /// Share of theirs.
    pub(crate) loss_received: f64,
}

/// Everything counted since the element left NULL.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter {
    /// From upstream.
    pub(crate) input: Rate,
    /// Encoded and sent, repetitions included.
    pub(crate) sent: Rate,
    /// Back from the far end.
    pub(crate) returned: Rate,
    /// Pushed downstream, fallback included.
    pub(crate) output: Rate,
    /// Of those, the ones that the far end did not make.
    pub(crate) fallback: u64,
    /// Left out on the way there, or returned too late to be shown.
    pub(crate) dropped: u64,
    /// Of a stream that can wait: those that never came back, however often they were sent.
    pub(crate) lost_pictures: u64,
    /// From the sink pad to the decoder, there and back.
    pub(crate) round_trip: Recent,
    /// RTP payload, bits.
    pub(crate) received_bits: u64,
    /// RTP payload, bits.
    pub(crate) sent_bits: u64,
    /// RTP packets that never came.
    pub(crate) lost: u64,
    /// As of the last look at the network.
    pub(crate) network: Network,
    /// Connections after the first.
    pub(crate) reconnects: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_steady_stream_has_its_own_rate_and_gap() {
        let mut rate = Rate::default();
        (0..300).for_each(|n| rate.count(ms(n * 40)));

        assert!((rate.per_second(ms(299 * 40)) - 25.0).abs() < 0.1);
        assert_eq!((rate.total, rate.gap()), (300, Some(ms(40))));
        assert!(rate.per_second(ms(299 * 40 + 1000)) < 20.0);
        assert!(rate.per_second(ms(300 * 40 + 9000)).abs() < f64::EPSILON);
    }

    #[test]
    fn nothing_and_one_event_have_no_rate() {
        let mut rate = Rate::default();
        assert_eq!(rate.gap(), None);
        rate.count(ms(1));
        assert!(rate.per_second(ms(5)).abs() < f64::EPSILON);
        assert_eq!(rate.gap(), None);
    }

    #[test]
    fn quantiles_are_of_the_last_ones() {
        let mut recent = Recent::default();
        assert_eq!(recent.quantile(0.5), None);
        (0..500).for_each(|_| recent.add(ms(90)));
        (0..=63).for_each(|n| recent.add(ms(n)));

        assert_eq!(recent.quantile(0.5), Some(ms(32)));
        assert_eq!(recent.quantile(1.0), Some(ms(63)));
    }
}

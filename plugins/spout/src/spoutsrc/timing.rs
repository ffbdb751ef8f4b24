//! When a frame was taken → when it is to be seen. Pure: every clock is an argument. Nanoseconds.

/// A frame older than this on arrival was lying there: it is seen as new.
const STALE: u64 = 200_000_000;

/// Latency is announced in steps of this.
const STEP: u64 = 1_000_000;

/// The running times of a stream's frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Timing {
    last: Option<u64>,
    latency: u64,
}

/// Where a frame goes in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    /// Running time of its capture.
    pub(super) at: u64,
    /// The latency to announce, if it has grown.
    pub(super) latency: Option<u64>,
}

impl Timing {
    /// Places a frame captured at `captured` that arrived at `arrived`, both on the same monotonic clock, while the
    /// pipeline's running time is `now`. Never before the one placed last.
    pub(super) fn place(&mut self, captured: u64, arrived: u64, now: u64) -> Placed {
        let age = match captured {
            0 => 0,
            captured => arrived
                .checked_sub(captured)
                .filter(|age| *age < STALE)
                .unwrap_or(0),
        };
        let at = now.saturating_sub(age).max(self.last.unwrap_or(0));
        self.last = Some(at);
        let needed = now.saturating_sub(at).div_ceil(STEP).max(1) * STEP;
        let grown = needed > self.latency;
        if grown {
            // Twice the last, so that it settles in few steps.
            self.latency = needed.max(self.latency * 2);
        }
        Placed {
            at,
            latency: grown.then_some(self.latency),
        }
    }
}

/// Lets frames through at no more than a given rate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pace {
    due: u64,
}

impl Pace {
    /// Whether a frame that arrives at `now` is let through, when two are to be `interval` apart. One that is early by
    /// less than a quarter is: a sender of twice the rate must not be cut to a third by its jitter.
    pub(super) fn admits(&mut self, now: u64, interval: u64) -> bool {
        if interval == 0 {
            return true;
        }
        let admitted = now + interval / 4 >= self.due;
        if admitted {
            self.due = self.due.max(now.saturating_sub(interval / 2)) + interval;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_admits_everything() {
        assert!((0..100).all(|now| Pace::default().admits(now, 0)));
    }

    #[test]
    fn half_the_frames_of_twice_the_rate_pass_despite_jitter() {
        let mut pace = Pace::default();
        let jitter = [0, 3, -2, 4, -4, 1, -1, 2];
        let arrivals = (0..600).map(|n: i64| 1_000_000 + n * 16_667 + jitter[n as usize % 8] * 400);

        let admitted = arrivals
            .filter(|now| pace.admits(now.unsigned_abs(), 33_333))
            .count();

        assert!((295..=305).contains(&admitted), "{admitted}");
    }

    #[test]
    fn a_pause_saves_nothing_up() {
        let mut pace = Pace::default();
        assert!(pace.admits(100, 1000));
        assert!(pace.admits(1_000_000, 1000));

        assert!(!pace.admits(1_000_010, 1000));
        assert!(!pace.admits(1_000_200, 1000));
        assert!(pace.admits(1_001_000, 1000));
    }

    const MS: u64 = 1_000_000;

    #[test]
    fn a_frame_is_placed_at_its_capture() {
        let mut timing = Timing::default();

        let placed = timing.place(1000 * MS, 1003 * MS, 500 * MS);

        assert_eq!(
            placed,
            Placed {
                at: 497 * MS,
                latency: Some(3 * MS)
            }
        );
    }

    #[test]
    fn latency_is_announced_only_when_it_grows() {
        let mut timing = Timing::default();
        timing.place(1000 * MS, 1005 * MS, 500 * MS);

        assert_eq!(timing.place(1010 * MS, 1011 * MS, 511 * MS).latency, None);
        assert_eq!(
            timing.place(1020 * MS, 1030 * MS, 530 * MS).latency,
            Some(10 * MS)
        );
    }

    #[test]
    fn what_lay_there_or_says_nothing_or_comes_from_the_future_is_new() {
        for captured in [0, 1, 2000 * MS] {
            let placed = Timing::default().place(captured, 1000 * MS, 500 * MS);
            assert_eq!(placed.at, 500 * MS);
        }
    }

    #[test]
    fn time_never_runs_backwards_nor_before_its_beginning() {
        let mut timing = Timing::default();
        assert_eq!(timing.place(1000 * MS, 1100 * MS, 20 * MS).at, 0);
        assert_eq!(timing.place(1100 * MS, 1101 * MS, 121 * MS).at, 120 * MS);

        assert_eq!(timing.place(1080 * MS, 1102 * MS, 122 * MS).at, 120 * MS);
    }
}

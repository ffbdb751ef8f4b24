//! How long to wait before the next attempt: exponential, with full jitter.

use std::time::Duration;

/// The waits between attempts grow from `base` to `cap`, and after `patience` attempts on to `late_cap`. Each is drawn
/// evenly from zero to its bound, so that many clients that lost the same server do not return in step.
///
/// Two caps and a half, because two things are true: whoever performs live wants the picture back within seconds of the end of a
/// short outage, and a server that was gone for minutes should not find everybody knocking every second. A host that is not there at all has no work with those who knock.
///
/// Source: AWS Architecture Blog, *Exponential Backoff and Jitter* (2015), "full jitter".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Bound of the first wait.
    pub base: Duration,
    /// Bound of the waits up to `patience`.
    pub cap: Duration,
    /// Bound of the waits up to `patience` where there was nobody to answer.
    pub deserted_cap: Duration,
    /// Failures in a row before the waits grow on.
    pub patience: u32,
    /// Bound of every wait.
    pub late_cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(250),
            // With it a far end that is back has pictures again within two seconds, connecting included.
            cap: Duration::from_secs(1),
            deserted_cap: Duration::from_millis(500),
            // About a minute, where attempts fail at once.
            patience: 120,
            late_cap: Duration::from_secs(30),
        }
    }
}

impl Backoff {
    /// The wait after `failures` attempts in a row failed (1 is the first), for a random `unit` in 0.0..1.0.
    pub fn wait(&self, failures: u32, unit: f64) -> Duration {
        self.bound(failures).mul_f64(unit.clamp(0.0, 1.0))
    }

    /// The same where nobody answered.
    pub fn deserted(self) -> Self {
        Self {
            cap: self.cap.min(self.deserted_cap),
            ..self
        }
    }

    /// The longest that [`Backoff::wait`] can be.
    pub fn bound(&self, failures: u32) -> Duration {
        let early = doubled(self.base, failures.saturating_sub(1)).min(self.cap);
        match failures.saturating_sub(self.patience) {
            0 => early,
            late => doubled(early, late).min(self.late_cap.max(early)),
        }
    }
}

fn doubled(time: Duration, times: u32) -> Duration {
    time.saturating_mul(1 << times.min(31))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bounds_double_up_to_the_cap_and_later_beyond_it() {
        let backoff = Backoff {
            base: Duration::from_secs(1),
            cap: Duration::from_secs(5),
            deserted_cap: Duration::from_secs(2),
            patience: 6,
            late_cap: Duration::from_secs(30),
        };
        let bounds: Vec<_> = (0..11).map(|n| backoff.bound(n).as_secs()).collect();
        assert_eq!(bounds, [1, 1, 2, 4, 5, 5, 5, 10, 20, 30, 30]);
        assert_eq!(backoff.bound(u32::MAX).as_secs(), 30);
        let bounds: Vec<_> = (1..9)
            .map(|n| backoff.deserted().bound(n).as_secs())
            .collect();
        assert_eq!(bounds, [1, 2, 2, 2, 2, 2, 4, 8]);
    }

    proptest! {
        #[test]
        fn a_wait_is_within_its_bound_and_bounds_never_fall(failures in any::<u32>(), unit in -1.0..2.0) {
            let backoff = Backoff::default();
            prop_assert!(backoff.wait(failures, unit) <= backoff.bound(failures));
            prop_assert!(backoff.bound(failures) <= backoff.bound(failures.saturating_add(1)));
        }
    }
}

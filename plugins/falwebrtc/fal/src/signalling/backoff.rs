//! How long to wait before the next attempt: exponential, with full jitter.

use std::time::Duration;

/// The waits between attempts grow from `base` to `cap`, each drawn evenly from zero to its bound, so that many
/// clients that lost the same server do not return in step.
///
/// Source: AWS Architecture Blog, *Exponential Backoff and Jitter* (2015), "full jitter".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Bound of the first wait.
    pub base: Duration,
    /// Bound of every wait.
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(250),
            cap: Duration::from_secs(10),
        }
    }
}

impl Backoff {
    /// The wait after `failures` attempts in a row failed (1 is the first), for a random `unit` in 0.0..1.0.
    pub fn wait(&self, failures: u32, unit: f64) -> Duration {
        self.bound(failures).mul_f64(unit.clamp(0.0, 1.0))
    }

    /// The longest that [`Backoff::wait`] can be.
    pub fn bound(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.base.saturating_mul(1 << doublings).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bounds_double_up_to_the_cap() {
        let backoff = Backoff {
            base: Duration::from_secs(1),
            cap: Duration::from_secs(5),
        };
        let bounds: Vec<_> = (0..6).map(|n| backoff.bound(n).as_secs()).collect();
        assert_eq!(bounds, [1, 1, 2, 4, 5, 5]);
        assert_eq!(backoff.bound(u32::MAX).as_secs(), 5);
    }

    proptest! {
        #[test]
        fn a_wait_is_within_its_bound(failures in any::<u32>(), unit in -1.0..2.0) {
            let backoff = Backoff::default();
            prop_assert!(backoff.wait(failures, unit) <= backoff.bound(failures));
        }
    }
}

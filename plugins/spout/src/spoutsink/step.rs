//! Frame sync: how long the sink waits for its receivers. Pure: the clock is an argument.

use std::time::{Duration, Instant};

/// The longest wait before one frame: four frames at 60 a second, as Spout's programs wait for anything.
const PATIENCE: Duration = Duration::from_millis(67);

/// Receivers that were not ready for so long are not waited for, until they are.
const HUNG: Duration = Duration::from_millis(500);

/// How receivers have kept up.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Step {
    /// Since when they have not been ready.
    behind: Option<Instant>,
}

impl Step {
    /// How long the next frame may wait.
    pub(super) fn patience(&self, now: Instant) -> Duration {
        let hung = |since: Instant| now.saturating_duration_since(since) >= HUNG;
        match self.behind.is_some_and(hung) {
            true => Duration::ZERO,
            false => PATIENCE,
        }
    }

    /// Notes whether they were ready when the wait that began at `begun` was over.
    pub(super) fn note(&mut self, ready: bool, begun: Instant) {
        self.behind = match ready {
            true => None,
            false => self.behind.or(Some(begun)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_late_is_waited_for_and_who_stands_still_is_not() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut step = Step::default();
        assert_eq!(step.patience(at(0)), PATIENCE);

        step.note(false, at(0));
        assert_eq!(step.patience(at(400)), PATIENCE);
        step.note(false, at(400));
        assert_eq!(step.patience(at(500)), Duration::ZERO);
        step.note(false, at(9000));
        assert_eq!(step.patience(at(9001)), Duration::ZERO);

        step.note(true, at(9100));
        assert_eq!(step.patience(at(9101)), PATIENCE);
    }

    #[test]
    fn being_late_now_and_then_never_adds_up() {
        let begun = Instant::now();
        let mut step = Step::default();
        for ms in (0..5000).step_by(100) {
            let now = begun + Duration::from_millis(ms);
            assert_eq!(step.patience(now), PATIENCE);
            step.note(ms % 200 == 0, now);
        }
    }
}

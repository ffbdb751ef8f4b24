//! What bounds the bill: a remote session is paid for as long as it lives.
//!
//! Pure: every call brings the time.

use std::time::Duration;

use super::settings::Settings;

/// Why a session rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// No input; the next picture ends it.
    Idle,
    /// It was paid for long enough; only the user ends it.
    Spent,
}

/// Ends sessions that nobody uses, or that last too long.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    /// Since when a session has been live.
    live: Option<Duration>,
    /// Since when one has been wanted.
    wanted: Duration,
    rest: Option<Rest>,
}

impl Guard {
    /// A session is live.
    pub(crate) fn began(&mut self, now: Duration) {
        // Reconnecting does not start the clock anew: the user counts hours, not connections.
        self.live.get_or_insert(now);
    }

    /// The user wants a session, whatever was before.
    pub(crate) fn wake(&mut self, now: Duration) {
        *self = Self {
            wanted: now,
            ..Self::default()
        };
    }

    /// A picture came; true if a session must be made for it.
    pub(crate) fn input_came(&mut self, now: Duration) -> bool {
        let idle = self.rest == Some(Rest::Idle);
        if idle {
            self.wake(now);
        }
        idle
    }

    /// Why the session must end now, told once.
    pub(crate) fn check(
        &mut self,
        now: Duration,
        since_input: Duration,
        settings: &Settings,
    ) -> Option<&'static str> {
        if self.rest.is_some() {
            return None;
        }
        let (longest, idle) = (settings.max_session_duration, settings.max_idle);
        let age = self.live.map(|live| now.saturating_sub(live));
        if !longest.is_zero() && age.is_some_and(|age| age >= longest) {
            self.rest = Some(Rest::Spent);
            return Some("it has lasted as long as max-session-duration allows");
        }
        let since_wanted = now.saturating_sub(self.wanted);
        if !idle.is_zero() && since_input.min(since_wanted) >= idle {
            self.rest = Some(Rest::Idle);
            return Some("no picture came in for as long as max-idle allows");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn settings() -> Settings {
        Settings {
            max_session_duration: s(100),
            max_idle: s(10),
            ..Settings::default()
        }
    }

    #[test]
    fn a_session_ends_when_it_has_lasted_long_enough_and_stays_ended() {
        let mut guard = Guard::default();
        guard.began(s(5));
        guard.began(s(60));

        assert_eq!(guard.check(s(104), s(0), &settings()), None);
        assert!(
            guard
                .check(s(105), s(0), &settings())
                .is_some_and(|reason| reason.contains("duration"))
        );
        assert_eq!(guard.check(s(200), s(0), &settings()), None);
        assert!(!guard.input_came(s(201)));

        guard.wake(s(300));
        assert_eq!(guard.check(s(301), s(0), &settings()), None);
    }

    #[test]
    fn an_idle_session_ends_until_the_next_picture() {
        let mut guard = Guard::default();
        assert_eq!(guard.check(s(9), s(9), &settings()), None);
        assert!(
            guard
                .check(s(10), s(10), &settings())
                .is_some_and(|reason| reason.contains("idle"))
        );

        assert!(guard.input_came(s(50)));
        assert!(!guard.input_came(s(51)));
        assert_eq!(guard.check(s(59), s(60), &settings()), None);
    }

    #[test]
    fn zero_is_no_bound() {
        let mut guard = Guard::default();
        guard.began(s(0));
        assert_eq!(
            guard.check(s(100_000), s(100_000), &Settings::default()),
            None
        );
    }
}

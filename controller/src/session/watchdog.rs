//! Is the peer still there?
//!
//! Pure: told what was heard and when, as time since the session began. webrtcbin 1.22 never notices a peer that
//! simply vanished (its ICE checks give up after 46 s at the earliest), so silence decides: a live peer sends video,
//! receiver reports or transport feedback at least every few seconds.

use std::time::Duration;

/// From the answer to the connection; late candidates included.
const CONNECTING: Duration = Duration::from_secs(14);
/// A connected peer that is silent this long is gone.
const SILENCE: Duration = Duration::from_secs(10);
/// After a sign of hanging up (SCTP aborted, DTLS closed) silence convinces sooner.
const HUNG_UP: Duration = Duration::from_millis(1500);

/// One session's watch.
#[derive(Debug, Default)]
pub(super) struct Watchdog {
    packets: u64,
    heard: Duration,
    hung_up: Option<Duration>,
}

impl Watchdog {
    /// Notes how many packets have ever come from the peer.
    pub(super) fn packets(&mut self, now: Duration, total: u64) {
        if total != self.packets {
            self.packets = total;
            self.heard = now;
        }
    }

    /// The peer gave a sign that it is leaving; true only if it then falls silent.
    pub(super) fn hung_up(&mut self, now: Duration) {
        self.hung_up.get_or_insert(now);
    }

    /// Why the session must end, if it must.
    pub(super) fn verdict(&self, now: Duration) -> Option<&'static str> {
        let silence = now.saturating_sub(self.heard);
        match self.hung_up {
            Some(_) if silence >= HUNG_UP => Some("the client hung up"),
            _ if self.packets == 0 && now >= CONNECTING => Some("the client never connected"),
            _ if self.packets > 0 && silence >= SILENCE => Some("the client fell silent"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_talking_peer_lives() {
        let mut watchdog = Watchdog::default();
        for second in 0..100_u32 {
            watchdog.packets(at(second.into()), u64::from(second) + 1);
            assert_eq!(watchdog.verdict(at(f64::from(second) + 5.0)), None);
        }
    }

    #[test]
    fn silence_kills_within_fifteen_seconds() {
        let mut watchdog = Watchdog::default();
        watchdog.packets(at(3.0), 50);
        watchdog.packets(at(8.0), 50);

        assert_eq!(watchdog.verdict(at(12.9)), None);
        assert_eq!(watchdog.verdict(at(13.0)), Some("the client fell silent"));
    }

    #[test]
    fn a_client_that_never_connects_is_given_up() {
        let watchdog = Watchdog::default();

        assert_eq!(watchdog.verdict(at(13.0)), None);
        assert_eq!(
            watchdog.verdict(at(14.0)),
            Some("the client never connected")
        );
    }

    #[test]
    fn hanging_up_shortens_the_wait_but_a_talking_peer_lives_on() {
        let mut watchdog = Watchdog::default();
        watchdog.packets(at(5.0), 10);
        watchdog.hung_up(at(5.0));
        watchdog.packets(at(6.0), 20);
        assert_eq!(watchdog.verdict(at(7.0)), None);

        assert_eq!(watchdog.verdict(at(7.5)), Some("the client hung up"));
    }
}

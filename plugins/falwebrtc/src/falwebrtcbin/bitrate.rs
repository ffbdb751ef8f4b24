//! How fast to send, and how fast to let the far end send: two rates that follow what the network carries.
//!
//! Pure: the caller brings the reports and the time. webrtcbin 1.22 has no congestion control of its own and aiortc
//! knows no transport-wide feedback, so both are the old and simple rule, additive increase and multiplicative
//! decrease, over loss and round trip.

use std::time::Duration;

/// Between two decisions.
const PERIOD: Duration = Duration::from_secs(1);
/// A round trip this much above the best one seen means that a queue is building.
const QUEUEING: Duration = Duration::from_millis(120);

/// What is known since the last report; every part may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Report {
    /// Share of packets lost, 0.0 to 1.0.
    pub(crate) loss: Option<f64>,
    /// From us to the peer and back.
    pub(crate) round_trip: Option<Duration>,
    /// The receiver's own estimate of what it can take, bit/s.
    pub(crate) limit: Option<u32>,
    /// What arrived, bit/s.
    pub(crate) received: Option<u32>,
}

/// A rate between two bounds.
#[derive(Debug, Clone)]
pub(crate) struct Rate {
    rate: f64,
    lowest: f64,
    highest: f64,
    best_round_trip: Option<Duration>,
    decided: Duration,
    /// The worst loss reported since then.
    loss: Option<f64>,
}

impl Rate {
    pub(crate) fn new(start: u32, lowest: u32, highest: u32) -> Self {
        let (lowest, highest) = (f64::from(lowest), f64::from(highest.max(lowest)));
        Self {
            rate: f64::from(start).clamp(lowest, highest),
            lowest,
            highest,
            best_round_trip: None,
            decided: Duration::ZERO,
            loss: None,
        }
    }

    /// Bit/s, now.
    pub(crate) fn get(&self) -> u32 {
        self.rate as u32
    }

    /// Takes a report and decides, at most once in a second; `now` is the time since any fixed start.
    pub(crate) fn report(&mut self, now: Duration, report: &Report) -> u32 {
        if let Some(round_trip) = report.round_trip {
            let best = self.best_round_trip.get_or_insert(round_trip);
            *best = round_trip.min(*best);
        }
        // The receiver's own limit counts at once; waiting would fill its queue.
        if let Some(limit) = report
            .limit
            .map(f64::from)
            .filter(|limit| *limit < self.rate)
        {
            return self.settle(limit, now);
        }
        if let Some(loss) = report.loss {
            self.loss = Some(self.loss.map_or(loss, |worst| worst.max(loss)));
        }
        if now.saturating_sub(self.decided) < PERIOD {
            return self.get();
        }
        let queueing = match (report.round_trip, self.best_round_trip) {
            (Some(now), Some(best)) => now > best + QUEUEING,
            _ => false,
        };
        let arriving = report.received.map_or(self.rate, f64::from).min(self.rate);
        match self.loss {
            // RFC 8698 and its relatives agree on these bands: loss below 2 % is noise, above 10 % congestion.
            Some(loss) if loss > 0.10 => self.settle(arriving * (1.0 - 0.5 * loss.min(1.0)), now),
            _ if queueing => self.settle(arriving * 0.85, now),
            Some(loss) if loss < 0.02 => {
                let limit = report.limit.map_or(self.highest, f64::from);
                self.settle((self.rate * 1.08 + 10_000.0).min(limit), now)
            }
            Some(_) => self.settle(self.rate, now),
            None => self.get(),
        }
    }

    fn settle(&mut self, rate: f64, now: Duration) -> u32 {
        self.rate = rate.clamp(self.lowest, self.highest);
        self.decided = now;
        self.loss = None;
        self.get()
    }
}

/// 1.5 Mbit/s at 256×256, 2.5 Mbit/s at 512×512, 4 Mbit/s at 1280×720: detail grows slower than the area.
pub(crate) fn start_for(width: u32, height: u32) -> u32 {
    let pixels = (f64::from(width) * f64::from(height)).max(1.0);
    (1_500_000.0 * (pixels / 65_536.0).powf(0.37)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(share: f64) -> Report {
        Report {
            loss: Some(share),
            ..Report::default()
        }
    }

    fn after(seconds: u64, rate: &mut Rate, report: &Report) -> u32 {
        (1..=seconds)
            .map(|second| rate.report(Duration::from_secs(second), report))
            .last()
            .unwrap_or_default()
    }

    fn rate() -> Rate {
        Rate::new(1_500_000, 150_000, 6_000_000)
    }

    #[test]
    fn the_start_follows_the_size() {
        assert_eq!(start_for(256, 256), 1_500_000);
        assert!((3_900_000..4_200_000).contains(&start_for(1280, 720)));
        assert!(start_for(0, 0) > 0);
    }

    #[test]
    fn heavy_loss_slows_and_stops_at_the_floor() {
        let mut rate = rate();

        assert!(after(4, &mut rate, &lost(0.3)) < 900_000);
        assert_eq!(after(60, &mut rate, &lost(1.0)), 150_000);
    }

    #[test]
    fn without_loss_it_climbs_to_the_ceiling() {
        let mut rate = rate();

        assert!(after(5, &mut rate, &lost(0.0)) > 2_000_000);
        assert_eq!(after(90, &mut rate, &lost(0.0)), 6_000_000);
    }

    #[test]
    fn a_little_loss_and_no_report_change_nothing() {
        let mut rate = rate();

        assert_eq!(after(5, &mut rate, &lost(0.05)), 1_500_000);
        assert_eq!(after(9, &mut rate, &Report::default()), 1_500_000);
    }

    #[test]
    fn the_receivers_limit_binds_at_once() {
        let mut rate = rate();
        let low = Report {
            limit: Some(400_000),
            ..lost(0.0)
        };

        assert_eq!(rate.report(Duration::from_millis(10), &low), 400_000);
        assert_eq!(after(9, &mut rate, &low), 400_000);
    }

    #[test]
    fn a_growing_queue_slows_to_what_arrives() {
        let mut rate = rate();
        let calm = Report {
            round_trip: Some(Duration::from_millis(20)),
            ..lost(0.05)
        };
        let queue = Report {
            round_trip: Some(Duration::from_millis(400)),
            received: Some(800_000),
            ..lost(0.0)
        };

        after(1, &mut rate, &calm);
        assert_eq!(rate.report(Duration::from_secs(3), &queue), 680_000);
    }

    #[test]
    fn odd_bounds_are_survived() {
        assert_eq!(Rate::new(5, 10, 3).get(), 10);
    }
}

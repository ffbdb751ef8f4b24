//! How fast to send, and how fast to let the far end send: a bit rate that follows what the receiver reports.
//!
//! Pure: the caller brings the reports and the time. webrtcbin 1.22 has no congestion control of its own, so this is
//! the old and simple rule, additive increase and multiplicative decrease, over whichever figures the peer gives:
//! loss and round trip (every receiver report), the receiver's own estimate (REMB), or what arrived (transport-cc).

use std::time::Duration;

/// Never below: a 256×256 picture is still recognisable.
pub const LOWEST: u32 = 150_000;
/// Never above: more buys nothing at the sizes models work at.
pub const HIGHEST: u32 = 8_000_000;
/// Between two decisions.
const PERIOD: Duration = Duration::from_secs(1);
/// A round trip this much above the best one seen means that a queue is building.
const QUEUEING: Duration = Duration::from_millis(120);

/// What the receiver said since the last report; every part may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Report {
    /// Share of packets lost, 0.0 to 1.0.
    pub loss: Option<f64>,
    /// From us to the peer and back.
    pub round_trip: Option<Duration>,
    /// The receiver's own estimate of what it can take, bit/s.
    pub limit: Option<u32>,
    /// What reached the receiver, bit/s.
    pub received: Option<u32>,
}

/// A rate between two bounds.
#[derive(Debug, Clone)]
pub struct Bitrate {
    rate: f64,
    lowest: f64,
    highest: f64,
    best_round_trip: Option<Duration>,
    decided: Duration,
    /// The worst loss reported since then.
    loss: Option<f64>,
    /// Nothing has been learned yet, so a better starting point may replace the rate.
    fresh: bool,
}

impl Bitrate {
    /// Starts at `start` and stays between `lowest` and `highest`, all in bit/s.
    pub fn new(start: u32, lowest: u32, highest: u32) -> Self {
        let (lowest, highest) = (f64::from(lowest), f64::from(highest.max(lowest)));
        Self {
            rate: f64::from(start).clamp(lowest, highest),
            lowest,
            highest,
            best_round_trip: None,
            decided: Duration::ZERO,
            loss: None,
            fresh: true,
        }
    }

    /// Starts at what suits a picture of `width` × `height`, and stays between [`LOWEST`] and four times that.
    pub fn for_size(width: u32, height: u32) -> Self {
        let start = start_for(width, height);
        Self::new(start, LOWEST, start.saturating_mul(4).min(HIGHEST))
    }

    /// Bit/s, now.
    pub fn get(&self) -> u32 {
        self.rate as u32
    }

    /// The picture has another size from here on.
    pub fn resize(&mut self, width: u32, height: u32) {
        let other = Self::for_size(width, height);
        self.highest = other.highest;
        self.rate = if self.fresh {
            other.rate
        } else {
            self.rate.min(self.highest)
        };
    }

    /// Takes a report and decides, at most once in a second; `now` is the time since any fixed start.
    pub fn report(&mut self, now: Duration, report: &Report) -> u32 {
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
            self.settle(limit, now);
            return self.get();
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
        match self.loss {
            // RFC 8698 and its relatives agree on these three bands: loss below 2 % is noise, above 10 % congestion.
            Some(loss) if loss > 0.10 => self.settle(self.rate * (1.0 - 0.5 * loss.min(1.0)), now),
            _ if queueing => {
                let arriving = report.received.map_or(self.rate, f64::from).min(self.rate);
                self.settle(arriving * 0.85, now);
            }
            Some(loss) if loss < 0.02 => {
                let step = if report.limit.is_some() { 1.5 } else { 1.08 };
                let limit = report.limit.map_or(self.highest, f64::from);
                self.settle((self.rate * step + 10_000.0).min(limit), now);
            }
            Some(_) => self.settle(self.rate, now),
            None => {}
        }
        self.get()
    }

    fn settle(&mut self, rate: f64, now: Duration) {
        self.rate = rate.clamp(self.lowest, self.highest);
        self.decided = now;
        self.loss = None;
        self.fresh = false;
    }
}

/// 1.5 Mbit/s at 256×256, 2.5 Mbit/s at 512×512, 4 Mbit/s at 1280×720: detail grows slower than the area.
pub fn start_for(width: u32, height: u32) -> u32 {
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

    fn after(seconds: u64, bitrate: &mut Bitrate, report: &Report) -> u32 {
        (1..=seconds)
            .map(|second| bitrate.report(Duration::from_secs(second), report))
            .last()
            .unwrap_or_default()
    }

    #[test]
    fn the_start_follows_the_size() {
        assert_eq!(Bitrate::for_size(256, 256).get(), 1_500_000);
        let rates =
            [(512, 512), (1280, 720)].map(|(width, height)| Bitrate::for_size(width, height).get());
        assert!(
            (2_400_000..2_600_000).contains(&rates[0])
                && (3_900_000..4_200_000).contains(&rates[1]),
            "{rates:?}"
        );
        assert_eq!(Bitrate::for_size(0, 0).get(), LOWEST);
    }

    #[test]
    fn heavy_loss_halves_within_seconds_and_stops_at_the_floor() {
        let mut bitrate = Bitrate::for_size(512, 512);
        let start = bitrate.get();

        assert!(after(4, &mut bitrate, &lost(0.3)) < start * 6 / 10);
        assert_eq!(after(60, &mut bitrate, &lost(1.0)), LOWEST);
    }

    #[test]
    fn without_loss_it_climbs_to_the_ceiling() {
        let mut bitrate = Bitrate::for_size(256, 256);

        assert!(after(5, &mut bitrate, &lost(0.0)) > 2_000_000);
        assert_eq!(after(90, &mut bitrate, &lost(0.0)), 6_000_000);
    }

    #[test]
    fn a_little_loss_and_no_report_change_nothing() {
        let mut bitrate = Bitrate::for_size(256, 256);

        assert_eq!(after(5, &mut bitrate, &lost(0.05)), 1_500_000);
        assert_eq!(after(9, &mut bitrate, &Report::default()), 1_500_000);
    }

    #[test]
    fn the_receivers_estimate_binds_at_once_and_lifts_quickly() {
        let mut bitrate = Bitrate::for_size(512, 512);
        let low = Report {
            limit: Some(400_000),
            ..lost(0.0)
        };
        assert_eq!(bitrate.report(Duration::from_millis(10), &low), 400_000);

        let high = Report {
            limit: Some(2_000_000),
            ..lost(0.0)
        };
        assert_eq!(after(8, &mut bitrate, &high), 2_000_000);
    }

    #[test]
    fn a_growing_queue_slows_to_what_arrives() {
        let mut bitrate = Bitrate::for_size(256, 256);
        let calm = Report {
            round_trip: Some(Duration::from_millis(20)),
            ..lost(0.05)
        };
        let queue = Report {
            round_trip: Some(Duration::from_millis(400)),
            received: Some(800_000),
            ..lost(0.0)
        };

        after(1, &mut bitrate, &calm);
        assert_eq!(bitrate.report(Duration::from_secs(3), &queue), 680_000);
    }

    #[test]
    fn decisions_are_a_second_apart() {
        let mut bitrate = Bitrate::for_size(256, 256);

        let first = bitrate.report(Duration::from_millis(1000), &lost(0.5));
        assert_eq!(
            bitrate.report(Duration::from_millis(1300), &lost(0.5)),
            first
        );
        assert!(bitrate.report(Duration::from_millis(2100), &lost(0.5)) < first);
    }

    #[test]
    fn a_loss_reported_between_two_decisions_counts_at_the_next() {
        let mut bitrate = Bitrate::for_size(256, 256);
        let first = bitrate.report(Duration::from_millis(1000), &lost(0.5));
        bitrate.report(Duration::from_millis(1500), &lost(0.4));

        assert!(bitrate.report(Duration::from_millis(2000), &Report::default()) < first);
    }

    #[test]
    fn a_little_loss_that_ended_holds_nothing_back() {
        let mut bitrate = Bitrate::for_size(256, 256);
        let held = bitrate.report(Duration::from_secs(1), &lost(0.05));

        assert!(bitrate.report(Duration::from_secs(2), &lost(0.0)) > held);
    }

    #[test]
    fn a_new_size_restarts_only_what_has_learned_nothing() {
        let mut fresh = Bitrate::for_size(256, 256);
        fresh.resize(512, 512);
        assert!(fresh.get() > 2_000_000);

        let mut slowed = Bitrate::for_size(512, 512);
        after(20, &mut slowed, &lost(0.5));
        let rate = slowed.get();
        slowed.resize(1280, 720);
        assert_eq!(slowed.get(), rate);
    }

    #[test]
    fn odd_bounds_are_survived() {
        assert_eq!(Bitrate::new(5, 10, 3).get(), 10);
    }
}

//! Which processor gets the frames, and whose pictures are shown.
//!
//! Pure: every call brings the time since the session began. A session has one processor at home (a local chain, or
//! nothing: frames pass through) and may have a cloud lane beside it. The cloud's pictures are shown once they come
//! steadily; when they stop, the home processor takes over, if it may, within three of their intervals on a calm network. On
//! a restless one the patience grows with the jitter, or the picture would change over and back all the time.

use std::time::Duration;

/// A way from the source to the outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The local processors, or none: straight across.
    Home,
    /// A processor on another machine.
    Cloud,
}

/// Intervals without a picture after which the cloud counts as lost, on a calm network: the next frame that comes
/// from the source finds it out, which is the third.
const LOST_AFTER: u32 = 2;
/// Usual deviations from the interval that are waited for besides, as TCP does for its retransmissions.
const DEVIATIONS: u32 = 4;
/// No cloud is waited for longer.
const LONGEST_PATIENCE: Duration = Duration::from_millis(1500);
/// No interval counts as shorter: a few late packets are no loss.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(33);
/// Pictures in a row, without such a gap, before the cloud is shown.
const STEADY: u32 = 5;

/// The decisions of one session.
#[derive(Debug, Default)]
pub struct Switch {
    cloud: Option<Cloud>,
    keeps_to_cloud: bool,
}

/// What is known of the cloud's pictures.
#[derive(Debug, Default)]
struct Cloud {
    last: Option<Duration>,
    interval: Duration,
    deviation: Duration,
    in_a_row: u32,
    shown: bool,
}

impl Switch {
    /// A cloud lane is there; home stays in view until it delivers.
    pub fn attach(&mut self, falls_back: bool) {
        self.cloud = Some(Cloud::default());
        self.keeps_to_cloud = !falls_back;
    }

    /// The cloud lane is gone.
    pub fn detach(&mut self) {
        self.cloud = None;
    }

    /// The cloud lane itself says that it is lost.
    pub fn lose(&mut self) {
        if let Some(cloud) = &mut self.cloud {
            cloud.lost();
        }
    }

    /// Whose pictures are in view.
    pub fn shown(&self) -> Lane {
        match &self.cloud {
            Some(cloud) if cloud.shown || self.keeps_to_cloud => Lane::Cloud,
            _ => Lane::Home,
        }
    }

    /// True while a cloud lane is there, shown or not.
    pub fn has_cloud(&self) -> bool {
        self.cloud.is_some()
    }

    /// A frame came from the source, or is due: should the home processor work on it? The cloud lane gets every one.
    pub fn feeds_home(&mut self, now: Duration) -> bool {
        if let Some(cloud) = &mut self.cloud {
            cloud.miss(now);
        }
        self.shown() == Lane::Home
    }

    /// A picture came out of a lane: is it shown?
    pub fn shows(&mut self, lane: Lane, now: Duration) -> bool {
        match (lane, &mut self.cloud) {
            (Lane::Cloud, None) => false,
            (Lane::Cloud, Some(cloud)) => {
                cloud.came(now);
                self.shown() == Lane::Cloud
            }
            (Lane::Home, _) => self.feeds_home(now),
        }
    }
}

impl Cloud {
    /// How long a gap may be.
    fn patience(&self) -> Duration {
        let calm = self.interval.max(SHORTEST_INTERVAL) * LOST_AFTER;
        (calm + self.deviation * DEVIATIONS).min(LONGEST_PATIENCE)
    }

    fn came(&mut self, now: Duration) {
        let gap = self.last.map(|last| now.saturating_sub(last));
        match gap {
            Some(gap) if gap <= LONGEST_PATIENCE => {
                // Both smoothed over some eight pictures; the first gap is taken as it is.
                if self.interval.is_zero() {
                    self.interval = gap;
                }
                self.deviation = (self.deviation * 7 + self.interval.abs_diff(gap)) / 8;
                self.interval = (self.interval * 7 + gap) / 8;
                self.in_a_row += 1;
            }
            _ => self.in_a_row = 1,
        }
        self.last = Some(now);
        self.shown |= self.in_a_row >= STEADY;
    }

    fn miss(&mut self, now: Duration) {
        let lost = self
            .last
            .is_some_and(|last| now.saturating_sub(last) > self.patience());
        if lost && self.shown {
            self.lost();
        }
    }

    fn lost(&mut self) {
        self.shown = false;
        self.in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// A cloud that has delivered `count` pictures, one each `interval`; the time of the last.
    fn delivering(switch: &mut Switch, from: u64, count: u64, interval: u64) -> u64 {
        for n in 0..count {
            switch.shows(Lane::Cloud, ms(from + n * interval));
        }
        from + (count - 1) * interval
    }

    #[test]
    fn without_a_cloud_home_is_everything() {
        let mut switch = Switch::default();

        assert!(switch.feeds_home(ms(0)) && switch.shows(Lane::Home, ms(1)));
        assert!(!switch.shows(Lane::Cloud, ms(2)));
    }

    #[test]
    fn the_cloud_takes_over_once_it_is_steady() {
        let mut switch = Switch::default();
        switch.attach(true);

        for n in 0..4 {
            assert!(!switch.shows(Lane::Cloud, ms(n * 33)), "picture {n}");
            assert!(switch.feeds_home(ms(n * 33)) && switch.shows(Lane::Home, ms(n * 33)));
        }

        assert!(switch.shows(Lane::Cloud, ms(4 * 33)));
        assert!(!switch.feeds_home(ms(4 * 33)) && !switch.shows(Lane::Home, ms(4 * 33)));
    }

    #[test]
    fn a_lost_cloud_is_replaced_within_three_of_its_intervals() {
        for interval in [33, 66, 125, 400] {
            let mut switch = Switch::default();
            switch.attach(true);
            let last = delivering(&mut switch, 1000, 40, interval);

            assert!(
                !switch.feeds_home(ms(last + 2 * interval - 2)),
                "{interval}"
            );
            assert!(switch.feeds_home(ms(last + 3 * interval)), "{interval}");
            assert!(switch.shows(Lane::Home, ms(last + 3 * interval + 5)));
        }
    }

    #[test]
    fn a_returning_cloud_takes_over_again_but_a_stutter_does_not() {
        let mut switch = Switch::default();
        switch.attach(true);
        let last = delivering(&mut switch, 0, 40, 33);
        assert!(switch.feeds_home(ms(last + 5000)));

        assert!(!switch.shows(Lane::Cloud, ms(last + 5010)));
        assert!(switch.shows(Lane::Home, ms(last + 5020)));
        let last = delivering(&mut switch, last + 5043, 4, 33);

        assert_eq!(switch.shown(), Lane::Cloud);
        assert!(!switch.shows(Lane::Home, ms(last + 10)));
    }

    #[test]
    fn a_lane_that_says_it_is_lost_is_believed_at_once() {
        let mut switch = Switch::default();
        switch.attach(true);
        let last = delivering(&mut switch, 0, 40, 33);

        switch.lose();

        assert!(switch.feeds_home(ms(last + 1)) && switch.shows(Lane::Home, ms(last + 2)));
    }

    #[test]
    fn who_must_not_fall_back_never_sees_home() {
        let mut switch = Switch::default();
        switch.attach(false);
        assert!(!switch.feeds_home(ms(0)) && !switch.shows(Lane::Home, ms(5)));

        assert!(switch.shows(Lane::Cloud, ms(10)), "not even for a start");
        assert!(!switch.feeds_home(ms(90_000)));
        switch.detach();
        assert!(switch.feeds_home(ms(90_001)));
    }

    #[test]
    fn a_restless_network_gets_more_patience() {
        let mut switch = Switch::default();
        switch.attach(true);
        let mut now = 0;
        for n in 0..60 {
            now += if n % 2 == 0 { 10 } else { 60 };
            switch.shows(Lane::Cloud, ms(now));
        }

        assert!(!switch.feeds_home(ms(now + 120)));
        assert!(switch.shows(Lane::Cloud, ms(now + 130)));
        assert!(switch.feeds_home(ms(now + 500)));
    }

    #[test]
    fn nobody_is_waited_for_longer_than_a_second_and_a_half() {
        let mut switch = Switch::default();
        switch.attach(true);
        let last = delivering(&mut switch, 0, 30, 1200);

        assert!(switch.feeds_home(ms(last + 1501)));
    }
}

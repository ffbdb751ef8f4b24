//! Frame counting over a semaphore: was there a new frame since the last look?
//!
//! A sender that counts adds one for every frame, beginning from 1; many senders never count, and a semaphore that a
//! receiver made for itself stays at its first value. So a count is believed only once it has moved.

/// What a count says about the frame in the texture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// New; `missed` frames passed unseen before it.
    New {
        /// Frames between the last one seen and this.
        missed: u32,
    },
    /// The one seen last.
    Same,
    /// The sender does not count, or it has only now been found: it may be new.
    Unknown,
    /// Somebody has counted, but not since the sender was found: most likely the one seen last.
    Unmoved,
}

/// The count of one sender as a receiver has followed it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counter {
    last: Option<u32>,
    moving: bool,
}

impl Counter {
    /// Of the same sender with another texture: the last frame seen was in the old one.
    #[must_use]
    pub fn resumed(self) -> Self {
        Self {
            moving: false,
            ..self
        }
    }

    /// Takes in the count read while the texture was locked. 0 is said by a sender that does not count.
    pub fn observe(&mut self, count: u32) -> Freshness {
        if count == 0 {
            return Freshness::Unknown;
        }
        let last = self.last.replace(count);
        match last {
            None => Freshness::Unknown,
            Some(last) if last == count && self.moving => Freshness::Same,
            Some(last) if last == count => Freshness::Unmoved,
            Some(last) => {
                self.moving = true;
                // A smaller count is a sender that began again.
                let missed = count.checked_sub(last).map_or(0, |steps| steps - 1);
                Freshness::New { missed }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moving_count_tells_new_from_same() {
        let mut counter = Counter::default();

        assert_eq!(counter.observe(5), Freshness::Unknown);
        assert_eq!(counter.observe(6), Freshness::New { missed: 0 });
        assert_eq!(counter.observe(6), Freshness::Same);
        assert_eq!(counter.observe(9), Freshness::New { missed: 2 });
    }

    #[test]
    fn a_count_that_never_moves_says_little_and_none_says_nothing() {
        let mut counter = Counter::default();

        for count in [0, 0, 1] {
            assert_eq!(counter.observe(count), Freshness::Unknown);
        }
        assert_eq!(counter.observe(1), Freshness::Unmoved);
        assert_eq!(counter.observe(0), Freshness::Unknown);
        assert_eq!(counter.observe(1), Freshness::Unmoved);
        assert_eq!(counter.observe(2), Freshness::New { missed: 0 });
        assert_eq!(counter.observe(2), Freshness::Same);
    }

    #[test]
    fn another_texture_of_the_same_sender_is_new_with_its_first_frame() {
        let mut counter = Counter::default();
        counter.observe(5);
        counter.observe(6);

        let mut counter = counter.resumed();

        assert_eq!(counter.observe(6), Freshness::Unmoved);
        assert_eq!(counter.observe(7), Freshness::New { missed: 0 });
    }

    #[test]
    fn a_sender_that_begins_again_is_new() {
        let mut counter = Counter::default();
        counter.observe(100);
        counter.observe(101);

        assert_eq!(counter.observe(1), Freshness::New { missed: 0 });
    }
}

//! What a stream that can wait has sent and not got back: nothing of it may be lost, and all comes out in order.
//!
//! Pure: every call brings the time. A picture that comes back proves that those sent before it are back or lost,
//! because nobody on the way changes the order; silence makes one suspect it. What is lost is sent again, also over a
//! new connection, a few times; then it is given up, and told.

use std::collections::VecDeque;
use std::time::Duration;

/// So many pictures may be under way: the far end's jitter buffer holds one until the next comes, and a few are needed
/// to recognise the first.
pub(crate) const AHEAD: usize = 8;
/// A picture is sent so often over a connection before it is given up. One that so many connections ended with is no
/// better: perhaps it is what ends them.
const TRIES: u32 = 6;
/// Without any picture back for so long the oldest is sent again; each time it takes twice as long.
const SILENCE: Duration = Duration::from_secs(2);
/// An app that is slow by nature may take so many times longer than it ever did.
const SLOWER: u32 = 3;

#[derive(Debug)]
struct Pending<W, B> {
    number: u64,
    what: W,
    /// When it was sent last.
    at: Duration,
    /// How often, over this connection.
    tries: u32,
    /// Connections that ended while it was the oldest.
    outlived: u32,
    missing: bool,
    back: Option<B>,
}

/// Pictures under way: `W` is what was sent, `B` what came back for it.
#[derive(Debug)]
pub(crate) struct Patience<W, B> {
    /// By number.
    pending: VecDeque<Pending<W, B>>,
    /// When something came back last, or something was done about its not coming.
    moved: Duration,
    /// The longest that one took.
    longest: Duration,
    lost: Vec<W>,
}

impl<W, B> Default for Patience<W, B> {
    fn default() -> Self {
        Self {
            pending: VecDeque::new(),
            moved: Duration::ZERO,
            longest: Duration::ZERO,
            lost: Vec::new(),
        }
    }
}

impl<W: Clone, B> Patience<W, B> {
    /// Whether another one may be sent.
    pub(crate) fn has_room(&self) -> bool {
        self.pending.len() < AHEAD
    }

    /// Whether nothing is under way.
    pub(crate) fn is_done(&self) -> bool {
        self.pending.is_empty()
    }

    /// The oldest that is not back.
    pub(crate) fn oldest(&self) -> Option<W> {
        let mut waiting = self.pending.iter().filter(|pending| pending.back.is_none());
        waiting.next().map(|pending| pending.what.clone())
    }

    /// Whether one alone is under way.
    pub(crate) fn is_last(&self) -> bool {
        self.pending.len() == 1
    }

    /// Something came back, and nobody knows yet what.
    pub(crate) fn heard(&mut self, now: Duration) {
        self.moved = now;
    }

    /// When something came back last.
    pub(crate) fn moved(&self) -> Duration {
        self.moved
    }

    /// A new picture is sent.
    pub(crate) fn sends(&mut self, now: Duration, number: u64, what: W) {
        self.pending.push_back(Pending {
            number,
            what,
            at: now,
            tries: 1,
            outlived: 0,
            missing: false,
            back: None,
        });
    }

    /// The picture of this number, as it was sent at `at`, is back.
    pub(crate) fn returned(&mut self, now: Duration, number: u64, at: Duration, back: B) {
        self.moved = now;
        self.longest = self.longest.max(now.saturating_sub(at));
        for pending in &mut self.pending {
            pending.missing |= pending.at < at && pending.number != number;
        }
        let found = self
            .pending
            .iter_mut()
            .find(|pending| pending.number == number);
        // One that was sent twice and comes twice is no news.
        if let Some(pending) = found {
            pending.back.get_or_insert(back);
        }
    }

    /// A picture is back that nobody can name: the next one, then.
    pub(crate) fn returned_unknown(&mut self, now: Duration, back: B) {
        self.moved = now;
        let next = self
            .pending
            .iter_mut()
            .find(|pending| pending.back.is_none());
        if let Some(pending) = next {
            pending.back = Some(back);
        }
    }

    /// Another far end: what is not back must be sent to it.
    pub(crate) fn restart(&mut self, now: Duration) {
        self.moved = now;
        let mut oldest = true;
        for pending in &mut self.pending {
            pending.missing = true;
            if pending.back.is_none() && std::mem::take(&mut oldest) {
                pending.outlived += 1;
            }
            pending.tries = if pending.outlived >= TRIES { TRIES } else { 0 };
        }
    }

    /// Whether nothing has come back for too long; then the oldest counts as missing.
    pub(crate) fn is_stuck(&mut self, now: Duration) -> bool {
        let usual = SILENCE.max(self.longest * SLOWER);
        let oldest = self
            .pending
            .iter_mut()
            .find(|pending| pending.back.is_none());
        let Some(oldest) = oldest else { return false };
        let limit = usual * (1 << oldest.tries.saturating_sub(1).min(TRIES));
        let stuck = now.saturating_sub(self.moved.max(oldest.at)) > limit;
        oldest.missing |= stuck;
        stuck
    }

    /// What must be sent again now, oldest first; what was sent often enough is given up instead.
    pub(crate) fn due(&mut self, now: Duration) -> Vec<(u64, W)> {
        let mut due = Vec::new();
        let mut kept = VecDeque::with_capacity(self.pending.len());
        for mut pending in self.pending.drain(..) {
            if pending.back.is_none() && std::mem::take(&mut pending.missing) {
                if pending.tries >= TRIES {
                    self.lost.push(pending.what);
                    continue;
                }
                pending.tries += 1;
                pending.at = now;
                due.push((pending.number, pending.what.clone()));
            }
            kept.push_back(pending);
        }
        self.pending = kept;
        due
    }

    /// The next picture that may come out.
    pub(crate) fn ready(&mut self) -> Option<(W, B)> {
        self.pending.front()?.back.as_ref()?;
        let first = self.pending.pop_front()?;
        Some((first.what, first.back?))
    }

    /// Nobody waits for the rest any more.
    pub(crate) fn give_up(&mut self) {
        for pending in std::mem::take(&mut self.pending) {
            if pending.back.is_some() {
                self.pending.push_back(pending);
            } else {
                self.lost.push(pending.what);
            }
        }
    }

    /// What was lost for good, told once.
    pub(crate) fn take_lost(&mut self) -> Vec<W> {
        std::mem::take(&mut self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Texts = Patience<u64, &'static str>;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// Five pictures, sent a millisecond apart.
    fn five() -> Texts {
        let mut patience = Texts::default();
        (1..=5).for_each(|number| patience.sends(ms(number), number, number));
        patience
    }

    fn ready(patience: &mut Texts) -> Vec<u64> {
        std::iter::from_fn(|| patience.ready().map(|(what, _)| what)).collect()
    }

    #[test]
    fn what_comes_back_in_order_comes_out_at_once() {
        let mut patience = five();
        for number in 1..=5 {
            patience.returned(ms(50), number, ms(number), "back");
            assert_eq!(ready(&mut patience), [number]);
        }
        assert!(patience.is_done() && patience.due(s(9)).is_empty() && !patience.is_stuck(s(99)));
    }

    #[test]
    fn a_gap_is_sent_again_and_holds_back_what_follows() {
        let mut patience = five();
        patience.returned(ms(50), 1, ms(1), "back");
        patience.returned(ms(60), 4, ms(4), "back");

        assert_eq!(ready(&mut patience), [1]);
        assert_eq!(patience.due(ms(60)), [(2, 2), (3, 3)]);
        assert_eq!(patience.due(ms(61)), [], "once");

        patience.returned(ms(70), 5, ms(5), "back");
        assert_eq!(patience.due(ms(70)), [], "they were sent after it");
        patience.returned(ms(90), 2, ms(60), "again");
        assert_eq!(ready(&mut patience), [2]);
        patience.returned(ms(91), 3, ms(60), "again");
        assert_eq!(ready(&mut patience), [3, 4, 5]);
    }

    #[test]
    fn one_that_comes_twice_comes_out_once() {
        let mut patience = five();
        patience.returned(ms(50), 1, ms(1), "back");
        patience.returned(ms(51), 1, ms(49), "again");

        assert_eq!(patience.ready(), Some((1, "back")));
        assert_eq!(patience.ready(), None);
    }

    #[test]
    fn silence_sends_the_oldest_again_less_and_less_often_and_then_gives_it_up() {
        let mut patience = five();
        let mut sent = Vec::new();
        for second in 1..200 {
            if patience.is_stuck(s(second)) {
                let due = patience.due(s(second));
                sent.extend(due.iter().map(|(number, _)| (second, *number)));
            }
        }

        assert_eq!(
            sent[..6],
            [(3, 1), (8, 1), (17, 1), (34, 1), (67, 1), (133, 2)]
        );
        assert_eq!(patience.take_lost()[0], 1);
    }

    #[test]
    fn an_app_that_is_slow_by_nature_is_waited_for() {
        let mut patience = five();
        patience.returned(s(4), 1, ms(1), "back");

        assert!(!patience.is_stuck(s(15)) && patience.is_stuck(s(17)));
    }

    #[test]
    fn a_new_connection_is_told_everything_that_is_not_back() {
        let mut patience = five();
        patience.returned(ms(50), 2, ms(2), "back");
        patience.restart(s(1));

        let due = patience.due(s(1));

        assert_eq!(
            due.iter().map(|(number, _)| *number).collect::<Vec<_>>(),
            [1, 3, 4, 5]
        );
    }

    #[test]
    fn a_picture_that_ends_every_connection_is_given_up() {
        let mut patience = five();
        for second in 1..=6 {
            patience.restart(s(second));
            patience.due(s(second));
        }

        assert_eq!(patience.take_lost(), [1]);
    }

    #[test]
    fn what_nobody_can_name_is_the_next() {
        let mut patience = five();
        (0..5).for_each(|_| patience.returned_unknown(s(1), "back"));

        assert_eq!(ready(&mut patience), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn what_is_given_up_is_named_and_the_rest_comes_out() {
        let mut patience = five();
        patience.returned(ms(50), 4, ms(4), "back");
        patience.give_up();

        assert_eq!(ready(&mut patience), [4]);
        assert_eq!(patience.take_lost(), [1, 2, 3, 5]);
        assert!(patience.is_done() && patience.take_lost().is_empty());
    }

    #[test]
    fn there_is_room_for_a_few() {
        let mut patience = five();
        (6..=8).for_each(|number| patience.sends(s(1), number, number));
        assert!(!patience.has_room());

        patience.returned(s(2), 1, ms(1), "back");
        ready(&mut patience);
        assert!(patience.has_room());
    }
}

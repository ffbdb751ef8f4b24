//! Frames that were let in and whose pictures are still to come, in the order they came.
//!
//! Pictures leave in the order of their frames, one at a time. A frame that was not processed (it
//! resembles the one before, or the video is paused) waits in line like the others and then shows
//! the picture before it again.

use std::collections::VecDeque;

use crate::backend::ort::Landing;
use crate::error::EngineError;

/// How a frame gets its picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// From its own latent.
    Frame,
    /// From the picture before.
    Repeat,
}

/// What has become of a frame that has taken all steps.
#[derive(Debug)]
pub(super) enum Finished {
    /// Its clean latent, to be decoded; give it back to [`Waiting::recycle`].
    Latent(Vec<f32>),
    /// Its picture is under way.
    Drawn(Landing),
    /// It could not be drawn.
    Failed(EngineError),
}

/// The line.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    order: VecDeque<Entry>,
    /// The first frames in line.
    finished: VecDeque<Finished>,
    /// Memory of latents that have left.
    spare: Vec<Vec<f32>>,
}

/// What the first in line gets.
#[derive(Debug)]
pub(super) enum Next {
    /// Its own picture.
    Own(Finished),
    /// The picture before.
    Repeat,
    /// Nothing yet, or nobody is in line.
    Nothing,
}

impl Waiting {
    pub(super) fn join(&mut self, entry: Entry) {
        self.order.push_back(entry);
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Adds a copy of the clean latent of the next frame in line.
    pub(super) fn finish(&mut self, latent: &[f32]) {
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(latent);
        self.finished.push_back(Finished::Latent(copy));
    }

    /// Adds the picture of the next frame in line, as far as it has come.
    pub(super) fn draw(&mut self, drawn: Result<Landing, EngineError>) {
        self.finished.push_back(match drawn {
            Ok(landing) => Finished::Drawn(landing),
            Err(error) => Finished::Failed(error),
        });
    }

    pub(super) fn begins_with_a_frame(&self) -> bool {
        self.order.front() == Some(&Entry::Frame)
    }

    /// How many of the first frames in line are finished.
    pub(super) fn finished(&self) -> usize {
        self.finished.len()
    }

    /// Takes the first in line out, if it can have its picture now.
    pub(super) fn next(&mut self) -> Next {
        match self.order.front() {
            Some(Entry::Repeat) => {
                self.order.pop_front();
                Next::Repeat
            }
            Some(Entry::Frame) => match self.finished.pop_front() {
                Some(finished) => {
                    self.order.pop_front();
                    Next::Own(finished)
                }
                None => Next::Nothing,
            },
            None => Next::Nothing,
        }
    }

    pub(super) fn recycle(&mut self, latent: Vec<f32>) {
        self.spare.push(latent);
    }

    /// Takes the last frames out of line until only those are left whose latents are still in
    /// flight or finished.
    pub(super) fn lose_all_but(&mut self, in_flight: usize) {
        let kept = in_flight + self.finished.len();
        let mut frames = self.frames();
        while frames > kept {
            let last = self.order.iter().rposition(|entry| *entry == Entry::Frame);
            let Some(last) = last else { return };
            self.order.remove(last);
            frames -= 1;
        }
    }

    /// Lets everybody in line show the picture before.
    pub(super) fn give_up(&mut self) {
        self.order
            .iter_mut()
            .for_each(|entry| *entry = Entry::Repeat);
        self.forget_finished();
    }

    pub(super) fn clear(&mut self) {
        self.order.clear();
        self.forget_finished();
    }

    fn forget_finished(&mut self) {
        for finished in self.finished.drain(..) {
            if let Finished::Latent(latent) = finished {
                self.spare.push(latent);
            }
        }
    }

    fn frames(&self) -> usize {
        let frame = |entry: &&Entry| **entry == Entry::Frame;
        self.order.iter().filter(frame).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_waits_for_the_frames_before_it() {
        let mut waiting = Waiting::default();
        waiting.join(Entry::Frame);
        waiting.join(Entry::Repeat);

        assert!(matches!(waiting.next(), Next::Nothing));
        waiting.finish(&[1.0]);

        assert!(matches!(waiting.next(), Next::Own(Finished::Latent(latent)) if latent == [1.0]));
        assert!(matches!(waiting.next(), Next::Repeat));
        assert!(matches!(waiting.next(), Next::Nothing));
        assert_eq!(waiting.len(), 0);
    }

    #[test]
    fn losing_frames_takes_the_newest_and_leaves_repeats() {
        let mut waiting = Waiting::default();
        for entry in [Entry::Frame, Entry::Frame, Entry::Repeat, Entry::Frame] {
            waiting.join(entry);
        }
        waiting.finish(&[1.0]);

        waiting.lose_all_but(1);

        assert_eq!(waiting.order, [Entry::Frame, Entry::Frame, Entry::Repeat]);
    }
}

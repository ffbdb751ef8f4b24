//! What becomes of a frame: in, through the graphs, out, and the ways around that.

use super::Engine;
use super::pace::{Outcome, Spent};
use super::plan::{guidance, new_stream, new_walk, timesteps};
use super::waiting::{Entry, Next};
use crate::error::EngineError;
use crate::frame::{self, FrameView, FrameViewMut};
use crate::parameters::{InputMode, Parameters};
use crate::similarity;

impl Engine {
    /// Runs every graph with every shape that frames will need, so that the first frame takes no
    /// longer than the others: a GPU's libraries choose and record their work at the first run.
    /// Nothing that is in flight or shown changes.
    ///
    /// # Errors
    ///
    /// As [`Engine::process`].
    pub fn warm_up(&mut self) -> Result<(), EngineError> {
        let (model, conditions, latent) = (&self.model, &self.conditions, self.latent);
        let watch = &self.watch;
        self.frame.fill(0);
        model.encode(&self.frame, self.size, &mut self.encoded, watch)?;
        let mut stream = self.stream.clone();
        stream.clear();
        // One more than are in flight at a time: the first one takes all steps at once.
        for _ in 0..stream.delay() + 2 {
            stream.enter(&self.encoded.values);
            if stream.is_full() {
                stream.advance(&mut |call, out| {
                    model.denoise(&conditions.rows(call, latent), out, watch)
                })?;
            }
        }
        let mut clean = stream.clean(0).to_vec();
        model.decode(&mut clean, self.size, &mut self.canvas, watch)?;
        Ok(())
    }

    /// Lets one frame in and takes what is in flight a step further.
    ///
    /// - `input`: the frame; `None` makes a picture from the prompt alone. In text mode a frame is
    ///   not looked at.
    ///
    /// Call [`Engine::catch_up`] afterwards until it has no picture.
    ///
    /// While paused nothing runs once there is a picture to hold: it is shown for every frame.
    ///
    /// # Errors
    ///
    /// [`EngineError::BadFrame`] if the frame is not what it says it is,
    /// [`EngineError::InferenceFailed`] if a graph fails, [`EngineError::Interrupted`] if somebody
    /// stopped it; the frame is lost then.
    pub fn process(&mut self, input: Option<&FrameView<'_>>) -> Result<Outcome, EngineError> {
        self.spent = Spent::default();
        self.watch.take();
        if self.parameters.paused && self.has_picture {
            self.give_up_what_is_in_flight();
            self.waiting.join(Entry::Repeat);
            return self.give();
        }
        match input.filter(|_| self.parameters.input_mode == InputMode::Video) {
            Some(view) => {
                self.schedule_for(InputMode::Video);
                frame::read_frame(view, self.size, &mut self.frame)?;
                if self.is_skipped() {
                    self.waiting.join(Entry::Repeat);
                    self.advance()?;
                    return self.give();
                }
                self.model
                    .encode(&self.frame, self.size, &mut self.encoded, &self.watch)?;
                self.spent.encode += self.watch.take();
                self.stream.enter(&self.encoded.values);
            }
            None => {
                self.schedule_for(InputMode::Text);
                let (walk, motion) = (&mut self.walk, self.parameters.motion);
                self.stream.enter_noise(|sample| walk.next(motion, sample));
            }
        }
        self.waiting.join(Entry::Frame);
        self.conditions.follow(&self.model, &self.parameters)?;
        if self.stream.is_full() {
            self.advance()?;
        }
        self.give()
    }

    /// A further picture, if more frames are in flight than [`Engine::delay`] asks for: after a
    /// change that made the delay shorter.
    ///
    /// # Errors
    ///
    /// [`EngineError::InferenceFailed`] if a graph fails.
    pub fn catch_up(&mut self) -> Result<Outcome, EngineError> {
        if self.in_flight() > self.delay() {
            self.give()
        } else {
            Ok(Outcome::Filling)
        }
    }

    /// Brings the oldest frame in flight out without letting one in, for the end of the stream.
    ///
    /// # Errors
    ///
    /// [`EngineError::InferenceFailed`] if a graph fails.
    pub fn drain(&mut self) -> Result<Outcome, EngineError> {
        while self.waiting.len() > 0 {
            if self.give()? == Outcome::Picture {
                return Ok(Outcome::Picture);
            }
            self.advance()?;
        }
        Ok(Outcome::Filling)
    }

    /// Writes the last picture into the caller's memory.
    ///
    /// # Errors
    ///
    /// [`EngineError::BadFrame`] if there is no picture yet or if `out` is not as large as
    /// [`Engine::size`].
    pub fn write_picture(&self, out: &mut FrameViewMut<'_>) -> Result<(), EngineError> {
        if !self.has_picture {
            return Err(EngineError::BadFrame {
                reason: "there is no picture yet".into(),
            });
        }
        frame::write_frame(&self.picture, self.size, out)?;
        self.touch_up(out);
        Ok(())
    }

    /// Whether there is a picture to write.
    #[must_use]
    pub fn has_picture(&self) -> bool {
        self.has_picture
    }

    /// Forgets the frames in flight and the last picture, as after a seek; keeps parameters.
    pub fn reset(&mut self) {
        self.stream.clear();
        self.waiting.clear();
        self.walk = new_walk(&self.parameters, self.values());
        self.similarity.forget();
        self.motion.forget();
        self.before.clear();
        self.has_picture = false;
    }

    /// Values of one latent.
    pub(super) fn values(&self) -> usize {
        self.model.facts().latent_channels * self.latent.0 * self.latent.1
    }

    /// Looks at the frame in `image`: is it like the last one, and how much noise suits it?
    fn is_skipped(&mut self) -> bool {
        let filter = self.parameters.similar_image_filter;
        if !filter.enabled && !self.parameters.noise_controller {
            return false;
        }
        similarity::glimpse(&self.frame, self.size, &mut self.glimpse);
        if self.parameters.noise_controller {
            let start = self.parameters.noise_scale.unwrap_or(USUAL_SCALE);
            let scale = self.motion.noise_scale(&self.glimpse, start);
            // The number of steps stays, so that nothing in flight is lost over a little motion.
            let least = self.steps.get(1).map_or(0, |next| next + 1);
            let first = Parameters::first_timestep(scale).max(least).min(999);
            let schedule = self.model.schedule();
            self.stream.set_timesteps(schedule, &self.steps);
            self.stream.set_timesteps(schedule, &[first]);
        }
        let skipped = self.similarity.skips(&self.glimpse, &filter);
        skipped && !self.conditions.is_moving()
    }

    /// Makes the stream fit the steps that the parameters ask for in `mode`.
    pub(super) fn schedule_for(&mut self, mode: InputMode) {
        if mode != self.mode {
            self.steps = timesteps(&self.model, &self.parameters, mode);
        }
        self.stream.add_noise = self.parameters.add_noise;
        self.stream.guidance = guidance(&self.model, &self.parameters);
        if self.steps.len() == self.stream.steps() && mode == self.mode {
            if !self.parameters.noise_controller {
                self.stream
                    .set_timesteps(self.model.schedule(), &self.steps);
            }
            return;
        }
        self.give_up_what_is_in_flight();
        let values = self.values();
        let (model, parameters) = (&self.model, &self.parameters);
        self.stream = new_stream(model, parameters, self.pace, &self.steps, values);
        self.mode = mode;
        let rows = self.stream.most_rows();
        self.conditions.resize(model, parameters, self.size, rows);
    }

    /// Lets the frames in flight show the last picture again; without one there is nothing to show.
    pub(super) fn give_up_what_is_in_flight(&mut self) {
        self.stream.clear();
        if self.has_picture {
            self.waiting.give_up();
        } else {
            self.waiting.clear();
        }
    }

    /// One round of the network; latents that leave go to the front of the line.
    pub(super) fn advance(&mut self) -> Result<(), EngineError> {
        let (model, conditions, latent) = (&self.model, &self.conditions, self.latent);
        let watch = &self.watch;
        let left = self.stream.advance(&mut |call, out| {
            let rows = conditions.rows(call, latent);
            model.denoise(&rows, out, watch)
        });
        self.spent.denoise += self.watch.take();
        let left = match left {
            Ok(left) => left,
            Err(error) => {
                self.waiting.lose_all_but(self.stream.occupied());
                return Err(error);
            }
        };
        for place in 0..left {
            let (clean, share) = (self.stream.clean(place), self.parameters.latent_feedback);
            if share > 0.0 {
                smooth(&mut self.before, clean, share);
                self.waiting.finish(&self.before);
            } else {
                // What feedback would begin with; the next clean latent is soon enough.
                self.before.clear();
                self.waiting.finish(clean);
            }
        }
        Ok(())
    }

    /// The picture of the first frame in line, if it can have one.
    pub(super) fn give(&mut self) -> Result<Outcome, EngineError> {
        match self.waiting.next() {
            Next::Latent(mut latent) => {
                #[cfg(test)]
                let clean = latent.clone();
                let (size, canvas) = (self.size, &mut self.canvas);
                let decoded = self.model.decode(&mut latent, size, canvas, &self.watch);
                self.spent.decode += self.watch.take();
                self.waiting.recycle(latent);
                if decoded? {
                    std::mem::swap(&mut self.canvas, &mut self.picture);
                    self.has_picture = true;
                    #[cfg(test)]
                    self.model.decode_values(&clean, size, &mut self.drawn);
                } else {
                    self.faults += 1;
                    self.before.clear();
                }
            }
            Next::Repeat => {}
            Next::Nothing => return Ok(Outcome::Filling),
        }
        Ok(match self.has_picture {
            true => Outcome::Picture,
            false => Outcome::Filling,
        })
    }
}

/// Noise scale that the noise controller starts from unless one was set, Scope's default.
const USUAL_SCALE: f32 = 0.7;

/// Moves `before` to `clean`, leaving it a share of its old values: `(1 − s)·clean + s·before`.
fn smooth(before: &mut Vec<f32>, clean: &[f32], share: f32) {
    if before.len() != clean.len() {
        before.clear();
        before.extend_from_slice(clean);
        return;
    }
    for (before, clean) in before.iter_mut().zip(clean) {
        *before = (1.0 - share) * clean + share * *before;
    }
}

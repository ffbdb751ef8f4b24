//! What becomes of a frame: in, through the graphs, out, and the ways around that.

use super::Engine;
use super::pace::{Outcome, Spent};
use super::plan::{self, guidance, new_stream, new_walk, timesteps};
use super::waiting::{Entry, Finished, Next};
use crate::backend::ort::Landing;
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
        let Self {
            model,
            conditions,
            latent,
            stream,
            watch,
            ..
        } = self;
        self.frame.fill(0);
        let (frame, encoded, canvas) = (&self.frame, &mut self.encoded, &mut self.canvas);
        let (mode, size, share) = (self.mode, self.size, self.parameters.latent_feedback);
        stream.aside(|stream| {
            // One more than are in flight at a time: the first one takes all steps at once.
            for _ in 0..stream.delay() + 2 {
                match (stream.is_on_provider(), mode) {
                    (true, InputMode::Video) => stream.enter_picture(frame, watch)?,
                    (true, InputMode::Text) => stream.enter_noise(|sample| sample.fill(0.1))?,
                    (false, _) => {
                        model.encode(frame, size, encoded, watch)?;
                        stream.enter(&encoded.values);
                    }
                }
                if !stream.is_full() {
                    continue;
                }
                let left = stream.advance(share > 0.0, &mut |call, out| {
                    model.answer(&conditions.rows(call, *latent), out, watch)
                })?;
                for place in 0..left {
                    if let Some(drawn) = stream.draw(place, share, watch) {
                        let mut drawn = drawn?;
                        drawn.wait()?;
                        stream.recycle(drawn);
                    }
                }
            }
            if !stream.is_on_provider() {
                let mut clean = stream.clean(0).to_vec();
                model.decode(&mut clean, size, canvas, watch)?;
            }
            Ok(())
        })
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
        let ready = self.waiting.finished();
        if self.parameters.paused && self.has_picture {
            self.give_up_what_is_in_flight();
            self.waiting.join(Entry::Repeat);
            return self.give();
        }
        match input.filter(|_| self.parameters.input_mode == InputMode::Video) {
            Some(view) => {
                self.schedule_for(InputMode::Video)?;
                frame::read_frame(view, self.size, &mut self.frame)?;
                if self.is_skipped() {
                    self.waiting.join(Entry::Repeat);
                    self.advance()?;
                    return self.give_of(ready);
                }
                if self.stream.is_on_provider() {
                    self.stream.enter_picture(&self.frame, &self.watch)?;
                } else {
                    let (frame, encoded) = (&self.frame, &mut self.encoded);
                    self.model.encode(frame, self.size, encoded, &self.watch)?;
                    self.spent.encode += self.watch.take();
                    self.stream.enter(&self.encoded.values);
                }
            }
            None => {
                self.schedule_for(InputMode::Text)?;
                let (walk, motion) = (&mut self.walk, self.parameters.motion);
                let enter = |sample: &mut [f32]| walk.next(motion, sample);
                self.stream.enter_noise(enter)?;
            }
        }
        self.waiting.join(Entry::Frame);
        self.conditions.follow(&self.model, &self.parameters)?;
        if self.stream.is_full() {
            self.advance()?;
        }
        self.give_of(ready)
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
        self.forget_before();
        self.has_picture = false;
    }

    /// Values of one latent.
    pub(super) fn values(&self) -> usize {
        plan::values(self.model.facts(), self.size)
    }

    /// Lets the next clean latent be mixed with none before it.
    pub(super) fn forget_before(&mut self) {
        self.before.clear();
        self.stream.forget_before();
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
    pub(super) fn schedule_for(&mut self, mode: InputMode) -> Result<(), EngineError> {
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
            return Ok(());
        }
        let (model, parameters) = (&self.model, &self.parameters);
        let pace = (self.pace, mode);
        let mut stream = new_stream(model, parameters, pace, &self.steps, self.size)?;
        stream.remember(&mut self.stream)?;
        let rows = stream.most_rows();
        self.conditions.resize(model, parameters, self.size, rows);
        self.give_up_what_is_in_flight();
        self.stream = stream;
        self.mode = mode;
        Ok(())
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
        let (watch, share) = (&self.watch, self.parameters.latent_feedback);
        let left = self.stream.advance(share > 0.0, &mut |call, out| {
            model.answer(&conditions.rows(call, latent), out, watch)
        });
        if !self.stream.is_on_provider() {
            self.spent.denoise += self.watch.take();
        }
        let left = match left {
            Ok(left) => left,
            Err(error) => {
                self.waiting.lose_all_but(self.stream.occupied());
                return Err(error);
            }
        };
        for place in 0..left {
            if let Some(drawn) = self.stream.draw(place, share, &self.watch) {
                self.waiting.draw(drawn);
                continue;
            }
            let clean = self.stream.clean(place);
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

    /// As [`Engine::give`], but pipelined only what was ready before: what has just been set going
    /// goes on while that is looked at.
    ///
    /// - `ready`: frames in line that were finished before this one came.
    fn give_of(&mut self, ready: usize) -> Result<Outcome, EngineError> {
        match self.pace.pipelining && ready == 0 && self.waiting.begins_with_a_frame() {
            true => Ok(Outcome::Filling),
            false => self.give(),
        }
    }

    /// The picture of the first frame in line, if it can have one.
    pub(super) fn give(&mut self) -> Result<Outcome, EngineError> {
        match self.waiting.next() {
            Next::Own(Finished::Latent(latent)) => self.decode(latent)?,
            Next::Own(Finished::Drawn(landing)) => self.receive(landing)?,
            Next::Own(Finished::Failed(error)) => return Err(error),
            Next::Repeat => {}
            Next::Nothing => return Ok(Outcome::Filling),
        }
        Ok(match self.has_picture {
            true => Outcome::Picture,
            false => Outcome::Filling,
        })
    }

    /// Makes the picture of a clean latent the last one.
    fn decode(&mut self, mut latent: Vec<f32>) -> Result<(), EngineError> {
        #[cfg(test)]
        let clean = latent.clone();
        let (size, canvas) = (self.size, &mut self.canvas);
        let decoded = self.model.decode(&mut latent, size, canvas, &self.watch);
        self.spent.decode += self.watch.take();
        self.waiting.recycle(latent);
        let sound = decoded?;
        self.show(sound);
        #[cfg(test)]
        if sound {
            self.model.decode_values(&clean, size, &mut self.drawn);
        }
        Ok(())
    }

    /// Waits for a picture that is under way and makes it the last one.
    fn receive(&mut self, mut landing: Landing) -> Result<(), EngineError> {
        let (bytes, sound, spent) = landing.wait()?;
        self.canvas.clear();
        self.canvas.extend_from_slice(bytes);
        self.spent = spent;
        #[cfg(test)]
        if sound {
            let (latent, size) = (landing.latent(), self.size);
            self.model.decode_values(latent, size, &mut self.drawn);
            self.clean = latent.to_vec();
        }
        self.stream.recycle(landing);
        self.show(sound);
        Ok(())
    }

    /// Shows what has been drawn, unless it is no picture.
    fn show(&mut self, sound: bool) {
        if sound {
            std::mem::swap(&mut self.canvas, &mut self.picture);
            self.has_picture = true;
        } else {
            self.faults += 1;
            self.forget_before();
        }
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

//! One live picture: frames in, pictures out, parameters changed on the way.
//!
//! The engine owns what belongs to one stream of frames: the rows in flight, the noise, the
//! embedding being shown, the last picture. The model it uses may be shared.

mod conditions;
mod pace;
mod plan;
mod waiting;

use std::sync::Arc;

use self::conditions::Conditions;
use self::pace::MOST_TOGETHER;
pub use self::pace::{Batching, Outcome, Pace, Prompts, Spent};
use self::plan::{guidance, new_stream, new_walk, timesteps};
use self::waiting::{Entry, Next, Waiting};
use crate::backend::Tensor;
use crate::error::EngineError;
use crate::frame::{self, FrameView, FrameViewMut};
use crate::model::{Facts, Model};
use crate::motion::Motion;
use crate::noise::Walk;
use crate::parameters::{InputMode, Parameters, Patch};
use crate::similarity::{self, Similarity};
use crate::stream::Stream;
use crate::watch::{Interrupt, Watch};

/// Turns frames into pictures. One engine serves one stream of frames.
#[derive(Debug)]
pub struct Engine {
    model: Arc<Model>,
    size: (u32, u32),
    /// Height and width of a latent.
    latent: (usize, usize),
    pace: Pace,
    parameters: Parameters,
    /// What `stream` was made for.
    mode: InputMode,
    /// Timesteps of `mode` as the parameters say.
    steps: Vec<u16>,
    stream: Stream,
    walk: Walk,
    conditions: Conditions,
    waiting: Waiting,
    similarity: Similarity,
    motion: Motion,
    glimpse: Vec<f32>,
    /// The frame that was let in last, `[H, W, 3]`.
    frame: Vec<u8>,
    encoded: Tensor,
    /// The clean latent that left last, for feedback; empty before the first.
    before: Vec<f32>,
    /// The last picture, `[H, W, 3]`.
    picture: Vec<u8>,
    /// Where the next picture is decoded to: only a sound one takes the place of the last.
    canvas: Vec<u8>,
    /// The values of the last picture.
    #[cfg(test)]
    drawn: Tensor,
    has_picture: bool,
    faults: u64,
    watch: Watch,
    spent: Spent,
}

impl Engine {
    /// Prepares for pictures of one size.
    ///
    /// - `size`: width and height, pixels; see [`crate::Facts::size_multiple`].
    ///
    /// # Errors
    ///
    /// [`EngineError::SizeNotDivisible`] if the model cannot make pictures of this size,
    /// [`EngineError::BadParameter`] if a parameter is out of range,
    /// [`EngineError::InferenceFailed`] if the prompts cannot be encoded.
    pub fn new(
        model: Arc<Model>,
        size: (u32, u32),
        pace: Pace,
        parameters: Parameters,
    ) -> Result<Self, EngineError> {
        let facts = model.facts();
        facts.check_size(size)?;
        parameters.check()?;
        let pace = Pace {
            frame_buffer: pace.frame_buffer.clamp(1, MOST_TOGETHER),
            ..pace
        };
        let side = |pixels: u32| (pixels / facts.scale_factor) as usize;
        let latent = (side(size.1), side(size.0));
        let values = facts.latent_channels * latent.0 * latent.1;
        let mode = parameters.input_mode;
        let steps = timesteps(&model, &parameters, mode);
        let stream = new_stream(&model, &parameters, pace, &steps, values);
        let conditions = Conditions::new(&model, &parameters, size, stream.most_rows())?;
        Ok(Self {
            size,
            latent,
            pace,
            mode,
            steps,
            stream,
            walk: new_walk(&parameters, values),
            conditions,
            waiting: Waiting::default(),
            similarity: Similarity::default(),
            motion: Motion::default(),
            glimpse: Vec::new(),
            frame: vec![0; 3 * size.0 as usize * size.1 as usize],
            encoded: Tensor::default(),
            before: Vec::with_capacity(values),
            picture: Vec::with_capacity(3 * size.0 as usize * size.1 as usize),
            canvas: Vec::with_capacity(3 * size.0 as usize * size.1 as usize),
            #[cfg(test)]
            drawn: Tensor::default(),
            has_picture: false,
            faults: 0,
            watch: Watch::default(),
            spent: Spent::default(),
            model,
            parameters,
        })
    }

    /// Changes parameters from the next frame on, whole or not at all.
    ///
    /// A change of the number of steps lets the frames in flight show the last picture again, any
    /// other keeps them.
    ///
    /// # Errors
    ///
    /// [`EngineError::BadParameter`] or, if a prompt cannot be encoded,
    /// [`EngineError::InferenceFailed`]; nothing has changed then.
    pub fn apply(&mut self, patch: &Patch, prompts: Prompts) -> Result<(), EngineError> {
        let mut next = self.parameters.clone();
        next.apply(patch)?;
        let negative = |parameters: &Parameters| {
            let wanted = self.model.wants_negative(parameters);
            wanted.then(|| parameters.negative_prompt.clone())
        };
        let restated = next.prompts == self.parameters.prompts
            && next.prompt_interpolation == self.parameters.prompt_interpolation
            && negative(&next) == negative(&self.parameters);
        if !restated {
            let transition = patch.transition.as_ref();
            if prompts == Prompts::Wait || self.model.is_prepared(&next) {
                self.conditions.turn_to(&self.model, &next, transition)?;
            } else {
                self.conditions.turn_later(transition.cloned());
            }
        }
        let before = std::mem::replace(&mut self.parameters, next);
        if self.parameters.all_seeds() != before.all_seeds()
            || self.parameters.seed_interpolation != before.seed_interpolation
        {
            let seeds = self.parameters.all_seeds();
            let method = self.parameters.seed_interpolation;
            self.stream.set_seeds(&seeds, method);
            self.walk = new_walk(&self.parameters, self.values());
        }
        if self.parameters.guidance_scale != before.guidance_scale {
            self.conditions
                .embed_guidance(&self.model, &self.parameters);
        }
        self.steps = timesteps(&self.model, &self.parameters, self.parameters.input_mode);
        self.schedule_for(self.parameters.input_mode);
        if patch.reset {
            self.give_up_what_is_in_flight();
            self.before.clear();
            self.motion.forget();
        }
        // Whatever was said shall be seen, however still the scene.
        self.similarity.forget();
        Ok(())
    }

    /// Goes on with another loading of the same model, for example with adapters at other scales.
    /// Frames in flight stay.
    ///
    /// # Errors
    ///
    /// [`EngineError::ModelUnsupported`] if it is a different model,
    /// [`EngineError::InferenceFailed`] if the prompts cannot be encoded.
    pub fn replace_model(&mut self, model: Arc<Model>) -> Result<(), EngineError> {
        let (old, new) = (self.model.facts(), model.facts());
        let shape = |facts: &Facts| {
            let latent = (facts.latent_channels, facts.scale_factor, facts.fixed_size);
            let prompt = (facts.token_width, facts.has_pooled, facts.has_time_ids);
            (latent, prompt, facts.guidance_width, facts.batchable)
        };
        if shape(old) != shape(new) {
            return Err(EngineError::ModelUnsupported {
                name: new.name.clone(),
                reason: format!("it cannot take the place of {} in mid-stream", old.name),
            });
        }
        self.conditions.turn_to(&model, &self.parameters, None)?;
        self.model = model;
        self.similarity.forget();
        Ok(())
    }

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

    /// The parameters in use.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The model in use.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Width and height of the pictures, pixels.
    #[must_use]
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    /// Frames between an input and its picture, at most: with S steps and FB frames together
    /// `S·FB − 1` in the stream batch, else `FB − 1`. Changes only in [`Engine::apply`].
    #[must_use]
    pub fn delay(&self) -> usize {
        self.stream.delay()
    }

    /// Frames that were let in and whose pictures are still to come, in their order.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.waiting.len()
    }

    /// Pictures so far that were no pictures (NaN or infinite values) and were not shown.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.faults
    }

    /// What the graphs took over the frame that was let in last.
    #[must_use]
    pub fn spent(&self) -> Spent {
        self.spent
    }

    /// A handle to stop this engine from another thread.
    #[must_use]
    pub fn interrupt(&self) -> Interrupt {
        self.watch.interrupt()
    }

    /// Timesteps of a frame, falling.
    #[must_use]
    pub fn timesteps(&self) -> &[u16] {
        &self.steps
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
        frame::write_frame(&self.picture, self.size, out)
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
    fn values(&self) -> usize {
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
    fn schedule_for(&mut self, mode: InputMode) {
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
    fn give_up_what_is_in_flight(&mut self) {
        self.stream.clear();
        if self.has_picture {
            self.waiting.give_up();
        } else {
            self.waiting.clear();
        }
    }

    /// One round of the network; latents that leave go to the front of the line.
    fn advance(&mut self) -> Result<(), EngineError> {
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
            smooth(
                &mut self.before,
                self.stream.clean(place),
                self.parameters.latent_feedback,
            );
            self.waiting.finish(&self.before);
        }
        Ok(())
    }

    /// The picture of the first frame in line, if it can have one.
    fn give(&mut self) -> Result<Outcome, EngineError> {
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
    if before.len() != clean.len() || share <= 0.0 {
        before.clear();
        before.extend_from_slice(clean);
        return;
    }
    for (before, clean) in before.iter_mut().zip(clean) {
        *before = (1.0 - share) * clean + share * *before;
    }
}

#[cfg(test)]
mod tests;

//! One live picture: frames in, pictures out, parameters changed on the way.
//!
//! The engine owns what belongs to one stream of frames: the rows in flight, the noise, the
//! embedding being shown, the last picture. The model it uses may be shared.

use std::sync::Arc;

use crate::backend::Tensor;
use crate::error::EngineError;
use crate::frame::{self, FrameView, FrameViewMut};
use crate::model::{Model, Rows};
use crate::noise::Walk;
use crate::parameters::{InputMode, Parameters, Patch};
use crate::prompt::Fade;
use crate::stream::Stream;
use crate::tokenizer;

/// How the denoising steps of a frame are put into calls of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Batching {
    /// Stream batch on a GPU, sequential on the CPU.
    #[default]
    Auto,
    /// All steps in one call, for several frames at once: highest throughput, S−1 frames delay.
    /// Sequential all the same if the model cannot take rows at different timesteps.
    Stream,
    /// One call for each step: no delay.
    Sequential,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There is a picture to write: that of the frame [`Engine::delay`] frames ago, or while
    /// paused the one that is held.
    Picture,
    /// No picture yet: the frame is in flight. From [`Engine::drain`]: nothing is left in flight.
    Filling,
}

/// Turns frames into pictures. One engine serves one stream of frames.
#[derive(Debug)]
pub struct Engine {
    model: Arc<Model>,
    size: (u32, u32),
    /// Height and width of a latent.
    latent: (usize, usize),
    batching: Batching,
    parameters: Parameters,
    /// What `stream` was made for.
    mode: InputMode,
    stream: Stream,
    walk: Walk,
    /// The embedding shown now, `[77, D]`, and the way to the next one.
    condition: Vec<f32>,
    fade: Option<Fade>,
    /// `condition` once for each row, `[S, 77, D]`.
    context: Vec<f32>,
    image: Vec<f32>,
    encoded: Tensor,
    outgoing: Vec<f32>,
    picture: Tensor,
    has_picture: bool,
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
        batching: Batching,
        parameters: Parameters,
    ) -> Result<Self, EngineError> {
        let facts = model.facts();
        facts.check_size(size)?;
        parameters.check()?;
        let side = |pixels: u32| (pixels / facts.scale_factor) as usize;
        let latent = (side(size.1), side(size.0));
        let values = facts.latent_channels * latent.0 * latent.1;
        let condition = model.condition(&parameters)?;
        let mode = parameters.input_mode;
        let batched = batched(&model, batching);
        let steps = timesteps(&model, &parameters, mode);
        let mut engine = Self {
            size,
            latent,
            batching,
            mode,
            stream: Stream::new(model.schedule(), &steps, batched, values, parameters.seed),
            walk: Walk::new(parameters.seed, values),
            condition,
            fade: None,
            context: Vec::new(),
            image: vec![0.0; 3 * size.0 as usize * size.1 as usize],
            encoded: Tensor::default(),
            outgoing: vec![0.0; values],
            picture: Tensor::default(),
            has_picture: false,
            model,
            parameters,
        };
        engine.stream.add_noise = engine.parameters.add_noise;
        engine.spread_condition();
        Ok(engine)
    }

    /// Changes parameters from the next frame on, whole or not at all.
    ///
    /// New prompts are encoded here unless [`Model::prepare`] has done so. A change of the number
    /// of steps drops the frames in flight, any other keeps them.
    ///
    /// # Errors
    ///
    /// [`EngineError::BadParameter`] or, if a prompt cannot be encoded,
    /// [`EngineError::InferenceFailed`]; nothing has changed then.
    pub fn apply(&mut self, patch: &Patch) -> Result<(), EngineError> {
        let mut next = self.parameters.clone();
        next.apply(patch)?;
        let restated = next.prompts == self.parameters.prompts
            && next.prompt_interpolation == self.parameters.prompt_interpolation;
        if !restated {
            let target = self.model.condition(&next)?;
            self.fade = patch.transition.as_ref().and_then(|transition| {
                let step = u32::from(next.transition_frames_per_step);
                let frames = u32::from(transition.num_steps) * step;
                let (method, width) = (transition.interpolation, self.model.width());
                Fade::new(&self.condition, &target, method, width, frames)
            });
            if self.fade.is_none() {
                self.condition = target;
                self.spread_condition();
            }
        }
        let before = std::mem::replace(&mut self.parameters, next);
        if self.parameters.seed != before.seed {
            self.stream.set_seed(self.parameters.seed);
            self.walk = Walk::new(self.parameters.seed, self.outgoing.len());
        }
        self.stream.add_noise = self.parameters.add_noise;
        self.schedule_for(self.parameters.input_mode);
        if patch.reset {
            self.stream.clear();
        }
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

    /// Frames between an input and its picture: steps − 1 in the stream batch, else 0. Changes
    /// only in [`Engine::apply`].
    #[must_use]
    pub fn delay(&self) -> usize {
        self.stream.delay()
    }

    /// Frames that were let in and whose pictures are still to come: [`Engine::delay`] of them
    /// once the rows are full, fewer after [`Engine::apply`] had to drop some.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.stream.occupied()
    }

    /// Timesteps of a frame, falling.
    #[must_use]
    pub fn timesteps(&self) -> Vec<u16> {
        timesteps(&self.model, &self.parameters, self.mode)
    }

    /// Lets one frame in and takes what is in flight a step further.
    ///
    /// - `input`: the frame; `None` makes a picture from the prompt alone. In text mode a frame is
    ///   not looked at.
    ///
    /// While paused nothing runs once there is a picture to hold; the frame is not let in.
    ///
    /// # Errors
    ///
    /// [`EngineError::BadFrame`] if the frame is not what it says it is,
    /// [`EngineError::InferenceFailed`] if a graph fails; the frame is lost then.
    pub fn process(&mut self, input: Option<&FrameView<'_>>) -> Result<Outcome, EngineError> {
        if self.parameters.paused && self.has_picture {
            return Ok(Outcome::Picture);
        }
        match input.filter(|_| self.parameters.input_mode == InputMode::Video) {
            Some(view) => {
                self.schedule_for(InputMode::Video);
                frame::read_frame(view, self.size, &mut self.image)?;
                self.model
                    .encode(&self.image, self.size, &mut self.encoded)?;
                self.stream.enter(&self.encoded.values);
            }
            None => {
                self.schedule_for(InputMode::Text);
                let (walk, motion) = (&mut self.walk, self.parameters.motion);
                self.stream.enter_noise(|sample| walk.next(motion, sample));
            }
        }
        self.follow_transition();
        if self.advance()? {
            Ok(Outcome::Picture)
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
        while self.stream.occupied() > 0 {
            if self.advance()? {
                return Ok(Outcome::Picture);
            }
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
        frame::write_frame(&self.picture.values, self.size, out)
    }

    /// Whether there is a picture to write.
    #[must_use]
    pub fn has_picture(&self) -> bool {
        self.has_picture
    }

    /// Forgets the frames in flight and the last picture, as after a seek; keeps parameters.
    pub fn reset(&mut self) {
        self.stream.clear();
        self.walk = Walk::new(self.parameters.seed, self.outgoing.len());
        self.has_picture = false;
    }

    /// Makes the stream fit the steps that the parameters ask for in `mode`.
    fn schedule_for(&mut self, mode: InputMode) {
        let steps = timesteps(&self.model, &self.parameters, mode);
        let schedule = self.model.schedule();
        if steps.len() == self.stream.steps() && mode == self.mode {
            self.stream.set_timesteps(schedule, &steps);
            return;
        }
        let batched = batched(&self.model, self.batching);
        let (values, seed) = (self.outgoing.len(), self.parameters.seed);
        self.stream = Stream::new(schedule, &steps, batched, values, seed);
        self.stream.add_noise = self.parameters.add_noise;
        self.mode = mode;
        self.spread_condition();
    }

    /// Moves the embedding one frame along a transition, if there is one.
    fn follow_transition(&mut self) {
        let Some(fade) = &mut self.fade else { return };
        let goes_on = fade.next(&mut self.condition);
        if !goes_on {
            self.fade = None;
        }
        self.spread_condition();
    }

    fn spread_condition(&mut self) {
        self.context.clear();
        for _ in 0..self.stream.steps() {
            self.context.extend_from_slice(&self.condition);
        }
    }

    /// One round of the network, and the picture of the frame that leaves, if one does.
    fn advance(&mut self) -> Result<bool, EngineError> {
        let (model, context, latent) = (&self.model, &self.context, self.latent);
        let width = tokenizer::LENGTH * model.width();
        let left = self.stream.advance(&mut |sample, timesteps, out| {
            let context = &context[..timesteps.len() * width];
            model.denoise(
                &Rows {
                    sample,
                    timesteps,
                    context,
                    latent,
                },
                out,
            )
        })?;
        if left {
            self.outgoing.copy_from_slice(self.stream.clean());
            self.model
                .decode(&mut self.outgoing, self.size, &mut self.picture)?;
            self.has_picture = true;
        }
        Ok(left)
    }
}

fn batched(model: &Model, batching: Batching) -> bool {
    let facts = model.facts();
    match batching {
        Batching::Auto => facts.batchable && facts.provider != "cpu",
        Batching::Stream => facts.batchable,
        Batching::Sequential => false,
    }
}

fn timesteps(model: &Model, parameters: &Parameters, mode: InputMode) -> Vec<u16> {
    let facts = model.facts();
    let usual = match mode {
        InputMode::Video => &facts.default_video_steps,
        InputMode::Text => &facts.default_text_steps,
    };
    parameters.timesteps(mode, usual)
}

#[cfg(test)]
mod tests;

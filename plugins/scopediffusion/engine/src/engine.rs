//! One live picture: frames in, pictures out, parameters changed on the way.
//!
//! The engine owns what belongs to one stream of frames: the rows in flight, the noise, the
//! embedding being shown, the last picture. The model it uses may be shared.

mod conditions;
mod frames;
mod pace;
mod plan;
mod sights;
mod waiting;

use std::sync::Arc;

use self::conditions::Conditions;
use self::pace::MOST_TOGETHER;
pub use self::pace::{Batching, Outcome, Pace, Prompts, Spent};
use self::plan::{new_stream, new_walk, settle, timesteps};
use self::waiting::Waiting;
use crate::backend::Tensor;
use crate::colour::Colours;
use crate::error::EngineError;
use crate::model::{Facts, Model};
use crate::motion::Motion;
use crate::noise::Walk;
use crate::parameters::{InputMode, Parameters, Patch};
use crate::similarity::Similarity;
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
    /// The latent of the last picture, where latents are not on the host.
    #[cfg(test)]
    clean: Vec<f32>,
    has_picture: bool,
    colours: Option<Colours>,
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
        let values = plan::values(facts, size);
        let mode = parameters.input_mode;
        let steps = timesteps(&model, &parameters, mode);
        let stream = new_stream(&model, &parameters, (pace, mode), &steps, size)?;
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
            #[cfg(test)]
            clean: Vec::new(),
            has_picture: false,
            colours: None,
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
            && negative(&next) == negative(&self.parameters)
            && self.model.text_scales(&next) == self.model.text_scales(&self.parameters);
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
            self.stream.set_seeds(&seeds, method)?;
            self.walk = new_walk(&self.parameters, self.values());
        }
        if self.parameters.guidance_scale != before.guidance_scale {
            self.conditions
                .embed_guidance(&self.model, &self.parameters);
        }
        self.conditions.weigh(&self.model, &self.parameters);
        self.steps = timesteps(&self.model, &self.parameters, self.parameters.input_mode);
        if let Err(error) = self.schedule_for(self.parameters.input_mode) {
            self.parameters = before;
            self.steps = timesteps(&self.model, &self.parameters, self.mode);
            return Err(error);
        }
        if patch.reset {
            self.give_up_what_is_in_flight();
            self.forget_before();
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
            let inputs = (facts.reference_images, facts.lora_inputs.clone());
            (
                latent,
                prompt,
                facts.guidance_width,
                facts.batchable,
                inputs,
            )
        };
        if shape(old) != shape(new) {
            return Err(EngineError::ModelUnsupported {
                name: new.name.clone(),
                reason: format!("it cannot take the place of {} in mid-stream", old.name),
            });
        }
        self.conditions.turn_to(&model, &self.parameters, None)?;
        match settle(&model, &self.stream, self.mode, self.size)? {
            Some(resident) if self.stream.is_on_provider() => self.stream.move_to(resident)?,
            None if !self.stream.is_on_provider() => {}
            // It runs elsewhere: what is in flight stays behind.
            _ => {
                let (pace, steps) = ((self.pace, self.mode), &self.steps);
                let stream = new_stream(&model, &self.parameters, pace, steps, self.size)?;
                self.give_up_what_is_in_flight();
                self.stream = stream;
            }
        }
        self.model = model;
        self.similarity.forget();
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
    /// `S·FB − 1` in the stream batch, else `FB − 1`, and one more when pipelined. Changes only in
    /// [`Engine::apply`].
    #[must_use]
    pub fn delay(&self) -> usize {
        self.stream.delay() + usize::from(self.pace.pipelining)
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

    /// What the graphs took over the frame that was let in last; where latents stay with the graphs,
    /// over the picture that came out last and since the one before it, by the device's own clock.
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
}

#[cfg(test)]
mod tests;

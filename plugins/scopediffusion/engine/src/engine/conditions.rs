//! What the prompts say, ready to be fed: blended, on the way in a transition, once for each row.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::EngineError;
use crate::model::{Model, Rows, TIME_IDS};
use crate::parameters::{Parameters, Transition};
use crate::prompt::{Condition, Fade};
use crate::reference::Reference;
use crate::stream::Call;

/// What the network shall show and avoid in the next frame.
#[derive(Debug)]
pub(super) struct Conditions {
    shown: Condition,
    negative: Condition,
    fade: Option<Fade>,
    /// A change that waits for the text encoder, with its transition.
    pending: Option<Option<Transition>>,
    /// Rows that a call can have: those about the negative prompt, then those about the prompt.
    half: usize,
    /// The four inputs for all rows, `[2·half, …]` each.
    context: Vec<f32>,
    pooled: Vec<f32>,
    time_ids: Vec<f32>,
    guidance: Vec<f32>,
    /// Tokens of reference images, `[2·half, T, D]`, and how much they count.
    tokens: Vec<f32>,
    reference: Option<Reference>,
    reference_scale: f32,
    /// Scales of the adapters that the network takes as inputs, in its order.
    lora_scales: Vec<f32>,
    /// What all of these hold now, and nothing else of the process: see [`stamp`].
    stamp: u64,
}

/// Rows that a call can begin at, at most: the stamp of a call tells where it begins.
const PLACES: u64 = 1 << 10;

/// A number that nobody else has got.
fn stamp() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed) * PLACES
}

impl Conditions {
    /// Encodes the prompts of `parameters` and lays them out for calls of up to `most_rows` rows.
    pub(super) fn new(
        model: &Model,
        parameters: &Parameters,
        size: (u32, u32),
        most_rows: usize,
    ) -> Result<Self, EngineError> {
        let mut conditions = Self {
            shown: model.condition(parameters)?,
            negative: Condition::default(),
            fade: None,
            pending: None,
            half: 0,
            context: Vec::new(),
            pooled: Vec::new(),
            time_ids: Vec::new(),
            guidance: Vec::new(),
            stamp: 0,
            tokens: Vec::new(),
            reference: None,
            reference_scale: 0.0,
            lora_scales: Vec::new(),
        };
        conditions.encode_negative(model, parameters)?;
        conditions.resize(model, parameters, size, most_rows);
        Ok(conditions)
    }

    /// Lays everything out for calls of up to `most_rows` rows.
    pub(super) fn resize(
        &mut self,
        model: &Model,
        parameters: &Parameters,
        size: (u32, u32),
        most_rows: usize,
    ) {
        self.half = most_rows / 2;
        let (width, height) = (size.0 as f32, size.1 as f32);
        let facts = model.facts();
        self.time_ids.clear();
        if facts.has_time_ids {
            let ids: [f32; TIME_IDS] = [height, width, 0.0, 0.0, height, width];
            (0..2 * self.half).for_each(|_| self.time_ids.extend(ids));
        }
        self.embed_guidance(model, parameters);
        self.weigh(model, parameters);
        self.lay_out_tokens(model);
        self.spread();
    }

    /// Shows other pictures, or none.
    pub(super) fn show(
        &mut self,
        model: &Model,
        reference: Option<Reference>,
        parameters: &Parameters,
    ) {
        self.reference = reference.filter(|_| model.facts().reference_images);
        self.weigh(model, parameters);
        self.lay_out_tokens(model);
    }

    /// Takes over how much reference images and adapters count.
    pub(super) fn weigh(&mut self, model: &Model, parameters: &Parameters) {
        self.stamp = stamp();
        self.reference_scale = match self.reference {
            Some(_) => parameters.reference_scale,
            None => 0.0,
        };
        self.lora_scales.clear();
        let names = model.network_loras().iter();
        self.lora_scales
            .extend(names.map(|name| parameters.lora_scale(name)));
    }

    fn lay_out_tokens(&mut self, model: &Model) {
        self.stamp = stamp();
        let nothing = model.no_picture();
        let shown = self.reference.as_ref().unwrap_or(&nothing);
        self.tokens.clear();
        for tokens in [&shown.negative, &shown.tokens] {
            (0..self.half).for_each(|_| self.tokens.extend_from_slice(tokens));
        }
    }

    /// Writes the guidance scale the way a distilled network takes it, `g − 1` as waves.
    ///
    /// Source: diffusers, pipeline_latent_consistency_img2img.py, `get_guidance_scale_embedding`.
    pub(super) fn embed_guidance(&mut self, model: &Model, parameters: &Parameters) {
        self.stamp = stamp();
        self.guidance.clear();
        let Some(width) = model.facts().guidance_width else {
            return;
        };
        let scale = 1000.0 * (f64::from(parameters.guidance_scale) - 1.0).max(0.0);
        let half = width / 2;
        let pace = 10_000_f64.ln() / half.saturating_sub(1).max(1) as f64;
        let angles: Vec<f64> = (0..half)
            .map(|k| scale * (-pace * k as f64).exp())
            .collect();
        for _ in 0..2 * self.half {
            self.guidance
                .extend(angles.iter().map(|angle| angle.sin() as f32));
            self.guidance
                .extend(angles.iter().map(|angle| angle.cos() as f32));
            self.guidance
                .extend(std::iter::repeat_n(0.0, width - 2 * half));
        }
    }

    /// Makes for the prompts of `parameters`, which must be encoded or are encoded here.
    pub(super) fn turn_to(
        &mut self,
        model: &Model,
        parameters: &Parameters,
        transition: Option<&Transition>,
    ) -> Result<(), EngineError> {
        let target = model.condition(parameters)?;
        self.encode_negative(model, parameters)?;
        self.pending = None;
        self.fade = transition.and_then(|transition| {
            let step = u32::from(parameters.transition_frames_per_step);
            let frames = u32::from(transition.num_steps) * step;
            let (method, width) = (transition.interpolation, model.width());
            Fade::new(&self.shown, &target, method, width, frames)
        });
        if self.fade.is_none() {
            self.shown = target;
        }
        self.spread();
        Ok(())
    }

    /// As [`Conditions::turn_to`], once somebody else has encoded the prompts.
    pub(super) fn turn_later(&mut self, transition: Option<Transition>) {
        self.pending = Some(transition);
    }

    /// Moves on by one frame: takes up prompts that have been encoded, follows a transition.
    pub(super) fn follow(
        &mut self,
        model: &Model,
        parameters: &Parameters,
    ) -> Result<(), EngineError> {
        if self.pending.is_some() && model.is_prepared(parameters) {
            let transition = self.pending.take().flatten();
            self.turn_to(model, parameters, transition.as_ref())?;
        }
        let Some(fade) = &mut self.fade else {
            return Ok(());
        };
        let goes_on = fade.next(&mut self.shown);
        if !goes_on {
            self.fade = None;
        }
        self.spread();
        Ok(())
    }

    /// Whether the next frame is conditioned differently from the last one.
    pub(super) fn is_moving(&self) -> bool {
        self.fade.is_some() || self.pending.is_some()
    }

    /// The rows of a call with what each of them is conditioned on.
    pub(super) fn rows<'a>(&'a self, call: &Call<'a>, latent: (usize, usize)) -> Rows<'a> {
        let (all, count) = (2 * self.half, call.timesteps.len());
        let from = self.half.saturating_sub(call.negative);
        let cut = |values: &'a [f32]| {
            let width = values.len() / all.max(1);
            &values[from * width..(from + count) * width]
        };
        Rows {
            sample: call.sample,
            timesteps: call.timesteps,
            context: cut(&self.context),
            pooled: cut(&self.pooled),
            time_ids: cut(&self.time_ids),
            guidance: cut(&self.guidance),
            stamp: self.stamp + from as u64,
            tokens: cut(&self.tokens),
            reference_scale: self.reference_scale,
            lora_scales: &self.lora_scales,
            latent,
        }
    }

    #[cfg(test)]
    pub(super) fn shown(&self) -> &Condition {
        &self.shown
    }

    #[cfg(test)]
    pub(super) fn negative(&self) -> &Condition {
        &self.negative
    }

    #[cfg(test)]
    pub(super) fn fades(&self) -> bool {
        self.fade.is_some()
    }

    fn encode_negative(
        &mut self,
        model: &Model,
        parameters: &Parameters,
    ) -> Result<(), EngineError> {
        if model.wants_negative(parameters) {
            self.negative = model.negative(parameters)?;
        }
        Ok(())
    }

    /// Lays the conditions out, once for each row.
    fn spread(&mut self) {
        // Nobody looks at rows about the negative prompt before it is encoded.
        let negative = match self.negative.tokens.is_empty() {
            true => &self.shown,
            false => &self.negative,
        };
        self.stamp = stamp();
        self.context.clear();
        self.pooled.clear();
        for condition in [negative, &self.shown] {
            for _ in 0..self.half {
                self.context.extend_from_slice(&condition.tokens);
                self.pooled.extend_from_slice(&condition.pooled);
            }
        }
    }
}

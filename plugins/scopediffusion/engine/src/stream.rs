//! The stream batch: several frames at once, each one denoising step further than the next.
//!
//! Group `s` of the batch holds the frames that entered `s` rounds ago, noised to the `s`-th
//! timestep. One call of the network takes every group a step further; the last group leaves as
//! clean latents, the others move down one group with the next group's share of noise.
//!
//! ```text
//!   frame k ─► x_t ─► group 0 ─► group 1 ─► … ─► group S−1 ─► clean latent of frame k−(S−1)
//! ```
//!
//! A group holds one frame, or several that enter together (`frame_buffer`, FB): row
//! `r = step·FB + frame`.
//!
//! Sequential mode takes a group through all steps before the next one enters: S calls, no delay.
//! Both give the same latents, because the noise belongs to the row and never changes.
//!
//! Decision: groups that hold no frame are not run at all. The original runs them on zeros and
//! shows the rubbish; here the first frame after a start goes through all steps at once, so there
//! is a picture from the first frame on, and the batch fills behind it.
//!
//! Source: cumulo-autumn/StreamDiffusion, pipeline.py, `predict_x0_batch`.

use crate::backend::Tensor;
use crate::error::EngineError;
use crate::guidance::{self, CfgType, Guidance};
use crate::noise;
use crate::parameters::{Interpolation, WeightedSeed};
use crate::schedule::{Level, Prediction, Schedule};

/// One call of the network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    /// Latents, `[N, C, h, w]`.
    pub(crate) sample: &'a [f32],
    /// Timesteps, `[N]`.
    pub(crate) timesteps: &'a [f32],
    /// How many rows, from the first on, are about the negative prompt.
    pub(crate) negative: usize,
}

/// The network, seen from here: rows in, its output `[N, C, h, w]` out.
pub(crate) type Denoise<'a> = dyn FnMut(&Call<'_>, &mut Tensor) -> Result<(), EngineError> + 'a;

/// What a stream is made for; a change of it needs a new stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Stream batch, else sequential.
    pub(crate) batched: bool,
    /// Frames that enter together, FB, at least 1.
    pub(crate) frame_buffer: usize,
    /// Values of one latent, `C·h·w`.
    pub(crate) size: usize,
}

/// The frames in flight and everything that the step formulas need.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    levels: Vec<Level>,
    prediction: Prediction,
    shape: Shape,
    /// One constant noise sample for each row, `[S·FB, C, h, w]`.
    noise: Vec<f32>,
    /// Latents in flight, `[S·FB, C, h, w]`.
    rows: Vec<f32>,
    /// Residual noise of the latents in flight, same shape.
    stock: Vec<f32>,
    /// Frames in each group.
    occupied: Vec<usize>,
    /// Nothing has been in flight since the start: the next frame goes through at once.
    fresh: bool,
    sample: Vec<f32>,
    timesteps: Vec<f32>,
    predicted: Tensor,
    clean: Vec<f32>,
    /// Add noise between the steps, `do_add_noise` of the original.
    pub(crate) add_noise: bool,
    pub(crate) guidance: Guidance,
}

impl Stream {
    /// An empty stream without noise: see [`Stream::set_seeds`].
    ///
    /// - `timesteps`: one for each step, falling, at least one.
    pub(crate) fn new(schedule: &Schedule, timesteps: &[u16], shape: Shape) -> Self {
        let (steps, group) = (timesteps.len(), shape.frame_buffer * shape.size);
        let most = 2 * steps * group;
        Self {
            levels: timesteps.iter().map(|t| schedule.level(*t)).collect(),
            prediction: schedule.prediction,
            shape: Shape {
                batched: shape.batched && steps > 1,
                ..shape
            },
            noise: vec![0.0; steps * group],
            rows: vec![0.0; steps * group],
            stock: vec![0.0; steps * group],
            occupied: vec![0; steps],
            fresh: true,
            sample: Vec::with_capacity(most),
            timesteps: Vec::with_capacity(2 * steps * shape.frame_buffer),
            predicted: Tensor::default(),
            clean: vec![0.0; group],
            add_noise: true,
            guidance: Guidance::OFF,
        }
    }

    /// Number of steps, `S`.
    pub(crate) fn steps(&self) -> usize {
        self.levels.len()
    }

    /// Most rows that a call of the network has, those for the negative prompt included.
    pub(crate) fn most_rows(&self) -> usize {
        2 * self.steps() * self.shape.frame_buffer
    }

    /// Frames between a frame's way in and its way out.
    pub(crate) fn delay(&self) -> usize {
        let groups = if self.shape.batched { self.steps() } else { 1 };
        groups * self.shape.frame_buffer - 1
    }

    /// Changes the first timesteps, as many as are given. Frames in flight go on from where they
    /// are.
    pub(crate) fn set_timesteps(&mut self, schedule: &Schedule, timesteps: &[u16]) {
        for (level, timestep) in self.levels.iter_mut().zip(timesteps) {
            *level = schedule.level(*timestep);
        }
    }

    /// Draws the noise of every row anew.
    pub(crate) fn set_seeds(&mut self, seeds: &[WeightedSeed], method: Interpolation) {
        for (row, noise) in self.noise.chunks_mut(self.shape.size).enumerate() {
            noise::fill_blended(noise, seeds, method, row as u64);
        }
    }

    /// Forgets the frames in flight.
    pub(crate) fn clear(&mut self) {
        self.occupied.fill(0);
        self.fresh = true;
    }

    /// Number of frames in flight.
    pub(crate) fn occupied(&self) -> usize {
        self.occupied.iter().sum()
    }

    /// Whether a round is due: the first group has no room for another frame.
    pub(crate) fn is_full(&self) -> bool {
        self.occupied[0] >= self.shape.frame_buffer
    }

    /// Lets a clean latent in: noised to the first timestep, `x_t = a·z + b·n`.
    pub(crate) fn enter(&mut self, latent: &[f32]) {
        let (level, at) = (self.levels[0], self.next_place());
        for ((x, z), n) in self.rows[at.clone()]
            .iter_mut()
            .zip(latent)
            .zip(&self.noise[at])
        {
            *x = level.noisy(*z, *n);
        }
    }

    /// Lets a latent in that is noise already, written by `write`: text-to-video.
    pub(crate) fn enter_noise(&mut self, write: impl FnOnce(&mut [f32])) {
        let at = self.next_place();
        write(&mut self.rows[at]);
    }

    /// Takes every group a step further, or in sequential mode the first one through all steps.
    ///
    /// Returns how many frames have left; [`Stream::clean`] holds them then. After an error the
    /// frames that entered last are lost and the others stay where they are.
    pub(crate) fn advance(&mut self, denoise: &mut Denoise<'_>) -> Result<usize, EngineError> {
        let alone = self.occupied[1..].iter().all(|frames| *frames == 0);
        let through = !self.shape.batched || (self.fresh && alone && self.shape.frame_buffer == 1);
        self.fresh = false;
        let mut left = self.round(denoise)?;
        while through && left == 0 && self.occupied() > 0 {
            left = self.round(denoise).inspect_err(|_| self.occupied.fill(0))?;
        }
        if self.occupied() == 0 && !through {
            // Whoever comes next finds nothing in front of it: no reason to wait behind nobody.
            self.fresh = true;
        }
        Ok(left)
    }

    /// The clean latents `[C, h, w]` that left last, by place.
    pub(crate) fn clean(&self, place: usize) -> &[f32] {
        &self.clean[place * self.shape.size..][..self.shape.size]
    }

    /// Takes a place in the first group, with its row's noise as residual noise.
    fn next_place(&mut self) -> std::ops::Range<usize> {
        let place = self.occupied[0].min(self.shape.frame_buffer - 1);
        self.occupied[0] = place + 1;
        let at = place * self.shape.size..(place + 1) * self.shape.size;
        self.stock[at.clone()].copy_from_slice(&self.noise[at.clone()]);
        at
    }

    /// One call of the network, and everybody one group further.
    fn round(&mut self, denoise: &mut Denoise<'_>) -> Result<usize, EngineError> {
        let Some(last) = self.occupied.iter().rposition(|frames| *frames > 0) else {
            return Ok(0);
        };
        let (negative, as_they_lie) = self.gather(last);
        let call = Call {
            sample: match as_they_lie {
                Some(rows) => &self.rows[rows],
                None => &self.sample,
            },
            timesteps: &self.timesteps,
            negative,
        };
        if let Err(error) = denoise(&call, &mut self.predicted) {
            self.occupied[0] = 0;
            return Err(error);
        }
        self.move_down(last, negative);
        let left = self.occupied.pop().unwrap_or(0);
        self.occupied.insert(0, 0);
        Ok(left)
    }

    /// Puts the rows of a call together, and says how many of them are about the negative prompt and
    /// where the others lie, if they lie together already: then nothing is copied.
    fn gather(&mut self, last: usize) -> (usize, Option<std::ops::Range<usize>>) {
        let (group, buffer) = (
            self.shape.frame_buffer * self.shape.size,
            self.shape.frame_buffer,
        );
        self.sample.clear();
        self.timesteps.clear();
        let negative_groups = match self.guidance.way() {
            CfgType::Full => last + 1,
            CfgType::Initialize => 1,
            CfgType::None | CfgType::SelfNegative => 0,
        };
        let first = self.occupied.iter().position(|frames| *frames > 0);
        let first = first.unwrap_or(last);
        let close = self.occupied[first..=last].iter().all(|frames| *frames > 0);
        let as_they_lie =
            (negative_groups == 0 && close).then_some(first * group..(last + 1) * group);
        for groups in [negative_groups, last + 1] {
            for step in (0..groups).filter(|step| self.occupied[*step] > 0) {
                if as_they_lie.is_none() {
                    let rows = &self.rows[step * group..][..group];
                    self.sample.extend_from_slice(rows);
                }
                let timestep = f32::from(self.levels[step].timestep);
                self.timesteps.extend(std::iter::repeat_n(timestep, buffer));
            }
        }
        let occupied = |step: &usize| self.occupied[*step] > 0;
        let negative = buffer * (0..negative_groups).filter(occupied).count();
        (negative, as_they_lie)
    }

    /// From the far end, so that a group is read before the one above it moves down into it.
    fn move_down(&mut self, last: usize, negative: usize) {
        let group = self.shape.frame_buffer * self.shape.size;
        let (negatives, texts) = self.predicted.values.split_at(negative * self.shape.size);
        let mut place = texts.len() / group;
        for step in (0..=last).rev().filter(|step| self.occupied[*step] > 0) {
            place -= 1;
            let (above, below) = self.rows.split_at_mut((step + 1) * group);
            let (stock, stock_below) = self.stock.split_at_mut((step + 1) * group);
            let (latent, off) = (&mut above[step * group..], &mut stock[step * group..]);
            guidance::Rows {
                level: self.levels[step],
                prediction: self.prediction,
                text: &texts[place * group..][..group],
                negative: negatives.get(place * group..(place + 1) * group),
                latent,
                stock: off,
            }
            .clean(self.guidance);
            let Some(next) = self.levels.get(step + 1) else {
                self.clean.copy_from_slice(latent);
                continue;
            };
            let noise = &self.noise[(step + 1) * group..][..group];
            below[..group].copy_from_slice(latent);
            renoise(next, noise, self.add_noise, &mut below[..group]);
            match self.guidance.way() {
                CfgType::SelfNegative | CfgType::Initialize => {
                    guidance::carry_over(next, noise, off, &mut stock_below[..group]);
                }
                // So that guidance may begin in mid-flight.
                CfgType::None | CfgType::Full => stock_below[..group].copy_from_slice(noise),
            }
        }
    }
}

/// Noises a clean latent for the next step; without `add_noise` only scales it.
fn renoise(next: &Level, noise: &[f32], add_noise: bool, latent: &mut [f32]) {
    for (x, n) in latent.iter_mut().zip(noise) {
        *x = if add_noise {
            next.noisy(*x, *n)
        } else {
            next.signal * *x
        };
    }
}

#[cfg(test)]
impl Stream {
    /// Replaces the noise of every row, `[S·FB, C, h, w]`, by noise from a file.
    pub(crate) fn set_noise(&mut self, noise: &[f32]) {
        self.noise.copy_from_slice(noise);
    }

    /// The noisy latents `[FB, C, h, w]` that entered last, while they are still in the first group.
    pub(crate) fn entered(&self) -> &[f32] {
        &self.rows[..self.shape.frame_buffer * self.shape.size]
    }

    /// Residual noise of group `step`, `[FB, C, h, w]`.
    pub(crate) fn stock(&self, step: usize) -> &[f32] {
        let group = self.shape.frame_buffer * self.shape.size;
        &self.stock[step * group..][..group]
    }

    /// The first timestep of the frames that enter now.
    pub(crate) fn first_timestep(&self) -> u16 {
        self.levels[0].timestep
    }

    /// Leaves out the way through all steps that the first frame takes.
    pub(crate) fn skip_priming(&mut self) {
        self.fresh = false;
    }
}

#[cfg(test)]
mod tests;

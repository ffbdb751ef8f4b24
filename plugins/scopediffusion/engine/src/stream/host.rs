//! Latents on the host: the arithmetic of the steps, in 32 bits.

use super::{Call, Denoise, Now, Out, Shape};
use crate::backend::Tensor;
use crate::error::EngineError;
use crate::guidance::{self, CfgType};
use crate::schedule::Level;

#[derive(Debug, Clone)]
pub(super) struct Latents {
    /// One constant noise sample for each row, `[S·FB, C, h, w]`.
    pub(super) noise: Vec<f32>,
    /// Latents in flight, `[S·FB, C, h, w]`.
    pub(super) rows: Vec<f32>,
    /// Residual noise of the latents in flight, same shape.
    pub(super) stock: Vec<f32>,
    sample: Vec<f32>,
    timesteps: Vec<f32>,
    predicted: Tensor,
    clean: Vec<f32>,
    /// Values of one latent.
    size: usize,
}

impl Latents {
    pub(super) fn new(steps: usize, shape: Shape) -> Self {
        let group = shape.frame_buffer * shape.size;
        Self {
            noise: vec![0.0; steps * group],
            rows: vec![0.0; steps * group],
            stock: vec![0.0; steps * group],
            sample: Vec::with_capacity(2 * steps * group),
            timesteps: Vec::with_capacity(2 * steps * shape.frame_buffer),
            predicted: Tensor::default(),
            clean: vec![0.0; group],
            size: shape.size,
        }
    }

    pub(super) fn enter(&mut self, place: usize, level: &Level, latent: &[f32]) {
        let at = self.take_place(place);
        for ((x, z), n) in self.rows[at.clone()]
            .iter_mut()
            .zip(latent)
            .zip(&self.noise[at])
        {
            *x = level.noisy(*z, *n);
        }
    }

    pub(super) fn enter_noise(&mut self, place: usize, write: impl FnOnce(&mut [f32])) {
        let at = self.take_place(place);
        write(&mut self.rows[at]);
    }

    /// A place in the first group, with its row's noise as residual noise.
    fn take_place(&mut self, place: usize) -> std::ops::Range<usize> {
        let at = place * self.size..(place + 1) * self.size;
        self.stock[at.clone()].copy_from_slice(&self.noise[at.clone()]);
        at
    }

    pub(super) fn clean(&self, place: usize) -> &[f32] {
        &self.clean[place * self.size..][..self.size]
    }

    pub(super) fn round(
        &mut self,
        now: Now<'_>,
        denoise: &mut Denoise<'_>,
    ) -> Result<(), EngineError> {
        let (negative, as_they_lie) = self.gather(now);
        let call = Call {
            sample: match as_they_lie {
                Some(rows) => &self.rows[rows],
                None => &self.sample,
            },
            timesteps: &self.timesteps,
            negative,
        };
        denoise(&call, Out::Host(&mut self.predicted))?;
        self.move_down(now, negative);
        Ok(())
    }

    /// Puts the rows of a call together, and says how many of them are about the negative prompt and
    /// where the others lie, if they lie together already: then nothing is copied.
    fn gather(&mut self, now: Now<'_>) -> (usize, Option<std::ops::Range<usize>>) {
        let (group, buffer) = (
            now.shape.frame_buffer * now.shape.size,
            now.shape.frame_buffer,
        );
        let last = now.last;
        self.sample.clear();
        self.timesteps.clear();
        let negative_groups = match now.guidance.way() {
            CfgType::Full => last + 1,
            CfgType::Initialize => 1,
            CfgType::None | CfgType::SelfNegative => 0,
        };
        let first = now.occupied.iter().position(|frames| *frames > 0);
        let first = first.unwrap_or(last);
        let close = now.occupied[first..=last].iter().all(|frames| *frames > 0);
        let as_they_lie =
            (negative_groups == 0 && close).then_some(first * group..(last + 1) * group);
        for groups in [negative_groups, last + 1] {
            for step in (0..groups).filter(|step| now.occupied[*step] > 0) {
                if as_they_lie.is_none() {
                    let rows = &self.rows[step * group..][..group];
                    self.sample.extend_from_slice(rows);
                }
                let timestep = f32::from(now.levels[step].timestep);
                self.timesteps.extend(std::iter::repeat_n(timestep, buffer));
            }
        }
        let occupied = |step: &usize| now.occupied[*step] > 0;
        let negative = buffer * (0..negative_groups).filter(occupied).count();
        (negative, as_they_lie)
    }

    /// From the far end, so that a group is read before the one above it moves down into it.
    fn move_down(&mut self, now: Now<'_>, negative: usize) {
        let group = now.shape.frame_buffer * now.shape.size;
        let last = now.last;
        let (negatives, texts) = self.predicted.values.split_at(negative * now.shape.size);
        let mut place = texts.len() / group;
        for step in (0..=last).rev().filter(|step| now.occupied[*step] > 0) {
            place -= 1;
            let (above, below) = self.rows.split_at_mut((step + 1) * group);
            let (stock, stock_below) = self.stock.split_at_mut((step + 1) * group);
            let (latent, off) = (&mut above[step * group..], &mut stock[step * group..]);
            guidance::Rows {
                level: now.levels[step],
                prediction: now.prediction,
                text: &texts[place * group..][..group],
                negative: negatives.get(place * group..(place + 1) * group),
                latent,
                stock: off,
            }
            .clean(now.guidance);
            let Some(next) = now.levels.get(step + 1) else {
                self.clean.copy_from_slice(latent);
                continue;
            };
            let noise = &self.noise[(step + 1) * group..][..group];
            below[..group].copy_from_slice(latent);
            renoise(next, noise, now.add_noise, &mut below[..group]);
            match now.guidance.way() {
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

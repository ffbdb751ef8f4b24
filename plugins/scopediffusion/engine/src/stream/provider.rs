//! Latents where the graphs compute: what is left for the host are the numbers of each row.

use super::{Call, Denoise, Now, Out, Shape};
use crate::backend::ort::{Resident, Round};
use crate::error::EngineError;
use crate::guidance::CfgType;
use crate::onnx::latents::Way;
use crate::schedule::Level;
use crate::watch::Watch;
use crate::weights::{self, Weights};

#[derive(Debug)]
pub(super) struct Latents {
    pub(super) resident: Resident,
    /// One constant noise sample for each row, `[S·FB, C, h, w]`.
    noise: Vec<f32>,
    /// Whether the first group's noise is still that of frames which came before it changed.
    noise_is_late: bool,
    /// A latent that is noise.
    sample: Vec<f32>,
    /// For each place its share of picture, then for each its share of noise.
    shares: Vec<f32>,
    rows: Vec<Weights>,
    weights: Vec<f32>,
    timesteps: Vec<f32>,
    /// Stands for the rows of a call, of which only the number counts.
    zeros: Vec<f32>,
}

impl Latents {
    pub(super) fn new(resident: Resident, steps: usize, shape: Shape) -> Self {
        let rows = steps * shape.frame_buffer;
        Self {
            resident,
            noise: vec![0.0; rows * shape.size],
            noise_is_late: false,
            sample: vec![0.0; shape.size],
            shares: vec![0.0; 2 * shape.frame_buffer],
            rows: Vec::with_capacity(rows),
            weights: Vec::with_capacity(rows * Way::Initialize.numbers().len()),
            timesteps: Vec::with_capacity(2 * rows),
            zeros: vec![0.0; 2 * rows * shape.size],
        }
    }

    /// - `entered`: frames that wait in the first group; they keep the noise that they came with.
    pub(super) fn set_noise(
        &mut self,
        entered: usize,
        write: impl FnOnce(&mut [f32]),
    ) -> Result<(), EngineError> {
        let kept = self.noise[..entered * self.sample.len()].to_vec();
        write(&mut self.noise);
        self.noise_is_late = entered > 0;
        if !self.noise_is_late {
            return self.resident.set_noise(&self.noise);
        }
        let mut mixed = self.noise.clone();
        mixed[..kept.len()].copy_from_slice(&kept);
        self.resident.set_noise(&mixed)
    }

    pub(super) fn enter_picture(
        &mut self,
        place: usize,
        level: &Level,
        (picture, watch): (&[u8], &Watch),
    ) -> Result<(), EngineError> {
        self.resident.enter_picture(place, picture, watch)?;
        self.share(place, level.signal * self.resident.scaling(), level.noise);
        Ok(())
    }

    pub(super) fn enter_noise(
        &mut self,
        place: usize,
        write: impl FnOnce(&mut [f32]),
    ) -> Result<(), EngineError> {
        write(&mut self.sample);
        self.resident.enter_sample(place, &self.sample)?;
        self.share(place, 1.0, 0.0);
        Ok(())
    }

    fn share(&mut self, place: usize, picture: f32, noise: f32) {
        let places = self.shares.len() / 2;
        (self.shares[place], self.shares[places + place]) = (picture, noise);
    }

    /// Rows that hold no frame run, too: shapes that never change are worth more than what they cost.
    pub(super) fn round(
        &mut self,
        now: Now<'_>,
        feedback: bool,
        denoise: &mut Denoise<'_>,
    ) -> Result<(), EngineError> {
        let buffer = now.shape.frame_buffer;
        let (steps, step) = match now.shape.batched {
            true => (0..now.levels.len(), 0),
            false => (now.last..now.last + 1, now.last),
        };
        self.rows.clear();
        self.timesteps.clear();
        for step in steps.clone() {
            let (level, next) = (&now.levels[step], now.levels.get(step + 1));
            let numbers = Weights::new(level, next, now.prediction, now.guidance, now.add_noise);
            self.rows.extend(std::iter::repeat_n(numbers, buffer));
        }
        let (way, negative_steps) = match now.guidance.way() {
            CfgType::None => (Way::Plain, 0..0),
            CfgType::Full => (Way::Full, steps.clone()),
            CfgType::Initialize if step == 0 => (Way::Initialize, 0..1),
            CfgType::SelfNegative | CfgType::Initialize => (Way::Stock, 0..0),
        };
        let negative = negative_steps.len() * buffer;
        for step in negative_steps.chain(steps) {
            let timestep = f32::from(now.levels[step].timestep);
            let timesteps = std::iter::repeat_n(timestep, buffer);
            self.timesteps.extend(timesteps);
        }
        weights::lay_out(way, &self.rows, &mut self.weights);
        let call = Call {
            sample: &self.zeros[..self.timesteps.len() * now.shape.size],
            timesteps: &self.timesteps,
            negative,
        };
        let round = Round {
            step,
            way: now.guidance.way(),
            negative,
            feedback,
            shares: &self.shares,
            weights: &self.weights,
            timesteps: &self.timesteps,
        };
        let done = denoise(&call, Out::Provider(&mut self.resident, &round));
        if self.noise_is_late {
            // Those who kept theirs have moved on, or are lost.
            self.resident.set_noise(&self.noise)?;
            self.noise_is_late = false;
        }
        done
    }

    pub(super) fn move_to(&mut self, mut resident: Resident) -> Result<(), EngineError> {
        resident.set_noise(&self.noise)?;
        resident.restore(&self.resident.save()?)?;
        self.resident = resident;
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn enter_latent(&mut self, place: usize, level: &Level, latent: &[f32]) {
        let scaling = self.resident.scaling();
        let latent: Vec<f32> = latent.iter().map(|value| value / scaling).collect();
        let entered = self.resident.enter_sample(place, &latent);
        entered.expect("tests run on the CPU");
        self.share(place, level.signal * scaling, level.noise);
    }
}

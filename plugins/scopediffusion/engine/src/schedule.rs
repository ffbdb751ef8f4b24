//! Noise levels: how much picture and how much noise a latent holds at each timestep.
//!
//! Tables are computed in `f64` and kept as `f32`, as the reference does; a table shifted by one
//! timestep already costs 5e-3 in the picture.

use serde::Deserialize;

/// Steps a training schedule may have; every published model has 1000.
const MAX_TRAINING_STEPS: usize = 10_000;

/// What the network's output stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Prediction {
    /// The noise in the latent.
    #[default]
    Epsilon,
    /// Velocity, `a·ε − b·x0`.
    #[serde(rename = "v_prediction")]
    Velocity,
    /// The clean latent.
    Sample,
}

impl Prediction {
    /// The name that diffusers has for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Epsilon => "epsilon",
            Self::Velocity => "v_prediction",
            Self::Sample => "sample",
        }
    }
}

/// The part of `scheduler/scheduler_config.json` that matters; the sampler's class does not.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct SchedulerConfig {
    pub(crate) num_train_timesteps: usize,
    pub(crate) beta_start: f64,
    pub(crate) beta_end: f64,
    pub(crate) beta_schedule: String,
    pub(crate) trained_betas: Option<Vec<f64>>,
    pub(crate) rescale_betas_zero_snr: bool,
    pub(crate) prediction_type: Prediction,
    pub(crate) timestep_spacing: Option<String>,
}

impl Default for SchedulerConfig {
    /// The schedule of Stable Diffusion 1, 2 and XL.
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            beta_start: 0.000_85,
            beta_end: 0.012,
            beta_schedule: "scaled_linear".into(),
            trained_betas: None,
            rescale_betas_zero_snr: false,
            prediction_type: Prediction::Epsilon,
            timestep_spacing: None,
        }
    }
}

/// Everything the step formulas need at one timestep; all unitless.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Level {
    /// Timestep as the network wants it, 0 (clean) to 999 (noise).
    pub(crate) timestep: u16,
    /// Share of the picture, √ᾱ.
    pub(crate) signal: f32,
    /// Share of the noise, √(1−ᾱ).
    pub(crate) noise: f32,
    /// Consistency boundary: weight of the latent itself.
    pub(crate) skip: f32,
    /// Consistency boundary: weight of the predicted clean latent.
    pub(crate) out: f32,
}

impl Level {
    /// The noise in `x`, given the network's output `m`.
    pub(crate) fn epsilon(&self, prediction: Prediction, m: f32, x: f32) -> f32 {
        match prediction {
            Prediction::Epsilon => m,
            Prediction::Velocity => self.signal * m + self.noise * x,
            Prediction::Sample => (x - self.signal * m) / self.noise,
        }
    }

    /// The clean latent that `x` is predicted to hold, given the noise in it.
    ///
    /// `x0 = c_out · (x − b·ε)/a + c_skip · x`. Source: diffusers, scheduling_lcm.py, `step`.
    pub(crate) fn clean(&self, epsilon: f32, x: f32) -> f32 {
        self.out * ((x - self.noise * epsilon) / self.signal) + self.skip * x
    }

    /// A clean latent with `noise` mixed in: `a·z + b·n`.
    pub(crate) fn noisy(&self, clean: f32, noise: f32) -> f32 {
        self.signal * clean + self.noise * noise
    }
}

/// The levels of all training timesteps.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Schedule {
    levels: Vec<Level>,
    pub(crate) prediction: Prediction,
}

impl Schedule {
    /// Computes the tables, or says in one sentence why the config cannot be meant.
    ///
    /// Source: diffusers, scheduling_lcm.py, `__init__` and `get_scalings_for_boundary_condition_discrete`
    /// (timestep scaling 10, data deviation 0.5).
    pub(crate) fn new(config: &SchedulerConfig) -> Result<Self, String> {
        let betas = betas(config)?;
        if !betas.iter().all(|beta| (0.0..1.0).contains(beta)) {
            return Err("its betas do not lie between 0 and 1".into());
        }
        let mut alphas = Vec::with_capacity(betas.len());
        let mut product = 1.0;
        for beta in betas {
            product *= 1.0 - beta;
            alphas.push(product);
        }
        if config.rescale_betas_zero_snr {
            rescale_to_zero_snr(&mut alphas);
        }
        let levels = alphas
            .iter()
            .enumerate()
            .map(|(t, alpha)| level(t, *alpha))
            .collect();
        Ok(Self {
            levels,
            prediction: config.prediction_type,
        })
    }

    /// The level of timestep `t`; beyond the end of the schedule, the last one.
    pub(crate) fn level(&self, t: u16) -> Level {
        self.levels[usize::from(t).min(self.levels.len() - 1)]
    }
}

fn betas(config: &SchedulerConfig) -> Result<Vec<f64>, String> {
    if let Some(trained) = config
        .trained_betas
        .as_ref()
        .filter(|betas| !betas.is_empty())
    {
        if trained.len() > MAX_TRAINING_STEPS {
            return Err(format!("it has {} trained betas", trained.len()));
        }
        return Ok(trained.clone());
    }
    let (count, start, end) = (
        config.num_train_timesteps,
        config.beta_start,
        config.beta_end,
    );
    if !(2..=MAX_TRAINING_STEPS).contains(&count) {
        return Err(format!(
            "num_train_timesteps is {count}, expected 2 to {MAX_TRAINING_STEPS}"
        ));
    }
    let line = |from: f64, to: f64| {
        (0..count).map(move |i| from + i as f64 * ((to - from) / (count - 1) as f64))
    };
    match config.beta_schedule.as_str() {
        "scaled_linear" => Ok(line(start.sqrt(), end.sqrt())
            .map(|root| root * root)
            .collect()),
        "linear" => Ok(line(start, end).collect()),
        other => Err(format!("beta_schedule `{other}` is unknown")),
    }
}

/// Shifts and scales the signal shares so that the last one is 0 and the first one stays.
///
/// Decision: not quite 0 but 2⁻²⁴ of power, as diffusers' Euler scheduler has it, because the step
/// formulas divide by the signal share.
fn rescale_to_zero_snr(alphas: &mut [f64]) {
    let (first, last) = (alphas[0].sqrt(), alphas[alphas.len() - 1].sqrt());
    for alpha in alphas {
        let share = (alpha.sqrt() - last) * first / (first - last);
        *alpha = (share * share).max(f64::from(1.0_f32 / (1 << 24) as f32));
    }
}

fn level(t: usize, alpha: f64) -> Level {
    let s = 10.0 * t as f64;
    Level {
        timestep: u16::try_from(t).unwrap_or(u16::MAX),
        signal: alpha.sqrt() as f32,
        noise: (1.0 - alpha).sqrt() as f32,
        skip: (0.25 / (s * s + 0.25)) as f32,
        out: (s / (s * s + 0.25).sqrt()) as f32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{Golden, assert_close};

    fn schedule() -> Schedule {
        Schedule::new(&SchedulerConfig::default()).unwrap()
    }

    /// Check values of Stable Diffusion's schedule, to five digits.
    #[test]
    fn levels_match_the_published_schedule() {
        for (t, signal, noise) in [
            (19, 0.99108, 0.13325),
            (359, 0.70107, 0.71309),
            (999, 0.06826, 0.99767),
        ] {
            let level = schedule().level(t);
            assert!(
                (level.signal - signal).abs() < 1e-5,
                "a_{t} = {}",
                level.signal
            );
            assert!(
                (level.noise - noise).abs() < 1e-5,
                "b_{t} = {}",
                level.noise
            );
        }
    }

    #[test]
    fn tables_match_the_reference_at_every_timestep() {
        let (schedule, stored) = (schedule(), Golden::open("common"));
        let column = |pick: fn(&Level) -> f32| -> Vec<f32> {
            (0..1000).map(|t| pick(&schedule.level(t))).collect()
        };

        assert_close(
            "a",
            &column(|l| l.signal),
            &stored.floats("sqrt_alpha"),
            1e-6,
        );
        assert_close("b", &column(|l| l.noise), &stored.floats("sqrt_beta"), 1e-6);
        assert_close(
            "c_skip",
            &column(|l| l.skip),
            &stored.floats("c_skip"),
            1e-6,
        );
        assert_close("c_out", &column(|l| l.out), &stored.floats("c_out"), 1e-6);
    }

    #[test]
    fn a_timestep_beyond_the_end_is_the_last_one() {
        assert_eq!(schedule().level(5000).timestep, 999);
    }

    #[test]
    fn clean_undoes_noisy_for_the_true_noise() {
        let level = schedule().level(499);
        let x = level.noisy(0.8, -1.3);

        assert!((level.clean(-1.3, x) - 0.8).abs() < 1e-5);
    }

    #[test]
    fn every_prediction_type_finds_the_same_noise() {
        let level = schedule().level(359);
        let (z, n) = (0.4, -0.9);
        let x = level.noisy(z, n);
        let velocity = level.signal * n - level.noise * z;

        for (kind, m) in [
            (Prediction::Epsilon, n),
            (Prediction::Velocity, velocity),
            (Prediction::Sample, z),
        ] {
            assert!((level.epsilon(kind, m, x) - n).abs() < 1e-5, "{kind:?}");
        }
    }

    #[test]
    fn zero_snr_leaves_next_to_no_picture_at_the_last_timestep() {
        let config = SchedulerConfig {
            rescale_betas_zero_snr: true,
            ..Default::default()
        };
        let rescaled = Schedule::new(&config).unwrap();

        assert!(rescaled.level(999).signal < 3e-4);
        assert!((rescaled.level(0).signal - schedule().level(0).signal).abs() < 1e-7);
    }

    #[test]
    fn a_config_that_cannot_be_meant_is_refused() {
        let config = SchedulerConfig::default;
        for wrong in [
            SchedulerConfig {
                beta_schedule: "sigmoid".into(),
                ..config()
            },
            SchedulerConfig {
                num_train_timesteps: 1,
                ..config()
            },
            SchedulerConfig {
                num_train_timesteps: usize::MAX,
                ..config()
            },
            SchedulerConfig {
                beta_end: 2.0,
                ..config()
            },
            SchedulerConfig {
                beta_start: -1.0,
                ..config()
            },
            SchedulerConfig {
                trained_betas: Some(vec![f64::NAN]),
                ..config()
            },
        ] {
            assert!(Schedule::new(&wrong).is_err(), "{wrong:?}");
        }
    }
}

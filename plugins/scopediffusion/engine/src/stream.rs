//! The stream batch: several frames at once, each one denoising step further than the next.
//!
//! Row `s` of the batch holds the frame that entered `s` frames ago, noised to the `s`-th
//! timestep. One call of the network takes every row a step further; the last row leaves as a
//! clean latent, the others move down one row with the next row's share of noise.
//!
//! ```text
//!   frame k ─► x_t ─► row 0 ─► row 1 ─► … ─► row S−1 ─► clean latent of frame k−(S−1)
//! ```
//!
//! Sequential mode takes one frame through all steps before the next one enters: S calls, no
//! delay. Both give the same latents, because the noise belongs to the row and never changes.
//!
//! Decision: rows that hold no frame yet are not run at all. The original runs them on zeros and
//! shows the rubbish; here the first S−1 outputs are withheld.
//!
//! Source: cumulo-autumn/StreamDiffusion, pipeline.py, `predict_x0_batch`.

use crate::backend::Tensor;
use crate::error::EngineError;
use crate::noise;
use crate::schedule::{Level, Prediction, Schedule};

/// The network, seen from here: latents `[R, C, h, w]` and timesteps `[R]` in, its output out.
pub(crate) type Denoise<'a> =
    dyn FnMut(&[f32], &[f32], &mut Tensor) -> Result<(), EngineError> + 'a;

/// The frames in flight and everything that the step formulas need.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    levels: Vec<Level>,
    timesteps: Vec<f32>,
    prediction: Prediction,
    batched: bool,
    /// Values of one latent, `C·h·w`.
    size: usize,
    /// One constant noise sample for each row, `[S, C, h, w]`.
    noise: Vec<f32>,
    /// Latents in flight, `[S, C, h, w]`; sequential mode uses row 0 only.
    rows: Vec<f32>,
    /// Which rows hold a frame.
    occupied: Vec<bool>,
    predicted: Tensor,
    clean: Vec<f32>,
    /// Add noise between the steps, `do_add_noise` of the original.
    pub(crate) add_noise: bool,
}

impl Stream {
    /// An empty stream.
    ///
    /// - `timesteps`: one for each row, falling, at least one.
    /// - `batched`: stream batch, else sequential.
    /// - `size`: values of one latent.
    pub(crate) fn new(
        schedule: &Schedule,
        timesteps: &[u16],
        batched: bool,
        size: usize,
        seed: u64,
    ) -> Self {
        let count = timesteps.len();
        let mut stream = Self {
            levels: Vec::new(),
            timesteps: Vec::new(),
            prediction: schedule.prediction,
            batched: batched && count > 1,
            size,
            noise: vec![0.0; count * size],
            rows: vec![0.0; count * size],
            occupied: vec![false; count],
            predicted: Tensor::default(),
            clean: vec![0.0; size],
            add_noise: true,
        };
        stream.set_timesteps(schedule, timesteps);
        stream.set_seed(seed);
        stream
    }

    /// Number of steps, `S`.
    pub(crate) fn steps(&self) -> usize {
        self.levels.len()
    }

    /// Frames between a frame's way in and its way out.
    pub(crate) fn delay(&self) -> usize {
        if self.batched { self.steps() - 1 } else { 0 }
    }

    /// Changes the timesteps; there must be as many as before. Frames in flight go on from where
    /// they are.
    pub(crate) fn set_timesteps(&mut self, schedule: &Schedule, timesteps: &[u16]) {
        self.levels = timesteps.iter().map(|t| schedule.level(*t)).collect();
        self.timesteps = self
            .levels
            .iter()
            .map(|level| f32::from(level.timestep))
            .collect();
    }

    /// Draws the noise of every row anew.
    pub(crate) fn set_seed(&mut self, seed: u64) {
        for (row, noise) in self.noise.chunks_mut(self.size).enumerate() {
            noise::fill(noise, seed, row as u64);
        }
    }

    /// Forgets the frames in flight.
    pub(crate) fn clear(&mut self) {
        self.occupied.fill(false);
    }

    /// Number of frames in flight.
    pub(crate) fn occupied(&self) -> usize {
        self.occupied.iter().filter(|row| **row).count()
    }

    /// Lets a clean latent in: noised to the first timestep, `x_t = a·z + b·n`.
    pub(crate) fn enter(&mut self, latent: &[f32]) {
        let (level, noise) = (self.levels[0], &self.noise[..self.size]);
        for ((x, z), n) in self.rows.iter_mut().zip(latent).zip(noise) {
            *x = level.noisy(*z, *n);
        }
        self.occupied[0] = true;
    }

    /// Lets a latent in that is noise already, written by `write`: text-to-video.
    pub(crate) fn enter_noise(&mut self, write: impl FnOnce(&mut [f32])) {
        write(&mut self.rows[..self.size]);
        self.occupied[0] = true;
    }

    /// Takes every row a step further, or in sequential mode the one frame through all steps.
    ///
    /// True if a frame has left; [`Stream::clean`] holds it then. After an error the frame that
    /// entered last is lost and the others stay where they are.
    pub(crate) fn advance(&mut self, denoise: &mut Denoise<'_>) -> Result<bool, EngineError> {
        let done = if self.batched {
            self.advance_rows(denoise)
        } else {
            self.run_through(denoise)
        };
        if done.is_err() {
            self.occupied[0] = false;
        }
        done
    }

    /// The clean latent `[C, h, w]` that left last.
    pub(crate) fn clean(&self) -> &[f32] {
        &self.clean
    }

    /// Replaces the noise of every row, `[S, C, h, w]`, by noise from a file.
    #[cfg(test)]
    pub(crate) fn set_noise(&mut self, noise: &[f32]) {
        self.noise.copy_from_slice(noise);
    }

    /// The noisy latent `[C, h, w]` that entered last, while it is still in the first row.
    #[cfg(test)]
    pub(crate) fn entered(&self) -> &[f32] {
        &self.rows[..self.size]
    }

    fn advance_rows(&mut self, denoise: &mut Denoise<'_>) -> Result<bool, EngineError> {
        let Some(first) = self.occupied.iter().position(|row| *row) else {
            return Ok(false);
        };
        let last = self.occupied.iter().rposition(|row| *row).unwrap_or(first);
        let (size, range) = (self.size, first * self.size..(last + 1) * self.size);
        denoise(
            &self.rows[range],
            &self.timesteps[first..=last],
            &mut self.predicted,
        )?;
        // From the far end, so that a row is read before the one above it moves down into it.
        for row in (first..=last).rev() {
            let predicted = &self.predicted.values[(row - first) * size..][..size];
            let (above, below) = self.rows.split_at_mut((row + 1) * size);
            let latent = &mut above[row * size..];
            predict_clean(self.levels[row], self.prediction, predicted, latent);
            if let Some(next) = self.levels.get(row + 1) {
                let noise = &self.noise[(row + 1) * size..][..size];
                below[..size].copy_from_slice(latent);
                renoise(next, noise, self.add_noise, &mut below[..size]);
            } else {
                self.clean.copy_from_slice(latent);
            }
        }
        let left = self.occupied.pop().unwrap_or(false);
        self.occupied.insert(0, false);
        Ok(left)
    }

    fn run_through(&mut self, denoise: &mut Denoise<'_>) -> Result<bool, EngineError> {
        if !std::mem::take(&mut self.occupied[0]) {
            return Ok(false);
        }
        let size = self.size;
        for (row, level) in self.levels.iter().enumerate() {
            let latent = &mut self.rows[..size];
            denoise(latent, &self.timesteps[row..=row], &mut self.predicted)?;
            predict_clean(*level, self.prediction, &self.predicted.values, latent);
            if let Some(next) = self.levels.get(row + 1) {
                renoise(
                    next,
                    &self.noise[(row + 1) * size..][..size],
                    self.add_noise,
                    latent,
                );
            }
        }
        self.clean.copy_from_slice(&self.rows[..size]);
        Ok(true)
    }
}

/// Replaces a noisy latent by the clean one it is predicted to hold.
fn predict_clean(level: Level, prediction: Prediction, predicted: &[f32], latent: &mut [f32]) {
    for (x, m) in latent.iter_mut().zip(predicted) {
        *x = level.clean(level.epsilon(prediction, *m, *x), *x);
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
mod tests {
    use super::*;
    use crate::golden::{Golden, assert_close, scenario};
    use crate::schedule::SchedulerConfig;

    /// Runs a scenario with the network's stored answers, so that only our arithmetic is tested.
    fn steps_match_the_reference(name: &str) {
        let (scenario, stored) = (scenario(name), Golden::open(name));
        let prediction = serde_json::from_value(scenario.prediction_type.into()).unwrap();
        let config = SchedulerConfig {
            prediction_type: prediction,
            ..Default::default()
        };
        let schedule = Schedule::new(&config).unwrap();
        let (noise, steps) = (stored.floats("init_noise"), &scenario.timesteps);
        let size = noise.len() / steps.len();
        let mut stream = Stream::new(&schedule, steps, true, size, 0);
        stream.set_noise(&noise);
        stream.add_noise = scenario.do_add_noise;
        for frame in 0..scenario.frames {
            let tensor = |part: &str| stored.floats(&format!("frame{frame}.{part}"));
            let (rows, answer) = (tensor("unet_sample"), tensor("unet_out"));
            for ((m, x), e) in answer.iter().zip(&rows).zip(&tensor("eps")).take(size) {
                let epsilon = schedule.level(steps[0]).epsilon(prediction, *m, *x);
                assert!(
                    (epsilon - e).abs() < 1e-5,
                    "epsilon is {epsilon}, {e} expected"
                );
            }
            if stored.bytes(&format!("frame{frame}.latent")).is_some() {
                stream.enter(&tensor("latent"));
            } else {
                stream.enter_noise(|sample| sample.copy_from_slice(&tensor("x_t")));
            }
            let left = stream
                .advance(&mut |sample, timesteps, out| {
                    // The rows that hold no frame yet are the last ones; the reference has them.
                    assert_close("rows", sample, &rows[..sample.len()], 1e-5);
                    assert_close(
                        "t",
                        timesteps,
                        &tensor("unet_timestep")[..timesteps.len()],
                        0.0,
                    );
                    out.values = answer[..sample.len()].to_vec();
                    Ok(())
                })
                .unwrap();
            assert_eq!(left, frame + 1 >= steps.len());
            if left {
                assert_close("x0", stream.clean(), &tensor("x0"), 1e-5);
            }
        }
    }

    #[test]
    fn steps_match_the_reference_for_every_stored_scenario() {
        for name in [
            "turbo_1step_img2img",
            "turbo_1step_txt2img",
            "turbo_4step_scope_list",
            "lcm_4step_txt2img",
            "img2img_2step_none",
            "img2img_2step_vpred",
            "img2img_2step_noaddnoise",
        ] {
            steps_match_the_reference(name);
        }
    }

    #[test]
    fn a_failing_network_loses_one_frame_only() {
        let schedule = Schedule::new(&SchedulerConfig::default()).unwrap();
        let mut stream = Stream::new(&schedule, &[749, 499], true, 1, 0);
        let mut answer = |_: &[f32], steps: &[f32], out: &mut Tensor| {
            out.values = vec![0.0; steps.len()];
            Ok(())
        };
        let failure = || EngineError::BadFrame {
            reason: "for the test".into(),
        };
        stream.enter(&[1.0]);
        stream.advance(&mut answer).unwrap();

        stream.enter(&[2.0]);
        assert!(stream.advance(&mut |_, _, _| Err(failure())).is_err());

        assert!(
            stream.advance(&mut answer).unwrap(),
            "the first frame is still in flight"
        );
        assert_eq!(stream.occupied(), 0);
    }
}

//! Guidance: how far a step is pushed from what the picture shall not show towards what it shall.
//!
//! `ε = ε_uncond + g · (ε_text − ε_uncond)`. The ways differ in where `ε_uncond` comes from:
//!
//! | way | rows of the network | `ε_uncond` |
//! |---|---|---|
//! | full | 2R | the network, with the negative prompt |
//! | initialize | R + one for each new frame | the network for a frame's first step, then its residual noise |
//! | self | R | the frame's residual noise alone |
//!
//! The residual noise ("stock noise") of a frame is the noise that separates its latent from the
//! clean latent it came from. It moves down the rows with its frame.
//!
//! Decision: residual noise belongs to a frame and starts as its row's noise. The original keeps it
//! by row, and with one step feeds it its own output: a static picture then grows without bound.
//!
//! Source: cumulo-autumn/StreamDiffusion, pipeline.py, `unet_step`.

use crate::schedule::{Level, Prediction};

/// Where the unconditional prediction comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CfgType {
    /// No guidance.
    None,
    /// Classifier-free guidance as published: the network runs twice as many rows.
    Full,
    /// Residual noise in place of the negative prompt: no further rows.
    #[default]
    SelfNegative,
    /// As self, but each frame's first step asks the network about the negative prompt.
    Initialize,
}

/// Guidance as the step formulas need it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Guidance {
    pub(crate) kind: CfgType,
    /// `g`; 1 or less is no guidance.
    pub(crate) scale: f32,
    /// Share of the residual noise that counts as unconditional prediction.
    pub(crate) delta: f32,
}

impl Guidance {
    /// No guidance.
    pub(crate) const OFF: Self = Self {
        kind: CfgType::None,
        scale: 1.0,
        delta: 1.0,
    };

    /// The way in force: none unless the scale is above 1.
    pub(crate) fn way(self) -> CfgType {
        if self.scale > 1.0 {
            self.kind
        } else {
            CfgType::None
        }
    }

    /// Whether the negative prompt is ever looked at.
    pub(crate) fn asks_the_negative(self) -> bool {
        matches!(self.way(), CfgType::Full | CfgType::Initialize)
    }

    fn mixed(self, unconditional: f32, text: f32) -> f32 {
        unconditional + self.scale * (text - unconditional)
    }
}

/// The rows of one step on the way from noisy to clean, all slices of equal length.
pub(crate) struct Rows<'a> {
    pub(crate) level: Level,
    pub(crate) prediction: Prediction,
    /// The network's output with the prompt.
    pub(crate) text: &'a [f32],
    /// The network's output with the negative prompt, if it was asked.
    pub(crate) negative: Option<&'a [f32]>,
    /// Noisy latents; clean ones on return.
    pub(crate) latent: &'a mut [f32],
    /// Residual noise; on return what its clean latent is off by, `x0 − x0_virtual`, where the way
    /// of guidance keeps it.
    pub(crate) stock: &'a mut [f32],
}

impl Rows<'_> {
    /// Replaces noisy latents by the clean ones they are predicted to hold.
    pub(crate) fn clean(&mut self, guidance: Guidance) {
        let (level, prediction) = (self.level, self.prediction);
        match (guidance.way(), self.negative) {
            (CfgType::Full, Some(negative)) => {
                for ((x, m), n) in self.latent.iter_mut().zip(self.text).zip(negative) {
                    let text = level.epsilon(prediction, *m, *x);
                    let epsilon = guidance.mixed(level.epsilon(prediction, *n, *x), text);
                    *x = level.clean(epsilon, *x);
                }
            }
            (CfgType::SelfNegative | CfgType::Initialize, negative) => {
                if let Some(negative) = negative {
                    for ((stock, n), x) in self.stock.iter_mut().zip(negative).zip(&*self.latent) {
                        *stock = level.epsilon(prediction, *n, *x);
                    }
                }
                let rows = self.latent.iter_mut().zip(&mut *self.stock);
                for ((x, stock), m) in rows.zip(self.text) {
                    let text = level.epsilon(prediction, *m, *x);
                    let epsilon = guidance.mixed(*stock * guidance.delta, text);
                    *x = level.clean(epsilon, *x);
                    *stock = level.clean(epsilon, level.noise * *stock);
                }
            }
            (CfgType::None | CfgType::Full, _) => {
                for (x, m) in self.latent.iter_mut().zip(self.text) {
                    *x = level.clean(level.epsilon(prediction, *m, *x), *x);
                }
            }
        }
    }
}

/// Residual noise at the next step: that step's own noise, and what the clean latent was off by in
/// the measure of that step, `n + a·d/b`.
///
/// - `off`: `d`, as [`Rows::clean`] left it.
pub(crate) fn carry_over(next: &Level, noise: &[f32], off: &[f32], stock: &mut [f32]) {
    for ((stock, n), d) in stock.iter_mut().zip(noise).zip(off) {
        *stock = n + next.signal * d / next.noise;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Schedule, SchedulerConfig};

    fn level() -> Level {
        Schedule::new(&SchedulerConfig::default())
            .unwrap()
            .level(359)
    }

    fn cleaned(guidance: Guidance, negative: Option<&[f32]>) -> f32 {
        let (mut latent, mut stock) = ([0.8], [0.3]);
        let mut rows = Rows {
            level: level(),
            prediction: Prediction::Epsilon,
            text: &[-0.2],
            negative,
            latent: &mut latent,
            stock: &mut stock,
        };
        rows.clean(guidance);
        latent[0]
    }

    #[test]
    fn a_scale_of_one_or_less_is_no_guidance() {
        let off = cleaned(Guidance::OFF, None);
        for kind in [CfgType::Full, CfgType::SelfNegative, CfgType::Initialize] {
            for scale in [0.0, 1.0] {
                let guidance = Guidance {
                    kind,
                    scale,
                    delta: 0.5,
                };
                assert_eq!(guidance.way(), CfgType::None);
                assert_eq!(cleaned(guidance, Some(&[7.0])), off);
            }
        }
    }

    #[test]
    fn full_guidance_moves_away_from_the_negative() {
        let guidance = Guidance {
            kind: CfgType::Full,
            scale: 2.0,
            delta: 1.0,
        };

        let guided = cleaned(guidance, Some(&[0.1]));

        let epsilon = 0.1 + 2.0 * (-0.2 - 0.1);
        assert!((guided - level().clean(epsilon, 0.8)).abs() < 1e-6);
    }

    #[test]
    fn without_delta_self_guidance_only_scales_the_prediction() {
        let guidance = Guidance {
            kind: CfgType::SelfNegative,
            scale: 1.5,
            delta: 0.0,
        };

        let guided = cleaned(guidance, None);

        assert!((guided - level().clean(1.5 * -0.2, 0.8)).abs() < 1e-6);
    }
}

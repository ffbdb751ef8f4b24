//! The live generation controls: what the next frame shall be made with.
//!
//! [`Parameters`] is plain data and the one place that knows the defaults; a [`Patch`] is what
//! somebody said about some of them. Applying a patch happens whole or not at all.

mod patch;
mod read;

pub use self::patch::{Patch, Transition};
use crate::error::EngineError;
pub use crate::guidance::CfgType;
use crate::guidance::Guidance;

/// Denoising steps that a frame may take.
pub(crate) const MAX_STEPS: usize = 4;

/// Prompts that can be blended.
pub(crate) const MAX_PROMPTS: usize = 32;

/// Characters of one prompt.
pub(crate) const MAX_TEXT: usize = 4000;

/// Seeds that can be blended.
pub(crate) const MAX_SEEDS: usize = 16;

/// Largest weight of a prompt or seed; only the ratios count.
pub(crate) const MAX_WEIGHT: f32 = 1000.0;

/// Largest guidance scale; useful ones lie below 3.
pub(crate) const MAX_GUIDANCE: f32 = 30.0;

/// Largest share of the picture before that stays in a picture.
pub(crate) const MAX_FEEDBACK: f32 = 0.95;

/// Largest scale of reference images, Scope's.
pub(crate) const MAX_REFERENCE: f32 = 2.0;

/// Most frames in a row that the similar-image filter may skip.
pub(crate) const MAX_SKIPS: u64 = 10_000;

/// One of the texts that steer the picture.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightedPrompt {
    /// What the picture shall show.
    pub text: String,
    /// Its share relative to the other prompts, 0 or more.
    pub weight: f32,
}

/// One of the seeds whose noise is blended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WeightedSeed {
    /// Any number; the same one gives the same noise.
    pub seed: u64,
    /// Its share relative to the other seeds, 0 or more.
    pub weight: f32,
}

/// When a frame that looks like the last processed one is not processed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SimilarImageFilter {
    /// Whether frames are skipped at all.
    pub enabled: bool,
    /// Cosine similarity from which on frames may be skipped, 0.0 to 1.0; 1.0 skips none.
    pub threshold: f32,
    /// Most frames to skip in a row.
    pub max_skip_frame: u32,
}

impl Default for SimilarImageFilter {
    fn default() -> Self {
        Self {
            enabled: false,
            threshold: 0.98,
            max_skip_frame: 10,
        }
    }
}

/// How embeddings are blended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Interpolation {
    /// Weighted mean with the length restored.
    #[default]
    Linear,
    /// Along the great circle, token by token; for two prompts, else as linear.
    Slerp,
}

/// Where a frame begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InputMode {
    /// From the input frame.
    #[default]
    Video,
    /// From noise; input frames only set the pace.
    Text,
}

/// The live generation controls.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters {
    /// What the picture shall show; none means the empty prompt.
    pub prompts: Vec<WeightedPrompt>,
    /// What the picture shall not show; used with guidance only.
    pub negative_prompt: String,
    /// How several prompts are blended.
    pub prompt_interpolation: Interpolation,
    /// Timesteps of the denoising steps, falling, 1 to 4 of them, each in 0..=999; the model's own
    /// choice when absent.
    pub denoising_steps: Option<Vec<u16>>,
    /// Noise added to the input, 0.0 (keep the picture) to 1.0 (ignore it). Overrides the first
    /// denoising step of video mode; see [`Parameters::timesteps`].
    pub noise_scale: Option<f32>,
    /// The same seed gives the same noise.
    pub seed: u64,
    /// Seeds to blend instead of `seed`; none means `seed` alone.
    pub seeds: Vec<WeightedSeed>,
    /// How several seeds are blended.
    pub seed_interpolation: Interpolation,
    /// Where the unconditional prediction of guidance comes from.
    pub cfg_type: CfgType,
    /// Guidance scale, 0 to 30; 1 or less is no guidance.
    pub guidance_scale: f32,
    /// Share of the residual noise in self and initialize guidance, 0.0 to 1.0.
    pub delta: f32,
    /// Let the motion in the video choose the noise scale.
    pub noise_controller: bool,
    /// Share of the last latent that stays in the next one, 0.0 (none) to 0.95.
    pub latent_feedback: f32,
    /// Skip frames that hardly differ from the last processed one.
    pub similar_image_filter: SimilarImageFilter,
    /// Video-to-video or text-to-video.
    pub input_mode: InputMode,
    /// Hold the last picture.
    pub paused: bool,
    /// Text-to-video: way between two noise samples covered each frame, 0.0 (frozen) to 1.0.
    pub motion: f32,
    /// Frames that one step of a prompt transition lasts.
    pub transition_frames_per_step: u16,
    /// Add fresh noise between the denoising steps.
    pub add_noise: bool,
    /// How much reference images count, 0.0 to 2.0; 1.0 is as the adapter was trained.
    pub reference_scale: f32,
    /// How far pictures take on the colours of another one, 0.0 to 1.0.
    pub colour_transfer: f32,
    /// Scales of adapters that are inputs of the network, by name; those that are not named count nothing.
    pub lora_scales: Vec<(String, f32)>,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            prompts: Vec::new(),
            negative_prompt: String::new(),
            prompt_interpolation: Interpolation::Linear,
            denoising_steps: None,
            noise_scale: None,
            seed: 42,
            seeds: Vec::new(),
            seed_interpolation: Interpolation::Linear,
            cfg_type: CfgType::default(),
            guidance_scale: 1.0,
            delta: 1.0,
            noise_controller: false,
            latent_feedback: 0.0,
            similar_image_filter: SimilarImageFilter::default(),
            input_mode: InputMode::Video,
            paused: false,
            motion: 0.02,
            transition_frames_per_step: 4,
            add_noise: true,
            reference_scale: 1.0,
            colour_transfer: 0.0,
            lora_scales: Vec::new(),
        }
    }
}

impl Parameters {
    /// Takes over everything a patch says.
    ///
    /// A transition's target becomes the prompts; showing it gradually is the engine's business.
    ///
    /// # Errors
    ///
    /// [`EngineError::BadParameter`] if the result would not be sound; nothing has changed then.
    pub fn apply(&mut self, patch: &Patch) -> Result<(), EngineError> {
        let mut next = self.clone();
        macro_rules! take {
            ($($field:ident),*) => {
                $(if let Some(value) = &patch.$field { next.$field = value.clone(); })*
            };
        }
        take!(
            prompts,
            negative_prompt,
            prompt_interpolation,
            seed,
            seeds,
            seed_interpolation,
            input_mode,
            paused,
            motion
        );
        take!(
            denoising_steps,
            noise_scale,
            transition_frames_per_step,
            add_noise,
            cfg_type,
            guidance_scale,
            delta,
            noise_controller,
            latent_feedback,
            reference_scale,
            colour_transfer
        );
        for (path, scale) in patch.lora_scales().unwrap_or_default() {
            next.set_lora_scale(&crate::lora::input_name(path), *scale);
        }
        patch.filter.write(&mut next.similar_image_filter);
        if let Some(transition) = &patch.transition {
            next.prompts.clone_from(&transition.target_prompts);
        }
        next.check()?;
        *self = next;
        Ok(())
    }

    /// Timesteps of a frame, falling.
    ///
    /// In video mode `noise_scale` overwrites the first one with `1000·s − 100 − 1` (0 or more) and
    /// drops those that do not lie below it, as Scope does.
    ///
    /// - `usual`: the model's own choice for `mode`.
    ///
    /// Source: daydreamlive/scope, core/pipelines/wan2_1/blocks, `noise_scale`.
    #[must_use]
    pub fn timesteps(&self, mode: InputMode, usual: &[u16]) -> Vec<u16> {
        let mut steps = self
            .denoising_steps
            .clone()
            .unwrap_or_else(|| usual.to_vec());
        if let (InputMode::Video, Some(scale)) = (mode, self.noise_scale) {
            let first = Self::first_timestep(scale);
            let later: Vec<u16> = steps.drain(..).skip(1).filter(|t| *t < first).collect();
            steps.push(first);
            steps.extend(later);
        }
        steps
    }

    /// The first timestep that a noise scale stands for.
    pub(crate) fn first_timestep(scale: f32) -> u16 {
        // The small amount absorbs what 0.7 loses by being a binary fraction.
        let first = (f64::from(scale) * 1000.0 + 1e-3).floor() - 101.0;
        first.clamp(0.0, 999.0) as u16
    }

    /// The seeds in force with their weights, at least one.
    #[must_use]
    pub fn all_seeds(&self) -> Vec<WeightedSeed> {
        if self.seeds.is_empty() {
            let (seed, weight) = (self.seed, 1.0);
            vec![WeightedSeed { seed, weight }]
        } else {
            self.seeds.clone()
        }
    }

    /// Sets how much the adapter of this name counts, where it is an input of the network.
    pub fn set_lora_scale(&mut self, name: &str, scale: f32) {
        match self.lora_scales.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = scale,
            None => self.lora_scales.push((name.into(), scale)),
        }
    }

    /// How much the adapter of this name counts.
    pub(crate) fn lora_scale(&self, name: &str) -> f32 {
        let mut known = self.lora_scales.iter();
        known
            .find(|(known, _)| known == name)
            .map_or(0.0, |(_, scale)| *scale)
    }

    /// Guidance as the step formulas need it.
    pub(crate) fn guidance(&self) -> Guidance {
        Guidance {
            kind: self.cfg_type,
            scale: self.guidance_scale,
            delta: self.delta,
        }
    }

    /// Refuses what no patch could have said: fields are public, so they are checked where used.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        let bad = |key: &str, value: String, expected: &str| {
            Err(EngineError::BadParameter {
                key: key.into(),
                value,
                expected: expected.into(),
            })
        };
        if self.prompts.len() > MAX_PROMPTS {
            return bad(
                "prompts",
                format!("a list of {}", self.prompts.len()),
                "at most 32 prompts",
            );
        }
        if let Some(wrong) = self
            .prompts
            .iter()
            .find(|p| !(0.0..=MAX_WEIGHT).contains(&p.weight))
        {
            return bad(
                "prompts.weight",
                wrong.weight.to_string(),
                "a number from 0 to 1000",
            );
        }
        if let Some(steps) = &self.denoising_steps {
            let sound = (1..=MAX_STEPS).contains(&steps.len())
                && steps.iter().all(|t| *t < 1000)
                && steps.is_sorted_by(|a, b| a >= b);
            if !sound {
                return bad("denoising_step_list", format!("{steps:?}"), STEP_LIST);
            }
        }
        match self.noise_scale {
            Some(scale) if !(0.0..=1.0).contains(&scale) => {
                return bad("noise_scale", scale.to_string(), "a number from 0 to 1");
            }
            _ => {}
        }
        let unsound = |seed: &&WeightedSeed| !(0.0..=MAX_WEIGHT).contains(&seed.weight);
        if self.seeds.len() > MAX_SEEDS {
            let count = format!("a list of {}", self.seeds.len());
            return bad("seeds", count, "at most 16 seeds");
        }
        if let Some(wrong) = self.seeds.iter().find(unsound) {
            return bad(
                "seeds.weight",
                wrong.weight.to_string(),
                "a number from 0 to 1000",
            );
        }
        let filter = &self.similar_image_filter;
        for (key, value, most) in [
            ("motion", self.motion, 1.0),
            ("guidance_scale", self.guidance_scale, MAX_GUIDANCE),
            ("delta", self.delta, 1.0),
            ("latent_feedback", self.latent_feedback, MAX_FEEDBACK),
            ("similar_image_filter_threshold", filter.threshold, 1.0),
            ("vace_context_scale", self.reference_scale, MAX_REFERENCE),
            ("colour_transfer", self.colour_transfer, 1.0),
        ] {
            if !(0.0..=most).contains(&value) {
                return bad(
                    key,
                    value.to_string(),
                    &format!("a number from 0 to {most}"),
                );
            }
        }
        Ok(())
    }
}

/// What a list of steps must look like, in Scope's numbers (timestep + 1).
pub(crate) const STEP_LIST: &str = "a list of 1 to 4 falling whole numbers from 0 to 1000";

#[cfg(test)]
mod tests {
    use super::*;

    fn patched(json: &str) -> Parameters {
        let mut parameters = Parameters::default();
        parameters.apply(&Patch::from_json(json).unwrap()).unwrap();
        parameters
    }

    #[test]
    fn scope_step_numbers_are_one_above_the_timesteps() {
        let parameters = patched(r#"{"denoising_step_list": [1000, 750, 500, 0]}"#);

        assert_eq!(
            parameters.timesteps(InputMode::Video, &[]),
            [999, 749, 499, 0]
        );
    }

    #[test]
    fn noise_scale_overwrites_the_first_step_and_drops_those_above_it() {
        let steps = |json: &str| patched(json).timesteps(InputMode::Video, &[999, 749, 499, 249]);

        assert_eq!(steps(r#"{"noise_scale": 0.7}"#), [599, 499, 249]);
        assert_eq!(steps(r#"{"noise_scale": 1}"#), [899, 749, 499, 249]);
        assert_eq!(steps(r#"{"noise_scale": 0.05}"#), [0]);
        assert_eq!(steps(r#"{"noise_scale": 0}"#), [0]);
        for tenth in 2..=10 {
            let scale = f64::from(tenth) / 10.0;
            let first = steps(&format!(r#"{{"noise_scale": {scale}}}"#))[0];
            assert_eq!(first, tenth * 100 - 101, "{scale}");
        }
    }

    #[test]
    fn noise_scale_means_nothing_to_text_mode() {
        let parameters = patched(r#"{"noise_scale": 0.5}"#);

        assert_eq!(parameters.timesteps(InputMode::Text, &[999]), [999]);
    }

    #[test]
    fn a_patch_changes_only_what_it_names() {
        let parameters = patched(r#"{"seed": 7}"#);

        assert_eq!(
            parameters,
            Parameters {
                seed: 7,
                ..Parameters::default()
            }
        );
    }

    #[test]
    fn a_transition_leaves_its_target_as_the_prompts() {
        let parameters =
            patched(r#"{"transition": {"target_prompts": ["night"], "num_steps": 4}}"#);

        assert_eq!(parameters.prompts[0].text, "night");
    }

    #[test]
    fn unsound_fields_are_refused_and_nothing_changes() {
        let mut parameters = Parameters {
            motion: f32::NAN,
            ..Parameters::default()
        };

        let refused = parameters.apply(&Patch::from_json(r#"{"seed": 7}"#).unwrap());

        assert!(matches!(refused, Err(EngineError::BadParameter { .. })));
        assert_eq!(parameters.seed, 42);
    }
}

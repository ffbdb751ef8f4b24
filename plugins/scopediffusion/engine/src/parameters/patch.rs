//! A partial update of the parameters, as remote people say it: a flat JSON object, Scope's keys.
//!
//! Parsed once, strictly: whatever a [`Patch`] holds is in range. A wrong value is refused with a
//! sentence naming key, value and range. Keys that mean nothing here are collected, not refused,
//! because Scope's page sends one object to every kind of model.

use serde_json::{Map, Value};

use super::read::{
    bad, cfg_type, index_steps, input_mode, interpolation, line, lora_scales, number, paths,
    prompts, seeds, shown, steps, transition, truth, unless_model, whole,
};
use super::{
    CfgType, InputMode, Interpolation, MAX_FEEDBACK, MAX_GUIDANCE, MAX_REFERENCE, MAX_SKIPS,
    SimilarImageFilter, WeightedPrompt, WeightedSeed,
};
use crate::error::EngineError;

/// Longest patch that is looked at, bytes.
const LONGEST_PATCH: usize = 1 << 20;

/// A gradual change of prompts.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// The prompts to arrive at.
    pub target_prompts: Vec<WeightedPrompt>,
    /// Steps on the way; 0 is at once. A step lasts several frames, see
    /// [`super::Parameters::transition_frames_per_step`].
    pub num_steps: u16,
    /// The way between the two embeddings.
    pub interpolation: Interpolation,
}

/// Some of the parameters with new values; all of them in range.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Patch {
    pub(crate) prompts: Option<Vec<WeightedPrompt>>,
    pub(crate) negative_prompt: Option<String>,
    pub(crate) prompt_interpolation: Option<Interpolation>,
    pub(crate) transition: Option<Transition>,
    /// `Some(None)` leaves the steps to the model.
    pub(crate) denoising_steps: Option<Option<Vec<u16>>>,
    /// `Some(None)` leaves the noise to the denoising steps.
    pub(crate) noise_scale: Option<Option<f32>>,
    pub(crate) seed: Option<u64>,
    /// Empty after a single seed was said: it ends a blend.
    pub(crate) seeds: Option<Vec<WeightedSeed>>,
    pub(crate) seed_interpolation: Option<Interpolation>,
    pub(crate) cfg_type: Option<CfgType>,
    pub(crate) guidance_scale: Option<f32>,
    pub(crate) delta: Option<f32>,
    pub(crate) noise_controller: Option<bool>,
    pub(crate) latent_feedback: Option<f32>,
    pub(crate) filter: FilterPatch,
    pub(crate) input_mode: Option<InputMode>,
    pub(crate) paused: Option<bool>,
    pub(crate) motion: Option<f32>,
    pub(crate) transition_frames_per_step: Option<u16>,
    pub(crate) add_noise: Option<bool>,
    pub(crate) reset: bool,
    pub(crate) reference_scale: Option<f32>,
    pub(crate) colour_transfer: Option<f32>,
    lora_scales: Option<Vec<(String, f32)>>,
    reference_images: Option<Vec<String>>,
    colour_reference: Option<String>,
    ignored: Vec<String>,
}

/// Some of the settings of the similar-image filter.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct FilterPatch {
    enabled: Option<bool>,
    threshold: Option<f32>,
    max_skip_frame: Option<u32>,
}

impl FilterPatch {
    pub(super) fn write(self, filter: &mut SimilarImageFilter) {
        filter.enabled = self.enabled.unwrap_or(filter.enabled);
        filter.threshold = self.threshold.unwrap_or(filter.threshold);
        filter.max_skip_frame = self.max_skip_frame.unwrap_or(filter.max_skip_frame);
    }
}

impl Patch {
    /// Reads a flat JSON object.
    ///
    /// Keys: `prompts` (list of `{text, weight}` or of texts) or `prompt`, `negative_prompt`,
    /// `prompt_interpolation_method`, `transition`, `denoising_step_list` (Scope's numbers) or
    /// `t_index_list` with `num_inference_steps` (StreamDiffusion's), `noise_scale`,
    /// `noise_controller`, `seed` or `base_seed`, `seeds` (list of `{seed, weight}` or of numbers)
    /// with `seed_interpolation_method`, `cfg_type`, `guidance_scale`, `delta`, `latent_feedback`,
    /// `similar_image_filter` with `similar_image_filter_threshold` and
    /// `similar_image_filter_max_skip_frame`, `lora_scales` (list of `{path, scale}`),
    /// `vace_ref_images` (list of files) with `vace_context_scale`, `colour_reference` (a file) with
    /// `colour_transfer`, `input_mode`, `paused`, `reset_cache`,
    /// `manage_cache`, `motion`, `transition_frames_per_step`, `do_add_noise`. `null` counts as not
    /// said; the text `"model"` for `noise_scale` or `denoising_step_list` takes back what was said.
    ///
    /// # Errors
    ///
    /// [`EngineError::BadParameter`] naming the first key that is wrong.
    pub fn from_json(text: &str) -> Result<Self, EngineError> {
        if text.len() > LONGEST_PATCH {
            return Err(bad(
                "patch",
                &format!("{} bytes long", text.len()),
                "at most 1 MiB",
            ));
        }
        let value: Value = serde_json::from_str(text)
            .map_err(|error| bad("patch", &format!("not JSON ({error})"), "a JSON object"))?;
        let Value::Object(entries) = value else {
            return Err(bad("patch", &shown(&value), "a JSON object"));
        };
        Self::from_entries(&entries)
    }

    /// Keys that were given but mean nothing to this engine.
    #[must_use]
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// Adapters by path with their new scales, if any were said. They belong to the model, not to the
    /// parameters: whoever loads models acts on them.
    #[must_use]
    pub fn lora_scales(&self) -> Option<&[(String, f32)]> {
        self.lora_scales.as_deref()
    }

    /// Files of reference images, if any were said; an empty list shows none. Like adapters they belong to whoever
    /// reads files, see [`crate::Model::look_at`].
    #[must_use]
    pub fn reference_images(&self) -> Option<&[String]> {
        self.reference_images.as_deref()
    }

    /// File of the picture whose colours are transferred, if it was said; an empty name is none.
    #[must_use]
    pub fn colour_reference(&self) -> Option<&str> {
        self.colour_reference.as_deref()
    }

    /// Whether the patch says nothing that the engine understands.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let silent = Self {
            ignored: self.ignored.clone(),
            ..Self::default()
        };
        *self == silent
    }

    /// Forgets what was said about the input mode: for somebody who has no video.
    pub fn leave_out_input_mode(&mut self) {
        self.input_mode = None;
    }

    fn from_entries(entries: &Map<String, Value>) -> Result<Self, EngineError> {
        let mut patch = Self::default();
        let (mut prompt, mut base_seed) = (None, None);
        let (mut indices, mut grid) = (None, None);
        for (key, value) in entries.iter().filter(|(_, value)| !value.is_null()) {
            match key.as_str() {
                "prompts" => patch.prompts = Some(prompts(key, value)?),
                "prompt" => prompt = Some(prompts(key, value)?),
                "negative_prompt" => patch.negative_prompt = Some(line(key, value)?),
                "prompt_interpolation_method" => {
                    patch.prompt_interpolation = Some(interpolation(key, value)?);
                }
                "transition" => patch.transition = Some(transition(value)?),
                "denoising_step_list" => {
                    patch.denoising_steps = Some(unless_model(value, |value| steps(key, value))?);
                }
                "t_index_list" => indices = Some(value),
                "num_inference_steps" => grid = Some(whole(key, value, 50)?),
                "noise_scale" => {
                    let scale = |value: &Value| number(key, value, 0.0, 1.0);
                    patch.noise_scale = Some(unless_model(value, scale)?);
                }
                "seed" => patch.seed = Some(whole(key, value, u64::MAX)?),
                "base_seed" => base_seed = Some(whole(key, value, u64::MAX)?),
                "seeds" => patch.seeds = Some(seeds(key, value)?),
                "seed_interpolation_method" => {
                    patch.seed_interpolation = Some(interpolation(key, value)?);
                }
                "cfg_type" => patch.cfg_type = Some(cfg_type(key, value)?),
                "guidance_scale" => {
                    patch.guidance_scale = Some(number(key, value, 0.0, MAX_GUIDANCE)?);
                }
                "delta" => patch.delta = Some(number(key, value, 0.0, 1.0)?),
                "noise_controller" => patch.noise_controller = Some(truth(key, value)?),
                "latent_feedback" => {
                    patch.latent_feedback = Some(number(key, value, 0.0, MAX_FEEDBACK)?);
                }
                "similar_image_filter" => patch.filter.enabled = Some(truth(key, value)?),
                "similar_image_filter_threshold" => {
                    patch.filter.threshold = Some(number(key, value, 0.0, 1.0)?);
                }
                "similar_image_filter_max_skip_frame" => {
                    let most = whole(key, value, MAX_SKIPS)?;
                    patch.filter.max_skip_frame = Some(most as u32);
                }
                "input_mode" => patch.input_mode = Some(input_mode(key, value)?),
                "paused" => patch.paused = Some(truth(key, value)?),
                "vace_ref_images" => patch.reference_images = Some(paths(key, value)?),
                "vace_context_scale" => {
                    patch.reference_scale = Some(number(key, value, 0.0, MAX_REFERENCE)?);
                }
                "colour_transfer" => patch.colour_transfer = Some(number(key, value, 0.0, 1.0)?),
                "colour_reference" => patch.colour_reference = Some(line(key, value)?),
                "lora_scales" => patch.lora_scales = Some(lora_scales(key, value)?),
                "reset_cache" => patch.reset = truth(key, value)?,
                // Rows in flight are always dropped when they no longer fit: nothing to manage.
                "manage_cache" => _ = truth(key, value)?,
                "motion" => patch.motion = Some(number(key, value, 0.0, 1.0)?),
                "transition_frames_per_step" => {
                    let frames = whole(key, value, 1000)?;
                    patch.transition_frames_per_step = Some(frames as u16);
                }
                "do_add_noise" => patch.add_noise = Some(truth(key, value)?),
                _ => patch.ignored.push(key.clone()),
            }
        }
        patch.prompts = patch.prompts.or(prompt);
        patch.seed = patch.seed.or(base_seed);
        if patch.seed.is_some() && patch.seeds.is_none() {
            patch.seeds = Some(Vec::new());
        }
        if let Some(indices) = indices {
            if patch.denoising_steps.is_some() {
                let both = "said together with denoising_step_list";
                return Err(bad("t_index_list", both, "one of the two"));
            }
            let steps = index_steps("t_index_list", indices, grid.unwrap_or(50))?;
            patch.denoising_steps = Some(Some(steps));
        } else if grid.is_some() {
            patch.ignored.push("num_inference_steps".into());
        }
        Ok(patch)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(json: &str) -> String {
        Patch::from_json(json).expect_err(json).to_string()
    }

    #[test]
    fn prompts_may_be_a_text_texts_or_weighted_texts() {
        let prompts = |json: &str| Patch::from_json(json).unwrap().prompts.unwrap();

        assert_eq!(
            prompts(r#"{"prompt": "a"}"#),
            prompts(r#"{"prompts": ["a"]}"#)
        );
        let weighted = prompts(r#"{"prompts": [{"text": "a", "weight": 0.5}, {"text": "b"}]}"#);
        assert_eq!(
            weighted[0],
            WeightedPrompt {
                text: "a".into(),
                weight: 0.5
            }
        );
        assert_eq!(weighted[1].weight, 1.0);
    }

    #[test]
    fn refusals_name_key_value_and_range() {
        assert_eq!(
            refusal(r#"{"noise_scale": 1.5}"#),
            "parameter `noise_scale` is 1.5, expected a number from 0 to 1"
        );
        assert_eq!(
            refusal(r#"{"denoising_step_list": [250, 750]}"#),
            "parameter `denoising_step_list` is [250,750], expected a list of 1 to 4 falling whole \
             numbers from 0 to 1000"
        );
        assert!(refusal(r#"{"seed": -1}"#).contains("whole number from 0"));
        assert!(refusal(r#"{"prompts": [{"weight": 1}]}"#).contains("`prompts.text` is null"));
        assert!(
            refusal(r#"{"prompts": [{"text": "a", "weight": -1}]}"#).contains("prompts.weight")
        );
        assert!(refusal(r#"{"transition": {}}"#).contains("transition.target_prompts"));
        assert!(refusal("[]").contains("a JSON object"));
        assert!(refusal(r#"{"noise_scale": NaN}"#).contains("not JSON"));
    }

    #[test]
    fn huge_lists_and_texts_are_refused() {
        let many = format!(r#"{{"prompts": [{}"a"]}}"#, r#""a","#.repeat(32));
        assert!(refusal(&many).contains("a list of 33"));
        let steps = format!(r#"{{"denoising_step_list": [{}1]}}"#, "1,".repeat(10_000));
        assert!(refusal(&steps).len() < 300, "the value is shortened");
        let long = format!(r#"{{"prompt": "{}"}}"#, "x".repeat(4001));
        assert!(refusal(&long).contains("4001 characters"));
    }

    #[test]
    fn the_word_model_takes_back_what_was_said() {
        let json = r#"{"noise_scale": "model", "denoising_step_list": "model"}"#;
        let patch = Patch::from_json(json).unwrap();

        assert_eq!(
            (patch.noise_scale, patch.denoising_steps),
            (Some(None), Some(None))
        );
        assert!(refusal(r#"{"noise_scale": "loud"}"#).contains("noise_scale"));
    }

    #[test]
    fn unknown_keys_are_tolerated_and_listed() {
        let patch = Patch::from_json(r#"{"seed": 1, "kv_cache_attention_bias": 0.3}"#).unwrap();

        assert_eq!(patch.ignored(), ["kv_cache_attention_bias"]);
        assert!(!patch.is_empty());
    }

    #[test]
    fn null_counts_as_not_said() {
        let patch = Patch::from_json(r#"{"seed": null, "noise_scale": null}"#).unwrap();

        assert!(patch.is_empty() && patch.ignored().is_empty());
    }

    #[test]
    fn seed_wins_over_base_seed_and_prompts_over_prompt() {
        let json = r#"{"seed": 1, "base_seed": 2, "prompt": "a", "prompts": ["b"]}"#;
        let patch = Patch::from_json(json).unwrap();

        assert_eq!(patch.seed, Some(1));
        assert_eq!(patch.prompts.unwrap()[0].text, "b");
    }

    #[test]
    fn indices_mean_the_timesteps_of_the_original() {
        let steps = |json: &str| {
            Patch::from_json(json)
                .unwrap()
                .denoising_steps
                .unwrap()
                .unwrap()
        };

        assert_eq!(
            steps(r#"{"t_index_list": [0, 16, 32, 45]}"#),
            [999, 679, 359, 99]
        );
        assert_eq!(
            steps(r#"{"t_index_list": [32, 45], "num_inference_steps": 50}"#),
            [359, 99]
        );
        assert_eq!(
            steps(r#"{"t_index_list": [0, 1], "num_inference_steps": 4}"#),
            [999, 759]
        );
        assert!(refusal(r#"{"t_index_list": [45, 32]}"#).contains("rising"));
        assert!(refusal(r#"{"t_index_list": [50]}"#).contains("below 50"));
        assert!(refusal(r#"{"t_index_list": [4], "num_inference_steps": 4}"#).contains("below 4"));
        assert!(refusal(r#"{"t_index_list": [4], "denoising_step_list": [1]}"#).contains("one of"));
    }

    #[test]
    fn the_grids_of_indices_match_the_reference() {
        let stored = crate::golden::Golden::open("common");
        for (steps, tensor) in [(50, "lcm_grid50"), (8, "lcm_grid8"), (4, "lcm_grid4")] {
            let expected = stored.floats(tensor);
            for (index, expected) in expected.iter().enumerate() {
                let json = format!(r#"{{"t_index_list":[{index}],"num_inference_steps":{steps}}}"#);
                let patch = Patch::from_json(&json).unwrap();
                assert_eq!(
                    f32::from(patch.denoising_steps.unwrap().unwrap()[0]),
                    *expected
                );
            }
        }
    }

    #[test]
    fn a_single_seed_ends_a_blend() {
        let mut parameters = crate::Parameters::default();
        let mut apply = |json: &str| {
            parameters.apply(&Patch::from_json(json).unwrap()).unwrap();
            parameters.all_seeds()
        };
        let seed = |seed, weight| WeightedSeed { seed, weight };

        let blend = apply(r#"{"seeds": [{"seed": 1, "weight": 0.5}, 2]}"#);
        assert_eq!(blend, [seed(1, 0.5), seed(2, 1.0)]);
        assert_eq!(apply(r#"{"noise_scale": 0.5}"#), blend);
        assert_eq!(apply(r#"{"seed": 7}"#), [seed(7, 1.0)]);
    }

    /// Every key with every sort of value, so that most cases get past the JSON parser.
    fn any_patch() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_string()),
            any::<bool>().prop_map(|b| b.to_string()),
            any::<f64>().prop_map(|f| format!("{f:e}")),
            (-2000_i64..2000).prop_map(|i| i.to_string()),
            "[a-z ]{0,5}".prop_map(|s| format!("{s:?}")),
        ];
        let value = leaf.prop_recursive(2, 12, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6)
                    .prop_map(|items| format!("[{}]", items.join(","))),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!(
                    r#"{{"text": {a}, "weight": {b}, "target_prompts": [{a}], "num_steps": {b}}}"#
                )),
            ]
        });
        let key = prop_oneof![
            Just("prompts"),
            Just("prompt"),
            Just("negative_prompt"),
            Just("transition"),
            Just("prompt_interpolation_method"),
            Just("denoising_step_list"),
            Just("noise_scale"),
            Just("seed"),
            Just("base_seed"),
            Just("paused"),
            Just("input_mode"),
            Just("motion"),
            Just("manage_cache"),
            Just("reset_cache"),
            Just("transition_frames_per_step"),
            Just("seeds"),
            Just("t_index_list"),
            Just("num_inference_steps"),
            Just("guidance_scale"),
            Just("delta"),
            Just("cfg_type"),
            Just("latent_feedback"),
            Just("similar_image_filter_threshold"),
            Just("similar_image_filter_max_skip_frame"),
        ];
        proptest::collection::vec((key, value), 0..4).prop_map(|entries| {
            let lines: Vec<_> = entries.iter().map(|(k, v)| format!("{k:?}: {v}")).collect();
            format!("{{{}}}", lines.join(","))
        })
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_without_panic(text in ".{0,200}") {
            let _ = Patch::from_json(&text);
        }

        #[test]
        fn what_is_accepted_is_always_in_range(json in any_patch()) {
            if let Ok(patch) = Patch::from_json(&json) {
                prop_assert!(crate::Parameters::default().apply(&patch).is_ok(), "{}", json);
            }
        }
    }
}

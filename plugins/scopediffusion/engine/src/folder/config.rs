//! The few keys of a folder's config files that matter, each with the value it has when absent.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `model_index.json`: a hint about names, and this project's own defaults.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct IndexConfig {
    #[serde(rename = "_name_or_path")]
    pub(crate) name_or_path: Option<String>,
    /// Timesteps that suit the model for video-to-video, if its maker says so (our own key).
    pub(crate) default_video_timesteps: Option<Vec<u16>>,
    /// Timesteps that suit the model for text-to-video, if its maker says so (our own key).
    pub(crate) default_text_timesteps: Option<Vec<u16>>,
    /// Stable Diffusion XL: an empty negative prompt is all zeros.
    pub(crate) force_zeros_for_empty_prompt: bool,
}

impl Default for IndexConfig {
    fn default() -> Self {
        Self {
            name_or_path: None,
            default_video_timesteps: None,
            default_text_timesteps: None,
            force_zeros_for_empty_prompt: true,
        }
    }
}

impl IndexConfig {
    pub(super) fn check(&self) -> Result<(), String> {
        for steps in [&self.default_video_timesteps, &self.default_text_timesteps] {
            let sound = |steps: &Vec<u16>| {
                (1..=crate::parameters::MAX_STEPS).contains(&steps.len())
                    && steps.iter().all(|t| *t < 1000)
                    && steps.is_sorted_by(|a, b| a >= b)
            };
            if let Some(steps) = steps.as_ref().filter(|steps| !sound(steps)) {
                return Err(format!(
                    "its default timesteps {steps:?} are not 1 to 4 falling ones"
                ));
            }
        }
        Ok(())
    }
}

/// `unet/config.json`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct UnetConfig {
    /// Channels of the latent; graphs often leave this axis free.
    pub(crate) in_channels: Option<usize>,
    /// One entry for each resolution level.
    pub(crate) block_out_channels: Option<Vec<usize>>,
    /// Picture sides must be multiples of this, pixels (our own key).
    pub(crate) sample_multiple_of: Option<u32>,
}

impl UnetConfig {
    pub(super) fn check(&self) -> Result<(), String> {
        let levels = self.block_out_channels.as_ref().map_or(1, Vec::len);
        if !(1..=8).contains(&levels) {
            return Err(format!("it has {levels} resolution levels"));
        }
        match self.sample_multiple_of {
            Some(multiple) if !(1..=1024).contains(&multiple) => Err(format!(
                "sample_multiple_of is {multiple}, expected 1 to 1024"
            )),
            _ => Ok(()),
        }
    }
}

/// `vae_decoder/config.json` or `vae/config.json`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct AutoencoderConfig {
    #[serde(rename = "_class_name")]
    class_name: Option<String>,
    scaling_factor: Option<f32>,
    /// One entry for each resolution level.
    block_out_channels: Option<Vec<usize>>,
    /// Pixels of the picture for one of the latent, in each direction (our own key).
    spatial_scale_factor: Option<u32>,
}

impl AutoencoderConfig {
    /// Whether it is one of the small autoencoders made for live pictures.
    pub(crate) fn is_tiny(&self) -> bool {
        self.class_name
            .as_deref()
            .is_some_and(|name| name.contains("Tiny"))
    }

    /// Pixels of the picture for one of the latent, in each direction; 8 unless it says otherwise.
    pub(crate) fn scale_factor(&self) -> u32 {
        let levels = self.block_out_channels.as_ref().map_or(4, Vec::len);
        let halved = u32::try_from(levels.clamp(1, 8) - 1).unwrap_or(3);
        self.spatial_scale_factor.unwrap_or(1 << halved)
    }

    /// What the encoder's latents are multiplied with before the network sees them.
    ///
    /// Without a config: 1 for the tiny autoencoder, else Stable Diffusion's 0.18215.
    pub(crate) fn scaling(&self) -> f32 {
        let usual = if self.is_tiny() { 1.0 } else { 0.182_15 };
        self.scaling_factor
            .filter(|s| s.is_finite() && *s > 0.0)
            .unwrap_or(usual)
    }
}

/// `export.json`: what `gst-scope model export` wrote down.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct ExportRecord {
    /// Adapters that became inputs, by name.
    pub(crate) loras: BTreeMap<String, RecordedLora>,
}

/// One of them.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct RecordedLora {
    /// Length of its file.
    pub(crate) bytes: Option<u64>,
}

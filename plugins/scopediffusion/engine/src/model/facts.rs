//! What a model is and can do, in words and numbers for people and for caps negotiation.

use super::trial::Found;
use crate::error::EngineError;
use crate::folder::Folder;

/// The line of models that a folder belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Family {
    /// Stable Diffusion 1: one text encoder, 768 values a token.
    StableDiffusion,
    /// Stable Diffusion 2: one text encoder, 1024 values a token.
    StableDiffusion2,
    /// Stable Diffusion XL: two text encoders.
    StableDiffusionXl,
    /// Something that shares the contract of Stable Diffusion 1 and 2 but not their sizes.
    Custom,
}

impl Family {
    /// The line of a network that takes tokens of so many values.
    ///
    /// - `pooled`: it also wants an embedding of the whole prompt.
    pub(crate) fn of(token_width: usize, pooled: bool) -> Self {
        match token_width {
            _ if pooled => Self::StableDiffusionXl,
            768 => Self::StableDiffusion,
            1024 => Self::StableDiffusion2,
            _ => Self::Custom,
        }
    }

    /// The name as people write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::StableDiffusion => "Stable Diffusion 1",
            Self::StableDiffusion2 => "Stable Diffusion 2",
            Self::StableDiffusionXl => "Stable Diffusion XL",
            Self::Custom => "custom",
        }
    }
}

/// Largest side of a picture, pixels: beyond it even a data-centre GPU runs out of memory.
const MAX_DIMENSION: u32 = 4096;

/// What a loaded model is and can do.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Facts {
    /// The model's name.
    pub name: String,
    /// Its line.
    pub family: Family,
    /// What the network's output stands for: `epsilon`, `v_prediction` or `sample`.
    pub prediction: &'static str,
    /// How many text encoders it has.
    pub text_encoders: usize,
    /// Channels of a latent.
    pub latent_channels: usize,
    /// Pixels of the picture for one of the latent, in each direction: 8, or 4 for small models.
    pub scale_factor: u32,
    /// Picture sides must be multiples of this, pixels.
    pub size_multiple: u32,
    /// The only picture size, width and height, if the graphs were exported for one.
    pub fixed_size: Option<(u32, u32)>,
    /// Largest side of a picture, pixels.
    pub max_dimension: u32,
    /// Whether rows at different timesteps can share a call: the stream batch.
    pub batchable: bool,
    /// Whether the model was distilled to one step.
    pub turbo: bool,
    /// The execution provider in use: `cpu`, `cuda` or `tensorrt`.
    pub provider: String,
    /// Why the CPU is used although anything better was welcome.
    pub fallback: Option<String>,
    /// For each graph, by its directory, which providers run how many of its operations.
    pub placement: Vec<(&'static str, Vec<(String, usize)>)>,
    /// Whether the folder has fused copies of graphs for CUDA.
    pub has_fused: bool,
    /// Graphs that run from such a copy, by their directories.
    pub fused: Vec<&'static str>,
    /// Graphs that have a copy which is not used, and why.
    pub fused_refused: Vec<(&'static str, String)>,
    /// Timesteps to use for video-to-video unless told otherwise, falling.
    pub default_video_steps: Vec<u16>,
    /// Timesteps to use for text-to-video unless told otherwise, falling.
    pub default_text_steps: Vec<u16>,
    /// Values of one token's embedding.
    pub token_width: usize,
    /// Whether the guidance scale is an input of the network (a fully distilled LCM): then it
    /// costs nothing, and the ways of guidance make no difference.
    pub guidance_embedded: bool,
    /// Whether the autoencoder is one of the small ones made for live pictures.
    pub tiny_autoencoder: bool,
    /// Rows that every call of the network has, if it was exported for one number.
    pub fixed_rows: Option<usize>,
    /// Whether it can be shown reference images, by an IP-Adapter.
    pub reference_images: bool,
    /// Adapters that are part of it and whose scales are inputs, by name: they change without loading anything.
    pub lora_inputs: Vec<String>,
    pub(crate) has_pooled: bool,
    pub(crate) has_time_ids: bool,
    pub(crate) guidance_width: Option<usize>,
}

impl Facts {
    /// Refuses a picture size that the graphs cannot take.
    pub(crate) fn check_size(&self, (width, height): (u32, u32)) -> Result<(), EngineError> {
        let multiple = self.size_multiple;
        let fits =
            |side: u32| side > 0 && side.is_multiple_of(multiple) && side <= self.max_dimension;
        let reason = match self.fixed_size {
            Some(fixed) if fixed != (width, height) => {
                format!("it was exported for {}x{} only", fixed.0, fixed.1)
            }
            _ if fits(width) && fits(height) => return Ok(()),
            _ => format!(
                "each side must be a multiple of {multiple} up to {}",
                self.max_dimension
            ),
        };
        Err(EngineError::SizeNotDivisible {
            width,
            height,
            reason,
        })
    }
}

/// Puts together what the files say and what trying the graphs has shown.
pub(super) fn gather(folder: &Folder, found: &Found, provider: &str) -> Facts {
    let levels = folder
        .unet_config
        .block_out_channels
        .as_ref()
        .map_or(4, Vec::len);
    let size_multiple = folder
        .unet_config
        .sample_multiple_of
        .unwrap_or(found.scale_factor << levels.saturating_sub(1));
    let (default_video_steps, default_text_steps) = folder.default_steps();
    Facts {
        name: folder.name().into(),
        family: Family::of(found.token_width, found.has_pooled),
        prediction: folder.schedule.prediction.name(),
        text_encoders: folder.tokenizers.len(),
        latent_channels: found.channels,
        scale_factor: found.scale_factor,
        size_multiple,
        fixed_size: found.fixed_latent.map(|(h, w)| {
            let pixels = |side: usize| u32::try_from(side).unwrap_or(0) * found.scale_factor;
            (pixels(w), pixels(h))
        }),
        max_dimension: MAX_DIMENSION,
        batchable: found.batchable,
        turbo: folder.is_turbo(),
        provider: provider.into(),
        fallback: None,
        placement: Vec::new(),
        has_fused: false,
        fused: Vec::new(),
        fused_refused: Vec::new(),
        default_video_steps,
        default_text_steps,
        token_width: found.token_width,
        guidance_embedded: found.guidance_width.is_some(),
        tiny_autoencoder: folder.autoencoder.is_tiny(),
        fixed_rows: found.fixed_rows,
        reference_images: found.reference_images,
        lora_inputs: found.lora_inputs.clone(),
        has_pooled: found.has_pooled,
        has_time_ids: found.has_time_ids,
        guidance_width: found.guidance_width,
    }
}

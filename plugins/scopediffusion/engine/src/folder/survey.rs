//! What a folder's files tell about its model, before any of it is loaded.
//!
//! Only what is certain is told. Whether rows can share a call, for example, shows when the graphs are tried: see
//! [`crate::Facts`], which says the same things of a loaded model.

use std::path::Path;

use super::{Folder, Part, Root};
use crate::error::EngineError;
use crate::model::{Family, inputs};
use crate::onnx::Outline;

/// What the files of a model tell.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Survey {
    /// The model's name.
    pub name: String,
    /// Its line, where the network's inputs say it.
    pub family: Option<Family>,
    /// What the network's output stands for: `epsilon`, `v_prediction` or `sample`.
    pub prediction: &'static str,
    /// How many text encoders it has.
    pub text_encoders: usize,
    /// The only picture size, width and height in pixels, if the graphs were exported for one.
    pub fixed_size: Option<(u32, u32)>,
    /// Whether the model was distilled to one step.
    pub turbo: bool,
    /// Whether the guidance scale is an input of the network.
    pub guidance_embedded: bool,
    /// Whether the autoencoder is one of the small ones made for live pictures.
    pub tiny_autoencoder: bool,
    /// Whether it can be shown reference images, by an IP-Adapter.
    pub reference_images: bool,
    /// Adapters whose scales are inputs, by name.
    pub lora_inputs: Vec<String>,
    /// Timesteps for video-to-video unless told otherwise, falling.
    pub default_video_steps: Vec<u16>,
    /// Timesteps for text-to-video unless told otherwise, falling.
    pub default_text_steps: Vec<u16>,
    /// Length of its graphs with their weights, bytes.
    pub bytes: u64,
}

impl Folder {
    /// What its files tell.
    ///
    /// # Errors
    ///
    /// [`EngineError::ModelUnsupported`] for a network that edits or fills pictures; as [`Folder::open`], if a graph's
    /// file has changed since.
    pub fn survey(&self) -> Result<Survey, EngineError> {
        let unet = self.unet.outline()?;
        let has = |aliases: &[&str]| axes(&unet, aliases).is_some();
        let channels = axis(&unet, inputs::SAMPLE, 1).or(self.unet_config.in_channels);
        let edits = channels.map_or(Ok(()), inputs::check_channels);
        edits.map_err(|reason| EngineError::ModelUnsupported {
            name: self.name().into(),
            reason,
        })?;
        let token_width = axis(&unet, inputs::CONTEXT, 2);
        let (default_video_steps, default_text_steps) = self.default_steps();
        Ok(Survey {
            name: self.name().into(),
            family: token_width.map(|width| Family::of(width, has(inputs::TEXT_EMBEDS))),
            prediction: self.schedule.prediction.name(),
            text_encoders: self.tokenizers.len(),
            fixed_size: self.fixed_size(&unet)?,
            turbo: self.is_turbo(),
            guidance_embedded: has(inputs::TIMESTEP_COND),
            tiny_autoencoder: self.autoencoder.is_tiny(),
            reference_images: self.image_encoder.is_some() && has(inputs::IMAGE_TOKENS),
            lora_inputs: self.lora_inputs()?,
            default_video_steps,
            default_text_steps,
            bytes: self.parts().map(|part| self.root.weight(part)).sum(),
        })
    }

    /// Whether the model was distilled to one step, as far as its files say.
    pub(crate) fn is_turbo(&self) -> bool {
        let named = |name: &str| name.to_lowercase().contains("turbo");
        self.trailing || named(self.name()) || self.index.name_or_path.as_deref().is_some_and(named)
    }

    /// Timesteps for video and for text unless told otherwise, falling.
    pub(crate) fn default_steps(&self) -> (Vec<u16>, Vec<u16>) {
        let (video, text): (&[u16], &[u16]) = if self.is_turbo() {
            (&[499], &[999])
        } else {
            (&[359, 99], &[999, 679, 359, 99])
        };
        let or = |said: &Option<Vec<u16>>, usual: &[u16]| said.clone().unwrap_or(usual.to_vec());
        (
            or(&self.index.default_video_timesteps, video),
            or(&self.index.default_text_timesteps, text),
        )
    }

    /// The picture encoder says it in pixels, the network in its own measure.
    fn fixed_size(&self, unet: &Outline) -> Result<Option<(u32, u32)>, EngineError> {
        let both = |outline: &Outline, aliases| {
            let side = |at| axis(outline, aliases, at).and_then(|side| u32::try_from(side).ok());
            side(3).zip(side(2))
        };
        let Some((width, height)) = both(unet, inputs::SAMPLE) else {
            return Ok(None);
        };
        let pixels = both(&self.vae_encoder.outline()?, inputs::IMAGES);
        let scale = self.autoencoder.scale_factor();
        Ok(pixels.or(Some((
            width.saturating_mul(scale),
            height.saturating_mul(scale),
        ))))
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        let always = [
            &self.text_encoder,
            &self.unet,
            &self.vae_encoder,
            &self.vae_decoder,
        ];
        always
            .into_iter()
            .chain(&self.text_encoder_2)
            .chain(&self.image_encoder)
    }
}

impl Root {
    /// What a folder without a network in ONNX is instead, if that can be seen.
    pub(super) fn no_graph_of_ours(&self) -> Option<&'static str> {
        let Self::Directory(dir) = self else {
            return None;
        };
        let entries = |role: &str| {
            std::fs::read_dir(dir.join(role))
                .into_iter()
                .flatten()
                .flatten()
        };
        let is_torch = |path: &Path| {
            let ending = path.extension().and_then(|ending| ending.to_str());
            ending.is_some_and(|ending| ["safetensors", "bin", "ckpt"].contains(&ending))
        };
        if entries("unet").any(|entry| is_torch(&entry.path())) {
            return Some(
                "its unet holds the weights of PyTorch and no ONNX graph: `gst-scope model export` makes one of it",
            );
        }
        let has_transformer = !dir.join("unet").is_dir() && dir.join("transformer").is_dir();
        has_transformer.then_some("it has a transformer instead of a unet")
    }

    /// Length of a graph and of what lies beside it, bytes.
    fn weight(&self, part: &Part) -> u64 {
        if let Some(bytes) = part.bytes {
            return bytes.len() as u64;
        }
        let dir = part.path.parent().unwrap_or(Path::new("."));
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        // A copy for CUDA takes the graph's place: counted too, it would look twice as large.
        let own = entries.filter(|entry| part.may_use(&entry.file_name().to_string_lossy()));
        let files = own.filter_map(|entry| entry.metadata().ok());
        files
            .filter(|file| file.is_file())
            .map(|file| file.len())
            .sum()
    }
}

fn axes<'o>(outline: &'o Outline, aliases: &[&str]) -> Option<&'o [Option<u64>]> {
    let mut inputs = outline.inputs.iter();
    let found = inputs.find(|input| aliases.contains(&input.name.as_str()))?;
    Some(found.axes.as_deref().unwrap_or_default())
}

fn axis(outline: &Outline, aliases: &[&str], at: usize) -> Option<usize> {
    let size = axes(outline, aliases)?.get(at).copied().flatten()?;
    usize::try_from(size).ok()
}

//! A folder's graphs, open and checked; shared by every engine that uses the model.
//!
//! Everything that could be wrong with a model is found here, at load, by looking at the graphs'
//! inputs and by running each of them once on a small latent. After that the engine feeds them
//! without asking again.

mod adapters;
mod binding;
mod cache;
mod facts;
mod image;
pub(crate) mod inputs;
mod network;
mod rows;
mod trial;

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::cache::Cache;
pub use self::facts::{Facts, Family};
use self::network::Networks;
pub(crate) use self::network::{Graphs, TIME_IDS};
pub(crate) use self::rows::Rows;
use crate::backend::ort::{Gauge, Opener, OrtBackend};
use crate::backend::{Changes, Device, Graph, Opening, Provider, Tensor};
use crate::error::EngineError;
use crate::folder::{Folder, Part};
use crate::lora::{Lora, NewWeight};
use crate::onnx::repair;
use crate::parameters::{Parameters, WeightedPrompt};
use crate::prompt::{self, Condition};
use crate::schedule::Schedule;
use crate::tokenizer::Tokenizer;
use crate::watch::Watch;

/// A loaded model. Engines share it as `Arc<Model>`; each graph has a lock of its own.
#[derive(Debug)]
pub struct Model {
    facts: Facts,
    /// One for each text encoder.
    tokenizers: Vec<Arc<Tokenizer>>,
    /// An empty negative prompt says nothing at all, instead of what the encoder makes of it.
    empty_is_nothing: bool,
    schedule: Arc<Schedule>,
    networks: Networks,
    embeddings: Mutex<Cache>,
    gauge: Option<Gauge>,
}

impl Model {
    /// Opens the graphs of a folder on a device and tries each of them once.
    ///
    /// - `opening`: where; a [`Device`] alone keeps no cache.
    /// - `loras`: adapters to merge into the weights, in this order.
    /// - `progress`: told a sentence before each stage that takes time.
    ///
    /// # Errors
    ///
    /// [`EngineError::ProviderUnavailable`] if the wanted provider cannot be used (with
    /// [`Provider::Auto`] the CPU is used then, and [`Facts::fallback`] says why), [`EngineError::ModelFileCorrupt`] or
    /// [`EngineError::ModelFileMissing`] if a graph does not open, [`EngineError::ModelUnsupported`]
    /// if it opens but is not of a kind that the engine knows. The first three also of an adapter
    /// that is missing, damaged or made for another model.
    pub fn load(
        folder: &Folder,
        backend: &OrtBackend,
        opening: impl Into<Opening>,
        loras: &[Lora],
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self, EngineError> {
        let opening = opening.into();
        let device = opening.device;
        if device.provider == Provider::Auto {
            let on = |provider| Opening {
                device: Device { provider, ..device },
                ..opening.clone()
            };
            return match Self::load(folder, backend, on(Provider::Cuda), loras, progress) {
                Err(EngineError::ProviderUnavailable { reason, .. }) => {
                    let mut model =
                        Self::load(folder, backend, on(Provider::Cpu), loras, progress)?;
                    model.facts.fallback = Some(reason);
                    Ok(model)
                }
                loaded => loaded,
            };
        }
        let opener = backend.on(&opening)?;
        let adapted = adapters::merge_all(folder, &folder.merged(loras)?, progress)?;
        let open = |part: &Part, weights: &[NewWeight], what, progress: &mut dyn FnMut(&str)| {
            progress(&format!("Loading the {what} of {}", folder.name()));
            let content = adapters::changed(part, weights)?;
            let content = content.as_deref();
            opener.open(part, Changes { content, weights })
        };
        let first = (&folder.text_encoder, &adapted.text_encoder);
        let mut text_encoders = vec![open(first.0, first.1, "text encoder", progress)?];
        if let Some(second) = &folder.text_encoder_2 {
            let weights = &adapted.text_encoder_2;
            text_encoders.push(open(second, weights, "second text encoder", progress)?);
        }
        let graphs = Graphs {
            text_encoders,
            unet: {
                progress(&format!(
                    "Loading the denoising network of {}",
                    folder.name()
                ));
                open_unet(&opener, &folder.unet, &adapted.unet, progress)?
            },
            image_encoder: match &folder.image_encoder {
                Some(part) => Some(open(part, &[], "image encoder", progress)?),
                None => None,
            },
            encoder: open(&folder.vae_encoder, &[], "picture encoder", progress)?,
            decoder: open(&folder.vae_decoder, &[], "picture decoder", progress)?,
        };
        progress(&format!("Trying {} once", folder.name()));
        let provider = match device.provider {
            Provider::Auto | Provider::Cpu => "cpu",
            Provider::Cuda => "cuda",
            Provider::TensorRt => "tensorrt",
        };
        let gauge = opener.gauge();
        let assembled = Self::assemble(folder, graphs, provider).map_err(|error| match error {
            EngineError::DeviceLost { reason, .. } => {
                EngineError::ProviderUnavailable { provider, reason }
            }
            // Some drivers let graphs open that they cannot run.
            EngineError::ModelUnsupported { reason, .. }
                if provider != "cpu" && reason.contains("CUDA") =>
            {
                EngineError::ProviderUnavailable { provider, reason }
            }
            other => other,
        })?;
        Ok(Self { gauge, ..assembled })
    }

    /// Checks the graphs against each other and the folder.
    pub(crate) fn assemble(
        folder: &Folder,
        graphs: Graphs,
        provider: &str,
    ) -> Result<Self, EngineError> {
        let empty = |tokenizer: &Arc<Tokenizer>| {
            tokenizer
                .encode("")
                .map_err(|reason| EngineError::ModelFileCorrupt {
                    path: folder.show("tokenizer/tokenizer.json"),
                    reason,
                })
        };
        let ids = folder
            .tokenizers
            .iter()
            .map(empty)
            .collect::<Result<Vec<_>, _>>()?;
        let mut highest = ids.clone();
        for (ids, tokenizer) in highest.iter_mut().zip(&folder.tokenizers) {
            ids[1] = tokenizer.highest();
        }
        let (networks, found) = trial::try_out(graphs, folder, &ids, &highest)?;
        let mut facts = facts::gather(folder, &found, provider);
        facts.placement = networks.placement();
        tracing::debug!(?facts, "model loaded");
        Ok(Self {
            empty_is_nothing: facts.has_pooled && folder.index.force_zeros_for_empty_prompt,
            facts,
            tokenizers: folder.tokenizers.clone(),
            schedule: Arc::clone(&folder.schedule),
            networks,
            embeddings: Mutex::new(Cache::default()),
            gauge: None,
        })
    }

    /// What the model is and can do.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Bytes in use on the GPU, by whomever, and bytes that it has; `None` on the CPU.
    #[must_use]
    pub fn device_memory(&self) -> Option<(u64, u64)> {
        self.gauge.as_ref()?.read()
    }

    /// Encodes the prompts of `parameters`, so that an engine which uses them next does not have to
    /// wait for the text encoder. For use off the streaming thread.
    ///
    /// # Errors
    ///
    /// [`EngineError::InferenceFailed`] if the text encoder fails.
    pub fn prepare(&self, parameters: &Parameters) -> Result<(), EngineError> {
        self.condition(parameters)?;
        if self.wants_negative(parameters) {
            self.negative(parameters)?;
        }
        Ok(())
    }

    /// Whether all prompts of `parameters` are encoded already.
    pub(crate) fn is_prepared(&self, parameters: &Parameters) -> bool {
        let key = |text: &str| self.key(text, parameters);
        let negative = self.wants_negative(parameters);
        let negative = negative.then_some(&parameters.negative_prompt);
        let texts = parameters.prompts.iter().map(|prompt| &prompt.text);
        let empty = String::new();
        let unprompted = parameters.prompts.is_empty().then_some(&empty);
        let mut known = self.cache();
        texts
            .chain(negative)
            .chain(unprompted)
            .all(|text| known.get(&key(text)).is_some())
    }

    /// Whether a frame would be guided away from the negative prompt.
    pub(crate) fn wants_negative(&self, parameters: &Parameters) -> bool {
        parameters.guidance().asks_the_negative() && !self.facts.guidance_embedded
    }

    pub(crate) fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Values of one token's embedding, `D`.
    pub(crate) fn width(&self) -> usize {
        self.facts.token_width
    }

    /// What the prompts say together; what the empty prompt says if there is none.
    pub(crate) fn condition(&self, parameters: &Parameters) -> Result<Condition, EngineError> {
        let empty = [WeightedPrompt {
            text: String::new(),
            weight: 1.0,
        }];
        let prompts: &[WeightedPrompt] = if parameters.prompts.is_empty() {
            &empty
        } else {
            &parameters.prompts
        };
        let parts = prompts
            .iter()
            .map(|prompt| Ok((self.embed(&prompt.text, parameters)?, prompt.weight)))
            .collect::<Result<Vec<_>, EngineError>>()?;
        Ok(prompt::blend(
            &parts,
            parameters.prompt_interpolation,
            self.width(),
        ))
    }

    /// What the negative prompt says.
    pub(crate) fn negative(&self, parameters: &Parameters) -> Result<Condition, EngineError> {
        let mut said = (*self.embed(&parameters.negative_prompt, parameters)?).clone();
        if self.says_nothing(parameters) {
            said.tokens.fill(0.0);
            said.pooled.fill(0.0);
        }
        Ok(said)
    }

    fn says_nothing(&self, parameters: &Parameters) -> bool {
        self.empty_is_nothing && parameters.negative_prompt.is_empty()
    }

    /// Scales of the adapters that text encoders take as inputs: with others, prompts say something else.
    pub(crate) fn text_scales(&self, parameters: &Parameters) -> Vec<f32> {
        let encoders = self.networks.text_encoders.iter();
        let names = encoders.flat_map(|encoder| &encoder.loras);
        names.map(|name| parameters.lora_scale(name)).collect()
    }

    /// Adapters that are inputs of the denoising network, in its order.
    pub(crate) fn network_loras(&self) -> &[String] {
        &self.networks.extras.loras
    }

    /// What an embedding is remembered by.
    fn key(&self, text: &str, parameters: &Parameters) -> String {
        let scales = self.text_scales(parameters);
        if scales.is_empty() {
            return text.to_owned();
        }
        // No text that is typed holds that sign.
        format!("{text}\0{scales:?}")
    }

    fn embed(&self, text: &str, parameters: &Parameters) -> Result<Arc<Condition>, EngineError> {
        let key = self.key(text, parameters);
        if let Some(known) = self.cache().get(&key) {
            return Ok(known);
        }
        let failed = |reason| EngineError::InferenceFailed {
            graph: "tokenizer".into(),
            reason,
        };
        let ids = self
            .tokenizers
            .iter()
            .map(|tokenizer| tokenizer.encode(text));
        let ids = ids.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let scale_of = |name: &str| parameters.lora_scale(name);
        let embedding = Arc::new(self.networks.embed(&ids, &scale_of)?);
        self.cache().put(&key, Arc::clone(&embedding));
        Ok(embedding)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.embeddings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A picture, `[H, W, 3]` in bytes, as a scaled latent `[C, h, w]` in front of `latent`.
    pub(crate) fn encode(
        &self,
        picture: &[u8],
        size: (u32, u32),
        latent: &mut Tensor,
        watch: &Watch,
    ) -> Result<(), EngineError> {
        self.networks.encode(picture, size, latent, watch)
    }

    /// The network's output for some rows; see [`Networks::denoise`].
    pub(crate) fn denoise(
        &self,
        rows: &Rows<'_>,
        out: &mut Tensor,
        watch: &Watch,
    ) -> Result<(), EngineError> {
        self.networks.denoise(rows, out, watch)
    }

    /// A clean latent `[C, h, w]` as a picture `[H, W, 3]` in bytes; false if any of its values is
    /// no number.
    pub(crate) fn decode(
        &self,
        latent: &mut [f32],
        size: (u32, u32),
        picture: &mut Vec<u8>,
        watch: &Watch,
    ) -> Result<bool, EngineError> {
        self.networks.decode(latent, size, picture, watch)
    }

    /// As [`Model::decode`], but the values themselves, `[1, 3, H, W]` in −1…1.
    #[cfg(test)]
    pub(crate) fn decode_values(&self, latent: &[f32], size: (u32, u32), out: &mut Tensor) {
        let side = |pixels: u32| (pixels / self.facts.scale_factor) as usize;
        let sides = (side(size.1), side(size.0));
        let values = self.networks.decode_values(latent, sides, out);
        values.expect("the same has just gone well as bytes");
    }
}

/// Opens the denoising network; one whose timestep lacks an axis gets it, so that it can be batched.
fn open_unet(
    opener: &Opener<'_>,
    part: &Part,
    weights: &[NewWeight],
    progress: &mut dyn FnMut(&str),
) -> Result<Box<dyn Graph>, EngineError> {
    let open = |content: Option<&[u8]>| opener.open(part, Changes { content, weights });
    let changed = adapters::changed(part, weights)?;
    let outline = part.outline()?;
    let Some((timestep, sample)) = trial::scalar_timestep(&outline) else {
        return open(changed.as_deref());
    };
    let content = match &changed {
        Some(changed) => Cow::Borrowed(changed.as_slice()),
        None => part.content()?,
    };
    let repaired = repair::give_timestep_an_axis(&content, timestep, sample);
    // What opens is tried like any other; what does not is used as it came, step by step.
    match repaired.map(|model| open(Some(&model))) {
        Some(Ok(repaired)) => {
            progress("Its timestep had no axis and got one: steps can share a call");
            return Ok(repaired);
        }
        Some(Err(error)) => tracing::debug!(%error, "the repaired network does not open"),
        None => {}
    }
    open(changed.as_deref())
}

#[cfg(test)]
mod exported_tests;
#[cfg(test)]
mod tests;

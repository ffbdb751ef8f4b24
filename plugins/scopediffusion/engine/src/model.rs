//! A folder's graphs, open and checked; shared by every engine that uses the model.
//!
//! Everything that could be wrong with a model is found here, at load, by looking at the graphs'
//! inputs and by running each of them once on a small latent. After that the engine feeds them
//! without asking again.

mod cache;
mod facts;
mod network;
mod trial;

use std::sync::{Arc, Mutex, PoisonError};

use self::cache::Cache;
pub use self::facts::{Facts, Family};
pub(crate) use self::network::Graphs;
use self::network::Networks;
use crate::backend::ort::OrtBackend;
use crate::backend::{Device, Provider, Tensor};
use crate::error::EngineError;
use crate::folder::{Folder, Part};
use crate::parameters::{Parameters, Patch, WeightedPrompt};
use crate::prompt;
use crate::schedule::Schedule;
use crate::tokenizer::Tokenizer;

/// A loaded model. Engines share it as `Arc<Model>`; each graph has a lock of its own.
#[derive(Debug)]
pub struct Model {
    facts: Facts,
    tokenizer: Arc<Tokenizer>,
    schedule: Arc<Schedule>,
    networks: Networks,
    embeddings: Mutex<Cache>,
}

impl Model {
    /// Opens the graphs of a folder on a device and tries each of them once.
    ///
    /// - `progress`: told a sentence before each stage that takes time.
    ///
    /// # Errors
    ///
    /// [`EngineError::ProviderUnavailable`] if the wanted provider cannot be used (with
    /// [`Provider::Auto`] the CPU is used then), [`EngineError::ModelFileCorrupt`] or
    /// [`EngineError::ModelFileMissing`] if a graph does not open, [`EngineError::ModelUnsupported`]
    /// if it opens but is not of a kind that the engine knows.
    pub fn load(
        folder: &Folder,
        backend: &OrtBackend,
        device: Device,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self, EngineError> {
        if device.provider == Provider::Auto {
            if backend.has_cuda() {
                let cuda = Device {
                    provider: Provider::Cuda,
                    ..device
                };
                match Self::load(folder, backend, cuda, progress) {
                    Err(EngineError::ProviderUnavailable { reason, .. }) => {
                        progress(&format!("CUDA is not available ({reason}), using the CPU"));
                    }
                    loaded => return loaded,
                }
            }
            let cpu = Device {
                provider: Provider::Cpu,
                ..device
            };
            return Self::load(folder, backend, cpu, progress);
        }
        facts::refuse_unknown_family(folder)?;
        let mut open = |part: &Part, what: &str| {
            progress(&format!("Loading the {what} of {}", folder.name()));
            backend.open(part, device)
        };
        let graphs = Graphs {
            text_encoder: open(&folder.text_encoder, "text encoder")?,
            unet: open(&folder.unet, "denoising network")?,
            encoder: open(&folder.vae_encoder, "picture encoder")?,
            decoder: open(&folder.vae_decoder, "picture decoder")?,
        };
        progress(&format!("Trying {} once", folder.name()));
        let provider = match device.provider {
            Provider::Auto | Provider::Cpu => "cpu",
            Provider::Cuda => "cuda",
            Provider::TensorRt => "tensorrt",
        };
        Self::assemble(folder, graphs, provider).map_err(|error| match error {
            // Some drivers let graphs open that they cannot run.
            EngineError::ModelUnsupported { reason, .. }
                if provider != "cpu" && reason.contains("CUDA") =>
            {
                EngineError::ProviderUnavailable { provider, reason }
            }
            other => other,
        })
    }

    /// Checks the graphs against each other and the folder.
    pub(crate) fn assemble(
        folder: &Folder,
        graphs: Graphs,
        provider: &str,
    ) -> Result<Self, EngineError> {
        let empty =
            folder
                .tokenizer
                .encode("")
                .map_err(|reason| EngineError::ModelFileCorrupt {
                    path: folder.show("tokenizer/tokenizer.json"),
                    reason,
                })?;
        let (networks, found) = trial::try_out(graphs, folder, &empty)?;
        let facts = facts::gather(folder, &found, provider);
        tracing::debug!(?facts, "model loaded");
        Ok(Self {
            facts,
            tokenizer: Arc::clone(&folder.tokenizer),
            schedule: Arc::clone(&folder.schedule),
            networks,
            embeddings: Mutex::new(Cache::default()),
        })
    }

    /// What the model is and can do.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Encodes the prompts that a patch names, so that applying it later does not have to wait
    /// for the text encoder. For use off the streaming thread.
    ///
    /// # Errors
    ///
    /// [`EngineError::InferenceFailed`] if the text encoder fails.
    pub fn prepare(&self, patch: &Patch) -> Result<(), EngineError> {
        let target = patch
            .transition
            .as_ref()
            .map(|transition| &transition.target_prompts);
        for prompt in patch.prompts.iter().chain(target).flatten() {
            self.embed(&prompt.text)?;
        }
        Ok(())
    }

    pub(crate) fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Values of one token's embedding, `D`.
    pub(crate) fn width(&self) -> usize {
        self.facts.token_width
    }

    /// The blended embedding of the prompts, flat `[77, D]`; of the empty prompt if there is none.
    pub(crate) fn condition(&self, parameters: &Parameters) -> Result<Vec<f32>, EngineError> {
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
            .map(|prompt| Ok((self.embed(&prompt.text)?, prompt.weight)))
            .collect::<Result<Vec<_>, EngineError>>()?;
        Ok(prompt::blend(
            &parts,
            parameters.prompt_interpolation,
            self.width(),
        ))
    }

    fn embed(&self, text: &str) -> Result<Arc<[f32]>, EngineError> {
        let cache = || {
            self.embeddings
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(known) = cache().get(text) {
            return Ok(known);
        }
        let failed = |reason| EngineError::InferenceFailed {
            graph: "text_encoder".into(),
            reason,
        };
        let ids = self.tokenizer.encode(text).map_err(failed)?;
        let embedding: Arc<[f32]> = self.networks.embed(&ids)?.values.into();
        cache().put(text, Arc::clone(&embedding));
        Ok(embedding)
    }

    /// A picture, `[3, H, W]` in −1…1, as a scaled latent `[C, h, w]` in front of `latent`.
    pub(crate) fn encode(
        &self,
        image: &[f32],
        size: (u32, u32),
        latent: &mut Tensor,
    ) -> Result<(), EngineError> {
        self.networks.encode(image, size, latent)
    }

    /// The network's output for some rows; see [`Networks::denoise`].
    pub(crate) fn denoise(
        &self,
        rows: &network::Rows<'_>,
        out: &mut Tensor,
    ) -> Result<(), EngineError> {
        self.networks.denoise(rows, out)
    }

    /// A clean latent `[C, h, w]` as a picture `[3, H, W]` in −1…1.
    pub(crate) fn decode(
        &self,
        latent: &mut [f32],
        size: (u32, u32),
        image: &mut Tensor,
    ) -> Result<(), EngineError> {
        self.networks.decode(latent, size, image)
    }
}

pub(crate) use self::network::Rows;

#[cfg(test)]
mod tests;

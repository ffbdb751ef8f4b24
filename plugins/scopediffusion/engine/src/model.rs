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
mod load;
mod network;
mod rows;
mod trial;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::cache::Cache;
pub use self::facts::{Facts, Family};
use self::network::Networks;
pub(crate) use self::network::{Graphs, TIME_IDS};
pub(crate) use self::rows::Rows;
use crate::backend::Tensor;
use crate::backend::ort::{Design, Gauge, Resident, Workshop};
use crate::error::EngineError;
use crate::folder::Folder;
use crate::parameters::{Parameters, WeightedPrompt};
use crate::prompt::{self, Condition};
use crate::schedule::Schedule;
use crate::stream::Out;
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
    /// Where latents can stay with the graphs.
    workshop: Option<Workshop>,
}

impl Model {
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
            workshop: None,
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

    /// The network's output for some rows; see [`Networks::denoise`] and [`Networks::round`].
    pub(crate) fn answer(
        &self,
        rows: &Rows<'_>,
        out: Out<'_>,
        watch: &Watch,
    ) -> Result<(), EngineError> {
        match out {
            Out::Host(out) => self.networks.denoise(rows, out, watch),
            Out::Provider(resident, round) => self.networks.round(resident, round, rows, watch),
        }
    }

    /// Room for a stream's latents where the graphs compute; `None` if they shall be on the host.
    pub(crate) fn resident(&self, design: Design) -> Option<Result<Resident, EngineError>> {
        let parts = self.networks.parts(self.workshop.as_ref()?)?;
        Some(Resident::new(&parts, design))
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

#[cfg(test)]
mod exported_tests;
#[cfg(test)]
mod tests;

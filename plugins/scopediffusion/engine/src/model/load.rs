//! From a folder to open graphs: which file of each, with which weights, on which provider.

use std::borrow::Cow;

use super::network::Graphs;
use super::{Model, adapters, trial};
use crate::backend::ort::{Opener, OrtBackend};
use crate::backend::{Changes, Device, Graph, Opening, Provider};
use crate::error::EngineError;
use crate::folder::{Files, Folder, Part};
use crate::lora::{Lora, NewWeight};
use crate::onnx::repair;
use crate::watch::LoadInterrupt;

type Progress<'p> = &'p mut dyn FnMut(&str);

/// What went wrong, and with which graph where that is known.
struct Failure {
    role: Option<&'static str>,
    error: EngineError,
}

impl Model {
    /// Opens the graphs of a folder on a device and tries each of them once.
    ///
    /// With CUDA, fused copies of graphs (`model.cuda.onnx`) are taken where the folder has sound ones;
    /// [`super::Facts::fused`] says which, and [`super::Facts::fused_refused`] why not.
    ///
    /// - `opening`: where; a [`Device`] alone keeps no cache.
    /// - `loras`: adapters to merge into the weights, in this order.
    /// - `progress`: told a sentence before each stage that takes time.
    ///
    /// # Errors
    ///
    /// [`EngineError::ProviderUnavailable`] if the wanted provider cannot be used (with
    /// [`Provider::Auto`] the CPU is used then, and [`super::Facts::fallback`] says why),
    /// [`EngineError::ModelFileCorrupt`] or [`EngineError::ModelFileMissing`] if a graph does not
    /// open, [`EngineError::ModelUnsupported`] if it opens but is not of a kind that the engine
    /// knows. The first three also of an adapter that is missing, damaged or made for another model.
    pub fn load(
        folder: &Folder,
        backend: &OrtBackend,
        opening: impl Into<Opening>,
        loras: &[Lora],
        progress: Progress<'_>,
    ) -> Result<Self, EngineError> {
        let interrupt = LoadInterrupt::default();
        Self::load_unless(&interrupt, folder, backend, opening, loras, progress)
    }

    /// As [`Model::load`], ended by `interrupt` from another thread.
    ///
    /// # Errors
    ///
    /// Also [`EngineError::Interrupted`].
    pub fn load_unless(
        interrupt: &LoadInterrupt,
        folder: &Folder,
        backend: &OrtBackend,
        opening: impl Into<Opening>,
        loras: &[Lora],
        progress: Progress<'_>,
    ) -> Result<Self, EngineError> {
        let opening = opening.into();
        let device = opening.device;
        if device.provider == Provider::Auto {
            let on = |provider| Opening {
                device: Device { provider, ..device },
                ..opening.clone()
            };
            let mut load = |provider| {
                let opening = on(provider);
                Self::load_unless(interrupt, folder, backend, opening, loras, &mut *progress)
            };
            return match load(Provider::Cuda) {
                Err(EngineError::ProviderUnavailable { reason, .. }) => {
                    let mut model = load(Provider::Cpu)?;
                    model.facts.fallback = Some(reason);
                    Ok(model)
                }
                loaded => loaded,
            };
        }
        let opener = backend.on(&opening)?.stopped_by(interrupt);
        Self::load_on(folder, &opener, loras, progress)
    }

    /// As [`Model::load`], on a device that is there.
    pub(super) fn load_on(
        folder: &Folder,
        opener: &Opener<'_>,
        loras: &[Lora],
        progress: Progress<'_>,
    ) -> Result<Self, EngineError> {
        let mut files = match opener.takes_fused() {
            true => Files::fused(folder),
            false => Files::plain(folder),
        };
        for (role, reason) in &files.refused {
            progress(&left_aside(role, reason));
        }
        loop {
            match attempt(&files.folder, opener, loras, progress) {
                Ok(mut model) => {
                    model.facts.has_fused = folder.has_fused();
                    model.facts.fused = files.fused;
                    model.facts.fused_refused = files.refused;
                    (model.gauge, model.workshop) = (opener.gauge(), opener.workshop());
                    return Ok(model);
                }
                Err(Failure { role, error }) => {
                    let reason = error.to_string();
                    if !blames_the_file(&error) || !files.put_back(role, &reason) {
                        return Err(error);
                    }
                    progress(&left_aside(role.unwrap_or("model"), &reason));
                }
            }
        }
    }
}

fn left_aside(role: &str, reason: &str) -> String {
    tracing::warn!(role, reason, "the fused copy is not used");
    format!(
        "The fused copy of the {} is left aside: {reason}",
        role.replace('_', " ")
    )
}

/// Whether another file of the same graph may do better.
fn blames_the_file(error: &EngineError) -> bool {
    matches!(
        error,
        EngineError::ModelFileCorrupt { .. }
            | EngineError::ModelFileMissing { .. }
            | EngineError::ModelUnsupported { .. }
            | EngineError::InferenceFailed { .. }
            // Also said of a kernel that will not run: if it was the device, the graph itself will not run either.
            | EngineError::ProviderUnavailable { .. }
    )
}

/// Opens all graphs of `folder` and tries them.
fn attempt(
    folder: &Folder,
    opener: &Opener<'_>,
    loras: &[Lora],
    progress: Progress<'_>,
) -> Result<Model, Failure> {
    let provider = opener.provider();
    let of = |role| move |error| Failure { role, error };
    let loras = folder.merged(loras).map_err(of(None))?;
    let adapted = adapters::merge_all(folder, &loras, progress)
        .map_err(|(role, error)| Failure { role, error })?;
    let stage = |what: &str| match provider {
        "tensorrt" => format!(
            "Loading the {what} of {}; TensorRT builds an engine for it the first time, for minutes",
            folder.name()
        ),
        _ => format!("Loading the {what} of {}", folder.name()),
    };
    let open = |part: &Part, weights: &[NewWeight], what, progress: Progress<'_>| {
        progress(&stage(what));
        let open = || {
            let content = adapters::changed(part, weights)?;
            let content = content.as_deref();
            let pixels = folder.autoencoder.scale_factor();
            let changes = Changes {
                content,
                weights,
                pixels,
            };
            opener.open(part, changes)
        };
        open().map_err(of(Some(part.role())))
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
            progress(&stage("denoising network"));
            open_unet(opener, folder, &adapted.unet, progress).map_err(of(Some("unet")))?
        },
        image_encoder: match &folder.image_encoder {
            Some(part) => Some(open(part, &[], "image encoder", progress)?),
            None => None,
        },
        encoder: open(&folder.vae_encoder, &[], "picture encoder", progress)?,
        decoder: open(&folder.vae_decoder, &[], "picture decoder", progress)?,
    };
    progress(&format!("Trying {} once", folder.name()));
    Model::assemble(folder, graphs, provider).map_err(|error| Failure {
        role: None,
        error: of_trial(error, provider),
    })
}

/// Sorts the failure of a model's first runs.
fn of_trial(error: EngineError, provider: &'static str) -> EngineError {
    match error {
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
    }
}

/// Opens the denoising network; one whose timestep lacks an axis gets it, so that it can be batched.
fn open_unet(
    opener: &Opener<'_>,
    folder: &Folder,
    weights: &[NewWeight],
    progress: Progress<'_>,
) -> Result<Box<dyn Graph>, EngineError> {
    let (part, pixels) = (&folder.unet, folder.autoencoder.scale_factor());
    let open = |content: Option<&[u8]>| {
        let changes = Changes {
            content,
            weights,
            pixels,
        };
        opener.open(part, changes)
    };
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
        Some(Err(EngineError::Interrupted)) => return Err(EngineError::Interrupted),
        Some(Err(error)) => tracing::debug!(%error, "the repaired network does not open"),
        None => {}
    }
    open(changed.as_deref())
}

#[cfg(test)]
mod tests;

//! What a model and parameters mean for the rows: steps, noise, guidance.

use super::pace::{Batching, Pace};
use crate::backend::ort::{Design, Resident};
use crate::error::EngineError;
use crate::guidance::Guidance;
use crate::model::{Facts, Model};
use crate::noise::Walk;
use crate::onnx::latents::Sizes;
use crate::parameters::{InputMode, Parameters};
use crate::stream::{Shape, Stream};

pub(super) fn guidance(model: &Model, parameters: &Parameters) -> Guidance {
    if model.facts().guidance_embedded {
        Guidance::OFF
    } else {
        parameters.guidance()
    }
}

pub(super) fn new_stream(
    model: &Model,
    parameters: &Parameters,
    (pace, mode): (Pace, InputMode),
    steps: &[u16],
    size: (u32, u32),
) -> Result<Stream, EngineError> {
    let facts = model.facts();
    let shape = Shape {
        batched: match pace.batching {
            Batching::Auto => facts.batchable && facts.provider != "cpu",
            Batching::Stream => facts.batchable,
            Batching::Sequential => false,
        },
        frame_buffer: pace.frame_buffer as usize,
        size: values(facts, size),
    };
    let mut stream = Stream::new(model.schedule(), steps, shape);
    if let Some(resident) = settle(model, &stream, mode, size)? {
        stream.settle(resident);
    }
    stream.set_seeds(&parameters.all_seeds(), parameters.seed_interpolation)?;
    stream.add_noise = parameters.add_noise;
    stream.guidance = guidance(model, parameters);
    Ok(stream)
}

/// Room for a stream's latents where the model's graphs compute, if they shall be there.
pub(super) fn settle(
    model: &Model,
    stream: &Stream,
    mode: InputMode,
    size: (u32, u32),
) -> Result<Option<Resident>, EngineError> {
    let facts = model.facts();
    let (shape, steps) = (stream.shape(), stream.steps());
    let side = |pixels: u32| (pixels / facts.scale_factor) as usize;
    let design = Design {
        sizes: Sizes {
            groups: if shape.batched { steps } else { 1 },
            buffer: shape.frame_buffer,
            latent: [facts.latent_channels, side(size.1), side(size.0)],
        },
        steps,
        text: mode == InputMode::Text,
        size,
    };
    match model.resident(design) {
        None => Ok(None),
        Some(Err(EngineError::InferenceFailed { graph, reason })) => {
            // Slower, but the same pictures.
            tracing::warn!(graph, reason, "latents stay on the host");
            Ok(None)
        }
        Some(resident) => resident.map(Some),
    }
}

/// Values of one latent.
pub(super) fn values(facts: &Facts, size: (u32, u32)) -> usize {
    let side = |pixels: u32| (pixels / facts.scale_factor) as usize;
    facts.latent_channels * side(size.0) * side(size.1)
}

pub(super) fn new_walk(parameters: &Parameters, values: usize) -> Walk {
    let seeds = parameters.all_seeds();
    Walk::new(seeds, parameters.seed_interpolation, values)
}

pub(super) fn timesteps(model: &Model, parameters: &Parameters, mode: InputMode) -> Vec<u16> {
    let facts = model.facts();
    let usual = match mode {
        InputMode::Video => &facts.default_video_steps,
        InputMode::Text => &facts.default_text_steps,
    };
    parameters.timesteps(mode, usual)
}

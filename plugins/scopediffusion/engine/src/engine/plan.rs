//! What a model and parameters mean for the rows: steps, noise, guidance.

use super::pace::{Batching, Pace};
use crate::guidance::Guidance;
use crate::model::Model;
use crate::noise::Walk;
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
    pace: Pace,
    steps: &[u16],
    size: usize,
) -> Stream {
    let facts = model.facts();
    let shape = Shape {
        batched: match pace.batching {
            Batching::Auto => facts.batchable && facts.provider != "cpu",
            Batching::Stream => facts.batchable,
            Batching::Sequential => false,
        },
        frame_buffer: pace.frame_buffer as usize,
        size,
    };
    let mut stream = Stream::new(model.schedule(), steps, shape);
    stream.set_seeds(&parameters.all_seeds(), parameters.seed_interpolation);
    stream.add_noise = parameters.add_noise;
    stream.guidance = guidance(model, parameters);
    stream
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

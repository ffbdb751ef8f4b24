//! Graphs made of plain arithmetic, for tests of everything around them.
//!
//! Every row of every tensor is computed by itself, so results do not depend on what shares a
//! call: differences between modes are then differences in our own code.

use std::sync::Arc;

use super::{Element, Feed, Form, Graph, Output, Port, Read, Values};
use crate::error::EngineError;
use crate::folder::Folder;
use crate::model::{Graphs, Model};
use crate::watch::Watch;

/// Channels of the fake latent.
const CHANNELS: usize = 4;
/// Pixels of the picture for one of the latent.
const FACTOR: usize = 4;
/// Values of one token.
const WIDTH: usize = 2;

/// What a fake graph computes from its feeds, in the order of its inputs.
type Formula = fn(&[Feed<'_>]) -> (Vec<usize>, Vec<f32>);

#[derive(Debug, Clone)]
pub(crate) struct Fake {
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    pub(crate) formula: Formula,
    /// Refuse to run more than this many rows at once.
    pub(crate) most_rows: usize,
}

impl Graph for Fake {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn run(
        &mut self,
        feeds: &[Feed<'_>],
        wanted: &[(&str, Form)],
        watch: &Watch,
        read: &mut Read<'_>,
    ) -> Result<(), EngineError> {
        if watch.is_stopped() {
            return Err(EngineError::Interrupted);
        }
        if feeds[0].shape[0] > self.most_rows {
            let reason = "too many rows".into();
            return Err(EngineError::InferenceFailed {
                graph: "fake".into(),
                reason,
            });
        }
        let seen = feeds.iter().map(|feed| match feed.values {
            Values::Bytes(bytes) => spread(bytes),
            _ => Vec::new(),
        });
        let seen: Vec<_> = seen.collect();
        let feeds: Vec<_> = feeds
            .iter()
            .zip(&seen)
            .map(|(feed, seen)| match feed.values {
                Values::Bytes(_) => Feed::new(feed.name, feed.shape, Values::Real(seen)),
                _ => *feed,
            })
            .collect();
        let (shape, values) = (self.formula)(&feeds);
        for (at, (_, form)) in wanted.iter().enumerate() {
            let (shape, values) = (&shape, &values);
            match form {
                Form::Real => read(at, Output::Real { shape, values }),
                Form::Bytes => read(
                    at,
                    Output::Picture {
                        shape,
                        bytes: &gather(values),
                        sound: values.iter().all(|value| value.is_finite()),
                    },
                ),
            }
        }
        Ok(())
    }
}

/// A picture's bytes, `[H, W, 3]`, as values `[3, H, W]`: what [`crate::onnx::picture`] computes.
pub(crate) fn spread(bytes: &[u8]) -> Vec<f32> {
    let channel = |channel: usize| bytes.iter().skip(channel).step_by(3);
    (0..3)
        .flat_map(channel)
        .map(|byte| f32::from(*byte) / 255.0 * 2.0 - 1.0)
        .collect()
}

/// The way back, clamped and rounded half to even.
pub(crate) fn gather(values: &[f32]) -> Vec<u8> {
    let pixels = values.len() / 3;
    let byte = |value: f32| ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
    (0..3 * pixels)
        .map(|at| byte(values[at % 3 * pixels + at / 3]))
        .collect()
}

/// A port with free dimensions.
pub(crate) fn port(name: &str, element: Element, rank: usize) -> Port {
    Port {
        name: name.into(),
        element,
        shape: vec![None; rank],
    }
}

/// A graph with one output.
fn fake(inputs: &[Port], output: &str, formula: Formula) -> Fake {
    let outputs = vec![port(output, Element::F32, 4)];
    Fake {
        inputs: inputs.to_vec(),
        outputs,
        formula,
        most_rows: usize::MAX,
    }
}

pub(crate) fn text_encoder() -> Fake {
    fake(
        &[port("input_ids", Element::I64, 2)],
        "last_hidden_state",
        |feeds| {
            let ids = whole(feeds[0].values);
            let token = |id: &i64| [*id as f32 / 100.0, (*id as f32).sin()];
            (
                vec![1, ids.len(), WIDTH],
                ids.iter().flat_map(token).collect(),
            )
        },
    )
}

pub(crate) fn unet() -> Fake {
    let inputs = [
        port("sample", Element::F32, 4),
        port("timestep", Element::F32, 1),
        port("encoder_hidden_states", Element::F32, 3),
    ];
    fake(&inputs, "out_sample", |feeds| {
        let (sample, timesteps) = (real(feeds[0].values), real(feeds[1].values));
        let (rows, context) = (feeds[0].shape[0], real(feeds[2].values));
        let mut out = Vec::with_capacity(sample.len());
        for (row, sample) in sample.chunks(sample.len() / rows).enumerate() {
            let context = &context[row * context.len() / rows..][..context.len() / rows];
            let mood = context.iter().sum::<f32>() / context.len() as f32;
            let time = timesteps[row] / 1000.0;
            out.extend(
                sample
                    .iter()
                    .map(|x| 0.7 * x + 0.2 * (3.0 * x + mood).sin() * time),
            );
        }
        (feeds[0].shape.to_vec(), out)
    })
}

pub(crate) fn encoder() -> Fake {
    fake(
        &[port("sample", Element::F32, 4)],
        "latent_sample",
        |feeds| {
            let (height, width) = (feeds[0].shape[2], feeds[0].shape[3]);
            let (h, w, image) = (height / FACTOR, width / FACTOR, real(feeds[0].values));
            let pick = |c: usize, y: usize, x: usize| {
                image[(c % 3) * height * width + (y * FACTOR + c) * width + x * FACTOR]
            };
            let mut out = Vec::new();
            for c in 0..CHANNELS {
                for y in 0..h {
                    out.extend((0..w).map(|x| pick(c, y, x)));
                }
            }
            (vec![1, CHANNELS, h, w], out)
        },
    )
}

pub(crate) fn decoder() -> Fake {
    fake(
        &[port("latent_sample", Element::F32, 4)],
        "sample",
        |feeds| {
            let (h, w, latent) = (feeds[0].shape[2], feeds[0].shape[3], real(feeds[0].values));
            let (height, width) = (h * FACTOR, w * FACTOR);
            let mut out = Vec::new();
            for c in 0..3 {
                for y in 0..height {
                    out.extend((0..width).map(|x| {
                        let at = |c: usize| latent[c * h * w + y / FACTOR * w + x / FACTOR];
                        at(c) + 0.1 * at(3)
                    }));
                }
            }
            (vec![1, 3, height, width], out)
        },
    )
}

pub(crate) fn graphs() -> Graphs {
    Graphs {
        text_encoders: vec![Box::new(text_encoder())],
        unet: Box::new(unet()),
        image_encoder: None,
        encoder: Box::new(encoder()),
        decoder: Box::new(decoder()),
    }
}

/// The smallest file that looks like ONNX from outside: a version and an empty graph.
const NOT_A_GRAPH: &[u8] = &[0x08, 8, 0x3a, 0];

/// A folder for the fake graphs whose scheduler config is the argument.
macro_rules! folder {
    ($scheduler:literal) => {
        Folder::embedded(
            "fake",
            &[
                ("text_encoder/model.onnx", NOT_A_GRAPH),
                ("unet/model.onnx", NOT_A_GRAPH),
                (
                    "unet/config.json",
                    br#"{"in_channels": 4, "sample_multiple_of": 8}"#,
                ),
                ("vae_encoder/model.onnx", NOT_A_GRAPH),
                ("vae_decoder/model.onnx", NOT_A_GRAPH),
                ("vae_decoder/config.json", br#"{"scaling_factor": 0.5}"#),
                ("scheduler/scheduler_config.json", $scheduler),
                (
                    "tokenizer/tokenizer.json",
                    include_bytes!("../../tests/golden/model-tiny/tokenizer/tokenizer.json"),
                ),
            ],
        )
        .unwrap()
    };
}

/// A folder whose network predicts noise, velocity or the clean latent.
pub(crate) fn folder(prediction: &str) -> Folder {
    match prediction {
        "v_prediction" => folder!(br#"{"prediction_type": "v_prediction"}"#),
        "sample" => folder!(br#"{"prediction_type": "sample"}"#),
        _ => folder!(b"{}"),
    }
}

pub(crate) fn model() -> Arc<Model> {
    Arc::new(Model::assemble(&folder("epsilon"), graphs(), "cpu").unwrap())
}

fn real<'a>(values: Values<'a>) -> &'a [f32] {
    match values {
        Values::Real(real) => real,
        Values::Whole(_) | Values::Bytes(_) => panic!("numbers with a fraction were expected"),
    }
}

fn whole<'a>(values: Values<'a>) -> &'a [i64] {
    match values {
        Values::Whole(whole) => whole,
        Values::Real(_) | Values::Bytes(_) => panic!("whole numbers were expected"),
    }
}

//! The four graphs of a model behind their locks: who is fed what.
//!
//! Shapes of results are checked at every call: an ONNX file may promise what it likes.

use std::sync::{Mutex, PoisonError};

use crate::backend::{Feed, Graph, Tensor, Values};
use crate::error::EngineError;
use crate::tokenizer;

/// The graphs of a model, open.
#[derive(Debug)]
pub(crate) struct Graphs {
    pub(crate) text_encoder: Box<dyn Graph>,
    pub(crate) unet: Box<dyn Graph>,
    pub(crate) encoder: Box<dyn Graph>,
    pub(crate) decoder: Box<dyn Graph>,
}

/// Rows on their way through the denoising network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    /// Latents, `[R, C, h, w]`.
    pub(crate) sample: &'a [f32],
    /// Timesteps, `[R]`.
    pub(crate) timesteps: &'a [f32],
    /// Embeddings, `[R, 77, D]`.
    pub(crate) context: &'a [f32],
    /// Height and width of a latent.
    pub(crate) latent: (usize, usize),
}

/// A graph with the names that the engine uses it by.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) graph: Mutex<Box<dyn Graph>>,
    pub(super) role: &'static str,
    /// Names in the order that the calls below feed them.
    pub(super) inputs: Vec<String>,
    pub(super) output: String,
}

/// The graphs by role, and what [`super::trial`] has found out about them.
#[derive(Debug)]
pub(super) struct Networks {
    pub(super) text_encoder: Node,
    pub(super) unet: Node,
    pub(super) encoder: Node,
    pub(super) decoder: Node,
    /// Channels of a latent, `C`.
    pub(super) channels: usize,
    /// Pixels for one of the latent.
    pub(super) scale_factor: usize,
    /// Values of one token, `D`.
    pub(super) token_width: usize,
    /// Whether rows at different timesteps can share a call.
    pub(super) batchable: bool,
    /// Whether the timestep is fed without an axis.
    pub(super) scalar_timestep: bool,
    /// What latents are multiplied with behind the encoder and divided by before the decoder.
    pub(super) scaling: f32,
}

impl Networks {
    /// The embedding of one prompt, `[1, 77, D]`.
    pub(super) fn embed(&self, ids: &[i64]) -> Result<Tensor, EngineError> {
        let mut out = Tensor::default();
        self.text_encoder.run(
            &[Feed {
                name: &self.text_encoder.inputs[0],
                shape: &[1, ids.len()],
                values: Values::Whole(ids),
            }],
            &mut out,
        )?;
        Ok(out)
    }

    /// A picture, `[3, H, W]`, as a latent `[C, h, w]` scaled for the denoising network.
    ///
    /// Of an encoder that gives mean and variance the mean is taken: sampling would flicker.
    pub(super) fn encode(
        &self,
        image: &[f32],
        (width, height): (u32, u32),
        latent: &mut Tensor,
    ) -> Result<(), EngineError> {
        let (width, height) = (width as usize, height as usize);
        self.encoder.run(
            &[Feed {
                name: &self.encoder.inputs[0],
                shape: &[1, 3, height, width],
                values: Values::Real(image),
            }],
            latent,
        )?;
        let (h, w) = (height / self.scale_factor, width / self.scale_factor);
        match latent.shape.as_slice() {
            [1, channels, rows, columns]
                if [self.channels, 2 * self.channels].contains(channels)
                    && (*rows, *columns) == (h, w) => {}
            shape => return Err(self.encoder.surprise(shape, &[1, self.channels, h, w])),
        }
        latent.values.truncate(self.channels * h * w);
        latent.shape[1] = self.channels;
        if self.scaling != 1.0 {
            latent
                .values
                .iter_mut()
                .for_each(|value| *value *= self.scaling);
        }
        Ok(())
    }

    /// The network's output for all rows, `[R, C, h, w]`: in one call if the graph can, else row
    /// by row.
    pub(super) fn denoise(&self, rows: &Rows<'_>, out: &mut Tensor) -> Result<(), EngineError> {
        let (count, (h, w)) = (rows.timesteps.len(), rows.latent);
        if self.batchable || count == 1 {
            return self.denoise_at_once(rows, out);
        }
        let (mut all, size) = (Vec::new(), self.channels * h * w);
        for row in 0..count {
            let context = tokenizer::LENGTH * self.token_width;
            let one = Rows {
                sample: &rows.sample[row * size..][..size],
                timesteps: &rows.timesteps[row..=row],
                context: &rows.context[row * context..][..context],
                latent: rows.latent,
            };
            self.denoise_at_once(&one, out)?;
            all.extend_from_slice(&out.values);
        }
        *out = Tensor {
            shape: vec![count, self.channels, h, w],
            values: all,
        };
        Ok(())
    }

    fn denoise_at_once(&self, rows: &Rows<'_>, out: &mut Tensor) -> Result<(), EngineError> {
        let (count, (h, w)) = (rows.timesteps.len(), rows.latent);
        let names = &self.unet.inputs;
        let shape = [count, self.channels, h, w];
        let timestep_shape: &[usize] = if self.scalar_timestep { &[] } else { &[count] };
        let feeds = [
            Feed {
                name: &names[0],
                shape: &shape,
                values: Values::Real(rows.sample),
            },
            Feed {
                name: &names[1],
                shape: timestep_shape,
                values: Values::Real(rows.timesteps),
            },
            Feed {
                name: &names[2],
                shape: &[count, tokenizer::LENGTH, self.token_width],
                values: Values::Real(rows.context),
            },
        ];
        self.unet.run(&feeds, out)?;
        if out.shape == shape {
            Ok(())
        } else {
            Err(self.unet.surprise(&out.shape, &shape))
        }
    }

    /// A clean latent `[C, h, w]` as a picture `[3, H, W]`; the latent is rescaled on the way.
    pub(super) fn decode(
        &self,
        latent: &mut [f32],
        (width, height): (u32, u32),
        image: &mut Tensor,
    ) -> Result<(), EngineError> {
        let (width, height) = (width as usize, height as usize);
        let sides = (height / self.scale_factor, width / self.scale_factor);
        self.decode_any(latent, sides, image)?;
        let expected = [1, 3, height, width];
        if image.shape == expected {
            Ok(())
        } else {
            Err(self.decoder.surprise(&image.shape, &expected))
        }
    }

    /// As [`Networks::decode`], for a latent of height and width `sides`, whatever comes out.
    pub(super) fn decode_any(
        &self,
        latent: &mut [f32],
        (h, w): (usize, usize),
        image: &mut Tensor,
    ) -> Result<(), EngineError> {
        if self.scaling != 1.0 {
            latent.iter_mut().for_each(|value| *value /= self.scaling);
        }
        let feed = Feed {
            name: &self.decoder.inputs[0],
            shape: &[1, self.channels, h, w],
            values: Values::Real(latent),
        };
        self.decoder.run(&[feed], image)
    }
}

impl Node {
    fn run(&self, feeds: &[Feed<'_>], out: &mut Tensor) -> Result<(), EngineError> {
        let mut graph = self.graph.lock().unwrap_or_else(PoisonError::into_inner);
        graph.run(feeds, &mut [(self.output.as_str(), out)])
    }

    fn surprise(&self, actual: &[usize], expected: &[usize]) -> EngineError {
        EngineError::InferenceFailed {
            graph: self.role.into(),
            reason: format!("it gave a tensor of {actual:?}, expected {expected:?}"),
        }
    }
}

//! The graphs of a model behind their locks: who is fed what.
//!
//! Shapes of results are checked at every call: an ONNX file may promise what it likes.

use std::sync::{Mutex, PoisonError};

use super::image::ImageEncoder;
use super::rows::Rows;
use crate::backend::ort::{Parts, Resident, Round, Workshop};
use crate::backend::{Feed, Form, Graph, Output, Read, Tensor, Values};
use crate::error::EngineError;
use crate::prompt::Condition;
use crate::tokenizer;
use crate::watch::Watch;

/// Numbers that say where a picture was cut from its original, Stable Diffusion XL's `time_ids`.
pub(crate) const TIME_IDS: usize = 6;

/// The graphs of a model, open.
#[derive(Debug)]
pub(crate) struct Graphs {
    /// One, or two for Stable Diffusion XL.
    pub(crate) text_encoders: Vec<Box<dyn Graph>>,
    pub(crate) unet: Box<dyn Graph>,
    pub(crate) image_encoder: Option<Box<dyn Graph>>,
    pub(crate) encoder: Box<dyn Graph>,
    pub(crate) decoder: Box<dyn Graph>,
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

/// A text encoder: its node's output is the embedding of tokens.
#[derive(Debug)]
pub(super) struct TextEncoder {
    pub(super) node: Node,
    /// Output with the embedding of the whole prompt, if it is wanted from this encoder.
    pub(super) pooled: Option<String>,
    /// Adapters whose scales are inputs of it, by name.
    pub(super) loras: Vec<String>,
}

/// How the timestep is fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimestepForm {
    /// Without an axis: all rows of a call share it.
    Scalar,
    /// One value for all rows of a call.
    One,
    /// One value for each row.
    EachRow,
}

/// Inputs of the denoising network that not every model has, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Extras {
    pub(super) text_embeds: Option<String>,
    pub(super) time_ids: Option<String>,
    pub(super) timestep_cond: Option<String>,
    pub(super) tokens: Option<String>,
    pub(super) reference_scale: Option<String>,
    /// Adapters whose scales are inputs, by name.
    pub(super) loras: Vec<String>,
}

/// What the input for an adapter's scale is called, less the adapter's name.
pub(super) const LORA_SCALE: &str = "lora_scale.";

/// Most inputs that a network can have: three, six that not every one has, and adapters.
const MOST_INPUTS: usize = 9 + MOST_LORAS;

/// Most adapters that can be inputs of a network.
pub(super) const MOST_LORAS: usize = 16;

/// The graphs by role, and what [`super::trial`] has found out about them.
#[derive(Debug)]
pub(super) struct Networks {
    pub(super) text_encoders: Vec<TextEncoder>,
    pub(super) unet: Node,
    pub(super) extras: Extras,
    /// The inputs for adapters' scales, by their whole names, in the order of `extras.loras`.
    pub(super) lora_inputs: Vec<String>,
    pub(super) image_encoder: Option<ImageEncoder>,
    pub(super) encoder: Node,
    pub(super) decoder: Node,
    /// Channels of a latent, `C`.
    pub(super) channels: usize,
    /// Pixels for one of the latent.
    pub(super) scale_factor: usize,
    /// Values of one token, `D`.
    pub(super) token_width: usize,
    pub(super) timestep: TimestepForm,
    /// Whether rows at different timesteps can share a call.
    pub(super) batchable: bool,
    /// Most rows that can share a call.
    pub(super) most_rows: usize,
    /// Whether every call must have `most_rows` rows.
    pub(super) fixed_rows: bool,
    /// What latents are multiplied with behind the encoder and divided by before the decoder.
    pub(super) scaling: f32,
    pub(super) scratch: Mutex<Scratch>,
}

/// Memory for rows that cannot share a call.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    part: Tensor,
    /// The inputs of a call that had to be filled up.
    filled: [Vec<f32>; 7],
}

impl Networks {
    /// For each graph which providers run how many of its operations.
    pub(super) fn placement(&self) -> Vec<(&'static str, Vec<(String, usize)>)> {
        let encoders = self.text_encoders.iter().map(|encoder| &encoder.node);
        let nodes = encoders.chain([&self.unet, &self.encoder, &self.decoder]);
        let placement = |node: &Node| {
            let graph = node.graph.lock().unwrap_or_else(PoisonError::into_inner);
            (node.role, graph.placement())
        };
        nodes.map(placement).collect()
    }

    /// What one prompt says.
    ///
    /// - `ids`: token ids for each text encoder, 77 of them.
    /// - `scale_of`: how much the adapter of a name counts, where a text encoder takes it as an input.
    pub(super) fn embed(
        &self,
        ids: &[Vec<i64>],
        scale_of: &dyn Fn(&str) -> f32,
    ) -> Result<Condition, EngineError> {
        let (mut tokens, mut pooled) = (Vec::new(), Tensor::default());
        for (encoder, ids) in self.text_encoders.iter().zip(ids) {
            let shape = [1, ids.len()];
            let feed = Feed::new(&encoder.node.inputs[0], &shape, Values::Whole(ids));
            let mut hidden = Tensor::default();
            let scales: Vec<f32> = encoder.loras.iter().map(|name| scale_of(name)).collect();
            let names: Vec<String> = (encoder.loras.iter())
                .map(|name| format!("{LORA_SCALE}{name}"))
                .collect();
            let mut feeds = vec![feed];
            feeds.extend(
                names
                    .iter()
                    .zip(scales.chunks(1))
                    .map(|(name, scale)| Feed::new(name, &[1], Values::Real(scale))),
            );
            let mut wanted = vec![(encoder.node.output.as_str(), Form::Real)];
            wanted.extend(encoder.pooled.as_deref().map(|name| (name, Form::Real)));
            let mut read = |at: usize, output: Output<'_>| match at {
                0 => hidden.take(output),
                _ => pooled.take(output),
            };
            let watch = Watch::default();
            encoder.node.run_for(&feeds, &wanted, &watch, &mut read)?;
            match hidden.shape.as_slice() {
                [1, tokenizer::LENGTH, width] if *width > 0 => tokens.push((*width, hidden.values)),
                shape => {
                    let reason = format!("it gave a tensor of {shape:?}, expected [1, 77, any]");
                    return Err(EngineError::InferenceFailed {
                        graph: encoder.node.role.into(),
                        reason,
                    });
                }
            }
        }
        Ok(Condition {
            tokens: side_by_side(&tokens),
            pooled: pooled.values,
        })
    }

    /// A picture, `[H, W, 3]` in bytes, as a latent `[C, h, w]` scaled for the denoising network.
    ///
    /// Of an encoder that gives mean and variance the mean is taken: sampling would flicker.
    pub(super) fn encode(
        &self,
        picture: &[u8],
        (width, height): (u32, u32),
        latent: &mut Tensor,
        watch: &Watch,
    ) -> Result<(), EngineError> {
        let (width, height) = (width as usize, height as usize);
        let shape = [1, 3, height, width];
        let feed = Feed::new(&self.encoder.inputs[0], &shape, Values::Bytes(picture));
        self.encoder.run(&[feed], latent, watch)?;
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

    /// The network's output for all rows, `[R, C, h, w]`: in as few calls as the graph allows.
    pub(super) fn denoise(
        &self,
        rows: &Rows<'_>,
        out: &mut Tensor,
        watch: &Watch,
    ) -> Result<(), EngineError> {
        let (count, (h, w)) = (rows.timesteps.len(), rows.latent);
        let together = self.together(rows.timesteps);
        if together == count && (!self.fixed_rows || count == self.most_rows) {
            return self.denoise_at_once(rows, out, watch);
        }
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let Scratch {
            part: given,
            filled,
        } = &mut *scratch;
        let (size, mut from) = (self.channels * h * w, 0);
        out.values.clear();
        while from < count {
            let to = from + self.together(&rows.timesteps[from..]);
            let part = rows.part(from, to);
            if self.fixed_rows {
                self.denoise_filled_up(&part, filled, given, watch)?;
            } else {
                self.denoise_at_once(&part, given, watch)?;
            }
            out.values
                .extend_from_slice(&given.values[..(to - from) * size]);
            from = to;
        }
        out.shape.clear();
        out.shape.extend([count, self.channels, h, w]);
        Ok(())
    }

    /// How many of the first rows can share a call.
    fn together(&self, timesteps: &[f32]) -> usize {
        let most = timesteps.len().min(self.most_rows);
        if self.batchable {
            return most;
        }
        let same = |other: &&f32| **other == timesteps[0];
        timesteps.iter().take_while(same).count().min(most)
    }

    /// For a graph that was exported for one number of rows: the last row fills up the rest.
    fn denoise_filled_up(
        &self,
        rows: &Rows<'_>,
        filled: &mut [Vec<f32>; 7],
        out: &mut Tensor,
        watch: &Watch,
    ) -> Result<(), EngineError> {
        let rows = rows.filled_up(self.most_rows, filled);
        self.denoise_at_once(&rows, out, watch)
    }

    fn denoise_at_once(
        &self,
        rows: &Rows<'_>,
        out: &mut Tensor,
        watch: &Watch,
    ) -> Result<(), EngineError> {
        self.fed(rows, &mut |feeds| self.unet.run(feeds, out, watch))?;
        let (h, w) = rows.latent;
        let shape = [rows.timesteps.len(), self.channels, h, w];
        if out.shape == shape {
            Ok(())
        } else {
            Err(self.unet.surprise(&out.shape, &shape))
        }
    }

    /// Shows `run` what the denoising network is fed for some rows: sample and timestep first.
    fn fed(
        &self,
        rows: &Rows<'_>,
        run: &mut dyn FnMut(&[Feed<'_>]) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let (count, (h, w)) = (rows.timesteps.len(), rows.latent);
        let names = &self.unet.inputs;
        let shape = [count, self.channels, h, w];
        let (timestep_shape, timesteps): (&[usize], _) = match self.timestep {
            TimestepForm::Scalar => (&[], &rows.timesteps[..1]),
            TimestepForm::One => (&[1], &rows.timesteps[..1]),
            TimestepForm::EachRow => (&[count], rows.timesteps),
        };
        let context = [count, tokenizer::LENGTH, self.token_width];
        let [pooled, time_ids, guidance] =
            [rows.pooled, rows.time_ids, rows.guidance].map(|values| [count, values.len() / count]);
        fn feed<'f>(name: &'f str, shape: &'f [usize], values: &'f [f32]) -> Feed<'f> {
            Feed::new(name, shape, Values::Real(values))
        }
        let image = [
            count,
            rows.tokens.len() / count / self.token_width.max(1),
            self.token_width,
        ];
        let reference_scale = [rows.reference_scale];
        let stamped = |name, shape, values| Feed {
            stamp: rows.stamp,
            ..feed(name, shape, values)
        };
        let mut feeds = [feed(&names[0], &shape, rows.sample); MOST_INPUTS];
        feeds[1] = feed(&names[1], timestep_shape, timesteps);
        feeds[2] = stamped(&names[2], &context, rows.context);
        let mut known = 3;
        let extras = &self.extras;
        for (name, shape, values) in [
            (&extras.text_embeds, pooled.as_slice(), rows.pooled),
            (&extras.time_ids, &time_ids, rows.time_ids),
            (&extras.timestep_cond, &guidance, rows.guidance),
            (&extras.tokens, &image, rows.tokens),
            (&extras.reference_scale, &[1], &reference_scale),
        ] {
            if let Some(name) = name {
                feeds[known] = stamped(name, shape, values);
                known += 1;
            }
        }
        for (name, scale) in self.lora_inputs.iter().zip(rows.lora_scales.chunks(1)) {
            feeds[known] = stamped(name, &[1], scale);
            known += 1;
        }
        run(&feeds[..known])
    }

    /// Feeds a stream's latents everything else that the denoising network wants, if that has changed,
    /// and runs a round with them.
    pub(super) fn round(
        &self,
        resident: &mut Resident,
        round: &Round<'_>,
        rows: &Rows<'_>,
        watch: &Watch,
    ) -> Result<(), EngineError> {
        if !resident.is_fed(round.negative, rows.stamp) {
            let (calls, size) = resident.calls(round.negative);
            let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
            let count = rows.timesteps.len();
            for call in 0..calls {
                let part = rows.part(call * size, count.min((call + 1) * size));
                let part = part.filled_up(size, &mut scratch.filled);
                let at = (round.negative, call);
                self.fed(&part, &mut |feeds| resident.feed(at, feeds, rows.stamp))?;
            }
        }
        resident.round(round, watch)
    }

    /// What latents that stay with the graphs are bound to; `None` if a graph has no sessions.
    pub(super) fn parts(&self, workshop: &Workshop) -> Option<Parts> {
        let handle = |node: &Node| {
            let graph = node.graph.lock().unwrap_or_else(PoisonError::into_inner);
            graph.handle()
        };
        let names = |node: &Node| (node.inputs[0].clone(), node.output.clone());
        Some(Parts {
            workshop: workshop.clone(),
            encoder: handle(&self.encoder)?,
            network: handle(&self.unet)?,
            decoder: handle(&self.decoder)?,
            encoder_names: names(&self.encoder),
            decoder_names: names(&self.decoder),
            predicted: self.unet.output.clone(),
            each_row: self.timestep == TimestepForm::EachRow,
            scalar: self.timestep == TimestepForm::Scalar,
            most_rows: self.most_rows,
            fixed_rows: self.fixed_rows,
            scaling: self.scaling,
        })
    }

    /// A clean latent `[C, h, w]` as a picture `[H, W, 3]` in bytes; the latent is rescaled on the
    /// way. False if any value of the picture is no number.
    pub(super) fn decode(
        &self,
        latent: &mut [f32],
        (width, height): (u32, u32),
        picture: &mut Vec<u8>,
        watch: &Watch,
    ) -> Result<bool, EngineError> {
        let (width, height) = (width as usize, height as usize);
        let (h, w) = (height / self.scale_factor, width / self.scale_factor);
        self.unscale(latent);
        let (shape, expected) = ([1, self.channels, h, w], [1, 3, height, width]);
        let feed = Feed::new(&self.decoder.inputs[0], &shape, Values::Real(latent));
        let mut given = Ok(false);
        let mut read = |_: usize, output: Output<'_>| match output {
            Output::Picture {
                shape,
                bytes,
                sound,
            } if shape == expected => {
                picture.clear();
                picture.extend_from_slice(bytes);
                given = Ok(sound);
            }
            Output::Picture { shape, .. } | Output::Real { shape, .. } => {
                given = Err(self.decoder.surprise(shape, &expected));
            }
        };
        let wanted = [(self.decoder.output.as_str(), Form::Bytes)];
        self.decoder.run_for(&[feed], &wanted, watch, &mut read)?;
        given
    }

    /// A clean latent `[C, h, w]` of height and width `sides` as values, whatever comes out.
    pub(super) fn decode_values(
        &self,
        latent: &[f32],
        (h, w): (usize, usize),
        values: &mut Tensor,
    ) -> Result<(), EngineError> {
        let mut latent = latent.to_vec();
        self.unscale(&mut latent);
        let shape = [1, self.channels, h, w];
        let feed = Feed::new(&self.decoder.inputs[0], &shape, Values::Real(&latent));
        self.decoder.run(&[feed], values, &Watch::default())
    }

    /// From what the denoising network knows to what the decoder knows.
    fn unscale(&self, latent: &mut [f32]) {
        if self.scaling != 1.0 {
            latent.iter_mut().for_each(|value| *value /= self.scaling);
        }
    }
}

/// Embeddings of the same tokens by several encoders as one: token by token one after another.
fn side_by_side(parts: &[(usize, Vec<f32>)]) -> Vec<f32> {
    if let [(_, only)] = parts {
        return only.clone();
    }
    let mut all = Vec::with_capacity(parts.iter().map(|(_, values)| values.len()).sum());
    for token in 0..tokenizer::LENGTH {
        for (width, values) in parts {
            all.extend_from_slice(&values[token * width..][..*width]);
        }
    }
    all
}

impl Node {
    fn run(&self, feeds: &[Feed<'_>], out: &mut Tensor, watch: &Watch) -> Result<(), EngineError> {
        let wanted = [(self.output.as_str(), Form::Real)];
        self.run_for(feeds, &wanted, watch, &mut |_, output| out.take(output))
    }

    pub(super) fn run_for(
        &self,
        feeds: &[Feed<'_>],
        wanted: &[(&str, Form)],
        watch: &Watch,
        read: &mut Read<'_>,
    ) -> Result<(), EngineError> {
        let mut graph = self.graph.lock().unwrap_or_else(PoisonError::into_inner);
        graph.run(feeds, wanted, watch, read)
    }

    fn surprise(&self, actual: &[usize], expected: &[usize]) -> EngineError {
        EngineError::InferenceFailed {
            graph: self.role.into(),
            reason: format!("it gave a tensor of {actual:?}, expected {expected:?}"),
        }
    }
}

//! The four graphs of a model behind their locks: who is fed what, under which name.
//!
//! Names differ between exporters, so each tensor has a list of aliases. Element types are the
//! backend's business. A graph that wants anything else is refused by naming that input.

use std::sync::{Arc, Mutex, PoisonError};

use crate::backend::{Element, Feed, Graph, Port, Tensor, Values};
use crate::error::EngineError;
use crate::folder::Folder;
use crate::tokenizer;

const IDS: &[&str] = &["input_ids"];
const HIDDEN: &[&str] = &["last_hidden_state"];
const SAMPLE: &[&str] = &["sample", "latent_model_input"];
const TIMESTEP: &[&str] = &["timestep", "t"];
const CONTEXT: &[&str] = &["encoder_hidden_states", "context"];
const PREDICTED: &[&str] = &["out_sample", "latent", "noise_pred"];
const IMAGES: &[&str] = &["sample", "images"];
const LATENT: &[&str] = &["latent_sample", "latent", "z", "latent_parameters"];

/// Sides of the latent that the graphs are tried with, unless they were exported for one size:
/// divisible often enough for every known UNet.
const TRIAL: usize = 16;

/// The graphs of a model, open.
#[derive(Debug)]
pub(crate) struct Graphs {
    pub(crate) text_encoder: Box<dyn Graph>,
    pub(crate) unet: Box<dyn Graph>,
    pub(crate) encoder: Box<dyn Graph>,
    pub(crate) decoder: Box<dyn Graph>,
}

/// What looking at the graphs and trying them has shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    pub(super) channels: usize,
    pub(super) scale_factor: u32,
    pub(super) token_width: usize,
    pub(super) batchable: bool,
    /// Height and width of the latent, if only one is possible.
    pub(super) fixed_latent: Option<(usize, usize)>,
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
struct Node {
    graph: Mutex<Box<dyn Graph>>,
    role: &'static str,
    inputs: Vec<String>,
    output: String,
}

#[derive(Debug)]
pub(super) struct Networks {
    text_encoder: Node,
    unet: Node,
    encoder: Node,
    decoder: Node,
    channels: usize,
    scale_factor: usize,
    token_width: usize,
    batchable: bool,
    scalar_timestep: bool,
    scaling: f32,
}

impl Networks {
    /// Binds names, runs every graph once, and refuses what does not fit together.
    ///
    /// - `ids`: token ids of the empty prompt.
    pub(super) fn try_out(
        graphs: Graphs,
        folder: &Folder,
        ids: &[i64],
    ) -> Result<(Self, Found), EngineError> {
        let refuse = |reason: String| EngineError::ModelUnsupported {
            name: folder.name().into(),
            reason,
        };
        let text_encoder = Node::new("text_encoder", graphs.text_encoder, &[IDS], HIDDEN, refuse)?;
        let (sample, timestep) = {
            let port = |aliases| find(graphs.unet.inputs(), aliases).cloned();
            (port(SAMPLE), port(TIMESTEP))
        };
        let unet = Node::new(
            "unet",
            graphs.unet,
            &[SAMPLE, TIMESTEP, CONTEXT],
            PREDICTED,
            refuse,
        )?;
        let encoder = Node::new("vae_encoder", graphs.encoder, &[IMAGES], LATENT, refuse)?;
        let decoder = Node::new("vae_decoder", graphs.decoder, &[LATENT], IMAGES, refuse)?;
        let (Some(sample), Some(timestep)) = (sample, timestep) else {
            return Err(refuse("the unet has no sample or timestep".into()));
        };

        let axis = |at: usize| sample.shape.get(at).copied().flatten();
        let channels = axis(1).or(folder.unet_config.in_channels).unwrap_or(4);
        if matches!(channels, 8 | 9) {
            return Err(refuse(format!(
                "its unet takes {channels} channels: it edits or fills pictures"
            )));
        }
        if !(1..=1024).contains(&channels) {
            return Err(refuse(format!("its latents have {channels} channels")));
        }
        let fixed_latent = axis(2).zip(axis(3));
        let may_batch = axis(0).is_none()
            && matches!(timestep.shape.as_slice(), [None])
            && fixed_latent.is_none_or(|(h, w)| h * w > 0);
        let mut networks = Self {
            text_encoder,
            unet,
            encoder,
            decoder,
            channels,
            scale_factor: 0,
            token_width: 0,
            batchable: false,
            scalar_timestep: timestep.shape.is_empty(),
            scaling: folder.autoencoder.scaling(),
        };

        let context = networks.embed(ids)?;
        if context.is_empty() || context.len() % tokenizer::LENGTH != 0 {
            return Err(refuse(format!(
                "its text encoder gives {} values",
                context.len()
            )));
        }
        networks.token_width = context.len() / tokenizer::LENGTH;

        let (h, w) = fixed_latent.unwrap_or((TRIAL, TRIAL));
        let latent = vec![0.1; channels * h * w];
        let mut out = Tensor::default();
        networks.decoder.run(
            &[Feed {
                name: &networks.decoder.inputs[0],
                shape: &[1, channels, h, w],
                values: Values::Real(&latent),
            }],
            &mut out,
        )?;
        let factor = match out.shape.as_slice() {
            [1, 3, height, width] if *height > 0 && height % h == 0 && height / h == width / w => {
                height / h
            }
            shape => {
                return Err(refuse(format!(
                    "its vae_decoder makes a picture of {shape:?}"
                )));
            }
        };
        networks.scale_factor = factor;
        let scale_factor = u32::try_from(factor).unwrap_or(0);
        let pixels = |side: usize| u32::try_from(side * factor).unwrap_or(0);
        let image = vec![0.0; 3 * h * w * factor * factor];
        networks.encode(&image, (pixels(w), pixels(h)), &mut out)?;

        let row = |count: usize| latent.repeat(count);
        let trial = |networks: &Self, steps: &[f32], out: &mut Tensor| {
            let (sample, context) = (row(steps.len()), context.repeat(steps.len()));
            let rows = Rows {
                sample: &sample,
                timesteps: steps,
                context: &context,
                latent: (h, w),
            };
            networks.denoise(&rows, out)
        };
        // The runtime does not look at the rank of a timestep: it fails deep inside, if at all.
        if may_batch {
            networks.batchable = true;
            networks.batchable = trial(&networks, &[999.0, 99.0], &mut out).is_ok();
        }
        trial(&networks, &[999.0], &mut out)?;
        let found = Found {
            channels,
            scale_factor,
            token_width: networks.token_width,
            batchable: networks.batchable,
            fixed_latent,
        };
        Ok((networks, found))
    }

    /// The embedding of one prompt, flat `[77, D]`.
    pub(super) fn embed(&self, ids: &[i64]) -> Result<Arc<[f32]>, EngineError> {
        let mut out = Tensor::default();
        self.text_encoder.run(
            &[Feed {
                name: &self.text_encoder.inputs[0],
                shape: &[1, ids.len()],
                values: Values::Whole(ids),
            }],
            &mut out,
        )?;
        Ok(out.values.into())
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
        if self.scaling != 1.0 {
            latent.iter_mut().for_each(|value| *value /= self.scaling);
        }
        let (h, w) = (height / self.scale_factor, width / self.scale_factor);
        self.decoder.run(
            &[Feed {
                name: &self.decoder.inputs[0],
                shape: &[1, self.channels, h, w],
                values: Values::Real(latent),
            }],
            image,
        )?;
        let expected = [1, 3, height, width];
        if image.shape == expected {
            Ok(())
        } else {
            Err(self.decoder.surprise(&image.shape, &expected))
        }
    }
}

impl Node {
    fn new(
        role: &'static str,
        graph: Box<dyn Graph>,
        wanted: &[&[&str]],
        output: &[&str],
        refuse: impl Fn(String) -> EngineError,
    ) -> Result<Self, EngineError> {
        let mut inputs = Vec::with_capacity(wanted.len());
        for aliases in wanted {
            let port = find(graph.inputs(), aliases)
                .ok_or_else(|| refuse(format!("its {role} has no input `{}`", aliases[0])))?;
            if port.element == Element::Other {
                let name = &port.name;
                return Err(refuse(format!(
                    "input `{name}` of its {role} has an unknown type"
                )));
            }
            inputs.push(port.name.clone());
        }
        if let Some(extra) = graph
            .inputs()
            .iter()
            .find(|port| !inputs.contains(&port.name))
        {
            return Err(refuse(format!(
                "its {role} also wants `{}`{}",
                extra.name,
                hint(extra)
            )));
        }
        let output = find(graph.outputs(), output)
            .or_else(|| graph.outputs().first())
            .ok_or_else(|| refuse(format!("its {role} has no output")))?;
        let output = output.name.clone();
        Ok(Self {
            graph: Mutex::new(graph),
            role,
            inputs,
            output,
        })
    }

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

fn find<'p>(ports: &'p [Port], aliases: &[&str]) -> Option<&'p Port> {
    aliases
        .iter()
        .find_map(|alias| ports.iter().find(|port| port.name == *alias))
}

/// What an input that we cannot feed usually means.
fn hint(port: &Port) -> &'static str {
    let name = port.name.as_str();
    match name {
        "text_embeds" | "time_ids" => " (Stable Diffusion XL)",
        "timestep_cond" => " (a fully distilled LCM)",
        _ if name.starts_with("input_control") || name.contains("down_block") => " (ControlNet)",
        _ if name.starts_with("kvo_cache") => " (cached attention)",
        _ => "",
    }
}

//! Getting to know a model: whose inputs are called what, and what comes out.
//!
//! Names differ between exporters, so each tensor has a list of aliases; a graph that wants
//! anything else is refused by naming that input. What the files do not say is found out by
//! running every graph once on a small latent: ONNX Runtime itself does not notice, for example,
//! that a timestep has the wrong rank until it fails somewhere deep inside.

use std::sync::Mutex;

use super::binding::{all_loras, bind, bind_image_encoder, bind_text_encoders, find, loras_of};
use super::inputs::{
    CONTEXT, IMAGE_SCALE, IMAGE_TOKENS, IMAGES, SAMPLE, TEXT_EMBEDS, TIME_IDS_INPUT, TIMESTEP,
    TIMESTEP_COND, check_channels,
};
use super::network::{Extras, Graphs, LORA_SCALE, Networks, TimestepForm};
use super::rows::Rows;
use crate::backend::{Graph, Port, Tensor};
use crate::error::EngineError;
use crate::folder::Folder;
use crate::frame;
use crate::onnx::Outline;
use crate::prompt::Condition;
use crate::tokenizer;
use crate::watch::Watch;

const PREDICTED: &[&str] = &["out_sample", "latent", "noise_pred"];
const LATENT: &[&str] = &["latent_sample", "latent", "z", "latent_parameters"];

/// Sides of the latent that the graphs are tried with, unless they were exported for one size:
/// divisible often enough for every known UNet.
const TRIAL: usize = 16;

/// Most values of a latent that a file may ask for, 64 MB.
const LARGEST_LATENT: usize = 1 << 24;

/// Most rows that a graph may insist on.
const MOST_FIXED_ROWS: usize = 64;

/// Widths of an embedded guidance scale that can be meant, and the usual one.
const GUIDANCE_WIDTHS: std::ops::RangeInclusive<usize> = 2..=4096;
const GUIDANCE_WIDTH: usize = 256;

/// What looking at the graphs and trying them has shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    pub(super) channels: usize,
    pub(super) scale_factor: u32,
    pub(super) token_width: usize,
    pub(super) batchable: bool,
    /// Height and width of the latent, if only one is possible.
    pub(super) fixed_latent: Option<(usize, usize)>,
    /// Rows that every call must have, if only one number is possible.
    pub(super) fixed_rows: Option<usize>,
    /// Whether the network wants an embedding of the whole prompt and where it was cut from.
    pub(super) has_pooled: bool,
    pub(super) has_time_ids: bool,
    /// Values of the embedded guidance scale, if the network wants one.
    pub(super) guidance_width: Option<usize>,
    /// Whether it takes reference images.
    pub(super) reference_images: bool,
    /// Adapters whose scales are inputs of any graph, by name.
    pub(super) lora_inputs: Vec<String>,
}

/// Binds names, runs every graph once, and refuses what does not fit together.
///
/// - `ids`: token ids of the empty prompt for each text encoder.
/// - `highest`: the same with the highest token that the tokenizer knows.
pub(super) fn try_out(
    graphs: Graphs,
    folder: &Folder,
    ids: &[Vec<i64>],
    highest: &[Vec<i64>],
) -> Result<(Networks, Found), EngineError> {
    let refuse = |reason: String| EngineError::ModelUnsupported {
        name: folder.name().into(),
        reason,
    };
    let unet = look_at_unet(&*graphs.unet, folder).map_err(refuse)?;
    let bind = |role, graph, inputs: &[&[&str]], extras: &[&[&str]], output| {
        bind(role, graph, inputs, extras, output).map_err(refuse)
    };
    let extras = [
        TEXT_EMBEDS,
        TIME_IDS_INPUT,
        TIMESTEP_COND,
        IMAGE_TOKENS,
        IMAGE_SCALE,
    ];
    let mut networks = Networks {
        text_encoders: bind_text_encoders(graphs.text_encoders).map_err(refuse)?,
        unet: bind(
            "unet",
            graphs.unet,
            &[SAMPLE, TIMESTEP, CONTEXT],
            &extras,
            PREDICTED,
        )?,
        lora_inputs: (unet.extras.loras.iter())
            .map(|name| format!("{LORA_SCALE}{name}"))
            .collect(),
        extras: unet.extras,
        image_encoder: None,
        encoder: bind("vae_encoder", graphs.encoder, &[IMAGES], &[], LATENT)?,
        decoder: bind("vae_decoder", graphs.decoder, &[LATENT], &[], IMAGES)?,
        channels: unet.channels,
        scale_factor: 1,
        token_width: 0,
        timestep: unet.timestep,
        batchable: false,
        most_rows: unet.fixed_rows.unwrap_or(1),
        fixed_rows: unet.fixed_rows.is_some(),
        scaling: folder.autoencoder.scaling(),
        scratch: Mutex::default(),
    };
    let (h, w) = unet.fixed_latent.unwrap_or((TRIAL, TRIAL));

    let none = |_: &str| 0.0;
    let context = networks.embed(ids, &none).map_err(at_load(folder))?;
    are_numbers("text_encoder", &context.tokens).map_err(refuse)?;
    if networks.embed(highest, &none).is_err() {
        return Err(refuse(format!(
            "its tokenizer knows the token {}, its text encoder does not: they are of different \
             models",
            highest.iter().flatten().max().unwrap_or(&0)
        )));
    }
    networks.token_width = context.tokens.len() / tokenizer::LENGTH;
    let fits = |wanted: Option<usize>, width| wanted.is_none_or(|wanted| wanted == width);
    if !fits(unet.token_width, networks.token_width) {
        return Err(refuse(format!(
            "its text encoder gives {} values a token, its unet takes {}",
            networks.token_width,
            unet.token_width.unwrap_or(0)
        )));
    }
    networks.image_encoder =
        bind_image_encoder(graphs.image_encoder, &networks, unet.image_tokens).map_err(refuse)?;
    let has_pooled = networks.extras.text_embeds.is_some();
    if has_pooled && context.pooled.is_empty() {
        let reason = "its unet wants `text_embeds`, but no text encoder gives them".into();
        return Err(refuse(reason));
    }

    let latent = vec![0.1; networks.channels * h * w];
    let mut picture = Tensor::default();
    networks
        .decode_values(&latent, (h, w), &mut picture)
        .map_err(at_load(folder))?;
    are_numbers("vae_decoder", &picture.values).map_err(refuse)?;
    networks.scale_factor = match picture.shape.as_slice() {
        [1, 3, height, width] if *height >= h && *height % h == 0 && *width == height / h * w => {
            height / h
        }
        shape => {
            return Err(refuse(format!(
                "its vae_decoder makes a picture of {shape:?}"
            )));
        }
    };
    let pixels = |side: usize| u32::try_from(side * networks.scale_factor).unwrap_or(0);
    let (size, mut out, mut bytes) = ((pixels(w), pixels(h)), Tensor::default(), Vec::new());
    let watch = Watch::default();
    networks
        .decode(&mut latent.clone(), size, &mut bytes, &watch)
        .and_then(|_| networks.encode(&bytes, size, &mut out, &watch))
        .map_err(at_load(folder))?;
    are_numbers("vae_encoder", &out.values).map_err(refuse)?;

    let trial = Trial {
        latent,
        sides: (h, w),
        context,
        time_ids: networks.extras.time_ids.is_some(),
        guidance_width: unet.guidance_width,
        tokens: networks
            .image_encoder
            .as_ref()
            .map_or_else(Vec::new, |encoder| encoder.no_picture().tokens),
    };
    if unet.fixed_rows.is_none() {
        networks.most_rows = usize::MAX;
        networks.batchable = networks.timestep == TimestepForm::EachRow;
        networks.batchable = networks.batchable && trial.rows_are_independent(&networks);
        if !networks.batchable && trial.runs(&networks, &[999.0, 999.0]).is_err() {
            networks.most_rows = 1;
        }
    } else if networks.timestep == TimestepForm::EachRow {
        networks.batchable = true;
    }
    let out = trial.runs(&networks, &[999.0]).map_err(at_load(folder))?;
    are_numbers("unet", &out.values).map_err(refuse)?;
    let found = Found {
        channels: networks.channels,
        scale_factor: u32::try_from(networks.scale_factor).unwrap_or(0),
        token_width: networks.token_width,
        batchable: networks.batchable,
        fixed_latent: unet.fixed_latent,
        fixed_rows: unet.fixed_rows,
        has_pooled,
        has_time_ids: trial.time_ids,
        guidance_width: unet.guidance_width,
        reference_images: networks.image_encoder.is_some(),
        lora_inputs: all_loras(&networks),
    };
    Ok((networks, found))
}

/// Names of timestep and sample, if the timestep has no axis.
pub(super) fn scalar_timestep(unet: &Outline) -> Option<(&str, &str)> {
    let named = |aliases: &[&str]| {
        let mut inputs = unet.inputs.iter();
        inputs.find(|input| aliases.contains(&input.name.as_str()))
    };
    let (timestep, sample) = (named(TIMESTEP)?, named(SAMPLE)?);
    let scalar = timestep.axes.as_ref().is_some_and(Vec::is_empty);
    scalar.then_some((timestep.name.as_str(), sample.name.as_str()))
}

/// What the denoising network is tried with.
struct Trial {
    latent: Vec<f32>,
    sides: (usize, usize),
    context: Condition,
    time_ids: bool,
    guidance_width: Option<usize>,
    /// Tokens of no picture, for one row.
    tokens: Vec<f32>,
}

impl Trial {
    /// Whether a row at another timestep than its neighbour comes out as it does alone.
    fn rows_are_independent(&self, networks: &Networks) -> bool {
        let (pair, alone) = (
            self.runs(networks, &[999.0, 99.0]),
            self.runs(networks, &[99.0]),
        );
        let (Ok(pair), Ok(alone)) = (pair, alone) else {
            return false;
        };
        let second = &pair.values[alone.values.len().min(pair.values.len())..];
        let scale = alone
            .values
            .iter()
            .fold(1e-3_f32, |scale, v| scale.max(v.abs()));
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 0.02 * scale;
        second.len() == alone.values.len() && second.iter().zip(&alone.values).all(near)
    }

    fn runs(&self, networks: &Networks, timesteps: &[f32]) -> Result<Tensor, EngineError> {
        let count = timesteps.len();
        let pixels = |side: usize| (side * networks.scale_factor) as f32;
        let (height, width) = (pixels(self.sides.0), pixels(self.sides.1));
        let pooled: &[f32] = match networks.extras.text_embeds {
            Some(_) => &self.context.pooled,
            None => &[],
        };
        let time_ids: &[f32] = match self.time_ids {
            true => &[height, width, 0.0, 0.0, height, width],
            false => &[],
        };
        let mut out = Tensor::default();
        let rows = Rows {
            sample: &self.latent.repeat(count),
            timesteps,
            context: &self.context.tokens.repeat(count),
            pooled: &pooled.repeat(count),
            time_ids: &time_ids.repeat(count),
            guidance: &vec![0.5; self.guidance_width.unwrap_or(0) * count],
            stamp: 0,
            tokens: &self.tokens.repeat(count),
            reference_scale: 0.5,
            lora_scales: &vec![0.5; networks.lora_inputs.len()],
            latent: self.sides,
        };
        networks.denoise(&rows, &mut out, &Watch::default())?;
        Ok(out)
    }
}

/// Refuses a graph whose weights are damaged: every later picture would be black.
fn are_numbers(role: &str, values: &[f32]) -> Result<(), String> {
    if frame::are_numbers(values) {
        return Ok(());
    }
    Err(format!(
        "its {role} computes values that are no numbers (NaN): its weights are damaged, or too \
         large for the precision it was exported in"
    ))
}

/// What the inputs of the denoising network say by themselves.
struct UnetInputs {
    channels: usize,
    fixed_latent: Option<(usize, usize)>,
    fixed_rows: Option<usize>,
    timestep: TimestepForm,
    token_width: Option<usize>,
    extras: Extras,
    guidance_width: Option<usize>,
    /// Image tokens that it takes, if only one number.
    image_tokens: Option<usize>,
}

fn look_at_unet(unet: &dyn Graph, folder: &Folder) -> Result<UnetInputs, String> {
    let port = |aliases: &[&str]| {
        let missing = || format!("its unet has no input `{}`", aliases[0]);
        find(unet.inputs(), aliases).ok_or_else(missing)
    };
    let (sample, timestep, context) = (port(SAMPLE)?, port(TIMESTEP)?, port(CONTEXT)?);
    let axis = |port: &Port, at: usize| port.shape.get(at).copied().flatten();

    let channels = axis(sample, 1)
        .or(folder.unet_config.in_channels)
        .unwrap_or(4);
    check_channels(channels)?;
    let fixed_rows = axis(sample, 0);
    if let Some(rows) = fixed_rows.filter(|rows| !(1..=MOST_FIXED_ROWS).contains(rows)) {
        return Err(format!("its unet takes exactly {rows} rows at a time"));
    }
    if let Some(tokens) = axis(context, 1).filter(|tokens| *tokens != tokenizer::LENGTH) {
        return Err(format!(
            "its unet takes {tokens} tokens: image prompts are baked in"
        ));
    }
    let fixed_latent = axis(sample, 2).zip(axis(sample, 3));
    let (h, w) = fixed_latent.unwrap_or((TRIAL, TRIAL));
    let values = channels
        .checked_mul(h)
        .and_then(|plane| plane.checked_mul(w));
    if !values.is_some_and(|values| (1..=LARGEST_LATENT).contains(&values)) {
        return Err(format!("its latents have {channels} channels of {h}x{w}"));
    }
    let named = |aliases| find(unet.inputs(), aliases).map(|port| port.name.clone());
    let cond = find(unet.inputs(), TIMESTEP_COND);
    let guidance_width = cond.map(|port| axis(port, 1).unwrap_or(GUIDANCE_WIDTH));
    if let Some(width) = guidance_width.filter(|width| !GUIDANCE_WIDTHS.contains(width)) {
        return Err(format!("its unet embeds guidance in {width} values"));
    }
    Ok(UnetInputs {
        channels,
        fixed_latent,
        fixed_rows,
        timestep: match timestep.shape.as_slice() {
            [] => TimestepForm::Scalar,
            [Some(1)] if fixed_rows != Some(1) => TimestepForm::One,
            _ => TimestepForm::EachRow,
        },
        token_width: axis(context, 2),
        extras: Extras {
            text_embeds: named(TEXT_EMBEDS),
            time_ids: named(TIME_IDS_INPUT),
            timestep_cond: named(TIMESTEP_COND),
            tokens: named(IMAGE_TOKENS),
            reference_scale: named(IMAGE_SCALE),
            loras: loras_of(unet)?,
        },
        guidance_width,
        image_tokens: find(unet.inputs(), IMAGE_TOKENS).and_then(|port| axis(port, 1)),
    })
}

/// A graph that does not even run at load does not suit us, whatever size or steps are chosen.
fn at_load(folder: &Folder) -> impl Fn(EngineError) -> EngineError {
    let name = folder.name().to_string();
    move |error| match error {
        EngineError::InferenceFailed { graph, reason } => EngineError::ModelUnsupported {
            name: name.clone(),
            reason: format!("its {graph} does not run: {reason}"),
        },
        other => other,
    }
}

#[cfg(test)]
mod tests;

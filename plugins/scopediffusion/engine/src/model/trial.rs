//! Getting to know a model: whose inputs are called what, and what comes out.
//!
//! Names differ between exporters, so each tensor has a list of aliases; a graph that wants
//! anything else is refused by naming that input. What the files do not say is found out by
//! running every graph once on a small latent: ONNX Runtime itself does not notice, for example,
//! that a timestep has the wrong rank until it fails somewhere deep inside.

use std::sync::Mutex;

use super::network::{Graphs, Networks, Node, Rows};
use crate::backend::{Element, Graph, Port, Tensor};
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

/// Most values of a latent that a file may ask for, 64 MB.
const LARGEST_LATENT: usize = 1 << 24;

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

/// Binds names, runs every graph once, and refuses what does not fit together.
///
/// - `ids`: token ids of the empty prompt.
pub(super) fn try_out(
    graphs: Graphs,
    folder: &Folder,
    ids: &[i64],
) -> Result<(Networks, Found), EngineError> {
    let refuse = |reason: String| EngineError::ModelUnsupported {
        name: folder.name().into(),
        reason,
    };
    let unet = look_at_unet(&*graphs.unet, folder).map_err(refuse)?;
    let bind =
        |role, graph, inputs: &[&[&str]], output| bind(role, graph, inputs, output).map_err(refuse);
    let mut networks = Networks {
        text_encoder: bind("text_encoder", graphs.text_encoder, &[IDS], HIDDEN)?,
        unet: bind("unet", graphs.unet, &[SAMPLE, TIMESTEP, CONTEXT], PREDICTED)?,
        encoder: bind("vae_encoder", graphs.encoder, &[IMAGES], LATENT)?,
        decoder: bind("vae_decoder", graphs.decoder, &[LATENT], IMAGES)?,
        channels: unet.channels,
        scale_factor: 1,
        token_width: 0,
        batchable: false,
        scalar_timestep: unet.scalar_timestep,
        scaling: folder.autoencoder.scaling(),
    };
    let (h, w) = unet.fixed_latent.unwrap_or((TRIAL, TRIAL));

    let context = networks.embed(ids).map_err(at_load(folder))?;
    networks.token_width = match context.shape.as_slice() {
        [1, tokenizer::LENGTH, width] if *width > 0 => *width,
        shape => {
            return Err(refuse(format!(
                "its text encoder gives a tensor of {shape:?}"
            )));
        }
    };
    if unet
        .token_width
        .is_some_and(|width| width != networks.token_width)
    {
        return Err(refuse(format!(
            "its text encoder gives {} values a token, its unet takes {}",
            networks.token_width,
            unet.token_width.unwrap_or(0)
        )));
    }

    let latent = vec![0.1; networks.channels * h * w];
    let mut picture = Tensor::default();
    networks
        .decode_any(&mut latent.clone(), (h, w), &mut picture)
        .map_err(at_load(folder))?;
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
    let (size, mut out) = ((pixels(w), pixels(h)), Tensor::default());
    networks
        .encode(&picture.values, size, &mut out)
        .map_err(at_load(folder))?;

    let mut trial = |networks: &Networks, timesteps: &[f32]| {
        let rows = timesteps.len();
        let (sample, context) = (latent.repeat(rows), context.values.repeat(rows));
        let latent = (h, w);
        networks.denoise(
            &Rows {
                sample: &sample,
                timesteps,
                context: &context,
                latent,
            },
            &mut out,
        )
    };
    if unet.may_batch {
        networks.batchable = true;
        networks.batchable = trial(&networks, &[999.0, 99.0]).is_ok();
    }
    trial(&networks, &[999.0]).map_err(at_load(folder))?;
    let found = Found {
        channels: networks.channels,
        scale_factor: u32::try_from(networks.scale_factor).unwrap_or(0),
        token_width: networks.token_width,
        batchable: networks.batchable,
        fixed_latent: unet.fixed_latent,
    };
    Ok((networks, found))
}

/// What the inputs of the denoising network say by themselves.
struct UnetInputs {
    channels: usize,
    fixed_latent: Option<(usize, usize)>,
    scalar_timestep: bool,
    may_batch: bool,
    token_width: Option<usize>,
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
    if matches!(channels, 8 | 9) {
        return Err(format!(
            "its unet takes {channels} channels: it edits or fills pictures"
        ));
    }
    if let Some(rows) = axis(sample, 0).filter(|rows| *rows != 1) {
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
    Ok(UnetInputs {
        channels,
        fixed_latent,
        scalar_timestep: timestep.shape.is_empty(),
        may_batch: axis(sample, 0).is_none() && timestep.shape == [None],
        token_width: axis(context, 2),
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

fn bind(
    role: &'static str,
    graph: Box<dyn Graph>,
    wanted: &[&[&str]],
    output: &[&str],
) -> Result<Node, String> {
    let mut inputs = Vec::with_capacity(wanted.len());
    for aliases in wanted {
        let port = find(graph.inputs(), aliases)
            .ok_or_else(|| format!("its {role} has no input `{}`", aliases[0]))?;
        if port.element == Element::Other {
            return Err(format!(
                "input `{}` of its {role} has an unknown type",
                port.name
            ));
        }
        inputs.push(port.name.clone());
    }
    if let Some(extra) = graph
        .inputs()
        .iter()
        .find(|port| !inputs.contains(&port.name))
    {
        return Err(format!(
            "its {role} also wants `{}`{}",
            extra.name,
            hint(&extra.name)
        ));
    }
    let output = find(graph.outputs(), output)
        .or_else(|| graph.outputs().first())
        .ok_or_else(|| format!("its {role} has no output"))?;
    let output = output.name.clone();
    Ok(Node {
        graph: Mutex::new(graph),
        role,
        inputs,
        output,
    })
}

fn find<'p>(ports: &'p [Port], aliases: &[&str]) -> Option<&'p Port> {
    aliases
        .iter()
        .find_map(|alias| ports.iter().find(|port| port.name == *alias))
}

/// What an input that we cannot feed usually means.
fn hint(name: &str) -> &'static str {
    match name {
        "text_embeds" | "time_ids" => " (Stable Diffusion XL)",
        "timestep_cond" => " (a fully distilled LCM)",
        _ if name.starts_with("input_control") || name.contains("down_block") => " (ControlNet)",
        _ if name.starts_with("kvo_cache") => " (cached attention)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::fake::{self, Fake};
    use crate::model::Model;

    /// Why the model is refused whose graphs `change` has changed.
    fn refusal(change: impl FnOnce(&mut Graphs)) -> String {
        let mut graphs = fake::graphs();
        change(&mut graphs);
        let error = Model::assemble(&fake::folder("epsilon"), graphs, "cpu").unwrap_err();
        assert!(
            matches!(error, EngineError::ModelUnsupported { .. }),
            "{error:?}"
        );
        error.to_string()
    }

    fn unet(change: impl FnOnce(&mut Fake)) -> String {
        let mut unet = fake::unet();
        change(&mut unet);
        refusal(|graphs| graphs.unet = Box::new(unet))
    }

    #[test]
    fn a_unet_of_another_kind_is_refused_with_its_kind() {
        assert!(unet(|u| u.inputs[0].shape[1] = Some(9)).contains("edits or fills"));
        assert!(unet(|u| u.inputs[0].shape[0] = Some(2)).contains("exactly 2 rows"));
        assert!(unet(|u| u.inputs[2].shape[1] = Some(81)).contains("image prompts"));
        assert!(unet(|u| u.inputs[2].shape[2] = Some(768)).contains("its unet takes 768"));
        let wants =
            |name: &'static str| unet(move |u| u.inputs.push(fake::port(name, Element::F32, 2)));
        assert!(wants("text_embeds").contains("`text_embeds` (Stable Diffusion XL)"));
        assert!(wants("mystery").ends_with("its unet also wants `mystery`"));
    }

    #[test]
    fn a_graph_without_its_inputs_or_outputs_is_refused() {
        assert!(unet(|u| u.inputs[1].name = "when".into()).contains("no input `timestep`"));
        assert!(unet(|u| u.outputs.clear()).contains("its unet has no output"));
        assert!(unet(|u| u.inputs[0].element = Element::Other).contains("unknown type"));
    }

    #[test]
    fn absurd_sizes_are_refused_before_memory_is_asked_for() {
        for side in [0, 1 << 40, usize::MAX] {
            let reason = unet(|u| {
                u.inputs[0].shape[2] = Some(side);
                u.inputs[0].shape[3] = Some(side);
            });
            assert!(reason.contains("its latents have 4 channels"), "{reason}");
        }
        assert!(unet(|u| u.inputs[0].shape[1] = Some(usize::MAX)).contains("its latents have"));
    }

    #[test]
    fn results_of_a_wrong_shape_are_refused() {
        let reason = refusal(|graphs| {
            graphs.decoder = Box::new(Fake {
                formula: |_| (vec![1, 3, 65, 64], vec![0.0; 3 * 65 * 64]),
                ..fake::decoder()
            });
        });
        assert!(
            reason.contains("makes a picture of [1, 3, 65, 64]"),
            "{reason}"
        );
        let reason = refusal(|graphs| {
            graphs.text_encoder = Box::new(Fake {
                formula: |_| (vec![1, 2], vec![0.0; 2]),
                ..fake::text_encoder()
            });
        });
        assert!(
            reason.contains("its text encoder gives a tensor of [1, 2]"),
            "{reason}"
        );
        let reason = unet(|u| u.formula = |_| (vec![1], vec![0.0]));
        assert!(reason.contains("its unet does not run"), "{reason}");
        let reason = refusal(|graphs| {
            graphs.encoder = Box::new(Fake {
                formula: |_| (vec![], vec![]),
                ..fake::encoder()
            });
        });
        assert!(reason.contains("its vae_encoder does not run"), "{reason}");
    }

    #[test]
    fn an_encoder_of_mean_and_variance_is_read_for_its_mean() {
        let mut graphs = fake::graphs();
        graphs.encoder = Box::new(Fake {
            formula: |feeds| {
                let (h, w) = (feeds[0].shape[2] / 4, feeds[0].shape[3] / 4);
                let (mean, variance) = (vec![2.0; 4 * h * w], vec![-9.0; 4 * h * w]);
                (vec![1, 8, h, w], [mean, variance].concat())
            },
            ..fake::encoder()
        });
        let model = Model::assemble(&fake::folder("epsilon"), graphs, "cpu").unwrap();

        let mut latent = Tensor::default();
        model
            .encode(&[0.0; 3 * 16 * 8], (16, 8), &mut latent)
            .unwrap();

        assert_eq!(
            latent,
            Tensor {
                shape: vec![1, 4, 2, 4],
                values: vec![1.0; 32]
            }
        );
    }
}

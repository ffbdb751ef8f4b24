//! Tensors by name: which input and output of a graph is which, whoever exported it.

use std::sync::Mutex;

use super::image::{self, ImageEncoder};
use super::network::{LORA_SCALE, MOST_LORAS, Networks, Node, TextEncoder};
use crate::backend::{Element, Graph, Port};

const IDS: &[&str] = &["input_ids"];
const HIDDEN: &[&str] = &["last_hidden_state"];
const POOLED: &[&str] = &["text_embeds", "pooler_output"];

/// One text encoder gives its last hidden state; of two each gives its last but one, and the
/// second the embedding of the whole prompt as well.
///
/// Source: diffusers, pipeline_stable_diffusion_xl.py, `encode_prompt`.
pub(super) fn bind_text_encoders(graphs: Vec<Box<dyn Graph>>) -> Result<Vec<TextEncoder>, String> {
    let several = graphs.len() > 1;
    let roles = ["text_encoder", "text_encoder_2"];
    let bound = graphs.into_iter().zip(roles).map(|(graph, role)| {
        let has = |names: &[&str]| find(graph.outputs(), names).map(|port| port.name.clone());
        let pooled = match several && role == "text_encoder_2" {
            true => Some(has(POOLED).ok_or(format!("its {role} has no output `text_embeds`"))?),
            false => None,
        };
        let hidden = match several {
            true => last_but_one(graph.outputs()).ok_or(format!(
                "its {role} has no outputs `hidden_states.0` and so on"
            ))?,
            false => has(HIDDEN).unwrap_or_default(),
        };
        let loras = loras_of(&*graph)?;
        let node = bind(role, graph, &[IDS], &[], &[&hidden])?;
        Ok(TextEncoder {
            node,
            pooled,
            loras,
        })
    });
    bound.collect()
}

/// The name of the last but one of the outputs `hidden_states.0`, `hidden_states.1` and so on.
fn last_but_one(outputs: &[Port]) -> Option<String> {
    let number = |port: &Port| {
        port.name
            .strip_prefix("hidden_states.")?
            .parse::<u32>()
            .ok()
    };
    let last = outputs.iter().filter_map(number).max()?;
    let wanted = format!("hidden_states.{}", last.checked_sub(1)?);
    outputs
        .iter()
        .any(|port| port.name == wanted)
        .then_some(wanted)
}

/// The image encoder, where the network takes its tokens; one that nobody listens to is left out.
pub(super) fn bind_image_encoder(
    graph: Option<Box<dyn Graph>>,
    networks: &Networks,
    fixed: Option<usize>,
) -> Result<Option<ImageEncoder>, String> {
    let extras = &networks.extras;
    if extras.tokens.is_none() && extras.reference_scale.is_none() {
        return Ok(None);
    }
    if extras.tokens.is_none() || extras.reference_scale.is_none() {
        return Err("its unet has only one of `ip_hidden_states` and `ip_scale`".into());
    }
    let graph = graph.ok_or("its unet wants image tokens, but it has no image_encoder")?;
    for name in [image::TOKENS, image::NEGATIVE] {
        if !graph.outputs().iter().any(|port| port.name == name) {
            return Err(format!("its image_encoder has no output `{name}`"));
        }
    }
    let node = bind(
        "image_encoder",
        graph,
        &[image::PICTURE],
        &[],
        &[image::TOKENS],
    )?;
    ImageEncoder::new(node, networks.token_width, fixed).map(Some)
}

/// Names of the adapters whose scales are inputs of a graph.
pub(super) fn loras_of(graph: &dyn Graph) -> Result<Vec<String>, String> {
    let names = graph.inputs().iter();
    let names: Vec<String> = names
        .filter_map(|port| port.name.strip_prefix(LORA_SCALE).map(str::to_owned))
        .collect();
    match names.len() {
        0..=MOST_LORAS => Ok(names),
        many => Err(format!(
            "{many} adapters are inputs of it, {MOST_LORAS} at most can be"
        )),
    }
}

/// Names of the adapters that are inputs of any graph.
pub(super) fn all_loras(networks: &Networks) -> Vec<String> {
    let said = networks
        .text_encoders
        .iter()
        .flat_map(|encoder| &encoder.loras);
    let mut all: Vec<String> = said.chain(&networks.extras.loras).cloned().collect();
    all.sort();
    all.dedup();
    all
}

pub(super) fn bind(
    role: &'static str,
    graph: Box<dyn Graph>,
    wanted: &[&[&str]],
    extras: &[&[&str]],
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
    if let Some(extra) = graph.inputs().iter().find(|port| {
        let extra = extras.iter().flat_map(|names| names.iter());
        !inputs.contains(&port.name)
            && !extra.into_iter().any(|name| port.name == *name)
            && !port.name.starts_with(LORA_SCALE)
    }) {
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

pub(super) fn find<'p>(ports: &'p [Port], aliases: &[&str]) -> Option<&'p Port> {
    aliases
        .iter()
        .find_map(|alias| ports.iter().find(|port| port.name == *alias))
}

/// What an input that we cannot feed usually means.
fn hint(name: &str) -> &'static str {
    match name {
        _ if name.starts_with("input_control") || name.contains("down_block") => " (ControlNet)",
        _ if name.starts_with("kvo_cache") => " (cached attention)",
        _ => "",
    }
}

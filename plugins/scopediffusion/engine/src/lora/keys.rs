//! How adapter files name the layers they change, in the three dialects that are about.
//!
//! | dialect | example |
//! |---|---|
//! | kohya | `lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight` |
//! | kohya, of the original layout | `lora_unet_input_blocks_1_1_proj_in.lora_down.weight` |
//! | PEFT, diffusers | `unet.down_blocks.0.attentions.0.proj_in.lora_A.weight` |
//!
//! All become one spelling: the layer's path in diffusers, with `_` between its parts.

/// The graph that a layer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Unet,
    TextEncoder,
    TextEncoder2,
}

/// One of the three tensors of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Down,
    Up,
    Alpha,
}

const ENDINGS: [(&str, Role); 11] = [
    (".lora_down.weight", Role::Down),
    (".lora_up.weight", Role::Up),
    (".lora_A.weight", Role::Down),
    (".lora_B.weight", Role::Up),
    (".lora_A.default.weight", Role::Down),
    (".lora_B.default.weight", Role::Up),
    (".lora.down.weight", Role::Down),
    (".lora.up.weight", Role::Up),
    ("_lora.down.weight", Role::Down),
    ("_lora.up.weight", Role::Up),
    (".alpha", Role::Alpha),
];

const BEGINNINGS: [(&str, Place); 8] = [
    ("lora_unet_", Place::Unet),
    ("unet.", Place::Unet),
    ("lora_te1_", Place::TextEncoder),
    ("lora_te2_", Place::TextEncoder2),
    ("lora_te_", Place::TextEncoder),
    ("text_encoder_2.", Place::TextEncoder2),
    ("text_encoder.", Place::TextEncoder),
    ("base_model.model.", Place::Unet),
];

/// What a key is about: graph, layer and tensor; or why it is not about a low-rank adapter.
pub(super) fn parse(key: &str) -> Result<(Place, String, Role), String> {
    let ending = ENDINGS
        .iter()
        .find_map(|(ending, role)| Some((key.strip_suffix(ending)?, *role)));
    let Some((layer, role)) = ending else {
        return Err(format!(
            "`{key}` is no part of a plain low-rank adapter (LoHa, LoKr and DoRA are not supported)"
        ));
    };
    let beginning = BEGINNINGS
        .iter()
        .find_map(|(beginning, place)| Some((*place, layer.strip_prefix(beginning)?)));
    let Some((place, layer)) = beginning else {
        return Err(format!(
            "`{key}` belongs to no part of a Stable Diffusion model"
        ));
    };
    // Old diffusers files name the attention processor instead of the layer behind it.
    let mut layer = layer.replace(".processor.", ".");
    if layer.ends_with(".to_out") {
        layer.push_str(".0");
    }
    let layer = spelled(&layer);
    let layer = match place {
        Place::Unet => from_original(&layer).unwrap_or(layer),
        Place::TextEncoder | Place::TextEncoder2 => match layer.strip_prefix("text_model_") {
            Some(rest) => rest.to_owned(),
            None => layer,
        },
    };
    Ok((place, layer, role))
}

/// A path with `_` between its parts, whatever stood there.
pub(super) fn spelled(path: &str) -> String {
    path.replace(['.', '/'], "_")
}

/// The diffusers name of a layer of the original layout, two resolution layers to a block.
///
/// Source: diffusers, convert_diffusers_to_original_stable_diffusion.py, `unet_conversion_map_layer`.
fn from_original(layer: &str) -> Option<String> {
    let numbers = |rest: &str| -> Option<(usize, usize, String)> {
        let mut parts = rest.splitn(3, '_');
        let block = parts.next()?.parse().ok()?;
        let inner = parts.next()?.parse().ok()?;
        Some((block, inner, parts.next().unwrap_or_default().to_owned()))
    };
    let part = |kind: usize, layer: usize, rest: &str| match kind {
        0 => Some(format!("resnets_{layer}_{}", resnet(rest)?)),
        1 => Some(format!("attentions_{layer}_{rest}")),
        _ => None,
    };
    if let Some(rest) = layer.strip_prefix("input_blocks_") {
        let (block, kind, rest) = numbers(rest)?;
        let at = block.checked_sub(1)?;
        return Some(format!(
            "down_blocks_{}_{}",
            at / 3,
            part(kind, at % 3, &rest)?
        ));
    }
    if let Some(rest) = layer.strip_prefix("output_blocks_") {
        let (at, kind, rest) = numbers(rest)?;
        return Some(format!(
            "up_blocks_{}_{}",
            at / 3,
            part(kind, at % 3, &rest)?
        ));
    }
    let (kind, rest) = layer.strip_prefix("middle_block_")?.split_once('_')?;
    match kind {
        "1" => Some(format!("mid_block_attentions_0_{rest}")),
        "0" => Some(format!("mid_block_resnets_0_{}", resnet(rest)?)),
        "2" => Some(format!("mid_block_resnets_1_{}", resnet(rest)?)),
        _ => None,
    }
}

fn resnet(layer: &str) -> Option<&'static str> {
    match layer {
        "in_layers_2" => Some("conv1"),
        "emb_layers_1" => Some("time_emb_proj"),
        "out_layers_3" => Some("conv2"),
        "skip_connection" => Some("conv_shortcut"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dialect_names_the_same_layer() {
        let layer = "down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q";
        for key in [
            "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight",
            "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.lora_down.weight",
            "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight",
            "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora.down.weight",
            "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight",
            "base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight",
        ] {
            assert_eq!(
                parse(key),
                Ok((Place::Unet, layer.into(), Role::Down)),
                "{key}"
            );
        }
    }

    #[test]
    fn the_original_layout_is_translated_block_by_block() {
        for (original, diffusers) in [
            (
                "input_blocks_8_1_proj_in",
                "down_blocks_2_attentions_1_proj_in",
            ),
            ("middle_block_1_proj_out", "mid_block_attentions_0_proj_out"),
            ("middle_block_2_out_layers_3", "mid_block_resnets_1_conv2"),
            (
                "output_blocks_5_1_proj_in",
                "up_blocks_1_attentions_2_proj_in",
            ),
            (
                "input_blocks_1_0_emb_layers_1",
                "down_blocks_0_resnets_0_time_emb_proj",
            ),
        ] {
            assert_eq!(from_original(original).as_deref(), Some(diffusers));
        }
        assert_eq!(from_original("input_blocks_0_0"), None);
    }

    #[test]
    fn text_encoders_are_told_apart() {
        let place =
            |key: &str| parse(&format!("{key}.alpha")).map(|(place, layer, _)| (place, layer));
        let layer = || "encoder_layers_0_self_attn_q_proj".to_owned();

        let kohya = "text_model_encoder_layers_0_self_attn_q_proj";
        assert_eq!(
            place(&format!("lora_te_{kohya}")),
            Ok((Place::TextEncoder, layer()))
        );
        assert_eq!(
            place(&format!("lora_te2_{kohya}")),
            Ok((Place::TextEncoder2, layer()))
        );
        let peft = "text_model.encoder.layers.0.self_attn.q_proj";
        assert_eq!(
            place(&format!("text_encoder_2.{peft}")),
            Ok((Place::TextEncoder2, layer()))
        );
    }

    #[test]
    fn other_kinds_of_adapters_are_refused_by_name() {
        let refused = parse("lora_unet_mid_block_attentions_0_proj_in.hada_w1_a").unwrap_err();
        assert!(
            refused.contains("hada_w1_a") && refused.contains("LoHa"),
            "{refused}"
        );
        assert!(
            parse("vae.decoder.lora_A.weight")
                .unwrap_err()
                .contains("no part")
        );
    }
}

//! Adapters read, checked against the model, and merged into the weights of its graphs.

use crate::error::EngineError;
use crate::folder::{Folder, Part};
use crate::lora::{self, Layers, Lora, NewWeight, Place};

/// Weights to open the graphs with, instead of their own.
#[derive(Debug, Default)]
pub(super) struct Adapted {
    pub(super) unet: Vec<NewWeight>,
    pub(super) text_encoder: Vec<NewWeight>,
    pub(super) text_encoder_2: Vec<NewWeight>,
}

/// Reads all adapters and merges them; an adapter that does not fit is refused whole.
///
/// # Errors
///
/// Also the role of the graph that does not take an adapter, if it is one's.
pub(super) fn merge_all(
    folder: &Folder,
    loras: &[Lora],
    progress: &mut dyn FnMut(&str),
) -> Result<Adapted, (Option<&'static str>, EngineError)> {
    if loras.is_empty() {
        return Ok(Adapted::default());
    }
    let mut adapters: Vec<(Layers, f32)> = Vec::with_capacity(loras.len());
    for lora in loras {
        progress(&format!("Merging the adapter {}", lora.path.display()));
        let layers = lora::open(&lora.path).map_err(|error| (None, error))?;
        adapters.push((layers, lora.scale));
    }
    let refuse = |at: usize, reason: String| {
        let name = loras
            .get(at)
            .map_or_else(String::new, |lora| lora.path.display().to_string());
        EngineError::ModelUnsupported { name, reason }
    };
    let merged = |part: &Part, place| {
        let merged = lora::merge(part, place, &adapters);
        merged.map_err(|(at, reason)| (Some(part.role()), refuse(at, reason)))
    };
    let second = adapters.iter().position(|(layers, _)| {
        layers
            .keys()
            .any(|(place, _)| *place == Place::TextEncoder2)
    });
    if let (None, Some(at)) = (&folder.text_encoder_2, second) {
        let reason = "it is for Stable Diffusion XL: it adapts a second text encoder".into();
        return Err((None, refuse(at, reason)));
    }
    Ok(Adapted {
        unet: merged(&folder.unet, Place::Unet)?,
        text_encoder: merged(&folder.text_encoder, Place::TextEncoder)?,
        text_encoder_2: match &folder.text_encoder_2 {
            Some(second) => merged(second, Place::TextEncoder2)?,
            None => Vec::new(),
        },
    })
}

/// The content of a graph's file with new weights in it; `None` if none of them lies there.
pub(super) fn changed(part: &Part, weights: &[NewWeight]) -> Result<Option<Vec<u8>>, EngineError> {
    if weights.iter().all(|weight| weight.inside.is_none()) {
        return Ok(None);
    }
    let mut content = part.content()?.into_owned();
    weights
        .iter()
        .for_each(|weight| weight.write_into(&mut content));
    Ok(Some(content))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::tests::{load_with, two_rows};
    use super::*;
    use crate::golden;
    use crate::onnx;
    use crate::onnx::tests::{bytes, number};
    use crate::onnx::wire::{Value, fields};

    const TO_Q: &str = "down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q";
    const CONV: &str = "down_blocks_0_resnets_0_conv1";
    const TIME: &str = "mid_block_resnets_0_time_emb_proj";
    const TEXT: &str = "text_model_encoder_layers_0_self_attn_q_proj";

    fn saved(
        dir: &tempfile::TempDir,
        name: &str,
        tensors: &[(String, Vec<usize>, f32)],
    ) -> PathBuf {
        let tensors: Vec<_> = tensors
            .iter()
            .map(|(key, shape, value)| (key.as_str(), shape.as_slice(), *value))
            .collect();
        let path = dir.path().join(name);
        std::fs::write(&path, lora::tests::file(&tensors)).unwrap();
        path
    }

    /// An adapter of rank 2 for one layer.
    fn pair(
        prefix: &str,
        layer: &str,
        inputs: &[usize],
        out: usize,
    ) -> [(String, Vec<usize>, f32); 2] {
        let key = |matrix: &str| format!("{prefix}{layer}.lora_{matrix}.weight");
        let up = match inputs.len() {
            1 => vec![out, 2],
            _ => vec![out, 2, 1, 1],
        };
        [
            (key("down"), [&[2], inputs].concat(), 0.3),
            (key("up"), up, 0.3),
        ]
    }

    fn rows(loras: &[Lora]) -> Vec<f32> {
        two_rows(&load_with(&golden::model_dir(), loras).unwrap())
    }

    fn apart(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        let distances = a.iter().zip(b).map(|(a, b)| (a - b).abs());
        distances.fold(0.0, f32::max)
    }

    /// The golden network with its weights in a file beside it, as large models have them.
    fn with_weights_outside() -> tempfile::TempDir {
        let copy = golden::model_copy();
        let path = copy.path().join("unet/model.onnx");
        let (mut file, mut beside) = (Vec::new(), Vec::new());
        for field in fields(&std::fs::read(&path).unwrap()).map(Option::unwrap) {
            let Value::Bytes(graph) = field.value else {
                file.extend_from_slice(field.raw);
                continue;
            };
            if field.number != 7 {
                file.extend_from_slice(field.raw);
                continue;
            }
            let mut edited = Vec::new();
            for field in fields(graph).map(Option::unwrap) {
                let tensor = match (field.number, field.value) {
                    (5, Value::Bytes(tensor)) => tensor,
                    _ => {
                        edited.extend_from_slice(field.raw);
                        continue;
                    }
                };
                edited.extend(bytes(5, &moved(tensor, &mut beside)));
            }
            file.extend(bytes(7, &edited));
        }
        std::fs::write(&path, file).unwrap();
        std::fs::write(path.with_extension("onnx_data"), beside).unwrap();
        copy
    }

    /// A weight of more than a few bytes, moved to the end of `beside`.
    fn moved(tensor: &[u8], beside: &mut Vec<u8>) -> Vec<u8> {
        let raw = onnx::inner(tensor, 9).filter(|raw| raw.len() >= 256);
        let Some(raw) = raw else {
            return tensor.to_vec();
        };
        let mut kept = Vec::new();
        for field in fields(tensor)
            .map(Option::unwrap)
            .filter(|field| field.number != 9)
        {
            kept.extend_from_slice(field.raw);
        }
        let (offset, length) = (beside.len().to_string(), raw.len().to_string());
        for (key, value) in [
            ("location", "model.onnx_data"),
            ("offset", offset.as_str()),
            ("length", length.as_str()),
        ] {
            let entry = [bytes(1, key.as_bytes()), bytes(2, value.as_bytes())].concat();
            kept.extend(bytes(13, &entry));
        }
        kept.extend(number(14, 1));
        beside.extend_from_slice(raw);
        beside.resize(beside.len().next_multiple_of(4096), 0);
        kept
    }

    #[test]
    fn weights_beside_the_graph_are_adapted_like_those_inside() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), with_weights_outside());
        for (layer, inputs, out) in [(TO_Q, vec![16], 16), (CONV, vec![16, 3, 3], 16)] {
            let path = saved(&dir, layer, &pair("lora_unet_", layer, &inputs, out));
            let loras = [Lora { path, scale: 1.0 }];

            let beside = two_rows(&load_with(outside.path(), &loras).unwrap());

            assert!(apart(&beside, &rows(&loras)) <= 1.0, "{layer}");
        }
    }

    #[test]
    fn an_adapter_changes_what_the_network_draws_and_nothing_at_scale_zero() {
        let dir = tempfile::tempdir().unwrap();
        let plain = rows(&[]);
        for (layer, inputs, out) in [
            (TO_Q, vec![16], 16),
            (CONV, vec![16, 3, 3], 16),
            (TIME, vec![64], 32),
        ] {
            let path = saved(&dir, layer, &pair("lora_unet_", layer, &inputs, out));
            let at = |scale: f32| {
                let path = path.clone();
                rows(&[Lora { path, scale }])
            };

            assert!(apart(&at(1.0), &plain) > 100.0, "{layer}");
            assert!(apart(&at(0.0), &plain) <= 1.0, "{layer}");
        }
    }

    #[test]
    fn two_adapters_of_half_the_scale_are_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = saved(&dir, "a.safetensors", &pair("lora_unet_", TO_Q, &[16], 16));
        let lora = |scale| Lora {
            path: path.clone(),
            scale,
        };

        let (halves, whole) = (rows(&[lora(0.5), lora(0.5)]), rows(&[lora(1.0)]));
        assert!(apart(&halves, &whole) <= 2.0);
    }

    #[test]
    fn a_text_encoder_is_adapted_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = saved(&dir, "t.safetensors", &pair("lora_te_", TEXT, &[32], 32));
        let said = |loras: &[Lora]| {
            let model = load_with(&golden::model_dir(), loras).unwrap();
            model.condition(&crate::Parameters::default()).unwrap()
        };

        let (adapted, plain) = (said(&[Lora { path, scale: 1.0 }]), said(&[]));
        assert!(apart(&adapted.tokens, &plain.tokens) > 0.01);
    }

    #[test]
    fn an_adapter_for_another_model_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |tensors: &[(String, Vec<usize>, f32)]| {
            let path = saved(&dir, "wrong.safetensors", tensors);
            let loras = [Lora { path, scale: 1.0 }];
            load_with(&golden::model_dir(), &loras)
                .unwrap_err()
                .to_string()
        };

        let size = refused(&pair("lora_unet_", TO_Q, &[320], 320));
        assert!(
            size.contains("wrong.safetensors") && size.contains(TO_Q),
            "{size}"
        );
        assert!(size.contains("adapts 320 inputs and 320 outputs"), "{size}");
        let missing = refused(&pair("lora_unet_", "down_blocks_9_proj_in", &[16], 16));
        assert!(
            missing.contains("the unet has no layer `down_blocks_9_proj_in`"),
            "{missing}"
        );
        let xl = refused(&pair("lora_te2_", TEXT, &[32], 32));
        assert!(xl.contains("second text encoder"), "{xl}");
    }
}

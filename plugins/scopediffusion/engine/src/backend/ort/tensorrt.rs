//! What TensorRT is asked for: shapes that an engine is built for, and how it is built.
//!
//! Decision: one engine for every shape that the stream can come to ask for. Without such a range TensorRT builds the
//! engine anew at each shape that it has not seen, for minutes, in the middle of the stream.
//!
//! Decision: half precision only for graphs that were exported in it. TensorRT would narrow the others too, and who
//! left a graph in float32 knew why: it overflows.
//!
//! Source: ONNX Runtime, docs/execution-providers/TensorRT; option names as its library 1.31 spells them.

use std::path::Path;

use crate::backend::Shapes;
use crate::model::inputs;
use crate::onnx::{InputOutline, Outline};
use crate::tokenizer;

/// Sides of a latent while the size is not known yet: smallest, likeliest, largest.
const SIDES: [u64; 3] = [16, 64, 128];
/// Tokens of reference images in one row.
const IMAGE_TOKENS: [u64; 3] = [1, 16, 2056];
/// Reference images that are encoded at once.
const PICTURES: [u64; 3] = [1, 1, 8];
/// `TensorProto.DataType` of half precision.
const HALF: u64 = 10;

/// How long TensorRT may look for the fastest kernels: everything, where the engine is kept; else as usual.
const THOROUGH: u8 = 5;
const USUAL: u8 = 3;

/// Smallest, likeliest and largest size of an axis.
type Range = [u64; 3];

/// The provider's options for a graph, by name.
///
/// - `engines`: folder that engines are kept in.
/// - `pixels`: pixels of the picture for one of the latent.
pub(super) fn options(
    role: &str,
    outline: Option<&Outline>,
    shapes: Shapes,
    pixels: u32,
    engines: Option<&Path>,
) -> Vec<(&'static str, String)> {
    let said = |said: bool| u8::from(said).to_string();
    let half = outline.is_none_or(in_half_precision);
    let level = if engines.is_some() { THOROUGH } else { USUAL };
    let mut options = vec![
        ("trt_fp16_enable", said(half)),
        // Sums over a row overflow where its values do not.
        ("trt_layer_norm_fp32_fallback", said(half)),
        ("trt_builder_optimization_level", level.to_string()),
        // Parts of a graph run one after another.
        ("trt_context_memory_sharing_enable", said(true)),
    ];
    if let Some(engines) = engines {
        let engines = engines.display().to_string();
        options.push(("trt_engine_cache_enable", said(true)));
        options.push(("trt_engine_cache_path", engines.clone()));
        options.push(("trt_timing_cache_enable", said(true)));
        options.push(("trt_timing_cache_path", engines));
    }
    if let Some([least, usual, most]) =
        outline.and_then(|outline| profile(role, outline, shapes, pixels))
    {
        options.push(("trt_profile_min_shapes", least));
        options.push(("trt_profile_opt_shapes", usual));
        options.push(("trt_profile_max_shapes", most));
    }
    options
}

fn in_half_precision(outline: &Outline) -> bool {
    outline.tensors.iter().any(|tensor| tensor.kind == HALF)
}

/// The shapes of all inputs with free axes, as the provider wants them: `sample:1x4x64x64,timestep:1`. `None` if there
/// is no such input, or one that nobody here knows the sizes of; TensorRT then goes by the shapes it meets.
fn profile(role: &str, outline: &Outline, shapes: Shapes, pixels: u32) -> Option<[String; 3]> {
    let mut lists = [const { Vec::new() }; 3];
    for input in &outline.inputs {
        let axes = input.axes.as_deref()?;
        if axes.iter().all(Option::is_some) {
            continue;
        }
        // The list could not be read again.
        if input.name.contains([':', ',']) {
            return None;
        }
        let sizes = (0..axes.len()).map(|at| match axes[at] {
            Some(size) => Some([size; 3]),
            None => range(role, input, at, shapes, pixels),
        });
        let sizes = sizes.collect::<Option<Vec<Range>>>()?;
        for (which, list) in lists.iter_mut().enumerate() {
            let sizes: Vec<_> = sizes.iter().map(|range| range[which].to_string()).collect();
            list.push(format!("{}:{}", input.name, sizes.join("x")));
        }
    }
    let lists = lists.map(|list| list.join(","));
    (!lists[0].is_empty()).then_some(lists)
}

/// Sizes that a free axis can have.
fn range(
    role: &str,
    input: &InputOutline,
    axis: usize,
    shapes: Shapes,
    pixels: u32,
) -> Option<Range> {
    let is = |names: &[&str]| names.contains(&input.name.as_str());
    let rank = input.axes.as_deref().map_or(0, <[_]>::len);
    match (role, axis, rank) {
        ("unet", 0, _) => Some(rows(shapes)),
        ("image_encoder", 0, _) => Some(PICTURES),
        // Prompts and pictures go through one by one.
        (_, 0, _) => Some([1; 3]),
        ("unet" | "vae_decoder", 2 | 3, 4) => Some(sides(shapes, pixels, axis)),
        ("vae_encoder", 2 | 3, 4) => {
            Some(sides(shapes, pixels, axis).map(|side| side * u64::from(pixels)))
        }
        ("unet", 1, 3) if is(inputs::CONTEXT) => Some([tokenizer::LENGTH as u64; 3]),
        ("unet", 1, 3) if is(inputs::IMAGE_TOKENS) => Some(IMAGE_TOKENS),
        ("text_encoder" | "text_encoder_2", 1, 2) => Some([tokenizer::LENGTH as u64; 3]),
        _ => None,
    }
}

/// A graph is tried with two rows when it is loaded.
fn rows(shapes: Shapes) -> Range {
    let most = u64::from(shapes.most_rows).max(2);
    [1, u64::from(shapes.rows).clamp(1, most), most]
}

/// Sides of a latent; that of the trial at load is always among them.
fn sides(shapes: Shapes, pixels: u32, axis: usize) -> Range {
    let [least, usual, most] = SIDES;
    let Some((width, height)) = shapes.size else {
        return [least, usual, most];
    };
    let side = u64::from(if axis == 2 { height } else { width }) / u64::from(pixels.max(1));
    let side = side.max(1);
    [least.min(side), side, least.max(side)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::TensorOutline;

    fn input(name: &str, axes: &[Option<u64>]) -> InputOutline {
        InputOutline {
            name: name.into(),
            axes: Some(axes.to_vec()),
        }
    }

    fn outline(kind: u64, inputs: Vec<InputOutline>) -> Outline {
        let weight = TensorOutline {
            kind,
            ..TensorOutline::default()
        };
        Outline {
            tensors: vec![weight],
            inputs,
            ..Outline::default()
        }
    }

    fn network() -> Outline {
        outline(
            HALF,
            vec![
                input("sample", &[None, Some(4), None, None]),
                input("timestep", &[None]),
                input("encoder_hidden_states", &[None, Some(77), Some(1024)]),
                input("lora_scale.ink", &[Some(1)]),
            ],
        )
    }

    const UNKNOWN: Shapes = Shapes {
        size: None,
        rows: 2,
        most_rows: 8,
    };

    fn said(options: &[(&'static str, String)], name: &str) -> Option<String> {
        let found = options.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone())
    }

    #[test]
    fn a_network_is_built_for_every_shape_that_a_stream_can_ask_for() {
        let [least, usual, most] = profile("unet", &network(), UNKNOWN, 8).unwrap();

        assert_eq!(
            least,
            "sample:1x4x16x16,timestep:1,encoder_hidden_states:1x77x1024"
        );
        assert_eq!(
            usual,
            "sample:2x4x64x64,timestep:2,encoder_hidden_states:2x77x1024"
        );
        assert_eq!(
            most,
            "sample:8x4x128x128,timestep:8,encoder_hidden_states:8x77x1024"
        );
    }

    #[test]
    fn a_size_that_is_known_is_what_it_is_built_for_and_the_trial_fits() {
        let known = Shapes {
            size: Some((768, 512)),
            rows: 4,
            most_rows: 16,
        };
        let [least, usual, most] = profile("unet", &network(), known, 8).unwrap();

        assert!(least.starts_with("sample:1x4x16x16,"));
        assert!(usual.starts_with("sample:4x4x64x96,"), "{usual}");
        assert!(most.starts_with("sample:16x4x64x96,"), "{most}");
        let picture = outline(HALF, vec![input("sample", &[None, Some(3), None, None])]);
        let [least, usual, most] = profile("vae_encoder", &picture, known, 8).unwrap();
        assert_eq!(least, "sample:1x3x128x128");
        assert_eq!((usual.as_str(), &most), ("sample:1x3x512x768", &usual));
        let small = Shapes {
            size: Some((64, 64)),
            rows: 1,
            most_rows: 1,
        };
        let [least, _, most] = profile("unet", &network(), small, 8).unwrap();
        assert!(least.starts_with("sample:1x4x8x8,") && most.starts_with("sample:2x4x16x16,"));
    }

    #[test]
    fn what_nobody_knows_the_size_of_is_left_to_tensorrt() {
        let unknown = |inputs| profile("unet", &outline(HALF, inputs), UNKNOWN, 8);

        assert_eq!(unknown(vec![input("mystery", &[Some(1), None])]), None);
        assert_eq!(unknown(vec![input("a:b", &[None])]), None);
        let unranked = InputOutline {
            name: "sample".into(),
            axes: None,
        };
        assert_eq!(unknown(vec![unranked]), None);
        assert_eq!(unknown(vec![input("sample", &[Some(1), Some(4)])]), None);
        let prompts = outline(HALF, vec![input("input_ids", &[None, None])]);
        let [least, _, most] = profile("text_encoder", &prompts, UNKNOWN, 8).unwrap();
        assert_eq!((least.as_str(), &most), ("input_ids:1x77", &least));
    }

    #[test]
    fn what_was_left_in_float32_stays_in_it() {
        let of = |kind| options("unet", Some(&outline(kind, vec![])), UNKNOWN, 8, None);

        assert_eq!(said(&of(1), "trt_fp16_enable").as_deref(), Some("0"));
        assert_eq!(said(&of(HALF), "trt_fp16_enable").as_deref(), Some("1"));
        let fallback = said(&of(HALF), "trt_layer_norm_fp32_fallback");
        assert_eq!(fallback.as_deref(), Some("1"));
    }

    #[test]
    fn engines_that_are_kept_are_built_with_all_care() {
        let kept = options("unet", None, UNKNOWN, 8, Some(Path::new("/c/unet.engines")));
        let lost = options("unet", None, UNKNOWN, 8, None);
        let level = "trt_builder_optimization_level";

        assert_eq!(said(&kept, level).as_deref(), Some("5"));
        assert_eq!(
            said(&kept, "trt_engine_cache_path").as_deref(),
            Some("/c/unet.engines")
        );
        assert_eq!(said(&lost, level).as_deref(), Some("3"));
        assert_eq!(said(&lost, "trt_engine_cache_enable"), None);
    }
}

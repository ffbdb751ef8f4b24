//! Adapters into the weights of a graph.
//!
//! Exporters keep the names of layers in the names of operations, but rarely in those of weights
//! (which they transpose and number), so a layer is found by the operation that uses its weight.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use half::f16;

use super::keys::{self, Place};
use super::{Layer, Layers};
use crate::folder::Part;
use crate::onnx::{self, NodeOutline, Outline, TensorOutline};

/// Missing layers that are named before the rest is only counted.
const NAMED: usize = 3;

/// `TensorProto.DataType` of the weights that can be changed.
const FLOAT: u64 = 1;
const HALF: u64 = 10;

/// A weight to open a graph with instead of its own.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NewWeight {
    pub(crate) name: String,
    pub(crate) shape: Vec<i64>,
    pub(crate) values: Vec<f32>,
    /// The graph wants it in half precision.
    pub(crate) half: bool,
    /// Where in the graph's own file the old one lies; `None` if it lies in a file beside it.
    pub(crate) inside: Option<u64>,
}

impl NewWeight {
    /// Puts the weight in place of the old one, if that lies in `file`.
    pub(crate) fn write_into(&self, file: &mut [u8]) {
        let width = if self.half { 2 } else { 4 };
        let start = self.inside.and_then(|offset| usize::try_from(offset).ok());
        let old =
            start.and_then(|start| file.get_mut(start..)?.get_mut(..self.values.len() * width));
        let Some(old) = old else { return };
        for (bytes, value) in old.chunks_exact_mut(width).zip(&self.values) {
            if self.half {
                bytes.copy_from_slice(&f16::from_f32(*value).to_le_bytes());
            } else {
                bytes.copy_from_slice(&value.to_le_bytes());
            }
        }
    }
}

/// How an operation uses its weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `[in, out]`.
    Product,
    /// `[out, in]` or, for a convolution, `[out, in, kh, kw]`.
    Transposed,
    /// `[out, kh, kw, in]`, of a convolution in a fused copy.
    ChannelsLast,
}

/// The weights of one graph with adapters merged in, each with its scale.
///
/// # Errors
///
/// The index of the adapter to blame, and a sentence.
pub(crate) fn merge(
    part: &Part,
    place: Place,
    adapters: &[(Layers, f32)],
) -> Result<Vec<NewWeight>, (usize, String)> {
    let outline = part.outline().map_err(|error| (0, error.to_string()))?;
    let targets = targets(&outline);
    let mut changed: HashMap<&str, NewWeight> = HashMap::new();
    for (at, (layers, scale)) in adapters.iter().enumerate() {
        let blame = |reason: String| (at, reason);
        let mut missing = Vec::new();
        for ((_, name), layer) in layers.iter().filter(|((of, _), _)| *of == place) {
            let Some((tensor, form)) = find(&targets, name) else {
                missing.push(name.as_str());
                continue;
            };
            let weight = match changed.get_mut(tensor.name.as_str()) {
                Some(weight) => weight,
                None => {
                    let weight = read(part, tensor).map_err(blame)?;
                    changed.entry(&tensor.name).or_insert(weight)
                }
            };
            add(layer, *scale, *form, weight)
                .map_err(|shape| blame(format!("layer `{name}` {shape}")))?;
        }
        if !missing.is_empty() {
            return Err(blame(lacks(part.role(), &missing)));
        }
    }
    Ok(changed.into_values().collect())
}

fn lacks(role: &str, missing: &[&str]) -> String {
    let named: Vec<_> = missing
        .iter()
        .take(NAMED)
        .map(|name| format!("`{name}`"))
        .collect();
    let rest = match missing.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "it is for another model: the {role} has no layer {}{rest}",
        named.join(", ")
    )
}

/// Operations with a weight, by the name of their layer.
fn targets(outline: &Outline) -> HashMap<String, (&TensorOutline, Form)> {
    let weights: HashMap<&str, &TensorOutline> = outline
        .tensors
        .iter()
        .map(|tensor| (tensor.name.as_str(), tensor))
        .collect();
    let target = |node: &NodeOutline| {
        let form = match node.operator.as_str() {
            "MatMul" => Form::Product,
            "Gemm" if !node.transposed => Form::Product,
            "Gemm" | "Conv" => Form::Transposed,
            "NhwcConv" => Form::ChannelsLast,
            _ => return None,
        };
        let tensor = weights.get(node.inputs.get(1)?.as_str())?;
        let (layer, _) = node.name.rsplit_once('/')?;
        Some((
            keys::spelled(layer.trim_start_matches('/')),
            (*tensor, form),
        ))
    };
    outline.nodes.iter().filter_map(target).collect()
}

/// The weight of a layer: by its whole name, else the only one whose name ends like that, because
/// exporters wrap models into modules of their own.
fn find<'t, 'o>(
    targets: &'t HashMap<String, (&'o TensorOutline, Form)>,
    layer: &str,
) -> Option<&'t (&'o TensorOutline, Form)> {
    if let Some(found) = targets.get(layer) {
        return Some(found);
    }
    let ending = format!("_{layer}");
    let mut alike = targets.iter().filter(|(name, _)| name.ends_with(&ending));
    let found = alike.next()?;
    alike.next().is_none().then_some(found.1)
}

fn read(part: &Part, tensor: &TensorOutline) -> Result<NewWeight, String> {
    let name = &tensor.name;
    let half = match tensor.kind {
        FLOAT => false,
        HALF => true,
        _ => {
            return Err(format!(
                "weight `{name}` is quantised and cannot be adapted"
            ));
        }
    };
    let (bytes, inside) = match &tensor.place {
        onnx::Place::Spelled => return Err(format!("weight `{name}` is not stored as bytes")),
        onnx::Place::Inside { offset, length } => {
            (bytes_of(part, *offset, *length)?, Some(*offset))
        }
        onnx::Place::Outside {
            location,
            offset,
            length,
        } => {
            // Confined and measured when the folder was opened.
            let size =
                onnx::byte_size(tensor).map_err(|_| format!("weight `{name}` is damaged"))?;
            let length = length.or(size).unwrap_or(0);
            let dir = part.path().parent().unwrap_or(Path::new("."));
            let bytes = slice_of(&dir.join(location), *offset, length);
            (
                bytes.map_err(|error| format!("weight `{name}`: {error}"))?,
                None,
            )
        }
    };
    let values: Vec<f32> = if half {
        let pairs = bytes.chunks_exact(2);
        pairs
            .map(|pair| f16::from_le_bytes([pair[0], pair[1]]).to_f32())
            .collect()
    } else {
        let words = bytes.chunks_exact(4);
        words
            .map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]]))
            .collect()
    };
    Ok(NewWeight {
        name: name.clone(),
        shape: tensor.shape.iter().map(|side| *side as i64).collect(),
        values,
        half,
        inside,
    })
}

fn bytes_of(part: &Part, offset: u64, length: u64) -> Result<Vec<u8>, String> {
    match part.bytes() {
        Some(bytes) => {
            let range = offset as usize..(offset + length) as usize;
            bytes
                .get(range)
                .map(<[u8]>::to_vec)
                .ok_or_else(|| "it is cut short".into())
        }
        None => slice_of(part.path(), offset, length).map_err(|error| error.to_string()),
    }
}

fn slice_of(path: &Path, offset: u64, length: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Adds a layer to a weight, or says how their shapes differ.
fn add(layer: &Layer, scale: f32, form: Form, weight: &mut NewWeight) -> Result<(), String> {
    let (rank, out) = (layer.rank(), layer.up.shape[0]);
    let inputs: usize = layer.down.shape[1..].iter().product();
    let sides: Vec<usize> = weight.shape.iter().map(|side| *side as usize).collect();
    // A linear layer's adapter may belong to a 1×1 convolution and the other way round.
    let kernel = |sides: &[usize]| sides.iter().skip(1).product::<usize>();
    let pixels = kernel(&layer.down.shape[1..]);
    let fits = match (form, sides.as_slice()) {
        (Form::Product, [i, o]) => (*i, *o) == (inputs, out),
        (Form::Transposed, [o, rest @ ..]) => {
            *o == out && rest.iter().product::<usize>() == inputs && kernel(rest) == pixels
        }
        (Form::ChannelsLast, [o, height, width, i]) => {
            *o == out && height * width == pixels && i * pixels == inputs
        }
        _ => false,
    };
    let complete = inputs * out > 0
        && weight.values.len() == inputs * out
        && layer.down.values.len() == rank * inputs
        && layer.up.values.len() == rank * out;
    if !fits || !complete {
        return Err(format!(
            "adapts {inputs} inputs and {out} outputs, the model's weight is {sides:?}"
        ));
    }
    let strength = scale * layer.strength();
    // Row by row of `down`, so that the inner loop runs along memory in both forms.
    for k in 0..rank {
        let down = &layer.down.values[k * inputs..][..inputs];
        match form {
            Form::Transposed => {
                for (o, row) in weight.values.chunks_exact_mut(inputs).enumerate() {
                    let up = strength * layer.up.values[o * rank + k];
                    row.iter_mut().zip(down).for_each(|(w, d)| *w += up * d);
                }
            }
            Form::ChannelsLast => {
                for (o, row) in weight.values.chunks_exact_mut(inputs).enumerate() {
                    let up = strength * layer.up.values[o * rank + k];
                    let (channels, row) = (inputs / pixels, row.iter_mut().enumerate());
                    row.for_each(|(at, w)| {
                        *w += up * down[at % channels * pixels + at / channels];
                    });
                }
            }
            Form::Product => {
                for (row, down) in weight.values.chunks_exact_mut(out).zip(down) {
                    let down = strength * down;
                    for (o, w) in row.iter_mut().enumerate() {
                        *w += down * layer.up.values[o * rank + k];
                    }
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Matrix;
    use super::*;

    fn layer(down: [usize; 2], up: [usize; 2]) -> Layer {
        let matrix = |shape: [usize; 2], start: f32| Matrix {
            shape: shape.to_vec(),
            values: (0..shape[0] * shape[1])
                .map(|k| start + 0.1 * k as f32)
                .collect(),
        };
        Layer {
            down: matrix(down, -0.2),
            up: matrix(up, 0.3),
            alpha: Some(4.0),
            has: [true, true],
        }
    }

    fn weight(shape: &[i64]) -> NewWeight {
        let count = shape.iter().product::<i64>() as usize;
        NewWeight {
            name: "w".into(),
            shape: shape.to_vec(),
            values: (0..count).map(|k| (k as f32).cos()).collect(),
            half: false,
            inside: None,
        }
    }

    /// A layer adds `scale · alpha / r · up(down(x))` to what the weight makes of `x`.
    #[test]
    fn a_merged_weight_does_what_the_adapter_does_beside_it() {
        let (inputs, out, rank, scale) = (3, 2, 2, 0.7);
        let x = [0.5, -1.0, 2.0];
        let layer = layer([rank, inputs], [out, rank]);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let inner: Vec<f32> = layer
            .down
            .values
            .chunks(inputs)
            .map(|row| dot(row, &x))
            .collect();
        let beside =
            |o: usize| scale * 4.0 / 2.0 * dot(&layer.up.values[o * rank..][..rank], &inner);
        for (form, shape) in [
            (Form::Product, vec![3, 2]),
            (Form::Transposed, vec![2, 3]),
            (Form::Transposed, vec![2, 3, 1, 1]),
            (Form::ChannelsLast, vec![2, 1, 1, 3]),
        ] {
            let plain = weight(&shape);
            let mut merged = plain.clone();
            add(&layer, scale, form, &mut merged).unwrap();
            let apply = |weight: &NewWeight, o: usize| -> f32 {
                (0..inputs)
                    .map(|i| match form {
                        Form::Product => x[i] * weight.values[i * out + o],
                        Form::Transposed | Form::ChannelsLast => {
                            x[i] * weight.values[o * inputs + i]
                        }
                    })
                    .sum()
            };
            for o in 0..out {
                let (with, without) = (apply(&merged, o), apply(&plain, o));
                assert!((with - without - beside(o)).abs() < 1e-5, "{form:?} {o}");
            }
        }
    }

    #[test]
    fn a_convolution_that_lies_channels_last_is_merged_alike() {
        let (out, height, width, channels) = (2, 2, 1, 3);
        let mut layer = layer([2, channels * height * width], [out, 2]);
        layer.down.shape = vec![2, channels, height, width];
        let mut usual = weight(&[out as i64, channels as i64, height as i64, width as i64]);
        let turned = |values: &[f32]| -> Vec<f32> {
            let place = |o, y, x, c| ((o * channels + c) * height + y) * width + x;
            let mut turned = Vec::new();
            for o in 0..out {
                for y in 0..height {
                    for x in 0..width {
                        turned.extend((0..channels).map(|c| values[place(o, y, x, c)]));
                    }
                }
            }
            turned
        };
        let mut last = weight(&[out as i64, height as i64, width as i64, channels as i64]);
        last.values = turned(&usual.values);

        add(&layer, 0.7, Form::Transposed, &mut usual).unwrap();
        add(&layer, 0.7, Form::ChannelsLast, &mut last).unwrap();

        assert_eq!(last.values, turned(&usual.values));
        let mut other = weight(&[2, 1, 2, 2]);
        assert!(add(&layer, 0.7, Form::ChannelsLast, &mut other).is_err());
    }

    #[test]
    fn an_adapter_of_another_size_is_refused_with_both_sizes() {
        let layer = layer([2, 4], [2, 2]);

        let refused = add(&layer, 1.0, Form::Product, &mut weight(&[3, 2])).unwrap_err();

        assert_eq!(
            refused,
            "adapts 4 inputs and 2 outputs, the model's weight is [3, 2]"
        );
    }

    #[test]
    fn a_layer_is_found_below_the_module_an_exporter_wraps_around() {
        let tensor = TensorOutline::default();
        let target = (&tensor, Form::Product);
        let names = [
            "m_down_blocks_0_proj_in",
            "m_down_blocks_10_proj_in",
            "x_mid_to_q",
            "y_mid_to_q",
        ];
        let targets: HashMap<_, _> = names.map(|name| (name.to_owned(), target)).into();

        assert!(find(&targets, "down_blocks_0_proj_in").is_some());
        assert!(find(&targets, "blocks_0_proj_out").is_none());
        assert!(find(&targets, "mid_to_q").is_none(), "two could be meant");
    }
}

//! Low-rank adapters: files of small matrices that are added to a model's weights.
//!
//! `W' = W + scale · (alpha / rank) · up · down`, computed when the model is loaded. An adapter file
//! is a stranger's: its header is checked against the file before anything is read, and an adapter
//! that does not fit the model is refused whole, by the name of what does not fit.

mod keys;
mod merge;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;

pub(crate) use self::keys::Place;
use self::keys::Role;
pub(crate) use self::merge::{NewWeight, merge};
use crate::error::EngineError;

/// Longest header that the format allows, bytes.
const LONGEST_HEADER: u64 = 100_000_000;

/// Highest rank that an adapter may have; more is no longer low.
const HIGHEST_RANK: usize = 4096;

/// An adapter to merge into a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Lora {
    /// A `.safetensors` file in kohya's or diffusers' naming.
    pub path: PathBuf,
    /// How much of it to add; 1.0 is as trained, 0.0 is nothing, negative is the opposite.
    pub scale: f32,
}

/// One of the two matrices of a layer, row-major.
#[derive(Debug, Clone, Default, PartialEq)]
struct Matrix {
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// What an adapter adds to one layer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Layer {
    /// `[r, in]` or `[r, in, kh, kw]`.
    down: Matrix,
    /// `[out, r]` or `[out, r, 1, 1]`.
    up: Matrix,
    alpha: Option<f32>,
    has: [bool; 2],
}

/// What the scale of an adapter is called where it is an input of a graph; as `gst-scope model export` names it.
pub(crate) fn input_name(path: &str) -> String {
    let path = Path::new(path);
    let stem = match path.extension().is_some_and(|end| end == "safetensors") {
        true => path.file_stem(),
        false => path.file_name(),
    };
    let stem = stem.unwrap_or_default().to_string_lossy();
    let kept = |sign: char| match sign {
        _ if sign.is_ascii_alphanumeric() => sign,
        '_' | '-' => sign,
        _ => '_',
    };
    stem.chars().map(kept).collect()
}

/// The layers of an adapter by graph and name.
pub(crate) type Layers = BTreeMap<(Place, String), Layer>;

/// Reads an adapter file.
pub(crate) fn open(path: &Path) -> Result<Layers, EngineError> {
    let corrupt = |reason: String| EngineError::ModelFileCorrupt {
        path: path.to_path_buf(),
        reason,
    };
    if !path.is_file() {
        return Err(EngineError::ModelFileMissing {
            path: path.to_path_buf(),
        });
    }
    let mut file = File::open(path).map_err(|error| corrupt(error.to_string()))?;
    let length = file.metadata().map_or(0, |found| found.len());
    let layers = read(&mut file, length).map_err(corrupt)?;
    for ((_, name), layer) in &layers {
        layer.check(name).map_err(corrupt)?;
    }
    if layers.is_empty() {
        return Err(corrupt("it adapts no layer".into()));
    }
    Ok(layers)
}

fn read<F: Read + Seek>(file: &mut F, length: u64) -> Result<Layers, String> {
    let io = |error: std::io::Error| error.to_string();
    let mut prefix = [0; 8];
    file.read_exact(&mut prefix)
        .map_err(|_| "it is not a safetensors file".to_owned())?;
    let header = u64::from_le_bytes(prefix);
    let data = header.checked_add(8).filter(|end| *end <= length);
    let Some(data) = data.filter(|_| header <= LONGEST_HEADER) else {
        return Err(format!(
            "its header claims {header} bytes of a file of {length}"
        ));
    };
    let mut text = Vec::new();
    file.take(header).read_to_end(&mut text).map_err(io)?;
    let mut layers = Layers::new();
    for (key, info) in tensors(&text, length - data)? {
        let (place, name, role) = keys::parse(&key)?;
        let (from, to) = info.data_offsets;
        // The header was checked: this many bytes are in the file.
        let mut content = Vec::new();
        file.seek(SeekFrom::Start(data + from as u64)).map_err(io)?;
        file.take((to - from) as u64)
            .read_to_end(&mut content)
            .map_err(io)?;
        let values = numbers(&content, info.dtype).ok_or_else(|| {
            format!(
                "`{key}` is of type {:?}; expected F32, F16 or BF16",
                info.dtype
            )
        })?;
        let layer = layers.entry((place, name)).or_default();
        let matrix = Matrix {
            shape: info.shape.clone(),
            values,
        };
        match role {
            Role::Down => (layer.down, layer.has[0]) = (matrix, true),
            Role::Up => (layer.up, layer.has[1]) = (matrix, true),
            Role::Alpha => layer.alpha = matrix.values.first().copied(),
        }
    }
    Ok(layers)
}

/// The tensors of a header, by name; sound and within `room` bytes.
fn tensors(header: &[u8], room: u64) -> Result<BTreeMap<String, TensorInfo>, String> {
    let damaged = |reason: String| format!("its header is damaged: {reason}");
    let mut entries: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(header).map_err(|error| damaged(error.to_string()))?;
    entries.remove("__metadata__");
    let mut tensors = BTreeMap::new();
    let mut places: Vec<(usize, usize)> = Vec::new();
    for (key, entry) in entries {
        let info: TensorInfo =
            serde_json::from_value(entry).map_err(|error| damaged(format!("`{key}`: {error}")))?;
        let (from, to) = info.data_offsets;
        let bits = info
            .shape
            .iter()
            .try_fold(info.dtype.bitsize(), |bits: usize, side| {
                bits.checked_mul(*side)
            });
        let wanted = bits.map(|bits| bits / 8);
        if wanted.is_none() || to.checked_sub(from) != wanted {
            return Err(damaged(format!(
                "`{key}` of shape {:?} lies at {from} to {to}",
                info.shape
            )));
        }
        if to as u64 > room {
            return Err(format!("it is cut short: `{key}` is not all there"));
        }
        places.push(info.data_offsets);
        tensors.insert(key, info);
    }
    places.sort_unstable();
    if places.windows(2).any(|pair| pair[1].0 < pair[0].1) {
        return Err(damaged("tensors overlap".into()));
    }
    Ok(tensors)
}

fn numbers(bytes: &[u8], kind: Dtype) -> Option<Vec<f32>> {
    let pairs = || bytes.chunks_exact(2).map(|pair| [pair[0], pair[1]]);
    Some(match kind {
        Dtype::F32 => bytes
            .chunks_exact(4)
            .map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]]))
            .collect(),
        Dtype::F16 => pairs()
            .map(|pair| f16::from_le_bytes(pair).to_f32())
            .collect(),
        Dtype::BF16 => pairs()
            .map(|pair| bf16::from_le_bytes(pair).to_f32())
            .collect(),
        _ => return None,
    })
}

impl Layer {
    /// Rank of the adapter.
    fn rank(&self) -> usize {
        self.down.shape.first().copied().unwrap_or(0)
    }

    /// What `up · down` is multiplied with for a scale of 1.
    fn strength(&self) -> f32 {
        let rank = self.rank().max(1) as f32;
        self.alpha.unwrap_or(rank) / rank
    }

    /// Refuses what is no pair of matrices of one rank.
    fn check(&self, name: &str) -> Result<(), String> {
        if self.has != [true, true] {
            return Err(format!("layer `{name}` has only one of its two matrices"));
        }
        let (down, up) = (&self.down.shape, &self.up.shape);
        let matrices = down.len() >= 2
            && up.len() >= 2
            && up[2..].iter().all(|side| *side == 1)
            && down[0] == up[1];
        if !matrices || !(1..=HIGHEST_RANK).contains(&down[0]) {
            return Err(format!("layer `{name}` has the shapes {down:?} and {up:?}"));
        }
        let finite = |matrix: &Matrix| matrix.values.iter().all(|value| value.is_finite());
        let sound = finite(&self.down) && finite(&self.up) && self.strength().is_finite();
        sound
            .then_some(())
            .ok_or_else(|| format!("layer `{name}` holds values that are no numbers"))
    }
}

#[cfg(test)]
pub(crate) mod tests;

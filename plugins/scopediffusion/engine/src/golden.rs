//! Reads `tests/golden/`: what the reference implementation computed, tensor by tensor.
//!
//! Made by `reference_stream.py` on the folder that `export_onnx.py --preset tiny` writes; both lie
//! beside the files. Shared by the tests of several modules.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

use crate::guidance::{CfgType, Guidance};

/// A tensor file of `tests/golden/`.
pub(crate) struct Golden {
    name: String,
    bytes: Vec<u8>,
}

/// One scenario's entry in `manifest.json`, as far as the tests use it.
#[derive(serde::Deserialize)]
pub(crate) struct Scenario {
    /// Height and width of the picture.
    pub(crate) hw: (u32, u32),
    pub(crate) frames: usize,
    pub(crate) timesteps: Vec<u16>,
    pub(crate) frame_buffer: usize,
    pub(crate) cfg_type: String,
    pub(crate) guidance_scale: f32,
    pub(crate) delta: f32,
    pub(crate) do_add_noise: bool,
    pub(crate) prediction_type: String,
}

pub(crate) const NEGATIVE: &str = "blurry, low quality";
pub(crate) const PROMPT: &str = "an oil painting of a CAT at night,  neon lights!";

pub(crate) fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The folder of the random-weight model that the goldens were made with.
pub(crate) fn model_dir() -> PathBuf {
    dir().join("model-tiny")
}

/// The model folder again, somewhere else, for tests that change a file of it.
pub(crate) fn model_copy() -> tempfile::TempDir {
    copy_of(&model_dir())
}

/// A model folder again, somewhere else.
pub(crate) fn copy_of(model: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for part in fs::read_dir(model).unwrap().flatten() {
        let to = copy.path().join(part.file_name());
        if !part.path().is_dir() {
            fs::copy(part.path(), to).unwrap();
            continue;
        }
        fs::create_dir(&to).unwrap();
        for file in fs::read_dir(part.path()).unwrap().flatten() {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    copy
}

/// The scenarios of Stable Diffusion XL and their model.
pub(crate) fn xl_dir() -> PathBuf {
    dir().join("xl")
}

pub(crate) fn scenario(name: &str) -> Scenario {
    scenario_in(&dir(), name)
}

pub(crate) fn scenario_in(dir: &Path, name: &str) -> Scenario {
    let manifest = fs::read(dir.join("manifest.json")).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    serde_json::from_value(manifest["scenarios"][name].take()).unwrap()
}

impl Scenario {
    pub(crate) fn cfg_type(&self) -> CfgType {
        match self.cfg_type.as_str() {
            "none" => CfgType::None,
            "full" => CfgType::Full,
            "self" => CfgType::SelfNegative,
            "initialize" => CfgType::Initialize,
            other => panic!("{other}"),
        }
    }

    pub(crate) fn guidance(&self) -> Guidance {
        Guidance {
            kind: self.cfg_type(),
            scale: self.guidance_scale,
            delta: self.delta,
        }
    }
}

/// Test picture `k` of the reference, RGB bytes: `picture` of `reference_stream.py`.
pub(crate) fn picture(k: usize, (width, height): (u32, u32)) -> Vec<u8> {
    let (w, h, k) = (i64::from(width), i64::from(height), k as i64);
    let mut bytes = Vec::with_capacity((3 * w * h) as usize);
    for y in 0..h {
        for x in 0..w {
            let (dx, dy) = (x - (w / 4 + 4 * k) % w, y - h / 2);
            let inside = dx * dx + dy * dy < (h / 4) * (h / 4);
            bytes.push(((x * 3 + k * 7) % 256) as u8);
            bytes.push(((y * 5 + k * 3) % 256) as u8);
            bytes.push(if inside { 220 } else { 40 });
        }
    }
    bytes
}

impl Golden {
    pub(crate) fn open(name: &str) -> Self {
        Self::open_in(&dir(), name)
    }

    pub(crate) fn open_in(dir: &Path, name: &str) -> Self {
        let path = dir.join(format!("{name}.safetensors"));
        Self {
            name: name.into(),
            bytes: fs::read(path).unwrap(),
        }
    }

    /// The raw little-endian bytes of a tensor, or `None` if the scenario has no such tensor.
    pub(crate) fn bytes(&self, tensor: &str) -> Option<Vec<u8>> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        file.tensor(tensor).ok().map(|view| view.data().to_vec())
    }

    pub(crate) fn doubles(&self, tensor: &str) -> Vec<f64> {
        numbers(&self.bytes(tensor).unwrap(), f64::from_le_bytes)
    }

    pub(crate) fn floats(&self, tensor: &str) -> Vec<f32> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = file
            .tensor(tensor)
            .unwrap_or_else(|_| panic!("{} has no {tensor}", self.name));
        match view.dtype() {
            Dtype::F32 => numbers(view.data(), f32::from_le_bytes),
            Dtype::I64 => numbers(view.data(), i64::from_le_bytes)
                .iter()
                .map(|v| *v as f32)
                .collect(),
            other => panic!("{tensor} is {other:?}"),
        }
    }
}

fn numbers<T, const N: usize>(bytes: &[u8], from: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes
        .chunks_exact(N)
        .map(|chunk| from(chunk.try_into().unwrap()))
        .collect()
}

/// Fails unless the two agree everywhere within `tolerance`.
#[track_caller]
pub(crate) fn assert_close(what: &str, actual: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    let worst = actual
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    let number = actual.iter().all(|value| value.is_finite());
    assert!(
        number && worst <= tolerance,
        "{what} is off by {worst:e}, {tolerance:e} allowed"
    );
}

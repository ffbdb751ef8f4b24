//! Where numbers are crunched: the one seam between the algorithm and an inference runtime.
//!
//! [`Graph`] is implemented by ONNX Runtime in [`ort`] and by plain arithmetic in the tests. The
//! algorithm speaks `f32` and `i64` only; an implementation casts to what its file wants.

use std::fmt;
use std::path::PathBuf;

use crate::error::EngineError;
use crate::lora::NewWeight;
use crate::watch::Watch;

#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod ort;
mod shapes;

pub use self::shapes::Shapes;

/// Which hardware path runs the graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Provider {
    /// CUDA when the library has it and the graphs open there, else the CPU.
    #[default]
    Auto,
    /// The CPU, always available.
    Cpu,
    /// NVIDIA CUDA; an error when it cannot be used.
    Cuda,
    /// NVIDIA TensorRT, with CUDA for what it leaves over; an error when it cannot be used.
    TensorRt,
}

/// A provider and the number of the device that it shall use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Device {
    /// The hardware path.
    pub provider: Provider,
    /// Device number, 0 being the first; ignored by the CPU.
    pub index: u32,
}

/// Where a model shall run, and where to keep what takes long to prepare for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opening {
    /// The device.
    pub device: Device,
    /// Folder for graphs and engines as the provider has prepared them, made if need be; `None`
    /// keeps nothing. Entries are never wrong, and may be removed at any time.
    pub cache_dir: Option<PathBuf>,
    /// What will be asked for, for a provider that builds engines for it (TensorRT); others need no telling.
    pub shapes: Option<Shapes>,
    /// Where latents are between the graphs.
    pub latents: Latents,
}

/// Where latents are between a model's graphs, and the arithmetic of the denoising steps with them.
///
/// Pictures are the same everywhere, but for the last digits of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Latents {
    /// On a GPU with the graphs, on the CPU with the engine.
    #[default]
    Auto,
    /// With the engine: on a GPU they come and go at every step.
    Host,
    /// With the graphs: nothing but pictures comes and goes.
    Provider,
}

impl From<Device> for Opening {
    fn from(device: Device) -> Self {
        Self {
            device,
            ..Self::default()
        }
    }
}

/// What a graph is opened with instead of what its file holds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Changes<'a> {
    /// The file's content with changes.
    pub(crate) content: Option<&'a [u8]>,
    /// Weights that take the place of those of the same name in files beside the graph.
    pub(crate) weights: &'a [NewWeight],
    /// Pixels of the model's picture for one of its latent, as its config has it.
    pub(crate) pixels: u32,
}

/// Element type of a graph's tensor, as far as the engine can feed or read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    F16,
    I32,
    I64,
    /// Anything else: such a graph is refused.
    Other,
}

/// One named input or output of a graph. A dimension of `None` is free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) element: Element,
    pub(crate) shape: Vec<Option<usize>>,
}

/// Borrowed numbers on their way into a graph.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Values<'a> {
    Real(&'a [f32]),
    Whole(&'a [i64]),
    /// A picture, `[H, W, 3]`, for an input that takes values `[1, 3, H, W]` in −1…1.
    Bytes(&'a [u8]),
}

/// One named tensor on its way into a graph; `values` holds the product of `shape`, row-major.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Feed<'a> {
    pub(crate) name: &'a str,
    pub(crate) shape: &'a [usize],
    pub(crate) values: Values<'a>,
    /// The same stamp means the same values: they need not be written again. 0 means nothing.
    pub(crate) stamp: u64,
}

impl<'a> Feed<'a> {
    pub(crate) fn new(name: &'a str, shape: &'a [usize], values: Values<'a>) -> Self {
        Self {
            name,
            shape,
            values,
            stamp: 0,
        }
    }
}

/// What shall become of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Its values.
    Real,
    /// Values `[1, 3, H, W]` in −1…1 as a picture.
    Bytes,
}

/// An output, lying where the graph wrote it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Output<'a> {
    Real {
        shape: &'a [usize],
        values: &'a [f32],
    },
    /// A picture, `[H, W, 3]`.
    Picture {
        /// That of the values, `[1, 3, H, W]`.
        shape: &'a [usize],
        bytes: &'a [u8],
        /// Whether all values were numbers.
        sound: bool,
    },
}

/// Told the number of an output, as it was wanted, and the output.
pub(crate) type Read<'r> = dyn FnMut(usize, Output<'_>) + 'r;

/// A tensor that a graph wrote, row-major. Reused from call to call so that it keeps its memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

impl Tensor {
    /// Takes a copy of an output's values.
    pub(crate) fn take(&mut self, output: Output<'_>) {
        self.shape.clear();
        self.values.clear();
        if let Output::Real { shape, values } = output {
            self.shape.extend_from_slice(shape);
            self.values.extend_from_slice(values);
        }
    }
}

/// One loaded network: named tensors in, named tensors out.
pub(crate) trait Graph: Send + fmt::Debug {
    /// What the graph must be fed.
    fn inputs(&self) -> &[Port];

    /// What the graph can be asked for.
    fn outputs(&self) -> &[Port];

    /// Which provider runs how many of the graph's operations, as far as the runtime tells.
    fn placement(&self) -> Vec<(String, usize)> {
        Vec::new()
    }

    /// Its sessions, for whoever binds tensors of its own to them; `None` if it has none.
    fn handle(&self) -> Option<self::ort::Handle> {
        None
    }

    /// Runs once and shows every wanted output to `read`; `watch` may stop it.
    ///
    /// Runs with the shapes of an earlier one allocate nothing.
    fn run(
        &mut self,
        feeds: &[Feed<'_>],
        wanted: &[(&str, Form)],
        watch: &Watch,
        read: &mut Read<'_>,
    ) -> Result<(), EngineError>;
}

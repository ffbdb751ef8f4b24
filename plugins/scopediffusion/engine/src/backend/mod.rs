//! Where numbers are crunched: the one seam between the algorithm and an inference runtime.
//!
//! [`Graph`] is implemented by ONNX Runtime in [`ort`] and by plain arithmetic in the tests. The
//! algorithm speaks `f32` and `i64` only; an implementation casts to what its file wants.

use std::fmt;

use crate::error::EngineError;
use crate::lora::NewWeight;
use crate::watch::Watch;

#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod ort;

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

/// What a graph is opened with instead of what its file holds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Changes<'a> {
    /// The file's content with changes.
    pub(crate) content: Option<&'a [u8]>,
    /// Weights that take the place of those of the same name in files beside the graph.
    pub(crate) weights: &'a [NewWeight],
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
}

/// One named tensor on its way into a graph; `values` holds the product of `shape`, row-major.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Feed<'a> {
    pub(crate) name: &'a str,
    pub(crate) shape: &'a [usize],
    pub(crate) values: Values<'a>,
}

/// A tensor that a graph wrote, row-major. Reused from call to call so that it keeps its memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// One loaded network: named tensors in, named tensors out.
pub(crate) trait Graph: Send + fmt::Debug {
    /// What the graph must be fed.
    fn inputs(&self) -> &[Port];

    /// What the graph can be asked for.
    fn outputs(&self) -> &[Port];

    /// Runs once and replaces the content of every wanted tensor; `watch` may stop it.
    fn run(
        &mut self,
        feeds: &[Feed<'_>],
        wanted: &mut [(&str, &mut Tensor)],
        watch: &Watch,
    ) -> Result<(), EngineError>;
}

//! Everything that can go wrong between a model folder and a picture.
//!
//! Decision: errors carry texts, not foreign error types, so that they can be compared in tests,
//! cloned across threads, and so that `ort` is named in `backend/ort` only.

use std::path::PathBuf;

/// Why the engine cannot do what was asked; [`EngineError::remedy`] says what to do next.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// No usable ONNX Runtime library was found.
    #[error("no usable ONNX Runtime library was found; tried:{}", list(tried))]
    RuntimeMissing {
        /// One line for each place that was tried: path, why it was tried, why it failed.
        tried: Vec<String>,
    },
    /// The library was found but would not start.
    #[error("ONNX Runtime at `{}` does not start: {reason}", path.display())]
    RuntimeFailed {
        /// The library file.
        path: PathBuf,
        /// What the library says.
        reason: String,
    },
    /// The wanted execution provider (CUDA, TensorRT) cannot be used on this machine.
    #[error("execution provider {provider} is not available: {reason}")]
    ProviderUnavailable {
        /// `cuda` or `tensorrt`.
        provider: &'static str,
        /// What is missing, by name where it is known.
        reason: String,
    },
    /// The model folder does not exist or is not a folder.
    #[error("model folder `{}` does not exist", path.display())]
    ModelFolderMissing {
        /// The folder that was asked for.
        path: PathBuf,
    },
    /// The folder lacks a file that every model needs.
    #[error("model file `{}` is missing", path.display())]
    ModelFileMissing {
        /// The file that was expected.
        path: PathBuf,
    },
    /// A file is there but does not hold what its name promises.
    #[error("model file `{}` is damaged: {reason}", path.display())]
    ModelFileCorrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The files are sound but describe a model that this engine cannot run.
    #[error("model `{name}` is not supported: {reason}")]
    ModelUnsupported {
        /// The model's name, see [`crate::Folder::name`].
        name: String,
        /// Which property of the model is the obstacle.
        reason: String,
    },
    /// The picture size does not fit the model.
    #[error("picture size {width}x{height} does not fit the model: {reason}")]
    SizeNotDivisible {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// The rule that is broken, with its number.
        reason: String,
    },
    /// A live parameter has a wrong type or lies outside its range.
    #[error("parameter `{key}` is {value}, expected {expected}")]
    BadParameter {
        /// The key as it was spelled.
        key: String,
        /// The value as it was given, shortened.
        value: String,
        /// Type and range that are accepted.
        expected: String,
    },
    /// The frame handed in is not what its description says.
    #[error("the frame cannot be used: {reason}")]
    BadFrame {
        /// What does not add up.
        reason: String,
    },
    /// Somebody has called [`crate::Interrupt::stop`] or [`crate::LoadInterrupt::stop`].
    #[error("the work was interrupted")]
    Interrupted,
    /// There was no memory for a graph or for its work, on the host or on the device.
    #[error("not enough memory for graph `{graph}`: {reason}")]
    OutOfMemory {
        /// The role of the graph: `unet`, `vae_decoder` and so on.
        graph: String,
        /// What the runtime says, with the size it asked for where it is known.
        reason: String,
    },
    /// The device failed in the middle of work; it takes no more of this process.
    #[error("the GPU was lost while graph `{graph}` ran: {reason}")]
    DeviceLost {
        /// The role of the graph.
        graph: String,
        /// What the runtime says.
        reason: String,
    },
    /// A graph refused to run.
    #[error("graph `{graph}` failed: {reason}")]
    InferenceFailed {
        /// The role of the graph: `unet`, `vae_decoder` and so on.
        graph: String,
        /// What the runtime says.
        reason: String,
    },
}

impl EngineError {
    /// What the operator can do next; one imperative sentence, no full stop.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::RuntimeMissing { .. } => {
                "install it with `make setup-run`, or point SCOPE_ONNXRUNTIME at a libonnxruntime.so"
            }
            Self::RuntimeFailed { .. } => "replace the library with ONNX Runtime 1.24 or newer",
            Self::ProviderUnavailable { .. } => {
                "install the NVIDIA driver and, with `.setup/onnxruntime cuda13`, the GPU build of ONNX Runtime and its libraries, or choose the cpu provider"
            }
            Self::ModelFolderMissing { .. } => {
                "set the model folder to a directory that holds unet/, vae_encoder/, vae_decoder/, text_encoder/ and tokenizer/"
            }
            Self::ModelFileMissing { .. } => {
                "copy the whole exported model folder, external data files included"
            }
            Self::ModelFileCorrupt { .. } => "download or export the file again",
            Self::ModelUnsupported { .. } => {
                "choose a Stable Diffusion model exported to ONNX with dynamic axes"
            }
            Self::SizeNotDivisible { .. } => "scale the video to a size that the model accepts",
            Self::BadParameter { .. } => "send a value of the expected type and range",
            Self::BadFrame { .. } => "negotiate caps that match the frames",
            Self::Interrupted => "let work through again with `go_on`",
            Self::OutOfMemory { .. } => {
                "lower the picture size, the number of steps or the frame buffer, or close what else uses the memory"
            }
            Self::DeviceLost { .. } => {
                "look at the driver's log, then start this program anew: a process cannot have the GPU back"
            }
            Self::InferenceFailed { .. } => {
                "lower the picture size or the number of steps, or choose the cpu provider"
            }
        }
    }
}

fn list(tried: &[String]) -> String {
    tried.iter().map(|line| format!("\n  {line}")).collect()
}

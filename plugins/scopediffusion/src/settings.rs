//! What the operator asked for: plain data, one field a property.

use std::path::PathBuf;

use diffusion_engine::{Batching, CfgType, Device, InputMode, Pace, Parameters, Provider};
use gst::glib;

/// How the element keeps time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstScopeDiffusionPacing")]
#[repr(i32)]
pub(crate) enum Pacing {
    #[default]
    #[enum_value(name = "Live when the pipeline is live, else strict", nick = "auto")]
    Auto = 0,
    #[enum_value(
        name = "Own thread, newest frame wins, drops are counted",
        nick = "live"
    )]
    Live = 1,
    #[enum_value(
        name = "One picture out for each picture in, nothing dropped",
        nick = "strict"
    )]
    Strict = 2,
}

/// Where inference runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstScopeDiffusionExecutionProvider")]
#[repr(i32)]
pub(crate) enum ExecutionProvider {
    #[default]
    #[enum_value(name = "CUDA when it works here, else CPU", nick = "auto")]
    Auto = 0,
    #[enum_value(name = "CPU", nick = "cpu")]
    Cpu = 1,
    #[enum_value(name = "CUDA", nick = "cuda")]
    Cuda = 2,
    #[enum_value(name = "TensorRT", nick = "tensorrt")]
    TensorRt = 3,
}

/// How several denoising steps are run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstScopeDiffusionBatching")]
#[repr(i32)]
pub(crate) enum BatchingChoice {
    #[default]
    #[enum_value(name = "Stream on a GPU, sequential on the CPU", nick = "auto")]
    Auto = 0,
    #[enum_value(
        name = "Stream batch: one call a frame, steps - 1 frames of delay",
        nick = "stream"
    )]
    Stream = 1,
    #[enum_value(
        name = "Sequential: a call for each step, no delay",
        nick = "sequential"
    )]
    Sequential = 2,
}

/// What pictures are made from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstScopeDiffusionInputMode")]
#[repr(i32)]
pub(crate) enum InputModeChoice {
    #[default]
    #[enum_value(name = "Video: redraw the incoming frame", nick = "video")]
    Video = 0,
    #[enum_value(name = "Text: the prompt alone, frames only keep time", nick = "text")]
    Text = 1,
}

/// Where the unconditional prediction of guidance comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstScopeDiffusionCfgType")]
#[repr(i32)]
pub(crate) enum CfgTypeChoice {
    #[enum_value(name = "No guidance", nick = "none")]
    None = 0,
    #[enum_value(
        name = "Classifier-free guidance: the network runs twice as many rows",
        nick = "full"
    )]
    Full = 1,
    #[default]
    #[enum_value(
        name = "Residual noise in place of the negative prompt: costs nothing",
        nick = "self"
    )]
    SelfNegative = 2,
    #[enum_value(
        name = "As self, but the first step asks about the negative prompt",
        nick = "initialize"
    )]
    Initialize = 3,
}

impl From<CfgType> for CfgTypeChoice {
    fn from(kind: CfgType) -> Self {
        match kind {
            CfgType::None => Self::None,
            CfgType::Full => Self::Full,
            CfgType::SelfNegative => Self::SelfNegative,
            CfgType::Initialize => Self::Initialize,
        }
    }
}

impl CfgTypeChoice {
    /// The word for it in `parameters`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Full => "full",
            Self::SelfNegative => "self",
            Self::Initialize => "initialize",
        }
    }
}

impl From<InputMode> for InputModeChoice {
    fn from(mode: InputMode) -> Self {
        match mode {
            InputMode::Video => Self::Video,
            InputMode::Text => Self::Text,
        }
    }
}

/// Everything that is settled before the element runs. Live controls are in [`Parameters`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// A diffusers-style folder of ONNX graphs; `None` is the built-in model. Read going NULL → READY.
    pub(crate) model_dir: Option<PathBuf>,
    /// Read going NULL → READY.
    pub(crate) execution_provider: ExecutionProvider,
    /// Which GPU. Read going NULL → READY.
    pub(crate) device: u32,
    /// Where ONNX Runtime's library is; `None` searches. Read by the first element of the process that loads it.
    pub(crate) onnxruntime_lib: Option<PathBuf>,
    /// Read when the stream starts.
    pub(crate) pacing: Pacing,
    /// Read when caps arrive.
    pub(crate) batching: BatchingChoice,
    /// Frames that go through the network together, 1 to 8. Read when caps arrive.
    pub(crate) frame_buffer: u32,
    /// Width the model works at, pixels; 0 is the width of the caps. Read when caps arrive.
    pub(crate) width: u32,
    /// Height the model works at, pixels; 0 is the height of the caps. Read when caps arrive.
    pub(crate) height: u32,
    /// The live controls as they stand, all patches applied.
    pub(crate) parameters: Parameters,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model_dir: None,
            execution_provider: ExecutionProvider::default(),
            device: 0,
            onnxruntime_lib: None,
            pacing: Pacing::default(),
            batching: BatchingChoice::default(),
            frame_buffer: 1,
            width: 0,
            height: 0,
            parameters: Parameters::default(),
        }
    }
}

impl Settings {
    pub(crate) fn device(&self) -> Device {
        let provider = match self.execution_provider {
            ExecutionProvider::Auto => Provider::Auto,
            ExecutionProvider::Cpu => Provider::Cpu,
            ExecutionProvider::Cuda => Provider::Cuda,
            ExecutionProvider::TensorRt => Provider::TensorRt,
        };
        Device {
            provider,
            index: self.device,
        }
    }

    pub(crate) fn pace(&self) -> Pace {
        Pace {
            batching: match self.batching {
                BatchingChoice::Auto => Batching::Auto,
                BatchingChoice::Stream => Batching::Stream,
                BatchingChoice::Sequential => Batching::Sequential,
            },
            frame_buffer: self.frame_buffer,
        }
    }

    /// The size the model works at for input of `width` × `height`, pixels.
    pub(crate) fn model_size(&self, width: u32, height: u32) -> (u32, u32) {
        let or = |asked: u32, given: u32| if asked == 0 { given } else { asked };
        (or(self.width, width), or(self.height, height))
    }
}

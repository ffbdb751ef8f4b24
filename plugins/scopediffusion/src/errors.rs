//! Engine errors → GStreamer's, once and with the precise code.

use diffusion_engine::EngineError;

use crate::stream::StreamError;

/// The message to post for an engine error: what, where, and what to do next.
pub(crate) fn engine(error: &EngineError) -> gst::ErrorMessage {
    let text = sentence(error);
    match error {
        EngineError::RuntimeMissing { .. } | EngineError::RuntimeFailed { .. } => {
            gst::error_msg!(gst::LibraryError::Init, ("{text}"))
        }
        EngineError::ProviderUnavailable { .. } => {
            gst::error_msg!(gst::ResourceError::NotFound, ("{text}"))
        }
        EngineError::ModelFolderMissing { .. } | EngineError::ModelFileMissing { .. } => {
            gst::error_msg!(gst::ResourceError::NotFound, ("{text}"))
        }
        EngineError::ModelFileCorrupt { .. } => {
            gst::error_msg!(gst::StreamError::WrongType, ("{text}"))
        }
        EngineError::ModelUnsupported { .. } => {
            gst::error_msg!(gst::StreamError::CodecNotFound, ("{text}"))
        }
        EngineError::SizeNotDivisible { .. } => {
            gst::error_msg!(gst::StreamError::Format, ("{text}"))
        }
        EngineError::BadParameter { .. } => {
            gst::error_msg!(gst::ResourceError::Settings, ("{text}"))
        }
        EngineError::BadFrame { .. } => gst::error_msg!(gst::StreamError::Format, ("{text}")),
        EngineError::OutOfMemory { .. } => {
            gst::error_msg!(gst::ResourceError::NoSpaceLeft, ("{text}"))
        }
        EngineError::DeviceLost { .. } => gst::error_msg!(gst::ResourceError::Failed, ("{text}")),
        EngineError::InferenceFailed { .. } => {
            gst::error_msg!(gst::LibraryError::Encode, ("{text}"))
        }
        // The enum may grow in its own crate.
        _ => gst::error_msg!(gst::LibraryError::Failed, ("{text}")),
    }
}

/// One sentence with its remedy, for messages and for `apply-parameters`.
///
/// The engine's own remedies know no properties; where one helps, it is named.
pub(crate) fn sentence(error: &EngineError) -> String {
    let remedy = match error {
        EngineError::SizeNotDivisible { .. } => {
            "set `width` and `height` and the element scales by itself, or put videoscale in front"
        }
        EngineError::ModelFolderMissing { .. } => {
            "set `model-dir` to a folder of ONNX graphs, or leave it unset for the built-in model"
        }
        EngineError::RuntimeMissing { .. } => {
            "install it with `make setup-run`, or set `onnxruntime-lib` or SCOPE_ONNXRUNTIME to its path"
        }
        _ => error.remedy(),
    };
    // A list of attempts has many lines; whoever reads the first knows what to do.
    match error.to_string().split_once("; tried:") {
        Some((what, tried)) => format!("{what}; {remedy}; tried:{tried}"),
        None => format!("{error}; {remedy}"),
    }
}

/// Why a frame could not be drawn, in one sentence with its remedy.
pub(crate) fn reason(error: &StreamError) -> String {
    match error {
        StreamError::Engine(error) => sentence(error),
        StreamError::BadFrame(text) | StreamError::Buffer(text) => text.clone(),
    }
}

/// The message to post for a frame that could not be drawn.
pub(crate) fn stream(error: &StreamError) -> gst::ErrorMessage {
    match error {
        StreamError::Engine(error) => engine(error),
        StreamError::BadFrame(text) => gst::error_msg!(gst::StreamError::Format, ("{text}")),
        StreamError::Buffer(text) => gst::error_msg!(gst::ResourceError::NoSpaceLeft, ("{text}")),
    }
}

//! Sharing errors → GStreamer's, once and with the precise code.

use texture_share::{Adapter, ShareError};

/// The message to post: what, where, and what to do next.
pub(crate) fn share(error: &ShareError) -> gst::ErrorMessage {
    let text = sentence(error);
    match error {
        ShareError::Name(_) | ShareError::Adapter(_) => {
            gst::error_msg!(gst::ResourceError::Settings, ("{text}"))
        }
        ShareError::NoFolder { .. }
        | ShareError::NoBackend { .. }
        | ShareError::NoAdapter { .. }
        | ShareError::NoneHere => {
            gst::error_msg!(gst::ResourceError::NotFound, ("{text}"))
        }
        ShareError::FolderForeign { .. } | ShareError::FolderOpen { .. } => {
            gst::error_msg!(gst::ResourceError::NotAuthorized, ("{text}"))
        }
        ShareError::FolderBusy { .. } => gst::error_msg!(gst::ResourceError::Busy, ("{text}")),
        ShareError::System { .. } => gst::error_msg!(gst::ResourceError::OpenReadWrite, ("{text}")),
        ShareError::BadVideo { .. } | ShareError::ShortFrame { .. } => {
            gst::error_msg!(gst::StreamError::Format, ("{text}"))
        }
        ShareError::Protocol { .. } => gst::error_msg!(gst::ResourceError::Read, ("{text}")),
        // The enum may grow in its own crate.
        _ => gst::error_msg!(gst::ResourceError::Failed, ("{text}")),
    }
}

/// One sentence with its remedy.
///
/// The heart knows no properties; where one helps, it is named.
pub(crate) fn sentence(error: &ShareError) -> String {
    let remedy = match error {
        ShareError::Name(_) => "set `sender-name` to another name",
        ShareError::NoBackend { .. } => "set `backend` to `auto`",
        ShareError::Adapter(_) | ShareError::NoAdapter { .. } => "set `adapter` to `auto`",
        ShareError::Unreachable { adapter, .. } if *adapter != Adapter::Auto => {
            "set `adapter` to `auto`, and it is looked for on each"
        }
        _ => error.remedy(),
    };
    format!("{error}; {remedy}")
}

//! What can go wrong while the media are set up.

use fal_client::FalError;
use gst::prelude::*;

/// Why a link could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MediaError {
    /// An element is not installed.
    #[error("the GStreamer element `{0}` is missing; install the plugin package that has it")]
    Missing(String),
    /// No encoder or decoder for any codec that was asked for.
    #[error(
        "no encoder and decoder for `{0}` is installed; install gst-plugins-good (VP8) or -bad (openh264enc)"
    )]
    NoCodec(String),
    /// webrtcbin or the peer refused a description.
    #[error("negotiation failed: {0}")]
    Negotiation(String),
    /// Anything else that GStreamer refuses.
    #[error("{0}")]
    GStreamer(String),
}

impl From<gst::glib::BoolError> for MediaError {
    fn from(error: gst::glib::BoolError) -> Self {
        Self::GStreamer(error.to_string())
    }
}

impl From<gst::StateChangeError> for MediaError {
    fn from(_: gst::StateChangeError) -> Self {
        Self::GStreamer("an element did not change its state; its own error says why".into())
    }
}

impl From<gst::PadLinkError> for MediaError {
    fn from(error: gst::PadLinkError) -> Self {
        Self::GStreamer(format!("two pads did not link: {error}"))
    }
}

/// Why it cannot go on, and what the user can do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: String,
    pub(crate) remedy: &'static str,
}

impl From<&FalError> for Refusal {
    fn from(error: &FalError) -> Self {
        Self {
            reason: error.to_string(),
            remedy: error.remedy(),
        }
    }
}

impl From<FalError> for Refusal {
    fn from(error: FalError) -> Self {
        Self::from(&error)
    }
}

/// What no connection can do without.
///
/// # Errors
///
/// One is not installed: better told at once than at every attempt.
pub(crate) fn check_installed() -> Result<(), Refusal> {
    const NEEDED: [&str; 8] = [
        "webrtcbin",
        "nicesrc",
        "dtlssrtpenc",
        "srtpenc",
        "sctpenc",
        "rtpbin",
        "videoconvertscale",
        "appsrc",
    ];
    let missing = NEEDED
        .iter()
        .find(|name| gst::ElementFactory::find(name).is_none());
    match missing {
        None => Ok(()),
        Some(name) => Err(Refusal {
            reason: format!("the GStreamer element `{name}` is missing"),
            remedy: "install GStreamer's base, good and bad plugins and libnice's (gstreamer1.0-nice)",
        }),
    }
}

/// An element by factory name.
pub(crate) fn make(factory: &str) -> Result<gst::Element, MediaError> {
    gst::ElementFactory::make(factory)
        .build()
        .map_err(|_| MediaError::Missing(factory.into()))
}

/// Sets a property from its text form if the element has it in this version; false if it has not.
pub(crate) fn set(element: &gst::Element, property: &str, value: &str) -> bool {
    let Some(spec) = element.find_property(property) else {
        return false;
    };
    match gst::glib::Value::deserialize_with_pspec(value, &spec) {
        Ok(value) => {
            element.set_property_from_value(property, &value);
            true
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_needed_is_installed_here() {
        gst::init().unwrap();
        assert_eq!(check_installed(), Ok(()));
    }
}

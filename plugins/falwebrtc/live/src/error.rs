//! Why a pipeline could not be made or used, and the two ways to it: making elements, setting their properties.

use gst::glib;
use gst::prelude::*;

/// A failure of the media.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// An element is not installed.
    #[error("the GStreamer element `{0}` is missing; install the plugin package that has it")]
    Missing(String),
    /// No encoder or decoder for any codec that was asked for.
    #[error(
        "no encoder and decoder for `{0}` is installed; install gst-plugins-good (VP8) or -bad (openh264enc)"
    )]
    NoCodec(String),
    /// Another version of the element has it.
    #[error("the element `{element}` has no property `{property}`")]
    NoProperty {
        /// Factory name.
        element: String,
        /// Name.
        property: String,
    },
    /// Not what the property takes.
    #[error("`{value}` is no value for the property `{property}` of `{element}`")]
    BadValue {
        /// Factory name.
        element: String,
        /// Name.
        property: String,
        /// As it was written.
        value: String,
    },
    /// A description was read but cannot be agreed on.
    #[error("{0}")]
    Negotiation(String),
    /// Anything else that GStreamer refuses.
    #[error("{0}")]
    Pipeline(String),
}

impl From<glib::BoolError> for MediaError {
    fn from(error: glib::BoolError) -> Self {
        Self::Pipeline(error.message.into_owned())
    }
}

impl From<gst::PadLinkError> for MediaError {
    fn from(error: gst::PadLinkError) -> Self {
        Self::Pipeline(format!("two pads did not link: {error}"))
    }
}

impl From<gst::StateChangeError> for MediaError {
    fn from(_: gst::StateChangeError) -> Self {
        Self::Pipeline("an element did not change its state; its own error says why".into())
    }
}

/// An element by factory name.
///
/// # Errors
///
/// [`MediaError::Missing`].
pub fn make(factory: &str) -> Result<gst::Element, MediaError> {
    gst::ElementFactory::make(factory)
        .build()
        .map_err(|_| MediaError::Missing(factory.into()))
}

/// Sets a property from its text form. GObject panics on unknown names and bad values, so both are looked at first.
///
/// # Errors
///
/// [`MediaError::NoProperty`] or [`MediaError::BadValue`]; the latter shows the value, so this is not for secrets.
pub fn set(element: &gst::Element, property: &str, value: &str) -> Result<(), MediaError> {
    let name = || {
        element
            .factory()
            .map_or_else(String::new, |factory| factory.name().into())
    };
    let spec = element
        .find_property(property)
        .filter(|spec| spec.flags().contains(glib::ParamFlags::WRITABLE))
        .ok_or_else(|| MediaError::NoProperty {
            element: name(),
            property: property.into(),
        })?;
    let value =
        glib::Value::deserialize_with_pspec(value, &spec).map_err(|_| MediaError::BadValue {
            element: name(),
            property: property.into(),
            value: value.into(),
        })?;
    element.set_property_from_value(property, &value);
    Ok(())
}

/// The same where this version of the element may lack it; false if it does.
pub fn set_if_there(element: &gst::Element, property: &str, value: &str) -> bool {
    set(element, property, value).is_ok()
}

//! Why a pipeline could not be made or used.

use gst::glib;
use gst::prelude::*;

use crate::session::SessionError;

/// A failure of the media side; the session turns it into its own error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MediaError {
    #[error("the GStreamer element `{0}` is missing; install the package that has it")]
    Missing(String),
    #[error("the element `{element}` has no property `{property}`")]
    NoProperty { element: String, property: String },
    #[error("`{value}` is no value for the property `{property}` of `{element}`")]
    BadValue {
        element: String,
        property: String,
        value: String,
    },
    /// The description was read but cannot be agreed on.
    #[error("{0}")]
    Negotiation(String),
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
        Self::Pipeline(format!("linking failed: {error}"))
    }
}

impl From<gst::StateChangeError> for MediaError {
    fn from(_: gst::StateChangeError) -> Self {
        Self::Pipeline("the pipeline did not change its state".into())
    }
}

impl From<MediaError> for SessionError {
    fn from(error: MediaError) -> Self {
        match error {
            MediaError::Negotiation(reason) => Self::BadOffer(reason),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// An element by factory name, or which one is missing.
pub(crate) fn make(factory: &str) -> Result<gst::Element, MediaError> {
    gst::ElementFactory::make(factory)
        .build()
        .map_err(|_| MediaError::Missing(factory.into()))
}

/// Sets a property from text. GObject panics on unknown names and bad values, so both are looked at first.
pub(crate) fn set(element: &gst::Element, property: &str, value: &str) -> Result<(), MediaError> {
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

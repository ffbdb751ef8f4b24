//! Strings from properties: whatever bytes, because a program may set a property to what is no text.

use std::borrow::Cow;

use gst::glib;
use gst::prelude::*;

/// The bytes of a string property as they were set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Text(Vec<u8>);

impl Text {
    /// The value of the property; none is empty.
    pub(crate) fn from_value(value: &glib::Value) -> Self {
        Self(foreign_text::bytes(value).unwrap_or_default().to_vec())
    }

    pub(crate) fn to_value(&self) -> glib::Value {
        self.lossy().to_value()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// With what is no text replaced by signs that say so.
    pub(crate) fn lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

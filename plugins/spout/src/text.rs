//! Strings from properties: whatever bytes, because a program may set a property to what is no text.

use std::borrow::Cow;
use std::ffi::CStr;

use gst::glib;
use gst::prelude::*;

/// The bytes of a string property as they were set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Text(Vec<u8>);

impl Text {
    /// The value of the property; none is empty.
    #[allow(
        unsafe_code,
        reason = "the safe way panics in the caller's C code when the text is not UTF-8"
    )]
    pub(crate) fn from_value(value: &glib::Value) -> Self {
        if value.type_() != glib::Type::STRING {
            return Self::default();
        }
        // SAFETY: a value that holds a string; what it points to lives as long as the value.
        let text = unsafe {
            let text = glib::gobject_ffi::g_value_get_string(value.as_ptr());
            (!text.is_null()).then(|| CStr::from_ptr(text))
        };
        Self(text.map_or(Vec::new(), |text| text.to_bytes().to_vec()))
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

//! Property `sender-name`, the same on every element but for what leaving it empty means.

use std::ffi::CStr;

use gst::glib;
use gst::prelude::*;
use texture_share::{NameError, SenderName};

/// A name as the operator gave it: whatever bytes, because a program may set a property to what is no text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AskedName(Vec<u8>);

impl AskedName {
    /// The ParamSpec of it.
    pub(crate) fn property(blurb: &str) -> glib::ParamSpec {
        glib::ParamSpecString::builder("sender-name")
            .nick("Sender name")
            .blurb(blurb)
            .default_value(Some(""))
            .mutable_ready()
            .build()
    }

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
        String::from_utf8_lossy(&self.0).to_value()
    }

    /// The name of a sender to be; `None` when it was left empty.
    pub(crate) fn of_own(&self) -> Result<Option<SenderName>, NameError> {
        match std::str::from_utf8(&self.0) {
            Ok("") => Ok(None),
            Ok(name) => SenderName::new(name).map(Some),
            Err(_) => SenderName::from_bytes(&self.0).map(Some),
        }
    }

    /// The name of a sender to look for; `None` when it was left empty.
    pub(crate) fn of_other(&self) -> Result<Option<SenderName>, NameError> {
        match self.0.as_slice() {
            [] => Ok(None),
            name => SenderName::from_bytes(name).map(Some),
        }
    }
}

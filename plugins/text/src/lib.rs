//! Text from C, whatever bytes it holds: properties, signals, messages of the other end.
//!
//! A `GValue` of type string is bytes up to a NUL. Nothing makes an application write UTF-8 into a property, nor a far
//! end send it, and the bindings take it for granted: reading such a value panics inside a C callback, which ends the
//! whole program. Read here what anybody else may have written.

#![deny(unsafe_code)]

use std::ffi::CStr;
use std::fmt;

use gst::glib;

/// What was found is no UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotText {
    /// How many bytes are text before the first that is not.
    pub after: usize,
}

impl fmt::Display for NotText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is not UTF-8 text after byte {}", self.after)
    }
}

impl std::error::Error for NotText {}

/// The bytes of a string value. `None` if it is unset or holds something else.
#[must_use]
#[allow(
    unsafe_code,
    reason = "every safe way to a string takes it for UTF-8 and panics"
)]
pub fn bytes(value: &glib::Value) -> Option<&[u8]> {
    if value.type_() != glib::Type::STRING {
        return None;
    }
    // SAFETY: a value that holds a string; what it points to lives as long as the value, which is borrowed.
    unsafe {
        let text = glib::gobject_ffi::g_value_get_string(value.as_ptr());
        (!text.is_null()).then(|| CStr::from_ptr(text).to_bytes())
    }
}

/// The text of a string value. `None` if it is unset or holds something else.
///
/// # Errors
///
/// [`NotText`], a sentence for whoever wrote it.
pub fn text(value: &glib::Value) -> Result<Option<&str>, NotText> {
    let text = bytes(value).map(std::str::from_utf8).transpose();
    text.map_err(|error| NotText {
        after: error.valid_up_to(),
    })
}

/// The text of a string value with a sign (U+FFFD) in place of what is none; empty if it is unset.
#[must_use]
pub fn lossy(value: &glib::Value) -> String {
    String::from_utf8_lossy(bytes(value).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use gst::prelude::*;

    use super::*;

    /// A value as a program in C makes it.
    #[allow(unsafe_code, reason = "no safe way makes such a value")]
    fn from_c(text: &CStr) -> glib::Value {
        let mut value = glib::Value::from_type(glib::Type::STRING);
        // SAFETY: a value of type string, which takes a copy.
        unsafe { glib::gobject_ffi::g_value_set_string(value.as_ptr_mut(), text.as_ptr()) };
        value
    }

    trait AsPtrMut {
        fn as_ptr_mut(&mut self) -> *mut glib::gobject_ffi::GValue;
    }

    impl AsPtrMut for glib::Value {
        fn as_ptr_mut(&mut self) -> *mut glib::gobject_ffi::GValue {
            glib::translate::ToGlibPtrMut::to_glib_none_mut(self).0
        }
    }

    #[test]
    fn text_is_text() {
        assert_eq!(text(&"käse".to_value()), Ok(Some("käse")));
        assert_eq!(text(&None::<String>.to_value()), Ok(None));
        assert_eq!(text(&3i32.to_value()), Ok(None));
    }

    #[test]
    fn what_is_no_text_is_told_from_where_on() {
        let value = from_c(c"ab\xff\xfe");

        assert_eq!(text(&value), Err(NotText { after: 2 }));
        assert_eq!(lossy(&value), "ab\u{fffd}\u{fffd}");
        assert_eq!(bytes(&value), Some(&b"ab\xff\xfe"[..]));
    }
}

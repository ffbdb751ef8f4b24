//! Messages of a data channel.

use gst::glib;
use gst::prelude::*;

/// Tells `take` every text message; what is not UTF-8 in it becomes U+FFFD.
///
/// - `channel`: a `GstWebRTCDataChannel`.
///
/// The bindings' own `connect_on_message_string` trusts the far end to send UTF-8, and webrtcbin does not look.
pub fn on_text(channel: &impl IsA<glib::Object>, take: impl Fn(String) + Send + Sync + 'static) {
    channel.connect("on-message-string", false, move |values| {
        take(foreign_text::lossy(values.get(1)?));
        None
    });
}

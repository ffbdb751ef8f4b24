//! GStreamer's log as `tracing` events, and the end of secrets in it.

use std::borrow::Cow;

use gst::DebugLevel;

/// Sends GStreamer's log to `tracing`. With `GST_DEBUG` set by the operator its selection stands; else
/// errors come: live media warns of every late packet and dropped frame, which the metrics count anyway.
pub fn bridge_gstreamer(selected_by_operator: bool) {
    gst::log::remove_default_log_function();
    if !selected_by_operator {
        gst::log::set_default_threshold(DebugLevel::Error);
        // Every sound session has it say "not connected yet" at its start and "send failed" at its end, as errors; how the
        // data channel fares is told by its events.
        gst::log::set_threshold_for_name("sctpassociation", DebugLevel::None);
    }
    gst::log::add_log_function(
        |category, level, _file, _function, _line, object, message| {
            let Some(text) = message.get() else { return };
            let text = without_secrets(&text);
            let category = category.name();
            let object = object.map(ToString::to_string).unwrap_or_default();
            match level {
                // GStreamer calls an error what it may well recover from; what must be acted on comes over the bus.
                DebugLevel::Error | DebugLevel::Warning => {
                    tracing::warn!(target: "gst", category, object, "{text}");
                }
                DebugLevel::Fixme | DebugLevel::Info => {
                    tracing::info!(target: "gst", category, object, "{text}")
                }
                DebugLevel::Debug => tracing::debug!(target: "gst", category, object, "{text}"),
                _ => tracing::trace!(target: "gst", category, object, "{text}"),
            }
        },
    );
}

/// The text with the query and the password of every URL taken out.
fn without_secrets(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, url) = rest.split_at(at + 3);
        clean.push_str(before);
        let is_end = |c: char| c.is_whitespace() || "\"'<>`,;)".contains(c);
        let (url, after) = url.split_at(url.find(is_end).unwrap_or(url.len()));
        clean.push_str(&clean_url(url));
        rest = after;
    }
    clean.push_str(rest);
    Cow::Owned(clean)
}

fn clean_url(url: &str) -> String {
    let (address, has_query) = match url.split_once('?') {
        Some((address, _)) => (address, true),
        None => (url, false),
    };
    let host_ends = address.find('/').unwrap_or(address.len());
    let address = match address[..host_ends].rfind('@') {
        Some(at) => format!("****{}", &address[at..]),
        None => address.to_owned(),
    };
    if has_query {
        address + "?****"
    } else {
        address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_and_a_password_do_not_reach_the_log() {
        for (text, clean) in [
            ("plain", "plain"),
            (
                "to wss://fal.run/a?fal_jwt_token=canary now",
                "to wss://fal.run/a?**** now",
            ),
            (
                "\"turn://ada:canary@turn.example:3478\"",
                "\"turn://****@turn.example:3478\"",
            ),
            ("a://b?c d://e@f/g?h", "a://b?**** d://****@f/g?****"),
            ("http://x/é@y", "http://x/é@y"),
        ] {
            assert_eq!(without_secrets(text), clean);
        }
    }
}

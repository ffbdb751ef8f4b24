//! Telling webrtcbin of TURN servers, whose passwords it must not tell on.

use std::sync::Mutex;

use gst::prelude::*;

/// Categories that write whole TURN URLs, passwords and all, at level DEBUG (GStreamer 1.22 to 1.28).
const TALKATIVE: [&str; 2] = ["webrtcbin", "webrtcnice"];

/// One at a time: each puts back the thresholds that it found.
static QUIET: Mutex<()> = Mutex::new(());

/// Adds a server, `turn://user:password@host:port`, user and password percent-encoded. By signal, because a property
/// would show the password in every dump of the pipeline, and while the two categories say no more than INFO.
pub fn add(webrtcbin: &gst::Element, server: &str) {
    // The thresholds are whole whatever happened to who held them.
    let quiet = QUIET
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let found: Vec<_> = TALKATIVE
        .iter()
        .filter_map(|name| gst::DebugCategory::get(name))
        .map(|category| (category, category.threshold()))
        .filter(|(_, threshold)| *threshold > gst::DebugLevel::Info)
        .collect();
    for (category, _) in &found {
        category.set_threshold(gst::DebugLevel::Info);
    }
    webrtcbin.emit_by_name::<bool>("add-turn-server", &[&server]);
    for (category, threshold) in found {
        category.set_threshold(threshold);
    }
    drop(quiet);
}

//! ParamSpecs ↔ [`Settings`], both directions.

use std::sync::LazyLock;

use gst::glib;
use gst::prelude::*;

use crate::sharing::Sharing;

/// What the operator asked for: plain data, one field a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// An empty name takes the program's. Read going NULL → READY.
    pub(super) sharing: Sharing,
    /// Read going NULL → READY.
    pub(super) make_active: bool,
    /// Read going NULL → READY.
    pub(super) keyed_mutex: bool,
    /// Read when the first caps arrive.
    pub(super) pipewire: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sharing: Sharing::default(),
            make_active: true,
            keyed_mutex: false,
            pipewire: false,
        }
    }
}

pub(super) static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
    let defaults = Settings::default();
    let shared = Sharing::properties(
        "Name to be found by, 1 to 239 bytes; empty takes the program's name. A name that is taken gets _1, _2, … appended",
        "Waits before each frame until receivers have taken the last one: 67 ms at most, and not at all for those that stood still for 500 ms. On Windows for one receiver with frame sync, on Linux for every receiver",
    );
    let own = [
        glib::ParamSpecBoolean::builder("make-active")
            .nick("Make active")
            .blurb("Whether receivers that ask for no name get this sender from now on")
            .default_value(defaults.make_active)
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder("keyed-mutex")
            .nick("Keyed mutex")
            .blurb("Receivers take turns by a mutex in the texture, not by a named one; Direct3D 9 programs cannot open such a texture (Windows; no effect on Linux)")
            .default_value(defaults.keyed_mutex)
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder("pipewire")
            .nick("PipeWire")
            .blurb("Also shows the video as a camera of this name to programs that use PipeWire, OBS among them (Linux); without PipeWire a warning is posted, and it is looked for again")
            .default_value(defaults.pipewire)
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("actual-name")
            .nick("Actual name")
            .blurb("The name it got; unset while it is not registered")
            .read_only()
            .build(),
        glib::ParamSpecInt::builder("receivers")
            .nick("Receivers")
            .blurb("How many receivers are connected; -1 where that cannot be known (Spout)")
            .minimum(-1)
            .default_value(0)
            .read_only()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb("frames-sent, frames-lent (of these without a copy), frames-by-gpu (of these copied on the graphics card), frames-dropped, buffers, receivers-expelled, frames-published (by PipeWire, to somebody) since registration")
            .read_only()
            .build(),
    ];
    shared.into_iter().chain(own).collect()
});

impl Settings {
    /// The value of a property that is one of the settings.
    pub(super) fn get(&self, name: &str) -> Option<glib::Value> {
        match name {
            "make-active" => Some(self.make_active.to_value()),
            "keyed-mutex" => Some(self.keyed_mutex.to_value()),
            "pipewire" => Some(self.pipewire.to_value()),
            _ => self.sharing.get(name),
        }
    }

    /// Takes over a property; GObject has checked its type.
    pub(super) fn set(&mut self, name: &str, value: &glib::Value) {
        match name {
            "make-active" => self.make_active = value.get().unwrap_or(self.make_active),
            "keyed-mutex" => self.keyed_mutex = value.get().unwrap_or(self.keyed_mutex),
            "pipewire" => self.pipewire = value.get().unwrap_or(self.pipewire),
            _ => {
                self.sharing.set(name, value);
            }
        }
    }
}

//! ParamSpecs ↔ [`Settings`], both directions.

use std::sync::LazyLock;

use gst::glib;
use gst::prelude::*;

use crate::backend::{self, Backend};
use crate::sender_name::AskedName;

/// What the operator asked for: plain data, one field a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// Empty takes the program's name. Read when the first caps arrive.
    pub(super) sender_name: AskedName,
    /// Read when the first caps arrive.
    pub(super) make_active: bool,
    /// Read going NULL → READY.
    pub(super) backend: Backend,
    /// Read when the first caps arrive.
    pub(super) pipewire: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sender_name: AskedName::default(),
            make_active: true,
            backend: Backend::default(),
            pipewire: false,
        }
    }
}

pub(super) static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
    let defaults = Settings::default();
    vec![
        AskedName::property(
            "Name to be found by, 1 to 239 bytes; empty takes the program's name. A name that is taken gets _1, _2, … appended",
        ),
        glib::ParamSpecBoolean::builder("make-active")
            .nick("Make active")
            .blurb("Whether receivers that ask for no name get this sender from now on")
            .default_value(defaults.make_active)
            .mutable_ready()
            .build(),
        backend::property(),
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
            .blurb("frames-sent, frames-lent (of these without a copy), frames-dropped, buffers, receivers-expelled, frames-published (by PipeWire, to somebody) since registration")
            .read_only()
            .build(),
    ]
});

impl Settings {
    /// The value of a property that is one of the settings.
    pub(super) fn get(&self, name: &str) -> Option<glib::Value> {
        match name {
            "sender-name" => Some(self.sender_name.to_value()),
            "make-active" => Some(self.make_active.to_value()),
            "backend" => Some(self.backend.to_value()),
            "pipewire" => Some(self.pipewire.to_value()),
            _ => None,
        }
    }

    /// Takes over a property; GObject has checked its type.
    pub(super) fn set(&mut self, name: &str, value: &glib::Value) {
        match name {
            "sender-name" => self.sender_name = AskedName::from_value(value),
            "make-active" => self.make_active = value.get().unwrap_or(self.make_active),
            "backend" => self.backend = value.get().unwrap_or(self.backend),
            "pipewire" => self.pipewire = value.get().unwrap_or(self.pipewire),
            _ => {}
        }
    }
}

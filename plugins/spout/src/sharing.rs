//! What both elements are told alike: the sender's name, the way to share, the graphics adapter, frame sync.

use std::sync::Arc;

use gst::glib;
use gst::prelude::*;
use texture_share::{Adapter, AdapterError, Directory, NameError, SenderName, ShareError};

use crate::text::Text;

/// How video is shared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstSpoutBackend")]
#[repr(i32)]
pub(crate) enum Backend {
    #[default]
    #[enum_value(name = "Spout on Windows, shared memory on Linux", nick = "auto")]
    Auto = 0,
    #[enum_value(name = "Spout: Direct3D 11 textures (Windows)", nick = "spout")]
    Spout = 1,
    #[enum_value(name = "Shared memory (Linux)", nick = "shm")]
    Shm = 2,
}

impl From<Backend> for texture_share::Backend {
    fn from(backend: Backend) -> Self {
        match backend {
            Backend::Auto => Self::Auto,
            Backend::Spout => Self::Spout,
            Backend::Shm => Self::Shm,
        }
    }
}

/// One field a property; all of them are read when the element starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sharing {
    /// What leaving it empty means, each element says itself.
    sender_name: Text,
    backend: Backend,
    adapter: Text,
    pub(crate) frame_sync: bool,
}

impl Sharing {
    /// The ParamSpecs; what the name and frame sync mean differs from element to element.
    pub(crate) fn properties(name: &str, frame_sync: &str) -> [glib::ParamSpec; 4] {
        [
            glib::ParamSpecString::builder("sender-name")
                .nick("Sender name")
                .blurb(name)
                .default_value(Some(""))
                .mutable_ready()
                .build(),
            glib::ParamSpecEnum::builder_with_default("backend", Backend::default())
                .nick("Backend")
                .blurb("How video is shared; one that this system lacks is an error")
                .mutable_ready()
                .build(),
            glib::ParamSpecString::builder("adapter")
                .nick("Adapter")
                .blurb("Graphics adapter that the textures lie on: auto, its number from 0, or its LUID as 0x and hexadecimal digits (Windows; no effect on Linux, where memory is shared)")
                .default_value(Some("auto"))
                .mutable_ready()
                .build(),
            glib::ParamSpecBoolean::builder("frame-sync")
                .nick("Frame sync")
                .blurb(frame_sync)
                .default_value(false)
                .mutable_ready()
                .build(),
        ]
    }

    /// The value of a property that is one of these.
    pub(crate) fn get(&self, name: &str) -> Option<glib::Value> {
        match name {
            "sender-name" => Some(self.sender_name.to_value()),
            "backend" => Some(self.backend.to_value()),
            "adapter" => Some(match self.adapter.bytes() {
                [] => "auto".to_value(),
                _ => self.adapter.to_value(),
            }),
            "frame-sync" => Some(self.frame_sync.to_value()),
            _ => None,
        }
    }

    /// Takes over a property, which GObject has checked the type of; false if it is none of these.
    pub(crate) fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        match name {
            "sender-name" => self.sender_name = Text::from_value(value),
            "backend" => self.backend = value.get().unwrap_or(self.backend),
            "adapter" => self.adapter = Text::from_value(value),
            "frame-sync" => self.frame_sync = value.get().unwrap_or(self.frame_sync),
            _ => return false,
        }
        true
    }

    /// The name of a sender to be; `None` when it was left empty.
    pub(crate) fn name_of_own(&self) -> Result<Option<SenderName>, NameError> {
        let name = self.sender_name.bytes();
        match std::str::from_utf8(name) {
            Ok("") => Ok(None),
            Ok(name) => SenderName::new(name).map(Some),
            Err(_) => SenderName::from_bytes(name).map(Some),
        }
    }

    /// The name of a sender to look for; `None` when it was left empty.
    pub(crate) fn name_of_other(&self) -> Result<Option<SenderName>, NameError> {
        match self.sender_name.bytes() {
            [] => Ok(None),
            name => SenderName::from_bytes(name).map(Some),
        }
    }

    pub(crate) fn adapter(&self) -> Result<Adapter, AdapterError> {
        self.adapter.lossy().parse()
    }

    /// Where senders are found, by the backend and adapter asked for.
    pub(crate) fn open(&self) -> Result<Arc<dyn Directory>, ShareError> {
        texture_share::open(self.backend.into(), self.adapter()?)
    }
}

//! Property `backend`, the same on every element.

use gst::glib;
use gst::prelude::*;

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

/// The ParamSpec of it.
pub(crate) fn property() -> glib::ParamSpec {
    glib::ParamSpecEnum::builder_with_default("backend", Backend::default())
        .nick("Backend")
        .blurb("How video is shared; one that this system lacks is an error")
        .mutable_ready()
        .build()
}

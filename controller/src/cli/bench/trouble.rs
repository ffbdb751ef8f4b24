//! Why a measurement could not be made.

/// A sentence; a bench has no caller that could tell kinds apart.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Trouble(pub(super) String);

pub(super) type Outcome<T> = Result<T, Trouble>;

/// A [`Trouble`] from anything that can be said.
pub(super) fn trouble(sentence: impl std::fmt::Display) -> Trouble {
    Trouble(sentence.to_string())
}

macro_rules! from {
    ($($error:ty),+) => {
        $(impl From<$error> for Trouble {
            fn from(error: $error) -> Self {
                trouble(error)
            }
        })+
    };
}

from!(
    std::num::TryFromIntError,
    gst::FlowError,
    std::io::Error,
    serde_json::Error,
    gst::glib::Error,
    gst::glib::BoolError,
    gst::StateChangeError,
    gst::PadLinkError
);

//! Why a measurement could not be made.

/// A sentence, and what to do next where that is not the usual; a bench has no caller that could tell kinds apart.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub(super) struct Trouble {
    sentence: String,
    hint: Option<String>,
}

impl Trouble {
    /// The same with another hint than the usual one.
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// What to do next.
    pub(super) fn remedy(&self) -> &str {
        let usual = "run it from the repository after `make setup`";
        self.hint.as_deref().unwrap_or(usual)
    }
}

pub(super) type Outcome<T> = Result<T, Trouble>;

/// A [`Trouble`] from anything that can be said.
pub(super) fn trouble(sentence: impl std::fmt::Display) -> Trouble {
    Trouble {
        sentence: sentence.to_string(),
        hint: None,
    }
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

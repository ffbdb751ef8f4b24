//! What cannot go on, said so that the user can mend it.

use fal_client::FalError;

/// Why it cannot go on, and what the user can do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: String,
    pub(crate) remedy: &'static str,
}

impl From<&FalError> for Refusal {
    fn from(error: &FalError) -> Self {
        Self {
            reason: error.to_string(),
            remedy: error.remedy(),
        }
    }
}

impl From<FalError> for Refusal {
    fn from(error: FalError) -> Self {
        Self::from(&error)
    }
}

/// What no connection can do without.
///
/// # Errors
///
/// One is not installed: better told at once than at every attempt.
pub(crate) fn check_installed() -> Result<(), Refusal> {
    const NEEDED: [&str; 8] = [
        "webrtcbin",
        "nicesrc",
        "dtlssrtpenc",
        "srtpenc",
        "sctpenc",
        "rtpbin",
        "videoconvertscale",
        "appsrc",
    ];
    let missing = NEEDED
        .iter()
        .find(|name| gst::ElementFactory::find(name).is_none());
    match missing {
        None => Ok(()),
        Some(name) => Err(Refusal {
            reason: format!("the GStreamer element `{name}` is missing"),
            remedy: "install GStreamer's base, good and bad plugins and libnice's (gstreamer1.0-nice)",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_needed_is_installed_here() {
        gst::init().unwrap();
        assert_eq!(check_installed(), Ok(()));
    }
}

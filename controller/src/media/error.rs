//! Why a pipeline could not be made or used.

pub(crate) use webrtc_live::{MediaError, make, set};

use crate::session::SessionError;

impl From<MediaError> for SessionError {
    fn from(error: MediaError) -> Self {
        match error {
            MediaError::Negotiation(reason) => Self::BadOffer(reason),
            other => Self::Failed(other.to_string()),
        }
    }
}

//! What a request to connect means, with the configuration's defaults.
//!
//! Pure.

use crate::config::CloudConfig;
use crate::secret::Secret;
use crate::session::Parameters;

/// The element that fills the processor slot.
const FACTORY: &str = "falwebrtcbin";

/// A request to connect; what is left out comes from the configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wish {
    /// The app, `owner/name`.
    pub app_id: Option<String>,
    /// The key.
    pub api_key: Option<Secret>,
    /// Parameters that go with the offer.
    pub initial_parameters: Parameters,
}

/// A whole wish: everything a connection is made of.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Target {
    pub(super) app_id: String,
    pub(super) api_key: Option<Secret>,
    pub(super) parameters: Parameters,
    pub(super) properties: Vec<(&'static str, String)>,
    pub(super) turn_servers: Vec<Secret>,
}

impl Target {
    pub(super) fn new(wish: Wish, config: &CloudConfig) -> Result<Self, WishError> {
        let some = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        let app_id = some(wish.app_id)
            .or_else(|| config.app_id.clone())
            .ok_or(WishError::NoApp)?;
        let api_key = wish
            .api_key
            .filter(|key| !key.expose().trim().is_empty())
            .or_else(|| config.api_key.clone());
        if api_key.is_none() && !config.open {
            return Err(WishError::NoKey);
        }
        Ok(Self {
            app_id,
            api_key,
            parameters: wish.initial_parameters,
            properties: config.properties.clone(),
            turn_servers: config.turn_servers.clone(),
        })
    }

    pub(super) fn factory(&self) -> &'static str {
        FACTORY
    }
}

/// Why a wish cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WishError {
    /// No app was named anywhere.
    #[error("cloud credentials not configured: no app id")]
    NoApp,
    /// No key was given anywhere.
    #[error("cloud credentials not configured: no API key")]
    NoKey,
}

impl WishError {
    /// What to do next.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NoApp => "name the app (`app_id`), or start gst-scope with FAL_APP_ID set",
            Self::NoKey => "give a key (`api_key`), or start gst-scope with FAL_KEY set",
        }
    }
}

//! What the owner of a negotiation decides beforehand.

use std::time::Duration;

use crate::signalling::dialect::DialectChoice;
use crate::signalling::encoding::EncodingChoice;
use crate::signalling::message::Parameters;

/// What a negotiation needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct NegotiationConfig {
    /// Which language to speak.
    pub dialect: DialectChoice,
    /// Which encoding, where the dialect has two.
    pub encoding: EncodingChoice,
    /// The app id with its path; only WMA says it.
    pub app: String,
    /// Parameters in force from the first frame.
    pub initial_parameters: Parameters,
    /// Said first in lucy (empty: the initial parameters are), and in `auto` to an app that stays silent.
    pub initial_input: Parameters,
    /// Who the user is, for apps that ask (scope).
    pub user_id: Option<String>,
    /// Whether to ask scope apps for STUN and TURN servers.
    pub ask_ice_servers: bool,
    /// Whether candidates may follow the offer one by one; otherwise the offer holds them all.
    pub trickle: bool,
    /// Time from the start of the attempt to [`super::Input::Live`].
    pub budget: Duration,
}

impl Default for NegotiationConfig {
    fn default() -> Self {
        Self {
            dialect: DialectChoice::Auto,
            encoding: EncodingChoice::Auto,
            app: String::new(),
            initial_parameters: Parameters::new(),
            initial_input: Parameters::new(),
            user_id: None,
            ask_ice_servers: true,
            trickle: true,
            budget: Duration::from_secs(180),
        }
    }
}

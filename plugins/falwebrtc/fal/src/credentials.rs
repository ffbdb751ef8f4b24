//! The long-lived key, where it comes from, and how a connection proves who it is.

use std::fmt;
use std::str::FromStr;

use crate::error::FalError;
use crate::secret::Secret;

/// A fal API key, usually `<id>:<secret>`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(Secret);

impl ApiKey {
    /// Takes a key as the user gave it; blanks around it are not part of it.
    ///
    /// # Errors
    ///
    /// [`FalError::InvalidKey`] for an empty key or one with characters that no HTTP header can carry.
    pub fn parse(text: &str) -> Result<Self, FalError> {
        let key = text.trim();
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(FalError::InvalidKey);
        }
        Ok(Self(Secret::new(key)))
    }

    /// The value of the `Authorization` header.
    pub fn authorization(&self) -> Secret {
        Secret::new(format!("Key {}", self.0.expose()))
    }

    /// `text` without the key, whole or its secret half.
    pub fn hide_in(&self, text: &str) -> String {
        let hidden = self.0.hide_in(text);
        match self.0.expose().split_once(':') {
            Some((_, half)) => Secret::new(half).hide_in(&hidden),
            None => hidden,
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(****)")
    }
}

/// The key that the environment holds: `FAL_KEY`; else `FAL_KEY_ID` and `FAL_KEY_SECRET`; else `FAL_API_KEY`.
///
/// `lookup` answers for the environment (`|name| std::env::var(name).ok()`); an empty value counts as none.
///
/// # Errors
///
/// [`FalError::InvalidKey`] when the first one set is no key.
pub fn key_from(lookup: impl Fn(&str) -> Option<String>) -> Result<Option<ApiKey>, FalError> {
    let value = |name| lookup(name).filter(|value| !value.trim().is_empty());
    let key = value("FAL_KEY")
        .or_else(|| {
            let (id, secret) = (value("FAL_KEY_ID")?, value("FAL_KEY_SECRET")?);
            Some(format!("{}:{}", id.trim(), secret.trim()))
        })
        .or_else(|| value("FAL_API_KEY"));
    key.as_deref().map(ApiKey::parse).transpose()
}

/// How a connection proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Auth {
    /// A short-lived token in the socket's query; the key goes to the token endpoint alone.
    #[default]
    Token,
    /// The key itself, in the `Authorization` header of the socket's handshake.
    Header,
    /// Nothing: the app is public.
    None,
}

impl Auth {
    /// Every way, in the order of documentation.
    pub const ALL: [Self; 3] = [Self::Token, Self::Header, Self::None];

    /// The name in properties and configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Header => "header",
            Self::None => "none",
        }
    }
}

impl FromStr for Auth {
    type Err = FalError;

    fn from_str(text: &str) -> Result<Self, FalError> {
        crate::choice::parse("auth", text, &Self::ALL, Self::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(pairs: &[(&str, &str)]) -> Option<String> {
        let key = key_from(|name| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        key.unwrap()
            .map(|key| key.authorization().expose().to_owned())
    }

    #[test]
    fn the_environment_is_asked_in_order() {
        let id = ("FAL_KEY_ID", "id");
        let secret = ("FAL_KEY_SECRET", "s");
        let last = ("FAL_API_KEY", "old:key");

        assert_eq!(
            from(&[("FAL_KEY", "a:b"), id, secret, last]).unwrap(),
            "Key a:b"
        );
        assert_eq!(from(&[id, secret, last]).unwrap(), "Key id:s");
        assert_eq!(from(&[id, last]).unwrap(), "Key old:key");
        assert_eq!(
            from(&[("FAL_KEY", " "), ("FAL_API_KEY", " k:k\n")]).unwrap(),
            "Key k:k"
        );
        assert_eq!(from(&[id]), None);
        assert_eq!(from(&[]), None);
    }

    #[test]
    fn what_no_header_carries_is_no_key() {
        for text in ["", " ", "a b", "a\nb", "schlüssel:x"] {
            assert_eq!(ApiKey::parse(text), Err(FalError::InvalidKey), "{text:?}");
        }
    }

    #[test]
    fn a_key_shows_nowhere() {
        let key = ApiKey::parse("id-1234:canary-secret").unwrap();

        assert_eq!(format!("{key:?}"), "ApiKey(****)");
        assert_eq!(
            key.hide_in("bad key id-1234:canary-secret, I mean canary-secret"),
            "bad key ****, I mean ****"
        );
    }

    #[test]
    fn the_ways_have_names() {
        for auth in Auth::ALL {
            assert_eq!(auth.as_str().parse::<Auth>().unwrap(), auth);
        }
        assert_eq!(
            "basic".parse::<Auth>().unwrap_err().to_string(),
            "auth is `basic`; it can be token, header, none"
        );
    }
}

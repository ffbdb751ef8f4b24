//! A value that cannot be printed.

use std::fmt;

use zeroize::Zeroize;

/// Shorter values are not searched for in texts: they would blank out half of every sentence.
const SHORTEST_HIDDEN: usize = 6;

/// A key, token or password. No `Display`, no `Serialize`: [`Secret::expose`] is the one way out.
/// The memory is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a value in.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself; every call is a place to audit.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// `text` with every occurrence of the value replaced by `****`: for the words of servers that repeat what
    /// they were sent.
    pub fn hide_in(&self, text: &str) -> String {
        if self.0.len() < SHORTEST_HIDDEN {
            return text.to_owned();
        }
        text.replace(&self.0, "****")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(****)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_stars() {
        assert_eq!(format!("{:?}", Secret::new("canary")), "Secret(****)");
    }

    #[test]
    fn a_repeated_secret_is_hidden() {
        let secret = Secret::new("canary-1");

        assert_eq!(
            secret.hide_in("no canary-1 here, canary-1!"),
            "no **** here, ****!"
        );
        assert_eq!(Secret::new("").hide_in("as it was"), "as it was");
    }
}

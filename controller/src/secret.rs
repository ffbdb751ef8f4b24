//! A value that cannot be printed.

use std::fmt;
use std::hint::black_box;

use serde::Deserialize;

/// A password or token. No `Display`, no `Serialize`: [`Secret::expose`] is the one way out.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
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

    /// True for the same value, in a time that tells nothing but the length.
    pub fn matches(&self, candidate: &str) -> bool {
        let (ours, theirs) = (self.0.as_bytes(), candidate.as_bytes());
        let difference = ours
            .iter()
            .zip(theirs)
            .fold(0, |sum, (a, b)| black_box(sum | (a ^ b)));
        ours.len() == theirs.len() && difference == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(****)")
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
    fn only_the_whole_value_matches() {
        let secret = Secret::new("canary");

        assert!(secret.matches("canary"));
        for wrong in ["", "canar", "canaryy", "canarx", "CANARY"] {
            assert!(!secret.matches(wrong), "{wrong:?} matched");
        }
    }
}

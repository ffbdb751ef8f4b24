//! What a sender may be called.
//!
//! Spout's kernel objects are the name plus a suffix in one namespace, and its SDK formats the longest of them into a
//! 256-byte buffer; a longer name, or one that looks like such an object, breaks *other people's* programs. The same
//! rules hold on every system, so that a pipeline is portable. What others have called themselves is taken as it is.

use std::fmt;

/// Longest name of a sender of ours, bytes.
pub const LONGEST_NAME: usize = 239;

/// Longest name a slot of Spout's list can hold, bytes.
pub const LONGEST_LISTED: usize = 255;

const RESERVED: [&str; 3] = ["SpoutSenderNames", "ActiveSenderName", "SpoutPanel"];

const SUFFIXES: [&str; 5] = [
    "_mutex",
    "_SpoutAccessMutex",
    "_Count_Semaphore",
    "_Sync_Event",
    "_map",
];

/// The name of a sender. Compared byte by byte, case counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SenderName(String);

/// Which rule a name breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// No byte at all.
    #[error("a sender name must not be empty")]
    Empty,
    /// More than [`LONGEST_NAME`] bytes, or [`LONGEST_LISTED`] for somebody else's.
    #[error("the sender name has {len} bytes, at most {longest} are allowed")]
    TooLong {
        /// Its bytes.
        len: usize,
        /// The limit.
        longest: usize,
    },
    /// A character that no kernel object, file or address may have.
    #[error("the sender name `{name}` contains {character:?}, which is not allowed")]
    Character {
        /// The name.
        name: String,
        /// The first offender.
        character: char,
    },
    /// One of Spout's own objects.
    #[error("`{name}` is a name Spout itself uses")]
    Reserved {
        /// The name.
        name: String,
    },
    /// Ends like one of Spout's own objects.
    #[error("the sender name `{name}` ends in `{suffix}`, which Spout itself uses")]
    Suffix {
        /// The name.
        name: String,
        /// The suffix.
        suffix: &'static str,
    },
    /// Not text.
    #[error("the sender name is not valid UTF-8 from byte {valid_up_to} on")]
    NotText {
        /// Bytes that were.
        valid_up_to: usize,
    },
}

impl SenderName {
    /// A name for a sender of ours.
    ///
    /// # Errors
    ///
    /// If it breaks one of Spout's rules, see [`NameError`].
    pub fn new(name: &str) -> Result<Self, NameError> {
        check_length(name.len(), LONGEST_NAME)?;
        let bad = |character: &char| matches!(*character, '\\' | '/') || character.is_control();
        if let Some(character) = name.chars().find(bad) {
            return Err(NameError::Character {
                name: name.to_owned(),
                character,
            });
        }
        if RESERVED.contains(&name) {
            return Err(NameError::Reserved {
                name: name.to_owned(),
            });
        }
        if let Some(suffix) = SUFFIXES.into_iter().find(|suffix| name.ends_with(suffix)) {
            return Err(NameError::Suffix {
                name: name.to_owned(),
                suffix,
            });
        }
        Ok(Self(name.to_owned()))
    }

    /// The name of somebody else's sender: whatever fits a slot of the list.
    ///
    /// # Errors
    ///
    /// If it is empty, longer than a slot, or contains NUL.
    pub fn of_other(name: &str) -> Result<Self, NameError> {
        check_length(name.len(), LONGEST_LISTED)?;
        match name.contains('\0') {
            true => Err(NameError::Character {
                name: name.to_owned(),
                character: '\0',
            }),
            false => Ok(Self(name.to_owned())),
        }
    }

    /// As [`Self::of_other`], from bytes that ought to be UTF-8.
    ///
    /// # Errors
    ///
    /// If they are not, or break a rule of [`Self::of_other`].
    pub fn from_bytes(name: &[u8]) -> Result<Self, NameError> {
        let text = std::str::from_utf8(name).map_err(|error| NameError::NotText {
            valid_up_to: error.valid_up_to(),
        })?;
        Self::of_other(text)
    }

    /// A name for a sender of ours made from any text: what is not allowed becomes `-`, what is too long is cut.
    /// `None` if nothing is left.
    pub fn from_any(text: &str) -> Option<Self> {
        let clean: String = text
            .trim()
            .chars()
            .map(|c| {
                if matches!(c, '\\' | '/') || c.is_control() {
                    '-'
                } else {
                    c
                }
            })
            .collect();
        let name = Self::new(cut(&clean, LONGEST_NAME));
        name.or_else(|_| {
            Self::new(cut(
                &format!("{}-", cut(&clean, LONGEST_NAME - 1)),
                LONGEST_NAME,
            ))
        })
        .ok()
        .filter(|name| name.as_str() != "-")
    }

    /// The name tried when this one is taken for the `count`th time: `name_1`, `name_2`, …
    #[must_use]
    pub fn numbered(&self, count: u32) -> Self {
        let suffix = format!("_{count}");
        Self(format!(
            "{}{suffix}",
            cut(&self.0, LONGEST_NAME - suffix.len())
        ))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SenderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_length(len: usize, longest: usize) -> Result<(), NameError> {
    match len {
        0 => Err(NameError::Empty),
        len if len > longest => Err(NameError::TooLong { len, longest }),
        _ => Ok(()),
    }
}

/// The longest beginning of `text` of at most `len` bytes.
fn cut(text: &str, len: usize) -> &str {
    let mut end = len.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_pass() {
        for name in [
            "Scope",
            "ScopeOut",
            "TDSyphonSpoutOut 1",
            "Bühne ♥",
            "a",
            "map",
            "_1",
        ] {
            assert_eq!(
                SenderName::new(name).map(|name| name.to_string()),
                Ok(name.into())
            );
        }
        assert!(SenderName::new(&"x".repeat(239)).is_ok());
    }

    #[test]
    fn each_rule_has_its_own_error() {
        use NameError as E;

        assert_eq!(SenderName::new(""), Err(E::Empty));
        let long = E::TooLong {
            len: 300,
            longest: 239,
        };
        assert_eq!(SenderName::new(&"x".repeat(300)), Err(long));
        assert!(matches!(
            SenderName::new("a/b"),
            Err(E::Character { character: '/', .. })
        ));
        assert!(matches!(
            SenderName::new("a\\b"),
            Err(E::Character {
                character: '\\',
                ..
            })
        ));
        assert!(matches!(
            SenderName::new("a\nb"),
            Err(E::Character {
                character: '\n',
                ..
            })
        ));
        assert!(matches!(
            SenderName::new("SpoutPanel"),
            Err(E::Reserved { .. })
        ));
        assert!(matches!(
            SenderName::new("a_mutex"),
            Err(E::Suffix {
                suffix: "_mutex",
                ..
            })
        ));
        assert_eq!(
            SenderName::from_bytes(b"ab\xff"),
            Err(E::NotText { valid_up_to: 2 })
        );
    }

    #[test]
    fn what_others_are_called_is_taken_as_it_is() {
        assert!(SenderName::of_other("a/b\\c_mutex").is_ok());
        assert!(SenderName::of_other(&"x".repeat(255)).is_ok());
        assert!(SenderName::of_other(&"x".repeat(256)).is_err());
        assert!(SenderName::of_other("a\0b").is_err());
    }

    #[test]
    fn numbers_are_appended_within_the_limit() {
        let name = SenderName::new("Dup").unwrap();
        let long = SenderName::new(&"ü".repeat(119)).unwrap();

        assert_eq!(name.numbered(1).as_str(), "Dup_1");
        assert!(SenderName::new(long.numbered(10).as_str()).is_ok());
        assert!(long.numbered(10).as_str().ends_with("ü_10"));
    }

    #[test]
    fn any_program_name_makes_a_sender_name() {
        let name = |text: &str| SenderName::from_any(text).map(|name| name.to_string());

        assert_eq!(name("gst-launch-1.0").as_deref(), Some("gst-launch-1.0"));
        assert_eq!(name("C:\\a/b").as_deref(), Some("C:-a-b"));
        assert_eq!(name("x_mutex").as_deref(), Some("x_mutex-"));
        assert_eq!(name(&"x".repeat(400)).map(|name| name.len()), Some(239));
        assert_eq!(name("  "), None);
    }
}

//! Which graphics adapter textures lie on, as an operator writes it.

use std::fmt;
use std::str::FromStr;

/// A graphics adapter. Backends that share ordinary memory have none and take any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Adapter {
    /// The system's own choice.
    #[default]
    Auto,
    /// By its place in the system's list, from 0.
    Index(u32),
    /// By its locally unique identifier, which stays the same until the system is started again.
    Luid(i64),
}

/// Adapters counted by index; more do not fit a machine.
pub(crate) const MOST: u32 = 64;

/// A text that names no adapter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "adapter `{text}` is neither `auto`, nor a number from 0 to 63, nor 0x and up to 16 hexadecimal digits"
)]
pub struct AdapterError {
    text: String,
}

impl FromStr for Adapter {
    type Err = AdapterError;

    fn from_str(text: &str) -> Result<Self, AdapterError> {
        let refused = || AdapterError {
            text: text.chars().take(64).collect(),
        };
        let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_hexdigit());
        if text.is_empty() || text == "auto" {
            return Ok(Self::Auto);
        }
        if let Some(luid) = text.strip_prefix("0x").filter(|luid| digits(luid)) {
            let luid = u64::from_str_radix(luid, 16).map_err(|_| refused())?;
            return Ok(Self::Luid(luid.cast_signed()));
        }
        match text.parse() {
            Ok(index) if digits(text) && index < MOST => Ok(Self::Index(index)),
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for Adapter {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => to.write_str("auto"),
            Self::Index(index) => write!(to, "{index}"),
            Self::Luid(luid) => write!(to, "{luid:#x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_an_adapter_is_read_and_written_back() {
        for (text, adapter) in [
            ("auto", Adapter::Auto),
            ("0", Adapter::Index(0)),
            ("63", Adapter::Index(63)),
            ("0x11e5c", Adapter::Luid(0x11e5c)),
            ("0xffffffffffffffff", Adapter::Luid(-1)),
        ] {
            assert_eq!(text.parse(), Ok(adapter));
            assert_eq!(adapter.to_string(), text);
        }
        assert_eq!("".parse(), Ok(Adapter::Auto));
    }

    #[test]
    fn what_names_no_adapter_is_refused_with_what_would() {
        for text in [
            "64",
            "-1",
            "+1",
            "1.0",
            "0x",
            "0x+1",
            "0x10000000000000000",
            "AMD",
            " 0",
        ] {
            let error = text.parse::<Adapter>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
        let long = "9".repeat(1000).parse::<Adapter>().unwrap_err();
        assert!(long.to_string().len() < 200);
    }
}

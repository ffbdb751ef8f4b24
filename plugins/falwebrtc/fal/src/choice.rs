//! Words that stand for the variants of an enum, in properties and configuration.

use crate::error::FalError;

/// The variant that `text` names.
pub(crate) fn parse<T: Copy>(
    option: &'static str,
    text: &str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<T, FalError> {
    let wanted = text.trim();
    let found = all.iter().find(|choice| name(**choice) == wanted);
    found.copied().ok_or_else(|| FalError::InvalidChoice {
        option,
        value: wanted.to_owned(),
        known: all
            .iter()
            .map(|choice| name(*choice))
            .collect::<Vec<_>>()
            .join(", "),
    })
}

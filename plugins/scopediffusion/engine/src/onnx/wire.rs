//! Protocol-buffer fields, read and written one at a time, whatever they mean.
//!
//! Decision: no schema compiler. Editing one node of a graph must leave everything else as it is,
//! byte by byte, and generated types drop the fields they do not know.
//!
//! Source: protobuf.dev, encoding guide.

/// One field of a message that lies in memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Field<'a> {
    pub(crate) number: u64,
    pub(crate) value: Value<'a>,
    /// The field as it stands, tag included.
    pub(crate) raw: &'a [u8],
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    Number(u64),
    /// A text, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
    /// Four or eight bytes that nobody here looks into.
    Fixed,
}

/// The fields of a message; ends early, with `None` as its last item, where they make no sense.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

/// The fields of a message.
pub(crate) fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<Field<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let whole = self.rest;
        let field = one(whole);
        self.rest = field.map_or(&[], |field| &whole[field.raw.len()..]);
        Some(field)
    }
}

fn one(bytes: &[u8]) -> Option<Field<'_>> {
    let (tag, mut at) = varint(bytes)?;
    let number = tag >> 3;
    let value = match tag & 7 {
        0 => {
            let (value, length) = varint(&bytes[at..])?;
            at += length;
            Value::Number(value)
        }
        1 => {
            at = at.checked_add(8).filter(|end| *end <= bytes.len())?;
            Value::Fixed
        }
        2 => {
            let (length, digits) = varint(&bytes[at..])?;
            let from = at + digits;
            let to = from.checked_add(usize::try_from(length).ok()?)?;
            at = to;
            Value::Bytes(bytes.get(from..to)?)
        }
        5 => {
            at = at.checked_add(4).filter(|end| *end <= bytes.len())?;
            Value::Fixed
        }
        _ => return None,
    };
    (number > 0).then_some(Field {
        number,
        value,
        raw: &bytes[..at],
    })
}

/// A number and the bytes it takes.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f).checked_shl(7 * at as u32)?;
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

/// Adds a field that holds bytes, a text or a message.
pub(crate) fn put_bytes(message: &mut Vec<u8>, number: u64, content: &[u8]) {
    put_varint(message, number << 3 | 2);
    put_varint(message, content.len() as u64);
    message.extend_from_slice(content);
}

/// Adds a field that holds a number.
pub(crate) fn put_number(message: &mut Vec<u8>, number: u64, value: u64) {
    put_varint(message, number << 3);
    put_varint(message, value);
}

fn put_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

/// A text that a field holds, if it is one.
pub(crate) fn text<'a>(value: Value<'a>) -> Option<&'a str> {
    match value {
        Value::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
        Value::Number(_) | Value::Fixed => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_put_is_read_again() {
        let mut message = Vec::new();
        put_bytes(&mut message, 7, b"hello");
        put_number(&mut message, 300, u64::MAX);
        put_bytes(&mut message, 1, &[9; 300]);

        let read: Vec<_> = fields(&message).map(Option::unwrap).collect();

        assert_eq!((read[0].number, text(read[0].value)), (7, Some("hello")));
        assert_eq!(
            (read[1].number, read[1].value),
            (300, Value::Number(u64::MAX))
        );
        assert_eq!(read[2].value, Value::Bytes(&[9; 300]));
        let raw: Vec<u8> = read.iter().flat_map(|field| field.raw.to_vec()).collect();
        assert_eq!(raw, message);
    }

    #[test]
    fn a_length_beyond_the_end_is_the_end() {
        let fields: Vec<_> = fields(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 1]).collect();

        assert_eq!(fields, [None]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut read = 0;
            for field in fields(&bytes).flatten() {
                read += field.raw.len();
            }
            prop_assert!(read <= bytes.len());
        }
    }
}

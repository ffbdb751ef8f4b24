//! What is said to PipeWire about a picture, to the byte: its "plain old data", a tree of tagged values.
//!
//! ```text
//!   pod      size u32, type u32, body, padding to 8 bytes
//!   object   type u32, what it is about u32, then properties: key u32, flags u32, pod
//!   choice   kind u32, flags u32, the size and type of its values, values
//! ```
//!
//! Pure. Source of the numbers: PipeWire's headers `spa/utils/type.h`, `spa/param/*.h`, `spa/buffer/*.h`.

use super::Layout;
use crate::PixelFormat;

const ID: u32 = 3;
const INT: u32 = 4;
const RECTANGLE: u32 = 10;
const FRACTION: u32 = 11;
const OBJECT: u32 = 15;
const CHOICE: u32 = 19;

const RANGE: u32 = 1;
const FLAGS: u32 = 4;

const FORMAT_OBJECT: u32 = 0x4_0003;
const BUFFERS_OBJECT: u32 = 0x4_0004;
const META_OBJECT: u32 = 0x4_0005;

/// The formats a node offers.
const ENUM_FORMAT: u32 = 3;
/// The format that a node and its receivers agreed on.
pub(super) const FORMAT: u32 = 4;
const BUFFERS: u32 = 5;
const META: u32 = 6;

const MEDIA_TYPE: u32 = 1;
const MEDIA_SUBTYPE: u32 = 2;
const VIDEO_FORMAT: u32 = 0x2_0001;
const VIDEO_SIZE: u32 = 0x2_0003;
const VIDEO_FRAMERATE: u32 = 0x2_0004;

const VIDEO: u32 = 2;
const RAW: u32 = 1;

/// Kinds of memory: a pointer, which becomes a file between processes, and a file.
const MEMORY: u32 = 1 << 1 | 1 << 2;

/// The header of a frame: its metadata number, and its bytes.
pub(super) const HEADER: (u32, u32) = (1, 32);

/// PipeWire's number of the format that pixels are published in. Wide ones become 8 bits, which is all that its
/// receivers know; those without alpha are offered without.
pub(super) fn published_as(format: PixelFormat, opaque: bool) -> u32 {
    match (format, opaque) {
        (PixelFormat::Bgra8, false) => 12,
        (PixelFormat::Bgra8 | PixelFormat::Bgrx8, _) => 8,
        (_, false) => 11,
        (_, true) => 7,
    }
}

fn pod(kind: u32, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut bytes = words(&[size, kind]);
    bytes.extend_from_slice(body);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn object(kind: u32, about: u32, properties: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut body = words(&[kind, about]);
    for (key, value) in properties {
        body.extend(words(&[*key, 0]));
        body.extend_from_slice(value);
    }
    pod(OBJECT, &body)
}

fn id(value: u32) -> Vec<u8> {
    pod(ID, &words(&[value]))
}

fn int(value: u32) -> Vec<u8> {
    pod(INT, &words(&[value]))
}

fn choice(kind: u32, values: &[u32]) -> Vec<u8> {
    let mut body = words(&[kind, 0, 4, INT]);
    body.extend(words(values));
    pod(CHOICE, &body)
}

/// The one format a node offers.
pub(super) fn offer(layout: &Layout, framerate: (u32, u32)) -> Vec<u8> {
    let (numer, denom) = framerate;
    object(
        FORMAT_OBJECT,
        ENUM_FORMAT,
        &[
            (MEDIA_TYPE, id(VIDEO)),
            (MEDIA_SUBTYPE, id(RAW)),
            (VIDEO_FORMAT, id(layout.format)),
            (
                VIDEO_SIZE,
                pod(RECTANGLE, &words(&[layout.width, layout.height])),
            ),
            (VIDEO_FRAMERATE, pod(FRACTION, &words(&[numer, denom]))),
        ],
    )
}

/// The memory a frame of this layout needs.
pub(super) fn buffers(layout: &Layout) -> Vec<u8> {
    object(
        BUFFERS_OBJECT,
        BUFFERS,
        &[
            (1, choice(RANGE, &[4, 2, 8])),
            (2, int(1)),
            (3, int(layout.stride() * layout.height)),
            (4, int(layout.stride())),
            (6, choice(FLAGS, &[MEMORY])),
        ],
    )
}

/// That every frame has a header: its time and number.
pub(super) fn header() -> Vec<u8> {
    let (kind, size) = HEADER;
    object(META_OBJECT, META, &[(1, id(kind)), (2, int(size))])
}

/// The layout that was agreed on; `None` for what is no raw video.
pub(super) fn agreed(bytes: &[u8]) -> Option<Layout> {
    let (OBJECT, body) = split(bytes)? else {
        return None;
    };
    let (_, mut rest) = body.split_at_checked(8)?;
    let (mut format, mut size) = (None, None);
    while let Some((key, after)) = rest.split_first_chunk::<4>() {
        let value = after.get(4..)?;
        let (kind, body) = split(value)?;
        // A choice of one value is that value.
        let body = match kind {
            CHOICE => body.get(16..)?,
            _ => body,
        };
        match u32::from_ne_bytes(*key) {
            VIDEO_FORMAT => format = word(body, 0),
            VIDEO_SIZE => size = Some((word(body, 0)?, word(body, 1)?)),
            _ => {}
        }
        let size = word(value, 0)?;
        let len = usize::try_from(size).ok()?.checked_next_multiple_of(8)?;
        rest = value.get(8_usize.checked_add(len)?..).unwrap_or_default();
    }
    let (width, height) = size?;
    Some(Layout {
        format: format?,
        width,
        height,
    })
}

/// The type of the pod that begins here, and its body.
fn split(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let size = usize::try_from(word(bytes, 0)?).ok()?;
    Some((word(bytes, 1)?, bytes.get(8..8_usize.checked_add(size)?)?))
}

fn word(bytes: &[u8], index: usize) -> Option<u32> {
    let bytes = bytes.get(index * 4..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LAYOUT: Layout = Layout {
        format: 12,
        width: 640,
        height: 480,
    };

    #[test]
    fn an_offer_is_what_pipewires_own_builder_writes() {
        let expected: Vec<u32> = vec![
            128, 15, 0x40003, 3, // an object: the formats to choose from
            1, 0, 4, 3, 2, 0, // video
            2, 0, 4, 3, 1, 0, // raw
            0x20001, 0, 4, 3, 12, 0, // BGRA
            0x20003, 0, 8, 10, 640, 480, // size
            0x20004, 0, 8, 11, 60, 1, // rate
        ];
        assert_eq!(offer(&LAYOUT, (60, 1)), words(&expected));
    }

    #[test]
    fn every_pod_is_as_long_as_it_says() {
        for bytes in [offer(&LAYOUT, (0, 1)), buffers(&LAYOUT), header()] {
            let (kind, body) = split(&bytes).unwrap();
            assert_eq!((kind, body.len() + 8), (OBJECT, bytes.len()));
        }
    }

    #[test]
    fn what_was_offered_is_understood_when_it_comes_back() {
        assert_eq!(agreed(&offer(&LAYOUT, (60, 1))), Some(LAYOUT));
        assert_eq!(agreed(&buffers(&LAYOUT)), None);
        assert_eq!(agreed(&[]), None);
    }

    #[test]
    fn a_choice_of_one_is_that_one() {
        let mut body = words(&[0, 0, 4, ID]);
        body.extend(words(&[8]));
        let format = pod(CHOICE, &body);
        let size = pod(RECTANGLE, &words(&[16, 9]));
        let bytes = object(
            FORMAT_OBJECT,
            FORMAT,
            &[(VIDEO_FORMAT, format), (VIDEO_SIZE, size)],
        );

        let layout = agreed(&bytes).unwrap();

        assert_eq!((layout.format, layout.width, layout.height), (8, 16, 9));
    }

    #[test]
    fn what_has_no_alpha_is_offered_without_it() {
        assert_eq!(published_as(PixelFormat::Bgra8, true), 8);
        assert_eq!(published_as(PixelFormat::Bgra8, false), 12);
        assert_eq!(published_as(PixelFormat::Rgba16, false), 11);
    }

    proptest! {
        #[test]
        fn noise_is_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            agreed(&bytes);
        }

        #[test]
        fn a_flipped_byte_is_never_a_panic(at in 0_usize..136, value in any::<u8>()) {
            let mut bytes = offer(&LAYOUT, (60, 1));
            bytes[at] = value;
            agreed(&bytes);
        }
    }
}

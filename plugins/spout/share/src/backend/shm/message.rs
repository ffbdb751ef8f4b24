//! What goes over the socket, to the byte. One packet, one message; little-endian.
//!
//! ```text
//!   receiver ─ ask: magic 8, version u16, wants u8 ─────────────────────────────────────► sender
//!   receiver ◄─ hello: magic 8, version u16, the sender's description (+ the mailbox) ──── sender
//!   receiver ◄─ slot: generation u16, index u8 (+ its memory) ──────────────────────────── sender
//! ```
//!
//! A further hello is a new geometry: its generation replaces all slots. A receiver says nothing after asking, so a
//! byte from it, or the end of its socket, ends the connection. The end of the sender's is its death.

use crate::Description;
use crate::name::SenderName;
use crate::pixels::PixelFormat;
use crate::video::Video;

/// First bytes of an ask and of a hello.
const MAGIC: [u8; 8] = *b"SPOUTSHM";

/// The protocol's version; another one is not understood.
pub(super) const VERSION: u16 = 2;

/// Longest message, bytes.
pub(super) const LONGEST: usize = 1024;

/// What a receiver wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// A hello, and no more.
    Describe,
    /// A hello with a mailbox, and frames.
    Subscribe,
}

impl Ask {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut bytes = head();
        bytes.push(match self {
            Self::Describe => 0,
            Self::Subscribe => 1,
        });
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut rest = Reader(bytes);
        rest.head()?;
        match rest.u8()? {
            0 => Ok(Self::Describe),
            1 => Ok(Self::Subscribe),
            other => Err(format!("unknown wish {other}")),
        }
    }
}

/// What a sender says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// Who it is and what it sends from now on. Memory: the mailbox, with the first to a subscriber.
    Hello {
        generation: u16,
        description: Description,
    },
    /// Memory for frames of `generation`.
    Slot { generation: u16, index: u8 },
}

impl Word {
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Slot { generation, index } => {
                let [low, high] = generation.to_le_bytes();
                vec![2, low, high, *index]
            }
            Self::Hello {
                generation,
                description,
            } => {
                let mut bytes = vec![1];
                bytes.extend(head());
                bytes.extend(generation.to_le_bytes());
                let video = &description.video;
                for word in [
                    description.process,
                    video.width,
                    video.height,
                    video.format.dxgi(),
                    video.stride,
                    video.framerate.0,
                    video.framerate.1,
                ] {
                    bytes.extend(word.to_le_bytes());
                }
                for text in [
                    description.name.as_str(),
                    &description.program,
                    &video.colorimetry,
                ] {
                    let text = cut(text);
                    bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
                    bytes.extend(text.as_bytes());
                }
                bytes
            }
        }
    }

    /// Anything can be fed in: what is no message is an error that says why, never a panic.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut rest = Reader(bytes);
        match rest.u8()? {
            1 => {
                rest.head()?;
                let generation = rest.u16()?;
                let process = rest.u32()?;
                let (width, height) = (rest.u32()?, rest.u32()?);
                let code = rest.u32()?;
                let format = PixelFormat::from_dxgi(code)
                    .ok_or_else(|| format!("unknown pixel format {code}"))?;
                let stride = rest.u32()?;
                let framerate = (rest.u32()?, rest.u32()?);
                let name =
                    SenderName::from_bytes(rest.text()?).map_err(|error| error.to_string())?;
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let program = text(rest.text()?);
                let colorimetry = text(rest.text()?);
                let video = Video {
                    width,
                    height,
                    format,
                    stride,
                    framerate,
                    colorimetry,
                };
                video.check().map_err(|error| error.to_string())?;
                Ok(Self::Hello {
                    generation,
                    description: Description {
                        name,
                        video,
                        process,
                        program,
                    },
                })
            }
            2 => Ok(Self::Slot {
                generation: rest.u16()?,
                index: rest.u8()?,
            }),
            other => Err(format!("unknown message {other}")),
        }
    }
}

fn head() -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes
}

/// At most 255 bytes of a text, at a character's border.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(255);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// What is left of a message.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self
            .0
            .split_at_checked(len)
            .ok_or_else(|| format!("message ends {} bytes early", len - self.0.len()))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u8, String> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, String> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<&'a [u8], String> {
        let len = self.u8()?;
        self.take(len.into())
    }

    fn head(&mut self) -> Result<(), String> {
        if self.array::<8>()? != MAGIC {
            return Err("it does not speak this protocol".into());
        }
        match self.u16()? {
            VERSION => Ok(()),
            other => Err(format!(
                "it speaks version {other}, this program version {VERSION}"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello() -> Word {
        let mut video = Video::new(1920, 1080, PixelFormat::Bgra8);
        video.framerate = (60_000, 1001);
        video.colorimetry = "sRGB".into();
        Word::Hello {
            generation: 3,
            description: Description {
                name: SenderName::new("Bühne").unwrap(),
                video,
                process: 4711,
                program: "/usr/bin/gst-launch-1.0".into(),
            },
        }
    }

    #[test]
    fn every_message_comes_back() {
        for word in [
            hello(),
            Word::Slot {
                generation: 0x0102,
                index: 255,
            },
        ] {
            assert_eq!(Word::decode(&word.encode()), Ok(word));
        }
        for ask in [Ask::Describe, Ask::Subscribe] {
            assert_eq!(Ask::decode(&ask.encode()), Ok(ask));
        }
    }

    #[test]
    fn a_hello_is_laid_out_as_drawn() {
        let bytes = hello().encode();

        assert_eq!(&bytes[..11], b"\x01SPOUTSHM\x02\x00");
        assert_eq!(bytes[11..13], [3, 0]);
        assert_eq!(bytes[13..17], 4711_u32.to_le_bytes());
        assert_eq!(bytes[25..29], 87_u32.to_le_bytes());
        assert_eq!(&bytes[41..48], b"\x06B\xc3\xbchne");
        assert!(bytes.len() < LONGEST);
    }

    #[test]
    fn the_longest_hello_fits() {
        let Word::Hello {
            generation,
            mut description,
        } = hello()
        else {
            unreachable!("hello() makes one")
        };
        description.name = SenderName::of_other(&"x".repeat(255)).unwrap();
        description.program = "ü".repeat(500);
        description.video.colorimetry = "c".repeat(63);
        let bytes = Word::Hello {
            generation,
            description,
        }
        .encode();

        assert!(bytes.len() <= LONGEST);
        assert!(Word::decode(&bytes).is_ok());
    }

    #[test]
    fn lies_are_named() {
        let spoil = |at: usize, bytes: &[u8]| {
            let mut message = hello().encode();
            message[at..at + bytes.len()].copy_from_slice(bytes);
            Word::decode(&message).unwrap_err()
        };

        assert!(spoil(1, b"X").contains("does not speak"));
        assert!(spoil(9, &[1]).contains("version 1"));
        assert!(spoil(17, &u32::MAX.to_le_bytes()).contains("cannot be shared"));
        assert!(spoil(25, &[99]).contains("pixel format 99"));
        assert!(spoil(29, &[1, 0, 0, 0]).contains("cannot be shared"));
        assert!(spoil(43, &[0xff]).contains("UTF-8"));
        assert!(
            Word::decode(&hello().encode()[..50])
                .unwrap_err()
                .contains("early")
        );
        assert!(Word::decode(&[]).is_err());
    }

    proptest! {
        #[test]
        fn noise_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..LONGEST)) {
            let _ = Word::decode(&bytes);
            let _ = Ask::decode(&bytes);
        }

        #[test]
        fn a_hello_with_bytes_changed_is_no_panic(at in 0_usize..60, byte in any::<u8>(), len in 0_usize..90) {
            let mut bytes = hello().encode();
            bytes[at] = byte;
            bytes.truncate(len);
            let _ = Word::decode(&bytes);
        }
    }
}

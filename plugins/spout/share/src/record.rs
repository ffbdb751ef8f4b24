//! A sender as Spout's programs publish it: 280 bytes in a mapping that has the sender's name.

use crate::PixelFormat;

/// Length of a record, bytes.
pub const RECORD_LEN: usize = 280;

/// Length of the description within it, bytes.
pub const DESCRIPTION_LEN: usize = 256;

/// One sender as other programs see it.
///
/// Layout (little-endian, 280 bytes): share handle u32, width u32, height u32, DXGI format u32, usage u32, description
/// 256 bytes, partner id u32.
///
/// Receivers trust the texture they open more than this: senders are known to lie here.
///
/// Source: leadedge/Spout2, SPOUTSDK/SpoutGL/SpoutSenderNames.h, `SharedTextureInfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Low half of the texture's share handle; 0 means that there is no texture.
    pub share_handle: u32,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// `DXGI_FORMAT`, or 0, 21, 22 from Direct3D 9 programs.
    pub format: u32,
    /// Unused; written as 0.
    pub usage: u32,
    /// The sending program's path, in the system's ANSI code page, up to its NUL.
    pub description: Vec<u8>,
    /// Bit 31: the sender copies through the CPU; bit 30: it could share with OpenGL. Older programs put anything here.
    pub partner_id: u32,
}

impl Record {
    /// The bytes as they lie in the mapping. A description that is too long is cut and still ends in NUL.
    pub fn encode(&self) -> [u8; RECORD_LEN] {
        let mut bytes = [0; RECORD_LEN];
        let words = [
            self.share_handle,
            self.width,
            self.height,
            self.format,
            self.usage,
        ];
        for (word, to) in words.into_iter().zip(bytes.chunks_exact_mut(4)) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        let len = self.description.len().min(DESCRIPTION_LEN - 1);
        bytes[20..20 + len].copy_from_slice(&self.description[..len]);
        bytes[276..].copy_from_slice(&self.partner_id.to_le_bytes());
        bytes
    }

    /// What the bytes of a mapping say.
    pub fn decode(bytes: &[u8; RECORD_LEN]) -> Self {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let description = &bytes[20..20 + DESCRIPTION_LEN];
        let end = description.iter().position(|byte| *byte == 0);
        Self {
            share_handle: word(0),
            width: word(4),
            height: word(8),
            format: word(12),
            usage: word(16),
            description: description[..end.unwrap_or(DESCRIPTION_LEN)].to_vec(),
            partner_id: word(276),
        }
    }

    /// The share handle as wide as a pointer: Windows extends it by its sign.
    pub fn handle(&self) -> i64 {
        i64::from(self.share_handle.cast_signed())
    }

    /// How the sender says a pixel is written.
    pub fn pixel_format(&self) -> Option<PixelFormat> {
        PixelFormat::from_dxgi(self.format)
    }

    /// Whether there is a texture behind it, rather than pixels in plain memory as senders of 2013 had them.
    pub fn has_texture(&self) -> bool {
        self.share_handle != 0
    }

    /// Whether the sender says that it copies through the CPU.
    pub fn copies_by_cpu(&self) -> bool {
        self.partner_id & (1 << 31) != 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> Record {
        Record {
            share_handle: 0x8000_0c42,
            width: 1920,
            height: 1080,
            format: 87,
            usage: 0,
            description: b"C:\\vj\\scope.exe".to_vec(),
            partner_id: 0x8000_0000,
        }
    }

    #[test]
    fn every_field_has_its_place() {
        let bytes = record().encode();

        assert_eq!(bytes[..4], [0x42, 0x0c, 0x00, 0x80]);
        assert_eq!(bytes[4..8], [0x80, 0x07, 0, 0]);
        assert_eq!(bytes[8..12], [0x38, 0x04, 0, 0]);
        assert_eq!(bytes[12..20], [87, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&bytes[20..36], b"C:\\vj\\scope.exe\0");
        assert_eq!(bytes[276..], [0, 0, 0, 0x80]);
        assert_eq!(Record::decode(&bytes), record());
    }

    #[test]
    fn the_handle_is_widened_by_its_sign() {
        assert_eq!(record().handle(), 0xffff_ffff_8000_0c42_u64.cast_signed());
        let small = Record {
            share_handle: 0x4000_0c42,
            ..record()
        };
        assert_eq!(small.handle(), 0x4000_0c42);
    }

    #[test]
    fn a_description_without_end_is_read_to_its_field_and_written_with_one() {
        let long = Record {
            description: vec![b'x'; 400],
            ..record()
        };
        let mut bytes = long.encode();
        assert_eq!(bytes[20 + 255], 0);

        bytes[20 + 255] = b'y';
        assert_eq!(Record::decode(&bytes).description.len(), 256);
    }

    #[test]
    fn a_record_of_zeros_has_no_texture() {
        let record = Record::decode(&[0; RECORD_LEN]);

        assert!(!record.has_texture());
        assert!(!record.copies_by_cpu());
        assert_eq!(record.pixel_format(), Some(PixelFormat::Bgra8));
    }

    proptest! {
        #[test]
        fn whatever_lies_there_is_read(bytes in prop::collection::vec(any::<u8>(), RECORD_LEN)) {
            let bytes: [u8; RECORD_LEN] = bytes.try_into().unwrap();
            let record = Record::decode(&bytes);

            let again = Record::decode(&record.encode());
            prop_assert_eq!(again.share_handle, record.share_handle);
            prop_assert_eq!(again.partner_id, record.partner_id);
        }
    }
}

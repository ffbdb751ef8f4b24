//! What is sent: size, format, layout, and when.

use crate::{PixelFormat, ShareError};

/// Longest side that can be shared, pixels: Direct3D 11's texture limit.
pub const LONGEST_SIDE: u32 = 16_384;

/// The geometry of a sender's frames: rows from the top, `stride` bytes apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Video {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// How a pixel is written.
    pub format: PixelFormat,
    /// Bytes from one row to the next.
    pub stride: u32,
    /// Frames a second as a fraction; 0/1 is unknown or variable.
    pub framerate: (u32, u32),
    /// GStreamer's word for the colorimetry (`sRGB`); empty is unknown. At most 63 bytes.
    pub colorimetry: String,
}

impl Video {
    /// Rows without padding, nothing known about rate and colours.
    pub fn new(width: u32, height: u32, format: PixelFormat) -> Self {
        Self {
            width,
            height,
            format,
            stride: width.saturating_mul(format.bytes()),
            framerate: (0, 1),
            colorimetry: String::new(),
        }
    }

    /// Bytes of one frame.
    pub fn frame_len(&self) -> usize {
        self.stride as usize * self.height as usize
    }

    /// Whether two videos differ in nothing a receiver's memory depends on.
    pub fn same_geometry(&self, other: &Self) -> bool {
        (self.width, self.height, self.format, self.stride)
            == (other.width, other.height, other.format, other.stride)
    }

    /// Refuses what no backend can share.
    ///
    /// # Errors
    ///
    /// If a side is 0 or too long, rows overlap, or the words are too long.
    pub fn check(&self) -> Result<(), ShareError> {
        let side = 1..=LONGEST_SIDE;
        let reason = if !side.contains(&self.width) || !side.contains(&self.height) {
            "a side must have 1 to 16384 pixels"
        } else if self.stride < self.width * self.format.bytes()
            || self.stride > LONGEST_SIDE * 16 + 4096
        {
            "the rows do not fit their stride"
        } else if self.framerate.1 == 0 {
            "the frame rate has no denominator"
        } else if self.colorimetry.len() > 63 {
            "the colorimetry is longer than 63 bytes"
        } else {
            return Ok(());
        };
        Err(ShareError::BadVideo {
            width: self.width,
            height: self.height,
            reason,
        })
    }
}

/// When a frame was taken. Nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stamp {
    /// On the system's monotonic clock; 0 is unknown.
    pub captured: u64,
    /// The sender's own presentation time, if it has one.
    pub presentation: Option<u64>,
    /// How long the frame is meant to be seen, if known.
    pub duration: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_as_long_as_its_rows() {
        let video = Video::new(1920, 1080, PixelFormat::Bgra8);

        assert_eq!(video.frame_len(), 1920 * 1080 * 4);
        assert!(video.check().is_ok());
    }

    #[test]
    fn no_size_too_large_a_size_and_overlapping_rows_are_refused() {
        let good = Video::new(16, 16, PixelFormat::Rgba8);
        let bad = [
            Video::new(0, 16, PixelFormat::Bgra8),
            Video::new(16, 0, PixelFormat::Bgra8),
            Video::new(16_385, 16, PixelFormat::Bgra8),
            Video::new(u32::MAX, 16, PixelFormat::Bgra8),
            Video {
                stride: 63,
                ..good.clone()
            },
            Video {
                stride: u32::MAX,
                ..good.clone()
            },
            Video {
                framerate: (60, 0),
                ..good.clone()
            },
            Video {
                colorimetry: "x".repeat(64),
                ..good
            },
        ];

        for video in bad {
            assert!(video.check().is_err(), "{video:?}");
        }
    }

    #[test]
    fn the_frame_rate_is_no_part_of_the_geometry() {
        let slow = Video::new(16, 16, PixelFormat::Bgra8);
        let fast = Video {
            framerate: (60, 1),
            ..slow.clone()
        };

        assert!(slow.same_geometry(&fast));
        assert!(!slow.same_geometry(&Video::new(16, 16, PixelFormat::Rgba8)));
    }
}

//! What is sent: size, format, layout, and when.

use crate::pixels::copy_opaque;
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

/// A frame to be sent, as it lies in somebody's memory.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// From the first byte of the top row.
    pub bytes: &'a [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
    /// The fourth byte of each pixel means nothing: it is sent as opaque.
    pub opaque: bool,
}

impl<'a> Picture<'a> {
    /// A frame laid out as `video` says.
    pub fn of(bytes: &'a [u8], video: &Video) -> Self {
        Self {
            bytes,
            stride: video.stride as usize,
            opaque: false,
        }
    }

    /// The bytes, if they can be shown as they are.
    pub fn as_it_is(&self, video: &Video) -> Option<&'a [u8]> {
        let same = !self.opaque && self.stride == video.stride as usize;
        same.then(|| self.bytes.get(..video.frame_len())).flatten()
    }

    /// Whether all rows are there.
    pub fn is_long_enough(&self, video: &Video) -> bool {
        let row = (video.width * video.format.bytes()) as usize;
        let rows = video.height as usize;
        self.stride >= row && self.bytes.len() >= self.stride * rows.saturating_sub(1) + row
    }

    /// Copies the frame into memory laid out as `video` says.
    ///
    /// # Errors
    ///
    /// If either is shorter than the video.
    pub fn copy_to(&self, video: &Video, to: &mut [u8]) -> Result<(), ShareError> {
        let row = (video.width * video.format.bytes()) as usize;
        let rows = video.height as usize;
        let short = |expected, actual| Err(ShareError::ShortFrame { expected, actual });
        if !self.is_long_enough(video) {
            let needed = self.stride * rows.saturating_sub(1) + row;
            return short(needed.max(row * rows), self.bytes.len());
        }
        if to.len() < video.frame_len() {
            return short(video.frame_len(), to.len());
        }
        if let Some(bytes) = self.as_it_is(video) {
            to[..bytes.len()].copy_from_slice(bytes);
            return Ok(());
        }
        let to = to.chunks_mut(video.stride as usize);
        for (from, to) in self.bytes.chunks(self.stride).zip(to).take(rows) {
            match self.opaque {
                true => copy_opaque(&from[..row], &mut to[..row]),
                false => to[..row].copy_from_slice(&from[..row]),
            }
        }
        Ok(())
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
    fn rows_are_copied_from_one_layout_to_another() {
        let video = Video {
            stride: 12,
            ..Video::new(2, 2, PixelFormat::Bgra8)
        };
        let bytes: Vec<u8> = (0..26).collect();
        let picture = Picture {
            bytes: &bytes[..24],
            stride: 16,
            opaque: true,
        };
        let mut to = [77; 24];

        picture.copy_to(&video, &mut to).unwrap();

        assert_eq!(to[..8], [0, 1, 2, 255, 4, 5, 6, 255]);
        assert_eq!(to[12..20], [16, 17, 18, 255, 20, 21, 22, 255]);
        assert!(picture.as_it_is(&video).is_none());
        let short = Picture {
            bytes: &bytes[..23],
            ..picture
        };
        assert!(short.copy_to(&video, &mut to).is_err());
        assert!(picture.copy_to(&video, &mut [0; 23]).is_err());
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

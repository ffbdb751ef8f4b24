//! A frame as it is published: rows without padding, four bytes a pixel.

use crate::{Picture, PixelFormat, Published};

/// Copies a frame to where PipeWire wants it; false if either side is too short.
pub(super) fn draw(frame: &Published, to: &mut [u8]) -> bool {
    let video = &frame.video;
    let picture = Picture {
        bytes: (*frame.pixels).as_ref(),
        stride: frame.stride,
        opaque: frame.opaque,
    };
    let (row, rows) = (video.width as usize * 4, video.height as usize);
    if !picture.is_long_enough(video) || to.len() < row * rows {
        return false;
    }
    let from_row = (video.width * video.format.bytes()) as usize;
    let mut converted = Vec::new();
    for (from, to) in picture.bytes.chunks(frame.stride).zip(to.chunks_mut(row)) {
        let Some(from) = from.get(..from_row) else {
            break;
        };
        narrow_row(video.format, from, to, &mut converted);
    }
    true
}

fn narrow_row(format: PixelFormat, from: &[u8], to: &mut [u8], converted: &mut Vec<u8>) {
    match format {
        PixelFormat::Bgra8 | PixelFormat::Bgrx8 | PixelFormat::Rgba8 => to.copy_from_slice(from),
        PixelFormat::Rgb10A2 => {
            let (words, _) = from.as_chunks::<4>();
            for (word, to) in words.iter().zip(to.chunks_exact_mut(4)) {
                let word = u32::from_le_bytes(*word);
                let channel = |shift: u32| (word >> (shift + 2) & 0xff) as u8;
                let alpha = (word >> 30) as u8 * 85;
                to.copy_from_slice(&[channel(0), channel(10), channel(20), alpha]);
            }
        }
        PixelFormat::Rgba16 => {
            let (channels, _) = from.as_chunks::<2>();
            for ([_, high], to) in channels.iter().zip(to) {
                *to = *high;
            }
        }
        PixelFormat::Rgba16Float
        | PixelFormat::Rgba16Signed
        | PixelFormat::Rgba32Float
        | PixelFormat::Rgba8Signed => {
            let through = format.received_as();
            converted.resize(
                from.len() / format.bytes() as usize * through.bytes() as usize,
                0,
            );
            format.receive_row(from, converted);
            narrow_row(through, converted, to, &mut Vec::new());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pixels, Stamp, Video};

    #[derive(Debug)]
    struct Bytes(Vec<u8>);
    impl AsRef<[u8]> for Bytes {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    impl Pixels for Bytes {}

    fn frame(format: PixelFormat, width: u32, stride: usize, bytes: &[u8]) -> Published {
        Published {
            pixels: Box::new(Bytes(bytes.to_vec())),
            stride,
            opaque: false,
            video: Video::new(width, 1, format),
            stamp: Stamp::default(),
        }
    }

    #[test]
    fn padding_is_left_out() {
        let mut frame = frame(
            PixelFormat::Bgra8,
            1,
            6,
            &[1, 2, 3, 4, 0, 0, 5, 6, 7, 8, 0, 0],
        );
        frame.video = Video::new(1, 2, PixelFormat::Bgra8);
        let mut to = [0; 8];

        assert!(draw(&frame, &mut to));
        assert_eq!(to, [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn wide_pixels_become_eight_bits() {
        let mut to = [0; 4];
        let red = 0x3ff_u32 | 3 << 30;
        assert!(draw(
            &frame(PixelFormat::Rgb10A2, 1, 4, &red.to_le_bytes()),
            &mut to
        ));
        assert_eq!(to, [255, 0, 0, 255]);

        let wide = [0xff, 0x10, 0, 0x20, 0, 0x30, 0xff, 0xff];
        assert!(draw(&frame(PixelFormat::Rgba16, 1, 8, &wide), &mut to));
        assert_eq!(to, [0x10, 0x20, 0x30, 0xff]);

        let half_one = 0x3c00_u16.to_le_bytes();
        let bytes: Vec<u8> = [half_one, [0, 0], half_one, half_one].concat();
        assert!(draw(
            &frame(PixelFormat::Rgba16Float, 1, 8, &bytes),
            &mut to
        ));
        assert_eq!(to, [255, 0, 255, 255]);
    }

    #[test]
    fn what_is_too_short_is_not_drawn() {
        let mut to = [9; 4];
        assert!(!draw(&frame(PixelFormat::Bgra8, 1, 4, &[1, 2, 3]), &mut to));
        assert!(!draw(
            &frame(PixelFormat::Bgra8, 1, 4, &[1, 2, 3, 4]),
            &mut to[..3]
        ));
        assert_eq!(to, [9; 4]);
    }
}

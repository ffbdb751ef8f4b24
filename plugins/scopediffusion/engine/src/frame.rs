//! Pictures as cameras hold them ↔ pictures as networks want them.
//!
//! Outside: bytes, interleaved, any channel order, rows padded to a stride. Inside: `f32`
//! `[3, H, W]` in −1…1. A view borrows the caller's memory; nothing here allocates.

use std::sync::LazyLock;

use crate::error::EngineError;

/// Where the channels of one pixel lie, as byte offsets from the pixel's first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Bytes from one pixel to the next in a row.
    pub pixel_stride: usize,
    /// Offset of red.
    pub red: usize,
    /// Offset of green.
    pub green: usize,
    /// Offset of blue.
    pub blue: usize,
    /// Offset of alpha, if there is one; read as opaque, written as 255.
    pub alpha: Option<usize>,
}

impl Layout {
    /// Three bytes a pixel: red, green, blue.
    pub const RGB: Self = Self {
        pixel_stride: 3,
        red: 0,
        green: 1,
        blue: 2,
        alpha: None,
    };
    /// Four bytes a pixel: red, green, blue, alpha.
    pub const RGBA: Self = Self {
        pixel_stride: 4,
        red: 0,
        green: 1,
        blue: 2,
        alpha: Some(3),
    };
    /// Four bytes a pixel: blue, green, red, alpha.
    pub const BGRA: Self = Self {
        pixel_stride: 4,
        red: 2,
        green: 1,
        blue: 0,
        alpha: Some(3),
    };
}

/// A picture to read.
#[derive(Debug, Clone, Copy)]
pub struct FrameView<'a> {
    /// The bytes, top row first.
    pub data: &'a [u8],
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Bytes from one row to the next.
    pub stride: usize,
    /// Order of the channels.
    pub layout: Layout,
}

/// A picture to write.
#[derive(Debug)]
pub struct FrameViewMut<'a> {
    /// The bytes, top row first.
    pub data: &'a mut [u8],
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Bytes from one row to the next.
    pub stride: usize,
    /// Order of the channels.
    pub layout: Layout,
}

/// `u8 / 255 * 2 − 1` for every byte.
static TO_UNIT: LazyLock<[f32; 256]> =
    LazyLock::new(|| std::array::from_fn(|byte| byte as f32 / 255.0 * 2.0 - 1.0));

/// Spreads a picture into three planes in −1…1.
///
/// - `frame`: the picture; must be `size` large.
/// - `size`: width and height that the caller prepared for, pixels.
/// - `planes`: `[3, H, W]`, red first; overwritten.
///
/// Source: StreamDiffusion's image processor, `x = u8 / 255 * 2 − 1`.
pub(crate) fn read_frame(
    frame: &FrameView<'_>,
    size: (u32, u32),
    planes: &mut [f32],
) -> Result<(), EngineError> {
    if (frame.width, frame.height) != size {
        return Err(bad(format!(
            "it is {}x{}, the engine was opened for {}x{}",
            frame.width, frame.height, size.0, size.1
        )));
    }
    check(frame.data.len(), size, frame.stride, frame.layout)?;
    let (width, pixels) = (size.0 as usize, planes.len() / 3);
    let (red, rest) = planes.split_at_mut(pixels);
    let (green, blue) = rest.split_at_mut(pixels);
    let rows = red
        .chunks_exact_mut(width)
        .zip(green.chunks_exact_mut(width));
    for (y, ((red, green), blue)) in rows.zip(blue.chunks_exact_mut(width)).enumerate() {
        let row = &frame.data[y * frame.stride..];
        for (x, pixel) in row
            .chunks(frame.layout.pixel_stride)
            .take(width)
            .enumerate()
        {
            red[x] = TO_UNIT[usize::from(pixel[frame.layout.red])];
            green[x] = TO_UNIT[usize::from(pixel[frame.layout.green])];
            blue[x] = TO_UNIT[usize::from(pixel[frame.layout.blue])];
        }
    }
    Ok(())
}

/// Gathers three planes in −1…1 into the caller's picture, clamped and rounded half to even.
///
/// - `planes`: `[3, H, W]`, red first.
/// - `size`: width and height of `planes`, pixels; `frame` must be as large.
pub(crate) fn write_frame(
    planes: &[f32],
    size: (u32, u32),
    frame: &mut FrameViewMut<'_>,
) -> Result<(), EngineError> {
    if (frame.width, frame.height) != size {
        return Err(bad(format!(
            "it is {}x{}, the picture is {}x{}",
            frame.width, frame.height, size.0, size.1
        )));
    }
    check(frame.data.len(), size, frame.stride, frame.layout)?;
    let (width, layout) = (size.0 as usize, frame.layout);
    let (red, rest) = planes.split_at(planes.len() / 3);
    let (green, blue) = rest.split_at(planes.len() / 3);
    let rows = red.chunks_exact(width).zip(green.chunks_exact(width));
    for (y, ((red, green), blue)) in rows.zip(blue.chunks_exact(width)).enumerate() {
        let row = &mut frame.data[y * frame.stride..];
        for (x, pixel) in row.chunks_mut(layout.pixel_stride).take(width).enumerate() {
            pixel[layout.red] = to_byte(red[x]);
            pixel[layout.green] = to_byte(green[x]);
            pixel[layout.blue] = to_byte(blue[x]);
            if let Some(alpha) = layout.alpha {
                pixel[alpha] = 255;
            }
        }
    }
    Ok(())
}

/// A value in −1…1 as a byte; what is not a number becomes black.
fn to_byte(value: f32) -> u8 {
    ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8
}

/// Whether all values are finite; in blocks, because this looks at every value of every picture.
pub(crate) fn are_numbers(values: &[f32]) -> bool {
    values.chunks(256).all(|block| {
        // Zero for a finite value, NaN for any other.
        let nothing: f32 = block.iter().map(|value| value * 0.0).sum();
        nothing == 0.0
    })
}

/// Refuses a description that would read or write outside `len` bytes.
fn check(len: usize, size: (u32, u32), stride: usize, layout: Layout) -> Result<(), EngineError> {
    let pixel = layout.pixel_stride;
    let last = [
        layout.red,
        layout.green,
        layout.blue,
        layout.alpha.unwrap_or(0),
    ];
    if pixel == 0 || last.iter().any(|offset| *offset >= pixel) {
        return Err(bad(format!(
            "channel offsets {last:?} do not fit {pixel} bytes a pixel"
        )));
    }
    let row = (size.0 as usize).checked_mul(pixel);
    let needed = row
        .filter(|row| size.1 < 2 || *row <= stride)
        .zip(stride.checked_mul((size.1 as usize).saturating_sub(1)))
        .and_then(|(row, above)| above.checked_add(row));
    match needed {
        Some(needed) if needed <= len => Ok(()),
        _ => Err(bad(format!(
            "{len} bytes with a stride of {stride} cannot hold {}x{} pixels of {pixel} bytes",
            size.0, size.1
        ))),
    }
}

fn bad(reason: String) -> EngineError {
    EngineError::BadFrame { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: (u32, u32) = (3, 2);

    fn bytes(layout: Layout, stride: usize) -> Vec<u8> {
        (0..stride + 3 * layout.pixel_stride)
            .map(|k| (k * 37 % 256) as u8)
            .collect()
    }

    #[test]
    fn every_byte_survives_the_way_in_and_out() {
        for layout in [Layout::RGB, Layout::BGRA] {
            let stride = 3 * layout.pixel_stride + 5;
            let data = bytes(layout, stride);
            let (mut planes, mut back) = (vec![0.0; 18], vec![0; data.len()]);

            let frame = FrameView {
                data: &data,
                width: 3,
                height: 2,
                stride,
                layout,
            };
            read_frame(&frame, WIDE, &mut planes).unwrap();
            let mut out = FrameViewMut {
                data: &mut back,
                width: 3,
                height: 2,
                stride,
                layout,
            };
            write_frame(&planes, WIDE, &mut out).unwrap();

            for y in 0..2 {
                for x in 0..3 {
                    let at = y * stride + x * layout.pixel_stride;
                    assert_eq!(data[at..at + 3], back[at..at + 3], "pixel {x},{y}");
                    assert!(layout.alpha.is_none_or(|alpha| back[at + alpha] == 255));
                }
            }
        }
    }

    #[test]
    fn planes_hold_red_first_and_black_is_minus_one() {
        let data = [255, 0, 0, 0, 255, 0];
        let frame = FrameView {
            data: &data,
            width: 2,
            height: 1,
            stride: 6,
            layout: Layout::RGB,
        };
        let mut planes = [0.0; 6];

        read_frame(&frame, (2, 1), &mut planes).unwrap();

        assert_eq!(planes, [1.0, -1.0, -1.0, 1.0, -1.0, -1.0]);
    }

    #[test]
    fn out_of_range_values_are_clamped_and_halves_go_to_even() {
        assert_eq!([-7.0, 7.0, f32::NAN].map(to_byte), [0, 255, 0]);
        assert_eq!(
            to_byte(0.0),
            128,
            "127.5 lies halfway: the even neighbour is 128"
        );
    }

    #[test]
    fn a_single_value_that_is_no_number_is_found() {
        let mut values = vec![0.25_f32; 1000];
        values[7] = -1e30;
        assert!(are_numbers(&values));
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 255, 256, 999] {
                let mut values = values.clone();
                values[at] = wrong;
                assert!(!are_numbers(&values), "{wrong} at {at}");
            }
        }
    }

    #[test]
    fn a_frame_that_lies_about_its_size_is_refused() {
        let data = [0; 17];
        let mut planes = [0.0; 18];
        let frame = FrameView {
            data: &data,
            width: 3,
            height: 2,
            stride: 9,
            layout: Layout::RGB,
        };
        let lies = [
            frame,
            FrameView { stride: 3, ..frame },
            FrameView {
                stride: usize::MAX,
                ..frame
            },
            FrameView { width: 4, ..frame },
            FrameView {
                layout: Layout {
                    blue: 3,
                    ..Layout::RGB
                },
                ..frame
            },
            FrameView {
                layout: Layout {
                    pixel_stride: 0,
                    ..Layout::RGB
                },
                ..frame
            },
        ];

        for lie in lies {
            let refused = read_frame(&lie, WIDE, &mut planes);
            assert!(
                matches!(refused, Err(EngineError::BadFrame { .. })),
                "{lie:?}"
            );
        }
    }
}

//! Pictures as cameras hold them ↔ pictures as graphs take them.
//!
//! Outside: bytes, interleaved, any channel order, rows padded to a stride. Inside: bytes
//! `[H, W, 3]`, red first. A view borrows the caller's memory; nothing here allocates.
//!
//! What numbers bytes stand for is told twice: by [`spread`] and [`gather`] for the host, and by the
//! graphs of [`crate::onnx::picture`] for a device. Decision: on the CPU a loop of our own on the
//! calling thread. The graphs would do, but hand every operation to a pool of threads, and on a
//! machine with other work to do waiting for those takes longer than the work.

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

/// Takes a picture in.
///
/// - `frame`: the picture; must be `size` large.
/// - `size`: width and height that the caller prepared for, pixels.
/// - `picture`: `[H, W, 3]`, red first; overwritten.
pub(crate) fn read_frame(
    frame: &FrameView<'_>,
    size: (u32, u32),
    picture: &mut [u8],
) -> Result<(), EngineError> {
    if (frame.width, frame.height) != size {
        return Err(bad(format!(
            "it is {}x{}, the engine was opened for {}x{}",
            frame.width, frame.height, size.0, size.1
        )));
    }
    check(frame.data.len(), size, frame.stride, frame.layout)?;
    let (row, layout) = (3 * size.0 as usize, frame.layout);
    for (y, out) in picture.chunks_exact_mut(row.max(1)).enumerate() {
        let from = &frame.data[y * frame.stride..];
        if layout == Layout::RGB {
            out.copy_from_slice(&from[..row]);
            continue;
        }
        let pixels = from.chunks(layout.pixel_stride);
        for (out, pixel) in out.chunks_exact_mut(3).zip(pixels) {
            out[0] = pixel[layout.red];
            out[1] = pixel[layout.green];
            out[2] = pixel[layout.blue];
        }
    }
    Ok(())
}

/// Gives a picture out.
///
/// - `picture`: `[H, W, 3]`, red first.
/// - `size`: its width and height, pixels; `frame` must be as large.
pub(crate) fn write_frame(
    picture: &[u8],
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
    let (row, layout) = (3 * size.0 as usize, frame.layout);
    for (y, from) in picture.chunks_exact(row.max(1)).enumerate() {
        let out = &mut frame.data[y * frame.stride..];
        if layout == Layout::RGB {
            out[..row].copy_from_slice(from);
            continue;
        }
        let pixels = out.chunks_mut(layout.pixel_stride);
        for (pixel, from) in pixels.zip(from.chunks_exact(3)) {
            pixel[layout.red] = from[0];
            pixel[layout.green] = from[1];
            pixel[layout.blue] = from[2];
            if let Some(alpha) = layout.alpha {
                pixel[alpha] = 255;
            }
        }
    }
    Ok(())
}

/// Pixels that are taken apart at a time: enough for the widest registers, few enough for the stack.
const BLOCK: usize = 64;

/// A picture as a network's numbers: `u8 / 255 * 2 − 1`.
///
/// - `picture`: `[H, W, 3]`.
/// - `planes`: `[3, H, W]`; overwritten.
pub(crate) fn spread(picture: &[u8], planes: &mut [f32]) {
    let (red, rest) = planes.split_at_mut(planes.len() / 3);
    let (green, blue) = rest.split_at_mut(red.len());
    let blocks = red.chunks_mut(BLOCK).zip(green.chunks_mut(BLOCK));
    let blocks = blocks.zip(blue.chunks_mut(BLOCK));
    for (((red, green), blue), pixels) in blocks.zip(picture.chunks(3 * BLOCK)) {
        let mut apart = [[0_u8; BLOCK]; 3];
        let [first, second, third] = &mut apart;
        let places = first.iter_mut().zip(second).zip(third);
        for (((red, green), blue), pixel) in places.zip(pixels.chunks_exact(3)) {
            (*red, *green, *blue) = (pixel[0], pixel[1], pixel[2]);
        }
        for (plane, bytes) in [red, green, blue].into_iter().zip(&apart) {
            for (value, byte) in plane.iter_mut().zip(bytes) {
                *value = f32::from(*byte) / 255.0 * 2.0 - 1.0;
            }
        }
    }
}

/// A network's numbers as a picture, clamped and rounded half to even; false if any of them is none.
///
/// - `planes`: `[3, H, W]`.
/// - `picture`: `[H, W, 3]`; overwritten.
pub(crate) fn gather(planes: &[f32], picture: &mut [u8]) -> bool {
    let (red, rest) = planes.split_at(planes.len() / 3);
    let (green, blue) = rest.split_at(red.len());
    let blocks = red.chunks(BLOCK).zip(green.chunks(BLOCK));
    let blocks = blocks.zip(blue.chunks(BLOCK));
    let mut fault = 0;
    for (((red, green), blue), pixels) in blocks.zip(picture.chunks_mut(3 * BLOCK)) {
        let mut apart = [[0_u8; BLOCK]; 3];
        for (plane, bytes) in [red, green, blue].into_iter().zip(&mut apart) {
            for (value, byte) in plane.iter().zip(bytes) {
                fault |= u32::from(value.to_bits() & NO_NUMBER == NO_NUMBER);
                *byte = to_byte(*value);
            }
        }
        let [first, second, third] = &apart;
        let places = first.iter().zip(second).zip(third);
        for (((red, green), blue), pixel) in places.zip(pixels.chunks_exact_mut(3)) {
            (pixel[0], pixel[1], pixel[2]) = (*red, *green, *blue);
        }
    }
    fault == 0
}

/// The exponent of what is infinite or no number.
const NO_NUMBER: u32 = 0x7f80_0000;

/// A value in −1…1 as a byte; what is not a number becomes black.
///
/// Without branches and without `round_ties_even`, which older processors only have as a function:
/// beside 2²³ a number has no digits behind the point, and the sum is rounded half to even.
fn to_byte(value: f32) -> u8 {
    const WHOLE: f32 = 8_388_608.0;
    let share = value / 2.0 + 0.5;
    let share = if share > 0.0 { share } else { 0.0 };
    let share = if share < 1.0 { share } else { 1.0 };
    (share * 255.0 + WHOLE).to_bits() as u8
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
pub(crate) fn check(
    len: usize,
    size: (u32, u32),
    stride: usize,
    layout: Layout,
) -> Result<(), EngineError> {
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

pub(crate) fn bad(reason: String) -> EngineError {
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
            let (mut picture, mut back) = (vec![0; 18], vec![0; data.len()]);

            let frame = FrameView {
                data: &data,
                width: 3,
                height: 2,
                stride,
                layout,
            };
            read_frame(&frame, WIDE, &mut picture).unwrap();
            let mut out = FrameViewMut {
                data: &mut back,
                width: 3,
                height: 2,
                stride,
                layout,
            };
            write_frame(&picture, WIDE, &mut out).unwrap();

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
    fn bytes_and_numbers_turn_into_each_other_as_the_formula_says() {
        for pixels in [1, 63, 64, 65, 300] {
            let bytes: Vec<u8> = (0..3 * pixels).map(|k| (k * 7 % 256) as u8).collect();
            let (mut planes, mut back) = (vec![9.0; 3 * pixels], vec![9; 3 * pixels]);

            spread(&bytes, &mut planes);
            assert_eq!(planes, crate::backend::fake::spread(&bytes));
            assert!(gather(&planes, &mut back));
            assert_eq!(back, bytes);

            let wide: Vec<f32> = (0..3 * pixels).map(|k| k as f32 / 170.0 - 1.3).collect();
            assert!(gather(&wide, &mut back));
            assert_eq!(back, crate::backend::fake::gather(&wide));
        }
    }

    #[test]
    fn rounding_is_half_to_even_and_what_is_no_number_is_told() {
        let halves = (0..255_u8).map(|k| (f32::from(k) + 0.5) / 255.0 * 2.0 - 1.0);
        for value in halves.chain([-7.0, -1.0, 0.0, 1.0, 7.0]) {
            let exact = ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
            assert_eq!(to_byte(value), exact, "{value}");
        }
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 64, 299] {
                let (mut planes, mut picture) = (vec![-1e30; 300], vec![0; 300]);
                assert!(gather(&planes, &mut picture));
                planes[at] = wrong;
                assert!(!gather(&planes, &mut picture), "{wrong} at {at}");
            }
        }
        assert_eq!(to_byte(f32::NAN), 0);
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
        let mut picture = [0; 18];
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
            let refused = read_frame(&lie, WIDE, &mut picture);
            assert!(
                matches!(refused, Err(EngineError::BadFrame { .. })),
                "{lie:?}"
            );
        }
    }
}

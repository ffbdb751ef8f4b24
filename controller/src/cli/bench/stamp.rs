//! A clock that can be seen: the time painted into a picture as black and white cells.
//!
//! Pure. 48 bits of microseconds and 16 bits of check, one cell a bit, along the upper edge of the luma plane. The
//! cells are large enough for a codec at a low bit rate; a picture that is too spoilt fails the check and is counted
//! as unreadable instead of giving a wrong time.

/// Bits in the code.
const BITS: usize = 64;
/// Side of a cell, pixels.
const CELL: usize = 8;
/// Height of the strip, pixels.
const ROWS: usize = 16;
/// Width that a picture must have.
pub(super) const WIDTH: usize = BITS * CELL;

const TIME: u64 = 0xffff_ffff_ffff;

/// Paints `time` (microseconds) into a luma plane.
pub(super) fn paint(luma: &mut [u8], stride: usize, time: u64) {
    let word = word(time);
    for row in luma.chunks_mut(stride).take(ROWS) {
        for (bit, cell) in row[..WIDTH].chunks_mut(CELL).enumerate() {
            cell.fill(if word >> (BITS - 1 - bit) & 1 == 1 {
                235
            } else {
                16
            });
        }
    }
}

/// Reads the time back, if the strip is still one.
pub(super) fn read(luma: &[u8], stride: usize) -> Option<u64> {
    if stride < WIDTH || luma.len() < stride * ROWS {
        return None;
    }
    let word = (0..BITS).fold(0, |word, bit| {
        word << 1 | u64::from(is_white(luma, stride, bit))
    });
    let time = word >> 16;
    (self::word(time) == word).then_some(time)
}

/// Looks at the middle of a cell, clear of its neighbours' blur.
fn is_white(luma: &[u8], stride: usize, bit: usize) -> bool {
    let rows = 4..ROWS - 4;
    let columns = bit * CELL + 2..(bit + 1) * CELL - 2;
    let count = rows.len() * columns.len();
    let sum: usize = rows
        .map(|row| {
            luma[row * stride..][columns.clone()]
                .iter()
                .map(|&v| usize::from(v))
                .sum::<usize>()
        })
        .sum();
    sum / count > 125
}

fn word(time: u64) -> u64 {
    let time = time & TIME;
    let check = ((time ^ (time >> 16) ^ (time >> 32)) & 0xffff) ^ 0xa5a5;
    (time << 16) | check
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRIDE: usize = 544;

    #[test]
    fn what_was_painted_is_read() {
        let mut luma = vec![90; STRIDE * 20];
        for time in [0, 1, 123_456_789, TIME] {
            paint(&mut luma, STRIDE, time);
            assert_eq!(read(&luma, STRIDE), Some(time));
        }
    }

    #[test]
    fn a_codecs_blur_does_no_harm() {
        let mut luma = vec![90; STRIDE * 20];
        paint(&mut luma, STRIDE, 987_654_321);
        let blurred: Vec<u8> = (0..luma.len())
            .map(|at| {
                let around = &luma[at.saturating_sub(2)..(at + 3).min(luma.len())];
                u8::try_from(around.iter().map(|&v| usize::from(v)).sum::<usize>() / around.len())
                    .unwrap()
            })
            .collect();

        assert_eq!(read(&blurred, STRIDE), Some(987_654_321));
    }

    #[test]
    fn a_spoilt_strip_and_a_small_picture_are_no_time() {
        let mut luma = vec![90; STRIDE * 20];
        assert_eq!(read(&luma, STRIDE), None);
        paint(&mut luma, STRIDE, 55);
        for row in 0..ROWS {
            luma[row * STRIDE + 80..row * STRIDE + 88].fill(235);
        }
        assert_eq!(read(&luma, STRIDE), None);
        assert_eq!(read(&luma[..STRIDE], STRIDE), None);
    }
}

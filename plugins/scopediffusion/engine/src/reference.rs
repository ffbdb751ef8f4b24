//! Reference images: pictures that the network is shown beside the prompt, by an IP-Adapter.
//!
//! Where a folder holds `image_encoder/` and its network takes `ip_hidden_states`, a picture becomes a few tokens. The
//! tokens of several pictures go to the network one after another; one that takes only so many gets their mean.

use crate::error::EngineError;
use crate::frame::{self, FrameView};

/// Most pictures at once: each makes every step a little slower.
pub(crate) const MOST_IMAGES: usize = 8;

/// What pictures say to a network, for [`crate::Engine::set_reference`]; made by [`crate::Model::look_at`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reference {
    /// Tokens of all pictures, `[n·T, D]`.
    pub(crate) tokens: Vec<f32>,
    /// As many tokens that stand for no picture, for rows about the negative prompt.
    pub(crate) negative: Vec<f32>,
}

impl Reference {
    /// Puts the tokens of several pictures together for a network.
    ///
    /// - `parts`: tokens of each picture, `[T, D]`, all of one length; at least one.
    /// - `nothing`: the tokens of no picture, `[T, D]`.
    /// - `room`: how many times T tokens the network takes; `None` is any number.
    pub(crate) fn join(parts: &[Vec<f32>], nothing: &[f32], room: Option<usize>) -> Self {
        let tokens = match room {
            Some(room) if room != parts.len() => mean(parts).repeat(room),
            _ => parts.concat(),
        };
        let times = tokens.len() / nothing.len().max(1);
        Self {
            tokens,
            negative: nothing.repeat(times),
        }
    }
}

fn mean(parts: &[Vec<f32>]) -> Vec<f32> {
    let share = 1.0 / parts.len().max(1) as f32;
    let mut sum = vec![0.0; parts.first().map_or(0, Vec::len)];
    for part in parts {
        sum.iter_mut()
            .zip(part)
            .for_each(|(sum, value)| *sum += share * value);
    }
    sum
}

/// The middle square of a picture at `side` × `side`, `[3, side, side]` in −1…1.
///
/// Every value is the mean of the area it covers; where a picture is enlarged, between two pixels.
pub(crate) fn square(picture: &FrameView<'_>, side: usize) -> Result<Vec<f32>, EngineError> {
    let size = (picture.width, picture.height);
    frame::check(picture.data.len(), size, picture.stride, picture.layout)?;
    let (width, height) = (size.0 as usize, size.1 as usize);
    let edge = width.min(height);
    if edge == 0 {
        return Err(frame::bad("the picture is empty".into()));
    }
    let (left, top) = ((width - edge) / 2, (height - edge) / 2);
    let weights: Vec<_> = (0..side).map(|at| covered(at, side, edge)).collect();
    let places = [
        picture.layout.red,
        picture.layout.green,
        picture.layout.blue,
    ];
    let mut out = vec![0.0; 3 * side * side];
    // Rows first, so that each pixel of the original is looked at once for every row it is part of.
    let mut row = vec![[0.0_f32; 3]; edge];
    for (y, rows) in weights.iter().enumerate() {
        row.fill([0.0; 3]);
        for (line, weight) in rows {
            let bytes =
                &picture.data[(top + line) * picture.stride + left * picture.layout.pixel_stride..];
            for (sum, pixel) in row
                .iter_mut()
                .zip(bytes.chunks(picture.layout.pixel_stride))
            {
                for (sum, place) in sum.iter_mut().zip(places) {
                    *sum += weight * f32::from(pixel[place]);
                }
            }
        }
        for (x, columns) in weights.iter().enumerate() {
            for channel in 0..3 {
                let sum: f32 = columns
                    .iter()
                    .map(|(at, weight)| weight * row[*at][channel])
                    .sum();
                out[(channel * side + y) * side + x] = sum / 127.5 - 1.0;
            }
        }
    }
    Ok(out)
}

/// Pixels of `edge` that pixel `at` of `side` is made of, with weights that sum to one.
fn covered(at: usize, side: usize, edge: usize) -> Vec<(usize, f32)> {
    let scale = edge as f32 / side as f32;
    // A triangle as wide as two new pixels, but never narrower than two old ones: the usual antialiased linear filter.
    let (centre, reach) = ((at as f32 + 0.5) * scale, scale.max(1.0));
    let first = (centre - reach).floor().max(0.0) as usize;
    let last = ((centre + reach).ceil() as usize).min(edge);
    let weight = |pixel: usize| (1.0 - ((pixel as f32 + 0.5 - centre) / reach).abs()).max(0.0);
    let weights: Vec<_> = (first..last).map(|pixel| (pixel, weight(pixel))).collect();
    let sum: f32 = weights.iter().map(|(_, weight)| weight).sum();
    weights
        .into_iter()
        .filter(|(_, weight)| *weight > 0.0)
        .map(|(pixel, weight)| (pixel, weight / sum))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Layout;

    fn view(data: &[u8], width: u32, height: u32) -> FrameView<'_> {
        FrameView {
            data,
            width,
            height,
            stride: 3 * width as usize,
            layout: Layout::RGB,
        }
    }

    #[test]
    fn a_picture_of_the_right_size_stays_what_it_is() {
        let data: Vec<u8> = (0..4 * 4 * 3).map(|at| at * 5).collect();

        let values = square(&view(&data, 4, 4), 4).unwrap();

        for (at, byte) in data.iter().enumerate() {
            let value = values[at % 3 * 16 + at / 3];
            assert!((value - (f32::from(*byte) / 127.5 - 1.0)).abs() < 1e-6);
        }
    }

    #[test]
    fn only_the_middle_of_a_long_picture_counts() {
        let mut data = vec![0; 3 * 12 * 4];
        for (at, pixel) in data.chunks_mut(3).enumerate() {
            // Red at both ends, green in the middle.
            pixel[usize::from((4..8).contains(&(at % 12)))] = 255;
        }

        let values = square(&view(&data, 12, 4), 2).unwrap();

        assert_eq!(values[..4], [-1.0; 4]);
        assert_eq!(values[4..8], [1.0; 4]);
    }

    #[test]
    fn a_smaller_picture_keeps_the_mean_and_one_colour_stays_one() {
        let noisy: Vec<u8> = (0..64 * 64 * 3).map(|at| (at * 89 % 256) as u8).collect();
        let mean = noisy.iter().map(|byte| f32::from(*byte)).sum::<f32>() / noisy.len() as f32;

        let small = square(&view(&noisy, 64, 64), 8).unwrap();
        let of_small = small.iter().sum::<f32>() / small.len() as f32;
        assert!((of_small - (mean / 127.5 - 1.0)).abs() < 0.02);

        for side in [3, 50] {
            let flat = square(&view(&[90; 3 * 25], 5, 5), side).unwrap();
            assert!(
                flat.iter()
                    .all(|value| (value - (90.0 / 127.5 - 1.0)).abs() < 1e-5)
            );
        }
    }

    #[test]
    fn a_view_that_lies_is_refused() {
        assert!(square(&view(&[0; 10], 4, 4), 2).is_err());
        assert!(square(&view(&[], 0, 0), 2).is_err());
    }

    #[test]
    fn several_pictures_stand_one_after_another_or_are_averaged() {
        let parts = [vec![1.0, 2.0], vec![3.0, 6.0]];

        let free = Reference::join(&parts, &[0.5, 0.5], None);
        assert_eq!(free.tokens, [1.0, 2.0, 3.0, 6.0]);
        assert_eq!(free.negative, [0.5; 4]);

        let fixed = Reference::join(&parts, &[0.5, 0.5], Some(1));
        assert_eq!(fixed.tokens, [2.0, 4.0]);
        assert_eq!(fixed.negative, [0.5; 2]);
    }
}

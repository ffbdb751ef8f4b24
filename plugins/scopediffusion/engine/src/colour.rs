//! Colour transfer: a picture gets the colours of another one, their mean and how they vary together.
//!
//! Of all linear maps that give one cloud of colours the mean and covariance of another, the one that moves colours
//! least is taken. Nothing but colours changes: no shape, no style; this is no reference image for a network.
//!
//! ```text
//!  A = Σs^-½ · (Σs^½ · Σt · Σs^½)^½ · Σs^-½        y = A·(x − μs) + μt
//! ```
//!
//! Source: F. Pitié, A. Kokaram, "The linear Monge-Kantorovitch linear colour mapping for example-based colour
//! transfer", 2007.

use crate::error::EngineError;
use crate::frame::{self, FrameView, FrameViewMut, Layout};

/// Pixels that are looked at, about; statistics of more differ in the third digit.
const LOOKED_AT: usize = 1 << 14;
/// Smallest deviation that counts, of 0…1: below it a colour is flat, and stretching it would show noise.
const FLAT: f64 = 2.0 / 255.0;
/// How far colours may be spread at most.
const MOST_GAIN: f64 = 4.0;

type Vector = [f64; 3];
type Matrix = [Vector; 3];

/// How the colours of a picture lie: mean and covariance of red, green and blue in 0…1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Colours {
    mean: Vector,
    covariance: Matrix,
}

impl Colours {
    /// Looks at a picture.
    ///
    /// # Errors
    ///
    /// [`EngineError::BadFrame`] if the view describes more than its bytes hold, or nothing.
    pub fn of(picture: &FrameView<'_>) -> Result<Self, EngineError> {
        let size = (picture.width, picture.height);
        frame::check(picture.data.len(), size, picture.stride, picture.layout)?;
        if picture.width == 0 || picture.height == 0 {
            return Err(frame::bad("the picture is empty".into()));
        }
        Ok(Self::gather(
            picture.data,
            size,
            picture.stride,
            picture.layout,
        ))
    }

    /// - `data`, `stride`, `layout`: a picture of `size` that was checked.
    fn gather(data: &[u8], size: (u32, u32), stride: usize, layout: Layout) -> Self {
        let (width, height) = (size.0 as usize, size.1 as usize);
        // The same step both ways, so that no direction counts more.
        let step = ((width * height) as f64 / LOOKED_AT as f64)
            .sqrt()
            .ceil()
            .max(1.0) as usize;
        let (mut count, mut sum, mut products) = (0.0, [0.0; 3], [[0.0; 3]; 3]);
        for y in (step / 2..height).step_by(step) {
            let row = &data[y * stride..];
            for pixel in row
                .chunks(layout.pixel_stride)
                .take(width)
                .skip(step / 2)
                .step_by(step)
            {
                let colour = read(pixel, layout);
                count += 1.0;
                for (i, a) in colour.iter().enumerate() {
                    sum[i] += a;
                    for (j, b) in colour.iter().enumerate() {
                        products[i][j] += a * b;
                    }
                }
            }
        }
        // A picture smaller than a step has no pixel in the middle of one.
        let count = f64::max(count, 1.0);
        let mean = sum.map(|sum| sum / count);
        let covariance = each(|i, j| products[i][j] / count - mean[i] * mean[j]);
        Self { mean, covariance }
    }
}

/// Gives the picture in `frame` the colours of `target`.
///
/// - `strength`: 0.0 leaves it as it is, 1.0 goes all the way.
///
/// The frame was written just now, so it holds what it says.
pub(crate) fn transfer(frame: &mut FrameViewMut<'_>, target: &Colours, strength: f32) {
    let (size, layout) = ((frame.width, frame.height), frame.layout);
    let source = Colours::gather(frame.data, size, frame.stride, layout);
    let map = gain(&source.covariance, &target.covariance);
    let share = f64::from(strength.clamp(0.0, 1.0));
    // y = (1 − s)·x + s·(A·(x − μs) + μt), as one map.
    let mixed = each(|i, j| share * map[i][j] + if i == j { 1.0 - share } else { 0.0 });
    let moved = apply(&map, source.mean);
    let offset = [0, 1, 2].map(|i| (share * (target.mean[i] - moved[i]) * 255.0 + 0.5) as f32);
    let mixed = mixed.map(|row| row.map(|value| value as f32));
    let places = [layout.red, layout.green, layout.blue];
    for row in frame.data.chunks_mut(frame.stride).take(size.1 as usize) {
        for pixel in row.chunks_mut(layout.pixel_stride).take(size.0 as usize) {
            let colour = places.map(|place| f32::from(pixel[place]));
            for ((place, gains), offset) in places.iter().zip(&mixed).zip(offset) {
                let value = gains[0] * colour[0] + gains[1] * colour[1] + gains[2] * colour[2];
                // Saturates at both ends.
                pixel[*place] = (value + offset) as u8;
            }
        }
    }
}

fn read(pixel: &[u8], layout: Layout) -> Vector {
    [layout.red, layout.green, layout.blue].map(|place| f64::from(pixel[place]) / 255.0)
}

/// The map `A` of the covariance `source` to `target`.
fn gain(source: &Matrix, target: &Matrix) -> Matrix {
    let floor = |value: f64| value.max(FLAT * FLAT);
    let root = of_eigenvalues(source, |value| floor(value).sqrt());
    let inverse = of_eigenvalues(source, |value| floor(value).sqrt().recip());
    let inner = product(&product(&root, target), &root);
    let middle = of_eigenvalues(&inner, |value| value.max(0.0).sqrt());
    let gain = product(&product(&inverse, &middle), &inverse);
    of_eigenvalues(&gain, |value| value.min(MOST_GAIN))
}

fn each(value: impl Fn(usize, usize) -> f64) -> Matrix {
    [0, 1, 2].map(|i| [0, 1, 2].map(|j| value(i, j)))
}

fn product(a: &Matrix, b: &Matrix) -> Matrix {
    each(|i, j| (0..3).map(|k| a[i][k] * b[k][j]).sum())
}

fn apply(map: &Matrix, vector: Vector) -> Vector {
    [0, 1, 2].map(|i| (0..3).map(|k| map[i][k] * vector[k]).sum())
}

/// The symmetric matrix with the same eigenvectors and `change`d eigenvalues.
fn of_eigenvalues(matrix: &Matrix, change: impl Fn(f64) -> f64) -> Matrix {
    let (values, vectors) = eigen(matrix);
    let values = values.map(change);
    each(|i, j| {
        (0..3)
            .map(|k| vectors[i][k] * values[k] * vectors[j][k])
            .sum()
    })
}

/// Eigenvalues of a symmetric matrix, and eigenvectors as columns: Jacobi's rotations.
fn eigen(matrix: &Matrix) -> (Vector, Matrix) {
    let mut a = each(|i, j| (matrix[i][j] + matrix[j][i]) / 2.0);
    let mut vectors = each(|i, j| f64::from(u8::from(i == j)));
    // Converges quadratically: far fewer are needed.
    for _ in 0..16 {
        for (p, q) in [(0, 1), (0, 2), (1, 2)] {
            if a[p][q].abs() < 1e-15 {
                continue;
            }
            let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
            let tangent = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
            let cosine = (tangent * tangent + 1.0).sqrt().recip();
            let sine = tangent * cosine;
            let turn = |m: &Matrix, i: usize, j: usize| match j {
                _ if j == p => cosine * m[i][p] - sine * m[i][q],
                _ if j == q => sine * m[i][p] + cosine * m[i][q],
                _ => m[i][j],
            };
            let half = each(|i, j| turn(&a, i, j));
            let transposed = each(|i, j| half[j][i]);
            a = each(|i, j| turn(&transposed, i, j));
            vectors = each(|i, j| turn(&vectors, i, j));
        }
    }
    ([a[0][0], a[1][1], a[2][2]], vectors)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIDE: u32 = 32;

    fn view(data: &[u8]) -> FrameView<'_> {
        FrameView {
            data,
            width: SIDE,
            height: SIDE,
            stride: 3 * SIDE as usize,
            layout: Layout::RGB,
        }
    }

    fn transferred(data: &[u8], target: &Colours, strength: f32) -> Vec<u8> {
        let mut data = data.to_vec();
        let mut out = FrameViewMut {
            data: &mut data,
            width: SIDE,
            height: SIDE,
            stride: 3 * SIDE as usize,
            layout: Layout::RGB,
        };
        transfer(&mut out, target, strength);
        data
    }

    /// Colours around `mean` that vary together, within 0…255.
    fn picture(mean: [i32; 3], spread: i32, twist: i32) -> Vec<u8> {
        let pixels = (0..SIDE * SIDE).map(|at| at as i32);
        let colours = pixels.flat_map(|at| {
            let (a, b, c) = (at * 37 % 101 - 50, at * 53 % 97 - 48, at * 71 % 89 - 44);
            let along = [
                a,
                (a * twist + b * (4 - twist)) / 4,
                (b * twist + c * (4 - twist)) / 4,
            ];
            [0, 1, 2].map(|i| (mean[i] + along[i] * spread / 50).clamp(0, 255) as u8)
        });
        colours.collect()
    }

    fn apart(a: &[u8], b: &[u8]) -> u8 {
        a.iter()
            .zip(b)
            .map(|(a, b)| a.abs_diff(*b))
            .max()
            .unwrap_or(0)
    }

    #[test]
    fn the_result_has_mean_and_covariance_of_the_reference() {
        let (from, to) = (
            picture([90, 120, 150], 40, 1),
            picture([150, 110, 120], 30, 3),
        );
        let target = Colours::of(&view(&to)).unwrap();

        let result = Colours::of(&view(&transferred(&from, &target, 1.0))).unwrap();

        for i in 0..3 {
            assert!(
                (result.mean[i] - target.mean[i]).abs() < 2e-3,
                "{result:?} {target:?}"
            );
            for j in 0..3 {
                let off = (result.covariance[i][j] - target.covariance[i][j]).abs();
                assert!(off < 2e-4, "{result:?} {target:?}");
            }
        }
    }

    #[test]
    fn no_strength_and_own_colours_change_nothing() {
        let from = picture([90, 120, 150], 40, 1);
        let (own, other) = (
            Colours::of(&view(&from)).unwrap(),
            Colours::of(&view(&picture([10, 240, 99], 9, 2))).unwrap(),
        );

        assert_eq!(transferred(&from, &other, 0.0), from);
        assert!(apart(&transferred(&from, &own, 1.0), &from) <= 1);
    }

    #[test]
    fn strength_goes_all_the_way_evenly() {
        let (from, to) = (
            picture([90, 120, 150], 30, 1),
            picture([140, 130, 100], 20, 3),
        );
        let target = Colours::of(&view(&to)).unwrap();
        let mean = |strength| {
            Colours::of(&view(&transferred(&from, &target, strength)))
                .unwrap()
                .mean[0]
        };

        let (none, half, all) = (mean(0.0), mean(0.5), mean(1.0));

        assert!(
            (half - (none + all) / 2.0).abs() < 2e-3,
            "{none} {half} {all}"
        );
    }

    #[test]
    fn a_flat_picture_becomes_the_mean_and_shows_no_noise() {
        let mut flat = vec![100; (3 * SIDE * SIDE) as usize];
        flat[300] = 101;
        let target = Colours::of(&view(&picture([200, 60, 40], 40, 2))).unwrap();

        let result = transferred(&flat, &target, 1.0);

        let mean = target.mean.map(|value| (value * 255.0) as u8);
        for pixel in result.chunks(3) {
            assert!(apart(pixel, &mean) <= 6, "{pixel:?} {mean:?}");
        }
    }

    #[test]
    fn channels_are_found_wherever_they_lie_and_alpha_stays() {
        let from = picture([90, 120, 150], 30, 1);
        let target = Colours::of(&view(&picture([140, 130, 100], 20, 3))).unwrap();
        let mut turned: Vec<u8> = from
            .chunks(3)
            .flat_map(|rgb| [rgb[2], rgb[1], rgb[0], 77])
            .collect();

        let mut out = FrameViewMut {
            data: &mut turned,
            width: SIDE,
            height: SIDE,
            stride: 4 * SIDE as usize,
            layout: Layout::BGRA,
        };
        transfer(&mut out, &target, 0.7);

        let back: Vec<u8> = turned
            .chunks(4)
            .flat_map(|bgra| [bgra[2], bgra[1], bgra[0]])
            .collect();
        assert_eq!(back, transferred(&from, &target, 0.7));
        assert!(turned.chunks(4).all(|pixel| pixel[3] == 77));
    }

    #[test]
    fn a_view_that_lies_is_refused() {
        let data = [0; 30];
        let lying = FrameView {
            data: &data,
            ..view(&data)
        };
        assert!(matches!(
            Colours::of(&lying),
            Err(EngineError::BadFrame { .. })
        ));
        let empty = FrameView { height: 0, ..lying };
        assert!(matches!(
            Colours::of(&empty),
            Err(EngineError::BadFrame { .. })
        ));
    }

    proptest! {
        /// The map of any two clouds is finite and spreads no colour more than it may.
        #[test]
        fn every_map_is_bounded(a in prop::array::uniform6(-0.5f64..0.5), b in prop::array::uniform6(-0.5f64..0.5)) {
            let cloud = |v: [f64; 6]| {
                let half = [[v[0], v[1], v[2]], [0.0, v[3], v[4]], [0.0, 0.0, v[5]]];
                each(|i, j| (0..3).map(|k| half[k][i] * half[k][j]).sum())
            };
            let map = gain(&cloud(a), &cloud(b));
            let (values, _) = eigen(&map);
            prop_assert!(values.iter().all(|value| (-1e-9..=MOST_GAIN + 1e-6).contains(value)), "{values:?}");
        }

        #[test]
        fn eigenvectors_make_the_matrix_again(v in prop::array::uniform6(-2.0f64..2.0)) {
            let matrix = [[v[0], v[1], v[2]], [v[1], v[3], v[4]], [v[2], v[4], v[5]]];
            let again = of_eigenvalues(&matrix, |value| value);
            for i in 0..3 {
                for j in 0..3 {
                    prop_assert!((again[i][j] - matrix[i][j]).abs() < 1e-9, "{again:?} {matrix:?}");
                }
            }
        }
    }
}

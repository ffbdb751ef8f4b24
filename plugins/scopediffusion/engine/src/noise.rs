//! Seeded standard normal noise.
//!
//! Every row of the stream batch has its own substream of the seed, so that changing the number
//! of steps keeps the noise of the rows that stay. Text-to-video walks on the sphere from one
//! sample to the next instead of drawing afresh, so that the picture moves instead of flickering.
//!
//! Decision: ChaCha8 and Box–Muller, not torch's generator: what matters is that a seed means the
//! same picture on every machine, and torch's stream cannot be had without torch.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use crate::parameters::{Interpolation, WeightedSeed};

/// First substream of the way points; the rows use the numbers below it.
const WAY_POINTS: u64 = 1 << 32;

/// Overwrites `values` with independent standard normal samples.
///
/// - `seed`: any number; the same one gives the same noise.
/// - `substream`: row of the stream batch, or a way point.
pub(crate) fn fill(values: &mut [f32], seed: u64, substream: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(substream);
    for pair in values.chunks_mut(2) {
        // Box–Muller needs its first uniform in (0, 1]; 2^-53 is the spacing of 53 random bits.
        let radius = (-2.0 * (((random.next_u64() >> 11) as f64 + 1.0) * SPACING).ln()).sqrt();
        let angle = std::f64::consts::TAU * ((random.next_u64() >> 11) as f64 * SPACING);
        pair[0] = (radius * angle.cos()) as f32;
        if let Some(second) = pair.get_mut(1) {
            *second = (radius * angle.sin()) as f32;
        }
    }
}

const SPACING: f64 = 1.0 / (1_u64 << 53) as f64;

/// As [`fill`], for several seeds at once; the result is as long as its parts on average.
///
/// - `seeds`: at least one; weights are normalised, and if all are 0 they count equally.
pub(crate) fn fill_blended(
    values: &mut [f32],
    seeds: &[WeightedSeed],
    method: Interpolation,
    substream: u64,
) {
    if let [only] = seeds {
        fill(values, only.seed, substream);
        return;
    }
    let drawn = |seed: &WeightedSeed| {
        let mut part = vec![0.0; values.len()];
        fill(&mut part, seed.seed, substream);
        (part, seed.weight)
    };
    let parts: Vec<_> = seeds.iter().map(drawn).collect();
    blend(&parts, method, values);
}

/// Blends noise by weight: two samples along the great circle with `Slerp`, else the weighted sum
/// rescaled to the mean length of the samples.
///
/// Source: livepeer/StreamDiffusion, stream_parameter_updater.py, seed blending.
fn blend(parts: &[(Vec<f32>, f32)], method: Interpolation, out: &mut [f32]) {
    let total: f32 = parts.iter().map(|(_, weight)| weight).sum();
    let share = |weight: f32| {
        if total > 0.0 {
            weight / total
        } else {
            1.0 / parts.len() as f32
        }
    };
    if let ([(a, _), (b, weight)], Interpolation::Slerp) = (parts, method) {
        slerp(a, b, share(*weight), out);
        return;
    }
    out.fill(0.0);
    let mut wanted = 0.0;
    for (part, weight) in parts {
        let share = share(*weight);
        wanted += norm(part) / parts.len() as f64;
        for (out, value) in out.iter_mut().zip(part) {
            *out += share * value;
        }
    }
    let length = norm(out);
    if length > 1e-8 {
        let scale = (wanted / length) as f32;
        out.iter_mut().for_each(|value| *value *= scale);
    }
}

fn norm(values: &[f32]) -> f64 {
    let squares = values.iter().map(|v| f64::from(*v) * f64::from(*v));
    squares.sum::<f64>().sqrt()
}

/// An endless slow walk through noise: from way point to way point along great circles.
#[derive(Debug, Clone)]
pub(crate) struct Walk {
    seeds: Vec<WeightedSeed>,
    method: Interpolation,
    from: Vec<f32>,
    to: Vec<f32>,
    /// Number of `from` among the way points.
    passed: u64,
    /// Position between `from` (0) and `to` (1).
    phase: f32,
}

impl Walk {
    /// Stands at the first way point of `seeds`; samples have `len` values.
    pub(crate) fn new(seeds: Vec<WeightedSeed>, method: Interpolation, len: usize) -> Self {
        let (mut from, mut to) = (vec![0.0; len], vec![0.0; len]);
        fill_blended(&mut from, &seeds, method, WAY_POINTS);
        fill_blended(&mut to, &seeds, method, WAY_POINTS + 1);
        Self {
            seeds,
            method,
            from,
            to,
            passed: 0,
            phase: 0.0,
        }
    }

    /// Writes the noise of this frame into `sample`, then goes on by `motion` of the way between
    /// two points (0 stands still, 1 is a new sample every frame).
    pub(crate) fn next(&mut self, motion: f32, sample: &mut [f32]) {
        if self.phase == 0.0 {
            sample.copy_from_slice(&self.from);
        } else {
            slerp(&self.from, &self.to, self.phase, sample);
        }
        self.phase += motion;
        if self.phase >= 1.0 {
            self.phase = (self.phase - 1.0).min(0.999);
            self.passed += 1;
            std::mem::swap(&mut self.from, &mut self.to);
            let point = WAY_POINTS + 1 + self.passed;
            fill_blended(&mut self.to, &self.seeds, self.method, point);
        }
    }
}

/// Spherical interpolation of two samples, taken as flat vectors.
///
/// `out = sin((1−t)θ)/sin θ · a + sin(tθ)/sin θ · b`, with θ the angle between `a` and `b`; linear
/// when θ is too small to divide by.
pub(crate) fn slerp(a: &[f32], b: &[f32], t: f32, out: &mut [f32]) {
    let dot = |x: &[f32], y: &[f32]| -> f64 {
        x.iter()
            .zip(y)
            .map(|(x, y)| f64::from(*x) * f64::from(*y))
            .sum()
    };
    let (norms, t) = ((dot(a, a) * dot(b, b)).sqrt(), f64::from(t));
    let angle = if norms > 0.0 {
        (dot(a, b) / norms).clamp(-1.0, 1.0).acos()
    } else {
        0.0
    };
    let (wa, wb) = if angle.sin() < 1e-6 {
        (1.0 - t, t)
    } else {
        (
            ((1.0 - t) * angle).sin() / angle.sin(),
            (t * angle).sin() / angle.sin(),
        )
    };
    for ((a, b), out) in a.iter().zip(b).zip(out) {
        *out = (wa * f64::from(*a) + wb * f64::from(*b)) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{Golden, assert_close};

    fn drawn(seed: u64, substream: u64, len: usize) -> Vec<f32> {
        let mut values = vec![0.0; len];
        fill(&mut values, seed, substream);
        values
    }

    fn walk(seed: u64, len: usize) -> Walk {
        let seeds = vec![WeightedSeed { seed, weight: 1.0 }];
        Walk::new(seeds, Interpolation::Linear, len)
    }

    #[test]
    fn a_seed_always_means_the_same_noise() {
        assert_eq!(drawn(42, 0, 7), drawn(42, 0, 7));
        assert_ne!(drawn(42, 0, 7), drawn(43, 0, 7));
        assert_ne!(drawn(42, 0, 7), drawn(42, 1, 7));
    }

    #[test]
    fn noise_is_standard_normal() {
        let values = drawn(1, 0, 100_000);
        let mean = values.iter().sum::<f32>() / 1e5;
        let variance = values.iter().map(|v| v * v).sum::<f32>() / 1e5;
        let inside = values.iter().filter(|v| v.abs() < 1.0).count();

        assert!(mean.abs() < 0.02, "{mean}");
        assert!((variance - 1.0).abs() < 0.02, "{variance}");
        assert!(
            (67_500..69_000).contains(&inside),
            "{inside} within one sigma, 68269 expected"
        );
    }

    #[test]
    fn a_walk_without_motion_stands_still() {
        let (mut walk, mut first, mut later) = (walk(5, 64), vec![0.0; 64], vec![0.0; 64]);

        walk.next(0.0, &mut first);
        walk.next(0.0, &mut later);

        assert_eq!(first, later);
    }

    #[test]
    fn a_walk_moves_evenly_and_keeps_its_length() {
        let (mut walk, mut sample) = (walk(5, 4096), vec![0.0; 4096]);
        let mut before: Option<Vec<f32>> = None;
        for _ in 0..50 {
            walk.next(0.1, &mut sample);
            assert!(
                (norm(&sample) / 64.0 - 1.0).abs() < 0.05,
                "{}",
                norm(&sample)
            );
            if let Some(before) = &before {
                let step: Vec<f32> = sample.iter().zip(before).map(|(a, b)| a - b).collect();
                assert!((5.0..16.0).contains(&norm(&step)), "{}", norm(&step));
            }
            before = Some(sample.clone());
        }
    }

    #[test]
    fn blended_noise_matches_the_reference() {
        let stored = Golden::open("common");
        let parts = [0.8, 0.2].into_iter();
        let parts: Vec<_> = ["noise_a", "noise_b"]
            .map(|name| stored.floats(name))
            .into_iter()
            .zip(parts)
            .collect();
        for (method, tensor) in [
            (Interpolation::Linear, "noise_linear_08_02"),
            (Interpolation::Slerp, "noise_slerp_02"),
        ] {
            let mut blended = vec![0.0; parts[0].0.len()];
            blend(&parts, method, &mut blended);
            assert_close(tensor, &blended, &stored.floats(tensor), 1e-5);
        }
    }

    #[test]
    fn a_blend_of_seeds_is_as_long_as_its_parts_and_a_seed_alone_is_itself() {
        let seed = |seed, weight| WeightedSeed { seed, weight };
        let blended = |seeds: &[WeightedSeed]| {
            let mut values = vec![0.0; 4096];
            fill_blended(&mut values, seeds, Interpolation::Linear, 0);
            values
        };

        assert_eq!(blended(&[seed(7, 0.2)]), drawn(7, 0, 4096));
        for seeds in [
            vec![seed(1, 0.0), seed(2, 0.0)],
            vec![seed(1, 3.0), seed(2, 1.0), seed(3, 1.0)],
        ] {
            let length = norm(&blended(&seeds));
            assert!((length / 64.0 - 1.0).abs() < 0.05, "{length}");
        }
    }

    #[test]
    fn slerp_between_equal_samples_is_that_sample() {
        let (a, mut out) = (drawn(3, 0, 16), vec![0.0; 16]);

        slerp(&a, &a, 0.3, &mut out);

        assert!(a.iter().zip(&out).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}

//! The stochastic similar-image filter: frames that hardly differ need not be processed.
//!
//! The more a frame resembles the last processed one, the likelier it is skipped. A glimpse of
//! 64×64 pixels tells as much as the whole frame.
//!
//! Decision: the run of skips is counted from the last processed frame; the original goes on
//! counting across frames that pass by themselves, and its runs are then shorter than it says.
//!
//! Source: cumulo-autumn/StreamDiffusion, image_filter.py.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use crate::parameters::SimilarImageFilter;

/// Pixels of a glimpse in each direction, at most.
const SIDE: usize = 64;

/// Picks pixels of a picture evenly, without averaging: what it says about differences between
/// pictures holds for the pictures.
///
/// - `picture`: `[H, W, 3]`.
/// - `size`: width and height.
/// - `out`: values in −1…1, channel by channel; overwritten.
pub(crate) fn glimpse(picture: &[u8], size: (u32, u32), out: &mut Vec<f32>) {
    let (width, height) = (size.0 as usize, size.1 as usize);
    let (across, down) = (width.min(SIDE), height.min(SIDE));
    out.clear();
    for channel in 0..3 {
        for y in 0..down {
            let row = &picture[y * height / down * width * 3..][..3 * width];
            let byte = |x: usize| row[3 * (x * width / across) + channel];
            out.extend((0..across).map(|x| f32::from(byte(x)) / 255.0 * 2.0 - 1.0));
        }
    }
}

/// Chance that a frame is skipped, 0.0 to 1.0.
///
/// `cos = p·c / max(|p||c|, 1e-6)`, `P = max(0, 1 − (1 − cos)/(1 − threshold))`.
fn chance(before: &[f32], now: &[f32], threshold: f32) -> f64 {
    if threshold >= 1.0 {
        return 0.0;
    }
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
        products.sum()
    };
    let lengths = (dot(before, before) * dot(now, now)).sqrt().max(1e-6);
    let cosine = dot(before, now) / lengths;
    (1.0 - (1.0 - cosine) / (1.0 - f64::from(threshold))).max(0.0)
}

/// The filter of one stream of frames.
#[derive(Debug)]
pub(crate) struct Similarity {
    random: ChaCha8Rng,
    /// The last processed frame; empty before the first.
    before: Vec<f32>,
    skipped: u32,
}

impl Default for Similarity {
    fn default() -> Self {
        Self {
            random: ChaCha8Rng::seed_from_u64(0),
            before: Vec::new(),
            skipped: 0,
        }
    }
}

impl Similarity {
    /// Whether the frame of this glimpse may be skipped.
    pub(crate) fn skips(&mut self, glimpse: &[f32], filter: &SimilarImageFilter) -> bool {
        let known = self.before.len() == glimpse.len();
        let chance = if filter.enabled && known && self.skipped < filter.max_skip_frame {
            chance(&self.before, glimpse, filter.threshold)
        } else {
            0.0
        };
        let drawn = (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        if drawn < chance {
            self.skipped += 1;
            return true;
        }
        self.before.clear();
        self.before.extend_from_slice(glimpse);
        self.skipped = 0;
        false
    }

    /// Makes the next frame one that is processed.
    pub(crate) fn forget(&mut self) {
        self.before.clear();
        self.skipped = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{Golden, picture};

    const SIZE: (u32, u32) = (64, 64);

    /// Test picture `k` of the reference, in −1…1.
    fn seen(k: usize) -> Vec<f32> {
        let bytes = picture(k, SIZE);
        let mut image = vec![0.0; bytes.len()];
        for (at, pixel) in bytes.chunks(3).enumerate() {
            for (plane, byte) in pixel.iter().enumerate() {
                image[plane * bytes.len() / 3 + at] = f32::from(*byte) / 255.0 * 2.0 - 1.0;
            }
        }
        let mut out = Vec::new();
        glimpse(&bytes, SIZE, &mut out);
        assert_eq!(out, image, "a small picture is its own glimpse");
        out
    }

    fn filter(threshold: f32, max_skip_frame: u32) -> SimilarImageFilter {
        SimilarImageFilter {
            enabled: true,
            threshold,
            max_skip_frame,
        }
    }

    /// Which of some equal frames are processed.
    fn processed(filter: &SimilarImageFilter, frames: usize) -> Vec<bool> {
        let (mut similarity, frame) = (Similarity::default(), seen(0));
        (0..frames)
            .map(|_| !similarity.skips(&frame, filter))
            .collect()
    }

    #[test]
    fn chances_match_the_reference() {
        let stored = Golden::open("common").doubles("similar_prob_thr0.9");
        for (k, expected) in stored.iter().enumerate() {
            let chance = chance(&seen(0), &seen(k), 0.9);
            assert!((chance - expected).abs() < 1e-6, "{chance} for {expected}");
        }
    }

    #[test]
    fn a_still_scene_is_processed_once_in_every_run() {
        let still = processed(&filter(0.98, 3), 9);

        let (yes, no) = (true, false);
        assert_eq!(still, [yes, no, no, no, yes, no, no, no, yes]);
    }

    #[test]
    fn a_threshold_of_one_or_a_filter_turned_off_skips_nothing() {
        let off = SimilarImageFilter::default();
        for filter in [filter(1.0, 10), off, filter(0.5, 0)] {
            assert!(processed(&filter, 20).iter().all(|processed| *processed));
        }
    }

    #[test]
    fn another_scene_is_processed_at_once() {
        let (mut similarity, filter) = (Similarity::default(), filter(0.98, 100));
        let still = vec![0.5; 300];
        similarity.skips(&still, &filter);
        assert!(similarity.skips(&still, &filter));

        assert!(!similarity.skips(&vec![-0.5; 300], &filter));
    }

    #[test]
    fn forgetting_makes_the_next_frame_count() {
        let (mut similarity, filter) = (Similarity::default(), filter(0.98, 100));
        let still = vec![0.5; 300];
        similarity.skips(&still, &filter);

        similarity.forget();

        assert!(!similarity.skips(&still, &filter));
    }
}

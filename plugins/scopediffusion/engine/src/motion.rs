//! How much moves between frames, and the noise scale that suits it.
//!
//! The more a scene moves, the less noise: a moving picture hides detail that the model invents,
//! and shows where what it invents does not follow.
//!
//! Source: daydreamlive/scope, core/pipelines/wan2_1/blocks, noise controller.

/// Root mean square difference that counts as full motion, of pictures in −1…1.
const FULL_MOTION: f32 = 0.2;
/// Noise scale of a scene that stands still.
const STILL: f32 = 0.8;
/// How much full motion takes off it.
const SPAN: f32 = 0.2;
/// Share of the way to the new noise scale that is gone each frame.
const PACE: f32 = 0.9;

/// Follows the motion of one stream of frames.
#[derive(Debug, Default)]
pub(crate) struct Motion {
    before: Vec<f32>,
    scale: Option<f32>,
}

impl Motion {
    /// The noise scale for a frame, 0.6 to 0.8 in the long run.
    ///
    /// - `glimpse`: of the frame, see [`crate::similarity::glimpse`].
    /// - `start`: noise scale before the first frame.
    pub(crate) fn noise_scale(&mut self, glimpse: &[f32], start: f32) -> f32 {
        let known = self.before.len() == glimpse.len() && !glimpse.is_empty();
        let scale = self.scale.unwrap_or(start);
        let next = if known {
            let squares = self
                .before
                .iter()
                .zip(glimpse)
                .map(|(a, b)| (a - b).powi(2));
            let difference = (squares.sum::<f32>() / glimpse.len() as f32).sqrt();
            let motion = (difference / FULL_MOTION).clamp(0.0, 1.0);
            PACE * (STILL - SPAN * motion) + (1.0 - PACE) * scale
        } else {
            scale
        };
        self.before.clear();
        self.before.extend_from_slice(glimpse);
        self.scale = Some(next);
        next
    }

    /// Forgets the scene.
    pub(crate) fn forget(&mut self) {
        self.before.clear();
        self.scale = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_still_scene_gets_much_noise_and_a_wild_one_less() {
        let settled = |frame: fn(usize) -> f32| {
            let mut motion = Motion::default();
            (0..20).map(|k| motion.noise_scale(&[frame(k)], 0.5)).last()
        };

        let (still, wild) = (settled(|_| 0.3), settled(|k| (k % 2) as f32));

        assert!((still.unwrap() - 0.8).abs() < 1e-3, "{still:?}");
        assert!((wild.unwrap() - 0.6).abs() < 1e-3, "{wild:?}");
    }

    #[test]
    fn the_first_frame_keeps_the_scale_that_was_set() {
        assert_eq!(Motion::default().noise_scale(&[0.1], 0.45), 0.45);
    }

    #[test]
    fn half_the_motion_takes_half_the_span() {
        let mut motion = Motion::default();
        motion.noise_scale(&[0.0], 0.7);

        let scale = motion.noise_scale(&[0.1], 0.7);

        assert!((scale - (0.9 * 0.7 + 0.1 * 0.7)).abs() < 1e-6, "{scale}");
    }
}

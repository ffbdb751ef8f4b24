//! Several prompts → one embedding, and one embedding → the next over some frames.
//!
//! What a prompt says to the network is a [`Condition`]: an embedding for each token, and for
//! Stable Diffusion XL one for the whole. The formulas are Scope's, so that its parameters mean the same
//! here as there.
//!
//! Source: daydreamlive/scope, core/pipelines/blending.py.

use std::sync::Arc;

use crate::parameters::Interpolation;

/// Below this distance a transition would not be seen: the target snaps in.
const NEAR: f64 = 0.01;

/// What a prompt, or several, say to the network.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Condition {
    /// One embedding for each token, flat `[77, D]`.
    pub(crate) tokens: Vec<f32>,
    /// One embedding for the whole prompt, `[P]`; empty where the network wants none.
    pub(crate) pooled: Vec<f32>,
}

/// Blends conditions by weight.
///
/// - `parts`: conditions of equal shape and their weights; at least one. The weights are
///   normalised to sum 1; if all are 0 they count equally.
/// - `width`: `D`, values of one token.
///
/// `Slerp` holds for two parts, one angle for each token. Otherwise the weighted sum, rescaled so
/// that its length is the weighted mean of the lengths.
pub(crate) fn blend(
    parts: &[(Arc<Condition>, f32)],
    method: Interpolation,
    width: usize,
) -> Condition {
    let part = |pick: fn(&Condition) -> &[f32]| -> Vec<(&[f32], f32)> {
        parts
            .iter()
            .map(|(part, weight)| (pick(part), *weight))
            .collect()
    };
    let pooled = part(|condition| &condition.pooled);
    let pooled_width = pooled.first().map_or(0, |(values, _)| values.len());
    Condition {
        tokens: blend_values(&part(|condition| &condition.tokens), method, width),
        pooled: blend_values(&pooled, method, pooled_width),
    }
}

fn blend_values(parts: &[(&[f32], f32)], method: Interpolation, width: usize) -> Vec<f32> {
    let total: f32 = parts.iter().map(|(_, weight)| weight).sum();
    let share = |weight: f32| {
        if total > 0.0 {
            weight / total
        } else {
            1.0 / parts.len() as f32
        }
    };
    match (parts, method) {
        ([], _) => Vec::new(),
        ([(only, _)], _) => only.to_vec(),
        ([(a, _), (b, weight)], Interpolation::Slerp) => {
            let mut out = vec![0.0; a.len()];
            slerp_tokens(a, b, share(*weight), width, &mut out);
            out
        }
        (_, Interpolation::Linear | Interpolation::Slerp) => {
            let mut out = vec![0.0; parts[0].0.len()];
            let mut wanted = 0.0;
            for (embedding, weight) in parts {
                let share = share(*weight);
                wanted += norm(embedding) * f64::from(share);
                for (out, value) in out.iter_mut().zip(embedding.iter()) {
                    *out += share * value;
                }
            }
            let length = norm(&out);
            if length > 1e-8 {
                let scale = (wanted / length) as f32;
                out.iter_mut().for_each(|value| *value *= scale);
            }
            out
        }
    }
}

/// Great-circle interpolation, token by token; linear only if every token's angle is tiny.
///
/// - `t`: 0.0 is `a`, 1.0 is `b`.
/// - `width`: values of one token.
fn slerp_tokens(a: &[f32], b: &[f32], t: f32, width: usize, out: &mut [f32]) {
    let t = f64::from(t);
    let angle = |a: &[f32], b: &[f32]| -> f64 {
        let (na, nb) = (norm(a) + 1e-8, norm(b) + 1e-8);
        let dot: f64 = a
            .iter()
            .zip(b)
            .map(|(a, b)| (f64::from(*a) / na) * (f64::from(*b) / nb))
            .sum();
        dot.clamp(-1.0, 1.0).acos()
    };
    let tokens = || a.chunks(width.max(1)).zip(b.chunks(width.max(1)));
    let straight = tokens().all(|(a, b)| angle(a, b) < 1e-4);
    for ((a, b), out) in tokens().zip(out.chunks_mut(width.max(1))) {
        let (wa, wb) = if straight {
            (1.0 - t, t)
        } else {
            let angle = angle(a, b);
            let sin = angle.sin() + 1e-8;
            (((1.0 - t) * angle).sin() / sin, (t * angle).sin() / sin)
        };
        for ((a, b), out) in a.iter().zip(b).zip(out) {
            *out = (wa * f64::from(*a) + wb * f64::from(*b)) as f32;
        }
    }
}

fn norm(values: &[f32]) -> f64 {
    values
        .iter()
        .map(|v| f64::from(*v) * f64::from(*v))
        .sum::<f64>()
        .sqrt()
}

/// A transition under way: from what was shown when it began to its target.
#[derive(Debug, Clone)]
pub(crate) struct Fade {
    source: Condition,
    target: Condition,
    method: Interpolation,
    width: usize,
    frames: u32,
    shown: u32,
}

impl Fade {
    /// Plans a transition of `frames` frames, the first showing the source and the last the
    /// target; `None` if there is nothing to show in between.
    pub(crate) fn new(
        source: &Condition,
        target: &Condition,
        method: Interpolation,
        width: usize,
        frames: u32,
    ) -> Option<Self> {
        let way = source.tokens.iter().zip(&target.tokens);
        let way: Vec<f32> = way.map(|(a, b)| b - a).collect();
        if frames == 0 || norm(&way) < NEAR {
            return None;
        }
        let (source, target) = (source.clone(), target.clone());
        Some(Self {
            source,
            target,
            method,
            width,
            frames,
            shown: 0,
        })
    }

    /// Writes the condition of the next frame; false when the target has been reached for good.
    pub(crate) fn next(&mut self, out: &mut Condition) -> bool {
        if self.shown >= self.frames {
            out.clone_from(&self.target);
            return false;
        }
        let t = self.shown as f32 / self.frames.saturating_sub(1).max(1) as f32;
        self.shown += 1;
        let (source, target) = (&self.source, &self.target);
        self.step(
            &source.tokens,
            &target.tokens,
            t,
            self.width,
            &mut out.tokens,
        );
        let whole = source.pooled.len();
        self.step(&source.pooled, &target.pooled, t, whole, &mut out.pooled);
        true
    }

    fn step(&self, source: &[f32], target: &[f32], t: f32, width: usize, out: &mut [f32]) {
        match self.method {
            Interpolation::Linear => {
                for ((a, b), out) in source.iter().zip(target).zip(out) {
                    *out = (1.0 - t) * a + t * b;
                }
            }
            Interpolation::Slerp => slerp_tokens(source, target, t, width, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(values: &[f32]) -> Condition {
        Condition {
            tokens: values.to_vec(),
            pooled: values.to_vec(),
        }
    }

    fn part(values: &[f32], weight: f32) -> (Arc<Condition>, f32) {
        (Arc::new(condition(values)), weight)
    }

    /// A transition from 0 to `target`.
    fn fade(target: f32, frames: u32) -> Option<Fade> {
        let (source, target) = (condition(&[0.0]), condition(&[target]));
        Fade::new(&source, &target, Interpolation::Linear, 1, frames)
    }

    #[test]
    fn one_prompt_is_itself_whatever_its_weight() {
        let blended = blend(&[part(&[3.0, 4.0], 0.2)], Interpolation::Slerp, 2);

        assert_eq!(blended, condition(&[3.0, 4.0]));
    }

    #[test]
    fn a_linear_blend_keeps_the_mean_length() {
        let parts = [part(&[4.0, 0.0], 1.0), part(&[0.0, 2.0], 1.0)];

        let blended = blend(&parts, Interpolation::Linear, 2);

        for blended in [&blended.tokens, &blended.pooled] {
            assert!((norm(blended) - 3.0).abs() < 1e-6);
            assert!((blended[0] / blended[1] - 2.0).abs() < 1e-6);
        }
    }

    #[test]
    fn weights_that_are_all_zero_count_equally() {
        let parts = |w| [part(&[1.0, 0.0], w), part(&[0.0, 1.0], w)];

        let zero = blend(&parts(0.0), Interpolation::Linear, 2);

        assert_eq!(zero, blend(&parts(1.0), Interpolation::Linear, 2));
    }

    #[test]
    fn slerp_turns_every_token_by_its_own_angle() {
        let parts = [
            part(&[1.0, 0.0, 0.0, 2.0], 1.0),
            part(&[0.0, 1.0, 0.0, 2.0], 1.0),
        ];

        let blended = blend(&parts, Interpolation::Slerp, 2);

        let (half, blended) = (0.5_f32.sqrt(), blended.tokens);
        assert!((blended[0] - half).abs() < 1e-6 && (blended[1] - half).abs() < 1e-6);
    }

    #[test]
    fn a_transition_begins_at_the_source_and_ends_at_the_target() {
        let mut fade = fade(3.0, 4).unwrap();
        let (mut out, mut shown) = (condition(&[0.0]), Vec::new());

        while fade.next(&mut out) {
            assert_eq!(out.tokens, out.pooled);
            shown.push(out.tokens[0]);
        }

        assert_eq!(shown, [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(out, condition(&[3.0]));
    }

    #[test]
    fn a_transition_of_one_frame_shows_the_source_once() {
        let mut fade = fade(3.0, 1).unwrap();
        let mut out = condition(&[9.0]);

        assert!(fade.next(&mut out));
        assert_eq!(out, condition(&[0.0]));
        assert!(!fade.next(&mut out));
        assert_eq!(out, condition(&[3.0]));
    }

    #[test]
    fn no_frames_or_no_distance_means_no_transition() {
        assert!(fade(3.0, 0).is_none());
        assert!(fade(0.005, 4).is_none());
    }
}

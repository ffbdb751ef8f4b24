//! What a stream will ask a model for, as far as that is known before it starts.

use crate::engine::{Batching, Pace};
use crate::parameters::{MAX_STEPS, Parameters};

/// Steps of a frame unless told otherwise, as most models have them.
const USUAL_STEPS: u32 = 2;

/// Shapes that a stream will ask for. Two are equal if the same engine serves both: `rows` is only what it is tuned for.
#[derive(Debug, Clone, Copy)]
pub struct Shapes {
    /// Width and height of the pictures, pixels; `None` is not known yet.
    pub size: Option<(u32, u32)>,
    /// Rows of a call of the network as the parameters stand: steps × frames together × ways of guidance.
    pub rows: u32,
    /// Most rows that live parameters can come to ask for.
    pub most_rows: u32,
}

impl PartialEq for Shapes {
    fn eq(&self, other: &Self) -> bool {
        (self.size, self.most_rows) == (other.size, other.most_rows)
    }
}

impl Eq for Shapes {}

impl Default for Shapes {
    /// Any size, one frame at a time.
    fn default() -> Self {
        Self::new(None, Pace::default(), &Parameters::default())
    }
}

impl Shapes {
    /// What a stream of pictures of `size` at this pace asks for.
    ///
    /// - `size`: width and height, pixels; `None` if they are not known yet.
    /// - `parameters`: as they stand; steps and guidance may change later.
    #[must_use]
    pub fn new(size: Option<(u32, u32)>, pace: Pace, parameters: &Parameters) -> Self {
        let together = |steps| match pace.batching {
            Batching::Auto | Batching::Stream => steps,
            Batching::Sequential => 1,
        };
        let steps = parameters.denoising_steps.as_ref();
        let steps = steps.and_then(|steps| u32::try_from(steps.len()).ok());
        let ways = 1 + u32::from(parameters.guidance().asks_the_negative());
        Self {
            size,
            rows: together(steps.unwrap_or(USUAL_STEPS)) * pace.frame_buffer * ways,
            most_rows: together(MAX_STEPS as u32) * pace.frame_buffer * 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_steps_by_frames_by_ways_of_guidance() {
        let pace = |batching, frame_buffer| Pace {
            batching,
            frame_buffer,
            ..Pace::default()
        };
        let mut parameters = Parameters {
            denoising_steps: Some(vec![900, 600, 300]),
            guidance_scale: 2.0,
            cfg_type: crate::parameters::CfgType::Full,
            ..Parameters::default()
        };
        let rows = |pace, parameters: &Parameters| {
            let shapes = Shapes::new(None, pace, parameters);
            (shapes.rows, shapes.most_rows)
        };

        assert_eq!(rows(pace(Batching::Stream, 2), &parameters), (12, 16));
        assert_eq!(rows(pace(Batching::Sequential, 2), &parameters), (4, 4));
        parameters.cfg_type = crate::parameters::CfgType::None;
        assert_eq!(rows(pace(Batching::Auto, 1), &parameters), (3, 8));
        assert_eq!(rows(Pace::default(), &Parameters::default()), (2, 8));
    }

    #[test]
    fn a_change_of_live_parameters_asks_for_no_other_engine() {
        let few = Parameters {
            denoising_steps: Some(vec![500]),
            ..Parameters::default()
        };
        let size = Some((512, 512));
        let with = |parameters: &Parameters| Shapes::new(size, Pace::default(), parameters);

        assert_eq!(with(&few), with(&Parameters::default()));
        assert_ne!(with(&few), Shapes::new(None, Pace::default(), &few));
    }
}

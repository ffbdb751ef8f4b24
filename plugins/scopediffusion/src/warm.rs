//! The first runs at a size, in which a GPU's libraries choose kernels and record graphs: made as early as the size is
//! known, so that no frame waits for them.
//!
//! Where it is known before caps (`width` and `height`, or a model of one size) they are made on the way to PAUSED. That
//! way then takes as long as they do, like the way to READY takes as long as loading: when PLAYING is reported, the
//! model is warm. Otherwise they are made when caps arrive.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use diffusion_engine::{Engine, Model, Pace, Parameters};

use crate::messages;
use crate::processor::{Processor, timed};
use crate::settings::Settings;
use crate::stream::{Stream, StreamError};

/// What was run already.
#[derive(Debug, Clone)]
struct Run {
    /// Not held by this: another may have taken its place in the stream.
    model: Weak<Model>,
    size: (u32, u32),
    pace: Pace,
    /// Steps and guidance decide how many rows a call has.
    parameters: Parameters,
}

impl PartialEq for Run {
    fn eq(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.model, &other.model)
            && (self.size, self.pace) == (other.size, other.pace)
            && self.parameters == other.parameters
    }
}

/// Remembers the first runs made before caps.
#[derive(Debug, Default)]
pub(crate) struct Warmth(Mutex<Option<Run>>);

impl Warmth {
    /// Nothing is warm any more.
    pub(crate) fn forget(&self) {
        *self.0.lock().unwrap() = None;
    }

    fn has(&self, run: &Run) -> bool {
        self.0.lock().unwrap().as_ref() == Some(run)
    }
}

/// The size that the model will work at, if no caps are needed to know it.
///
/// - `only`: that of the model, if it has only one.
fn size_before_caps(settings: &Settings, only: Option<(u32, u32)>) -> Option<(u32, u32)> {
    let asked = (settings.width, settings.height);
    match only {
        Some(only) => Some(only),
        None => (asked.0 > 0 && asked.1 > 0).then_some(asked),
    }
}

/// On the CPU the first run is like every other.
fn is_slow_at_first(model: &Model) -> bool {
    model.facts().provider != "cpu"
}

impl Processor {
    /// Makes the first runs if the size is known already.
    ///
    /// # Errors
    ///
    /// As the first frame would have.
    pub(crate) fn warm_before_caps(&self, element: &gst::Element) -> Result<(), StreamError> {
        let Some(model) = self.model().filter(|model| is_slow_at_first(model)) else {
            return Ok(());
        };
        let settings = self.settings().with_scales();
        let Some(size) = size_before_caps(&settings, model.facts().fixed_size) else {
            return Ok(());
        };
        let (pace, parameters) = (settings.pace(), settings.parameters);
        let run = Run {
            model: Arc::downgrade(&model),
            size,
            pace,
            parameters: parameters.clone(),
        };
        if self.warmth().has(&run) {
            return Ok(());
        }
        let mut engine = Engine::new(model, size, pace, parameters)?;
        let (warm, took) = timed(|| engine.warm_up());
        warm?;
        tell(element, size, "before-caps", took);
        *self.warmth().0.lock().unwrap() = Some(run);
        Ok(())
    }

    /// Makes the first runs of a stream, unless they were made before caps.
    ///
    /// # Errors
    ///
    /// As the first frame would have.
    pub(crate) fn warm_at_caps(
        &self,
        element: &gst::Element,
        stream: &mut Stream,
    ) -> Result<(), StreamError> {
        let Some(model) = self.model().filter(|model| is_slow_at_first(model)) else {
            return Ok(());
        };
        let settings = self.settings().with_scales();
        let run = Run {
            model: Arc::downgrade(&model),
            size: stream.size(),
            pace: settings.pace(),
            parameters: settings.parameters,
        };
        if self.warmth().has(&run) {
            return Ok(());
        }
        let (warm, took) = timed(|| stream.warm_up());
        warm?;
        tell(element, stream.size(), "at-caps", took);
        Ok(())
    }
}

fn tell(element: &gst::Element, size: (u32, u32), when: &str, took: Duration) {
    use gst::prelude::*;
    // A message nobody is there to receive is no loss.
    let _ = element.post_message(messages::model_warm(element, size, when, took));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_known_before_caps_from_both_sides_or_from_the_model() {
        let asked = |width, height| Settings {
            width,
            height,
            ..Settings::default()
        };

        assert_eq!(size_before_caps(&asked(0, 0), None), None);
        assert_eq!(size_before_caps(&asked(512, 0), None), None, "half is none");
        assert_eq!(size_before_caps(&asked(640, 384), None), Some((640, 384)));
        let only = Some((512, 512));
        assert_eq!(size_before_caps(&asked(0, 0), only), only);
    }
}

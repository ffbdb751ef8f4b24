//! What the vfuncs of both elements have in common.

use gst::glib;
use gst::prelude::*;

use crate::errors;
use crate::processor::Processor;
use crate::stats::Stats;
use crate::survey;

/// The actions: `apply-parameters` (json): null when the patch took, else a sentence saying what is wrong with it; and
/// [`survey::signal`].
///
/// - `apply`: takes the patch to the element's processor.
pub(crate) fn actions<E: IsA<gst::Element>>(
    apply: fn(&E, &str) -> Result<(), String>,
) -> Vec<glib::subclass::Signal> {
    let handler = move |args: &[glib::Value]| {
        let element = args.first()?.get::<E>().ok()?;
        let applied = foreign_text::text(args.get(1)?)
            .map_err(|error| error.to_string())
            .and_then(|json| apply(&element, json.unwrap_or_default()));
        Some(applied.err().to_value())
    };
    vec![
        glib::subclass::Signal::builder("apply-parameters")
            .action()
            .param_types([String::static_type()])
            .return_type::<Option<String>>()
            .class_handler(handler)
            .build(),
        survey::signal(),
    ]
}

impl Processor {
    /// Does what a change of state needs before the parent class sees it; a failure is posted.
    pub(crate) fn rise(
        &self,
        element: &gst::Element,
        transition: gst::StateChange,
    ) -> Result<(), gst::StateChangeError> {
        use gst::StateChange::{NullToReady, ReadyToPaused};
        // Going to PAUSED only picks up what was set in READY: an unchanged model is already there.
        if matches!(transition, NullToReady | ReadyToPaused)
            && let Err(message) = self.load_model(element)
        {
            element.post_error_message(message);
            return Err(gst::StateChangeError);
        }
        if transition == ReadyToPaused
            && let Err(error) = self.warm_before_caps(element)
        {
            element.post_error_message(errors::stream(&error));
            return Err(gst::StateChangeError);
        }
        if transition == NullToReady {
            *self.stats() = Stats::default();
        }
        Ok(())
    }

    /// Does what is left once the parent class has seen it.
    pub(crate) fn sink(&self, transition: gst::StateChange) {
        if transition == gst::StateChange::ReadyToNull {
            self.forget_model();
        }
    }
}

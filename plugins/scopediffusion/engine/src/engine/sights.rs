//! What an engine is shown beside the frames: reference images, and a picture for its colours.

use super::Engine;
use crate::colour::{self, Colours};
use crate::frame::FrameViewMut;
use crate::reference::Reference;

impl Engine {
    /// Shows the network other pictures from the next frame on; `None` shows it none.
    ///
    /// How much they count is [`crate::Parameters::reference_scale`].
    pub fn set_reference(&mut self, reference: Option<Reference>) {
        self.conditions
            .show(&self.model, reference, &self.parameters);
        self.similarity.forget();
    }

    /// Gives pictures the colours of another one; how far, is [`crate::Parameters::colour_transfer`].
    pub fn set_colours(&mut self, colours: Option<Colours>) {
        self.colours = colours;
    }

    /// The last touch to a picture that was written to `out`.
    pub(super) fn touch_up(&self, out: &mut FrameViewMut<'_>) {
        let strength = self.parameters.colour_transfer;
        if let Some(colours) = self.colours.as_ref().filter(|_| strength > 0.0) {
            colour::transfer(out, colours, strength);
        }
    }
}

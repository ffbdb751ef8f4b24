//! The image encoder of a folder: pictures in, tokens for the network out.

use super::Model;
use super::network::Node;
use crate::backend::{Feed, Form, Output, Tensor, Values};
use crate::error::EngineError;
use crate::frame::{self, FrameView};
use crate::reference::{self, MOST_IMAGES, Reference};
use crate::watch::Watch;

/// Inputs of the denoising network that make it take reference images.
pub(super) const TOKENS: &str = "ip_hidden_states";
pub(super) const SCALE: &str = "ip_scale";
/// Outputs of the image encoder.
pub(super) const NEGATIVE: &str = "negative_ip_hidden_states";
/// Its input.
pub(super) const PICTURE: &[&str] = &["sample"];

/// Sides of a picture that an encoder may ask for.
const SIDES: std::ops::RangeInclusive<usize> = 16..=1024;
/// Most values that the tokens of one picture can have.
const MOST_VALUES: usize = 1 << 22;

/// An image encoder that was tried.
#[derive(Debug)]
pub(super) struct ImageEncoder {
    node: Node,
    side: usize,
    /// How many times its tokens the network takes; `None` is any number.
    room: Option<usize>,
    /// The tokens that stand for no picture, `[T, D]`.
    pub(super) nothing: Vec<f32>,
}

impl ImageEncoder {
    /// Tries the encoder once.
    ///
    /// - `width`: values of a token, D; `fixed`: tokens that the network takes, if only one number.
    pub(super) fn new(node: Node, width: usize, fixed: Option<usize>) -> Result<Self, String> {
        let side = {
            let graph = node
                .graph
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let port = graph
                .inputs()
                .iter()
                .find(|port| port.name == node.inputs[0]);
            let axis = |at: usize| port.and_then(|port| port.shape.get(at).copied().flatten());
            match (axis(2), axis(3)) {
                (Some(height), Some(width)) if height == width && SIDES.contains(&width) => width,
                _ => return Err("its image_encoder takes no pictures of one square size".into()),
            }
        };
        let mut encoder = Self {
            node,
            side,
            room: None,
            nothing: Vec::new(),
        };
        let grey = vec![0.0; 3 * side * side];
        let (tokens, nothing) = encoder
            .run(&grey)
            .map_err(|error| format!("its image_encoder does not run: {error}"))?;
        let fits = |tensor: &Tensor| match tensor.shape.as_slice() {
            [1, count, values] => *values == width && (1..=MOST_VALUES).contains(&(count * values)),
            _ => false,
        };
        if !fits(&tokens) || tokens.shape != nothing.shape {
            return Err(format!(
                "its image_encoder gives tokens of {:?} and {:?}, its unet takes [1, any, {width}]",
                tokens.shape, nothing.shape
            ));
        }
        if !frame::are_numbers(&tokens.values) || !frame::are_numbers(&nothing.values) {
            return Err("its image_encoder computes values that are no numbers (NaN)".into());
        }
        let each = tokens.shape[1];
        encoder.room = match fixed {
            Some(fixed) if fixed % each != 0 => {
                return Err(format!(
                    "its unet takes {fixed} image tokens, its image_encoder gives {each}"
                ));
            }
            fixed => fixed.map(|fixed| fixed / each),
        };
        encoder.nothing = nothing.values;
        Ok(encoder)
    }

    /// What stands for no picture, in the number that the network takes.
    pub(super) fn no_picture(&self) -> Reference {
        Reference::join(
            std::slice::from_ref(&self.nothing),
            &self.nothing,
            self.room,
        )
    }

    fn run(&self, picture: &[f32]) -> Result<(Tensor, Tensor), EngineError> {
        let shape = [1, 3, self.side, self.side];
        let feed = Feed::new(&self.node.inputs[0], &shape, Values::Real(picture));
        let (mut tokens, mut nothing) = (Tensor::default(), Tensor::default());
        let wanted = [(TOKENS, Form::Real), (NEGATIVE, Form::Real)];
        let mut read = |at: usize, output: Output<'_>| match at {
            0 => tokens.take(output),
            _ => nothing.take(output),
        };
        self.node
            .run_for(&[feed], &wanted, &Watch::default(), &mut read)?;
        Ok((tokens, nothing))
    }
}

impl Model {
    /// What pictures say to the network; for use off the streaming thread.
    ///
    /// - `pictures`: 1 to 8 of any size; the middle square of each counts.
    ///
    /// # Errors
    ///
    /// [`EngineError::BadParameter`] if the model takes no reference images ([`crate::Facts::reference_images`]) or if
    /// they are none or too many, [`EngineError::BadFrame`] if a view describes more
    /// than its bytes hold, [`EngineError::InferenceFailed`] if the encoder fails.
    pub fn look_at(&self, pictures: &[FrameView<'_>]) -> Result<Reference, EngineError> {
        let encoder = self.networks.image_encoder.as_ref();
        let encoder = encoder.ok_or_else(|| self.takes_no_reference())?;
        if !(1..=MOST_IMAGES).contains(&pictures.len()) {
            return Err(EngineError::BadParameter {
                key: "vace_ref_images".into(),
                value: format!("a list of {}", pictures.len()),
                expected: format!("1 to {MOST_IMAGES} pictures"),
            });
        }
        let look = |picture| {
            let values = reference::square(picture, encoder.side)?;
            Ok(encoder.run(&values)?.0.values)
        };
        let parts = pictures
            .iter()
            .map(look)
            .collect::<Result<Vec<_>, EngineError>>()?;
        Ok(Reference::join(&parts, &encoder.nothing, encoder.room))
    }

    /// Why this model is shown no picture, and what there is instead.
    #[must_use]
    pub fn takes_no_reference(&self) -> EngineError {
        EngineError::BadParameter {
            key: "vace_ref_images".into(),
            value: "a list of pictures".into(),
            expected: format!(
                "none: {} takes no reference images, because it was exported without an IP-Adapter (for the colours \
                 of a picture alone there is colour-transfer, with `colour_reference` and `colour_transfer`)",
                self.facts().name
            ),
        }
    }

    /// What engines show when nobody has given them a picture.
    pub(crate) fn no_picture(&self) -> Reference {
        let encoder = self.networks.image_encoder.as_ref();
        encoder.map(ImageEncoder::no_picture).unwrap_or_default()
    }
}

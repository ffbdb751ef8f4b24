//! Action signal `inspect-model`: what a folder of graphs is, from its files alone, without loading it.

use std::path::Path;

use diffusion_engine::{EngineError, Folder, Survey};
use gst::glib;
use gst::prelude::*;

use crate::{errors, messages, models};

/// Name of the answer for a folder that cannot be used.
const UNUSABLE: &str = "unusable-model";

/// `inspect-model` (dir): the fields of `model-info` that are certain before the model is loaded, and `bytes`, the
/// length of its graphs; or a structure `unusable-model` whose field `reason` says what is wrong with the folder and
/// what to do. The empty path is the built-in model.
pub(crate) fn signal() -> glib::subclass::Signal {
    glib::subclass::Signal::builder("inspect-model")
        .action()
        .param_types([String::static_type()])
        .return_type::<gst::Structure>()
        .class_handler(|args| {
            let dir = foreign_text::text(args.get(1)?).map_err(|error| error.to_string());
            let told = dir.and_then(|dir| {
                let looked = look(dir.unwrap_or_default());
                looked.map_err(|error| errors::sentence(&error))
            });
            let told = told.map(|survey| structure(&survey));
            let unusable = |reason| {
                gst::Structure::builder(UNUSABLE)
                    .field("reason", reason)
                    .build()
            };
            Some(told.unwrap_or_else(unusable).to_value())
        })
        .build()
}

fn look(dir: &str) -> Result<Survey, EngineError> {
    let folder = match dir {
        "" => models::built_in()?,
        dir => Folder::open(Path::new(dir))?,
    };
    folder.survey()
}

fn structure(survey: &Survey) -> gst::Structure {
    gst::Structure::builder(messages::MODEL)
        .field("name", survey.name.as_str())
        .field_if_some("family", survey.family.map(|family| family.name()))
        .field("prediction-type", survey.prediction)
        .field("text-encoders", survey.text_encoders as u64)
        .field("turbo", survey.turbo)
        .field("guidance-embedded", survey.guidance_embedded)
        .field("tiny-autoencoder", survey.tiny_autoencoder)
        .field("reference-images", survey.reference_images)
        .field("lora-inputs", gst::Array::new(&survey.lora_inputs))
        .field("video-steps", messages::steps(&survey.default_video_steps))
        .field("text-steps", messages::steps(&survey.default_text_steps))
        .field_if_some("width", survey.fixed_size.map(|size| size.0))
        .field_if_some("height", survey.fixed_size.map(|size| size.1))
        .field("bytes", survey.bytes)
        .build()
}

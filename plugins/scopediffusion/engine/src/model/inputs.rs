//! What exporters call the inputs of the graphs, and what those alone rule out.

use super::image;

pub(crate) const SAMPLE: &[&str] = &["sample", "latent_model_input"];
pub(crate) const TIMESTEP: &[&str] = &["timestep", "t"];
pub(crate) const CONTEXT: &[&str] = &["encoder_hidden_states", "context"];
pub(crate) const TEXT_EMBEDS: &[&str] = &["text_embeds"];
pub(crate) const TIME_IDS_INPUT: &[&str] = &["time_ids"];
pub(crate) const TIMESTEP_COND: &[&str] = &["timestep_cond"];
pub(crate) const IMAGE_TOKENS: &[&str] = &[image::TOKENS];
pub(crate) const IMAGE_SCALE: &[&str] = &[image::SCALE];
/// Input of the picture encoder.
pub(crate) const IMAGES: &[&str] = &["sample", "images"];

/// Refuses a network whose latents hold more than a picture.
pub(crate) fn check_channels(channels: usize) -> Result<(), String> {
    if matches!(channels, 8 | 9) {
        return Err(format!(
            "its unet takes {channels} channels: it edits or fills pictures"
        ));
    }
    Ok(())
}

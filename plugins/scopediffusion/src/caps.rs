//! Which frames the element takes: the RGB family, at sizes the model can work at.

use diffusion_engine::Facts;
use gst::prelude::*;
use gst_video::VideoFormat;

use crate::settings::Settings;

/// 8-bit packed RGB in every order; alpha, where there is room for it, is kept opaque.
const FORMATS: [VideoFormat; 10] = [
    VideoFormat::Rgb,
    VideoFormat::Bgr,
    VideoFormat::Rgbx,
    VideoFormat::Bgrx,
    VideoFormat::Xrgb,
    VideoFormat::Xbgr,
    VideoFormat::Rgba,
    VideoFormat::Bgra,
    VideoFormat::Argb,
    VideoFormat::Abgr,
];

/// Caps of both pad templates: any size, any framerate, 0/1 included.
pub(crate) fn template() -> gst::Caps {
    gst_video::VideoCapsBuilder::new()
        .format_list(FORMATS)
        .build()
}

/// `caps` narrowed to the sizes a loaded model works at.
///
/// With `width` and `height` set the element scales by itself, so any input size will do.
pub(crate) fn restrict(caps: &gst::Caps, facts: &Facts, settings: &Settings) -> gst::Caps {
    let range = |asked: u32, fixed: Option<u32>| -> Option<gst::glib::SendValue> {
        let multiple = i32::try_from(facts.size_multiple.max(1)).ok()?;
        let largest = i32::try_from(facts.max_dimension).ok()? / multiple * multiple;
        match (asked, fixed) {
            (1.., _) => None,
            (0, Some(fixed)) => Some(i32::try_from(fixed).ok()?.to_send_value()),
            (0, None) => {
                Some(gst::IntRange::with_step(multiple, largest, multiple).to_send_value())
            }
        }
    };
    let width = range(settings.width, facts.fixed_size.map(|size| size.0));
    let height = range(settings.height, facts.fixed_size.map(|size| size.1));
    let mut sizes = gst::Caps::builder("video/x-raw");
    if let Some(width) = width {
        sizes = sizes.field("width", width);
    }
    if let Some(height) = height {
        sizes = sizes.field("height", height);
    }
    caps.intersect_with_mode(&sizes.build(), gst::CapsIntersectMode::First)
}

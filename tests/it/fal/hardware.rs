//! Hardware that is listed, starts, and then refuses every picture.

use anyhow::{Result, ensure};
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_video::subclass::prelude::*;
use scope_tests::Cloud;

use super::{RETURNED, start};

/// What an encoder of a card without free encoders does.
#[derive(Debug, Default)]
pub struct Exhausted;

#[glib::object_subclass]
impl ObjectSubclass for Exhausted {
    const NAME: &'static str = "ExhaustedEncoder";
    type Type = ExhaustedEncoder;
    type ParentType = gst_video::VideoEncoder;
}

glib::wrapper! {
    pub struct ExhaustedEncoder(ObjectSubclass<Exhausted>) @extends gst_video::VideoEncoder, gst::Element, gst::Object,
        @implements gst::Preset;
}

impl ObjectImpl for Exhausted {}
impl GstObjectImpl for Exhausted {}

impl ElementImpl for Exhausted {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: std::sync::LazyLock<gst::subclass::ElementMetadata> =
            std::sync::LazyLock::new(|| {
                gst::subclass::ElementMetadata::new(
                    "Encoder of a busy card",
                    "Codec/Encoder/Video/Hardware",
                    "Refuses every picture",
                    "The Scope live video authors",
                )
            });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: std::sync::LazyLock<Vec<gst::PadTemplate>> =
            std::sync::LazyLock::new(|| {
                let pad = |name, direction, caps: &str| {
                    let caps: gst::Caps = caps.parse().unwrap();
                    gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps).unwrap()
                };
                vec![
                    pad(
                        "sink",
                        gst::PadDirection::Sink,
                        "video/x-raw,format={I420,NV12}",
                    ),
                    pad("src", gst::PadDirection::Src, "video/x-vp8"),
                ]
            });
        &TEMPLATES
    }
}

impl VideoEncoderImpl for Exhausted {
    fn handle_frame(
        &self,
        _frame: gst_video::VideoCodecFrame,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        gst::element_imp_error!(self, gst::LibraryError::Encode, ("no encoder is free"));
        Err(gst::FlowError::Error)
    }
}

#[test]
fn the_next_attempt_makes_do_with_software() -> Result<()> {
    start();
    gst::Element::register(
        None,
        "nvexhaustedvp8enc",
        gst::Rank::PRIMARY + 1,
        ExhaustedEncoder::static_type(),
    )?;
    let cloud = Cloud::new("webrtc", "codecs=vp8")?;
    cloud.play()?;

    let reason = cloud.reason_of("reconnecting")?;
    ensure!(reason.contains("no encoder is free"), "{reason}");
    cloud.picture_like(RETURNED)?;
    ensure!(cloud.report()?["attempts"] == 2, "{:#}", cloud.report()?);
    Ok(())
}

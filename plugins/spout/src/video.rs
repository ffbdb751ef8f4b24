//! GStreamer's caps ↔ the video that is shared.

use texture_share::{LONGEST_SIDE, PixelFormat, Video};

/// Pictures in a graphics card's memory, on Windows.
pub(crate) const TEXTURES: &str = "memory:D3D11Memory";

/// What can be sent, best first: BGRA is what every receiver shows.
const SENT: [&str; 6] = ["BGRA", "RGBA", "BGRx", "RGBx", "RGB10A2_LE", "RGBA64_LE"];

/// What can be received, in the order senders use it.
const RECEIVED: [&str; 5] = ["BGRA", "RGBA", "BGRx", "RGB10A2_LE", "RGBA64_LE"];

/// What is sent and received without leaving the graphics card: what Direct3D 11 has, GStreamer has and needs no
/// filling of alpha.
const ON_CARD: [&str; 4] = ["BGRA", "RGBA", "RGB10A2_LE", "RGBA64_LE"];

fn caps(formats: &[&str]) -> gst::Caps {
    let longest = LONGEST_SIDE.cast_signed();
    gst::Caps::builder("video/x-raw")
        .field("format", gst::List::new(formats.iter().copied()))
        .field("width", gst::IntRange::new(1, longest))
        .field("height", gst::IntRange::new(1, longest))
        .field(
            "framerate",
            gst::FractionRange::new(gst::Fraction::new(0, 1), gst::Fraction::new(i32::MAX, 1)),
        )
        .build()
}

/// `formats` in ordinary memory, and before that in the graphics card's where `textures` says so.
fn offer(formats: &[&str], textures: bool) -> gst::Caps {
    let mut offered = gst::Caps::new_empty();
    if textures {
        let mut on_card = caps(&ON_CARD);
        on_card
            .make_mut()
            .set_features_simple(Some(gst::CapsFeatures::new([TEXTURES])));
        offered.merge(on_card);
    }
    offered.merge(caps(formats));
    offered
}

/// What `spoutsink` takes.
pub(crate) fn sink_caps(textures: bool) -> gst::Caps {
    offer(&SENT, textures)
}

/// What `spoutsrc` makes.
pub(crate) fn src_caps(textures: bool) -> gst::Caps {
    offer(&RECEIVED, textures)
}

/// Whether these caps are of pictures in a graphics card's memory.
pub(crate) fn on_card(caps: &gst::CapsRef) -> bool {
    caps.features(0)
        .is_some_and(|features| !features.is_any() && features.contains(TEXTURES))
}

/// The same caps, in a graphics card's memory; `None` for formats that are not taken there.
pub(crate) fn to_card(info: &gst_video::VideoInfo) -> Option<gst::Caps> {
    let mut caps = info.to_caps().ok()?;
    caps.make_mut()
        .set_features_simple(Some(gst::CapsFeatures::new([TEXTURES])));
    ON_CARD
        .contains(&info.format().to_str().as_str())
        .then_some(caps)
}

/// Raw video as it comes in, and how it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Incoming {
    pub(crate) info: gst_video::VideoInfo,
    pub(crate) video: Video,
    /// The source has no alpha: it is filled.
    pub(crate) opaque: bool,
    /// It lies in a graphics card's memory.
    pub(crate) on_card: bool,
}

impl Incoming {
    pub(crate) fn new(caps: &gst::CapsRef) -> Option<Self> {
        let info = gst_video::VideoInfo::from_caps(caps).ok()?;
        let word = info.format().to_str();
        let mut video = Video::new(info.width(), info.height(), PixelFormat::to_send(word)?);
        let fps = info.fps();
        video.framerate = (
            fps.numer().unsigned_abs(),
            fps.denom().unsigned_abs().max(1),
        );
        video.colorimetry = info.colorimetry().to_string();
        Some(Self {
            info,
            video,
            opaque: word.ends_with('x'),
            on_card: on_card(caps),
        })
    }
}

/// The caps of a sender's video; `None` for pixels that GStreamer has no word for.
pub(crate) fn outgoing(video: &Video) -> Option<gst_video::VideoInfo> {
    let format = gst_video::VideoFormat::from_string(video.format.word()?);
    let signed = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let (numer, denom) = video.framerate;
    let fps = gst::Fraction::new(signed(numer), signed(denom).max(1));
    let colorimetry = video
        .colorimetry
        .parse::<gst_video::VideoColorimetry>()
        .ok();
    let mut builder = gst_video::VideoInfo::builder(format, video.width, video.height).fps(fps);
    if let Some(colorimetry) = &colorimetry {
        builder = builder.colorimetry(colorimetry);
    }
    builder.build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_comes_out_with_the_same_caps() {
        gst::init().unwrap();
        for word in ["BGRA", "RGBA", "RGB10A2_LE", "RGBA64_LE"] {
            let text = format!(
                "video/x-raw,format={word},width=64,height=48,framerate=60/1,colorimetry=sRGB"
            );
            let caps: gst::Caps = text.parse().unwrap();
            let incoming = Incoming::new(&caps).unwrap();

            let back = outgoing(&incoming.video).unwrap().to_caps().unwrap();

            assert!(!incoming.opaque);
            assert!(back.is_subset(&caps), "{back}");
        }
    }

    #[test]
    fn what_has_no_alpha_is_sent_with_it() {
        gst::init().unwrap();
        for (word, sent) in [("BGRx", PixelFormat::Bgra8), ("RGBx", PixelFormat::Rgba8)] {
            let caps = gst::Caps::builder("video/x-raw")
                .field("format", word)
                .field("width", 8)
                .field("height", 8)
                .build();

            let incoming = Incoming::new(&caps).unwrap();

            assert!(incoming.opaque);
            assert_eq!(incoming.video.format, sent);
        }
    }
}

//! What comes from upstream: raw pictures to encode, or encoded ones that only need to be sent.

use gst_video::VideoInfo;
use webrtc_live::Codec;

use super::picture::Picture;

/// The form of upstream's stream.
#[derive(Debug, Clone)]
pub(crate) enum Form {
    Raw(VideoInfo),
    Encoded(Codec, gst::Caps),
}

impl Form {
    /// Reads upstream's caps; `None` when they are neither.
    pub(crate) fn of(caps: &gst::Caps) -> Option<Self> {
        let name = caps.structure(0)?.name();
        let encoded = Codec::ALL
            .into_iter()
            .find(|codec| codec.media_type() == name.as_str());
        match encoded {
            Some(codec) => Some(Self::Encoded(codec, caps.clone())),
            None => VideoInfo::from_caps(caps).ok().map(Self::Raw),
        }
    }

    /// The codec of an encoded stream.
    pub(crate) fn codec(&self) -> Option<Codec> {
        match self {
            Self::Raw(_) => None,
            Self::Encoded(codec, _) => Some(*codec),
        }
    }
}

/// Raw caps of the same size and rate.
pub(crate) fn raw_like(caps: &gst::Caps) -> gst::Caps {
    let Some(structure) = caps
        .structure(0)
        .filter(|structure| structure.name() != "video/x-raw")
    else {
        return caps.clone();
    };
    let mut raw = gst::Structure::builder("video/x-raw").field("format", "I420");
    for name in ["width", "height"] {
        raw = raw.field_if_some(name, structure.get::<i32>(name).ok());
    }
    let rate = structure
        .get::<gst::Fraction>("framerate")
        .unwrap_or(gst::Fraction::new(0, 1));
    let ratio = structure.get::<gst::Fraction>("pixel-aspect-ratio").ok();
    let raw = raw
        .field("framerate", rate)
        .field_if_some("pixel-aspect-ratio", ratio);
    gst::Caps::builder_full().structure(raw.build()).build()
}

/// One picture of upstream's.
#[derive(Debug, Clone)]
pub(crate) enum Material {
    Raw(Picture),
    Encoded {
        buffer: gst::Buffer,
        caps: gst::Caps,
        codec: Codec,
    },
}

impl Material {
    pub(crate) fn new(buffer: gst::Buffer, form: &Form) -> Self {
        match form {
            Form::Raw(info) => Self::Raw(Picture {
                buffer,
                info: info.clone(),
            }),
            Form::Encoded(codec, caps) => Self::Encoded {
                buffer,
                caps: caps.clone(),
                codec: *codec,
            },
        }
    }

    pub(crate) fn buffer(&self) -> &gst::Buffer {
        match self {
            Self::Raw(picture) => &picture.buffer,
            Self::Encoded { buffer, .. } => buffer,
        }
    }

    pub(crate) fn codec(&self) -> Option<Codec> {
        match self {
            Self::Raw(_) => None,
            Self::Encoded { codec, .. } => Some(*codec),
        }
    }

    /// Whether it can be decoded without the ones before.
    pub(crate) fn stands_alone(&self) -> bool {
        match self {
            Self::Raw(_) => true,
            Self::Encoded { buffer, .. } => !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
        }
    }

    /// To show, where it can be.
    pub(crate) fn picture(&self) -> Option<Picture> {
        match self {
            Self::Raw(picture) => Some(picture.clone()),
            Self::Encoded { .. } => None,
        }
    }

    pub(crate) fn size(&self) -> Option<(u32, u32)> {
        match self {
            Self::Raw(picture) => Some((picture.info.width(), picture.info.height())),
            Self::Encoded { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_told_by_their_caps() {
        gst::init().unwrap();
        let form = |text: &str| Form::of(&text.parse().unwrap());

        assert!(matches!(
            form("video/x-raw,format=RGB,width=8,height=8"),
            Some(Form::Raw(_))
        ));
        assert_eq!(
            form("video/x-vp8").and_then(|form| form.codec()),
            Some(Codec::Vp8)
        );
        assert!(form("audio/x-raw").is_none() && form("video/x-raw").is_none());
    }

    #[test]
    fn raw_caps_have_the_encoded_ones_size_and_rate() {
        gst::init().unwrap();
        let encoded: gst::Caps = "video/x-h264,width=64,height=48,framerate=25/1,profile=baseline"
            .parse()
            .unwrap();

        let wanted: gst::Caps = "video/x-raw,format=I420,width=64,height=48,framerate=25/1"
            .parse()
            .unwrap();
        assert_eq!(raw_like(&encoded), wanted);
        let raw: gst::Caps = "video/x-raw,format=RGB".parse().unwrap();
        assert_eq!(raw_like(&raw), raw);
    }
}

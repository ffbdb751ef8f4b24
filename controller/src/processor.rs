//! What a loaded pipeline means to a session: which element fills the processor slot, with which properties.
//!
//! Made by [`crate::library`] when a pipeline is loaded, carried out by [`crate::media`]. The controller knows
//! processors by factory name and property only, so a new one needs no code here.

/// One processor of a session's chain, ready to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Processor {
    /// Key of the loaded instance, Scope's `node_id`.
    pub node_id: String,
    /// Scope's `pipeline_id`: `scope-tiny`, `passthrough`, or a model folder's name.
    pub pipeline_id: String,
    /// Element factory, for example `scopediffusion`; `None` passes frames through untouched.
    pub factory: Option<&'static str>,
    /// Properties to set before the element starts, as GStreamer would parse them from text.
    pub properties: Vec<(&'static str, String)>,
    /// Frame size the processor works at, pixels; `None` follows the input.
    pub size: Option<(u32, u32)>,
    /// How a frame of another shape gets that size.
    pub fit: Fit,
}

/// Formats that `aspectratiocrop` can crop; it also takes others, and fails. The wide ones are for wide sources.
const CROPPED: &str = "I420,NV12,NV21,YV12,Y42B,Y444,YUY2,UYVY,AYUV,RGB,BGR,RGBx,BGRx,RGBA,BGRA,ARGB,ABGR,GRAY8,I420_10LE,I422_10LE,Y444_10LE,GBRA_10LE,GBRA_12LE";

/// How a picture of one shape becomes one of another. Nothing is distorted unless it is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fit {
    /// It fills the other; what is too much at two sides is cut off evenly, as the page does with a camera.
    #[default]
    Crop,
    /// All of it is seen, between black bars.
    Letterbox,
    /// Both sides are scaled, each by its own measure.
    Stretch,
}

impl Fit {
    /// Every one, as a client spells it.
    pub const WORDS: [(&'static str, Self); 3] = [
        ("crop", Self::Crop),
        ("letterbox", Self::Letterbox),
        ("stretch", Self::Stretch),
    ];

    /// The one of this word.
    pub fn of(word: &str) -> Option<Self> {
        let known = Self::WORDS.iter().find(|(known, _)| *known == word);
        known.map(|(_, fit)| *fit)
    }

    /// Launch text that makes frames of any size into frames of `size`, pixels.
    pub fn stages(self, size: (u32, u32)) -> String {
        let (width, height) = size;
        match self {
            Self::Crop => format!(
                "videoconvert ! capsfilter caps=\"video/x-raw,format={{{CROPPED}}}\" ! aspectratiocrop aspect-ratio={width}/{height} ! videoconvertscale add-borders=false"
            ),
            Self::Letterbox => "videoconvertscale add-borders=true".into(),
            Self::Stretch => "videoconvertscale add-borders=false".into(),
        }
    }
}

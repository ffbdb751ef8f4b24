//! Which applications share a picture on this machine, and small pictures of them.

use std::path::PathBuf;
use std::time::Duration;

use gst::prelude::*;
use tokio::sync::mpsc;

use webrtc_live::{MediaError, make, outlet, set};

use super::film;

/// The element and the device provider of the sharing plugin.
pub const SOURCE: &str = "spoutsrc";
const PROVIDER: &str = "spoutdeviceprovider";
/// Widest preview, pixels.
const PREVIEW_WIDTH: i32 = 320;
/// Pictures that wait for a slow reader; the newest wins.
const WAITING: usize = 2;

/// One living sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The name it is found by.
    pub name: String,
    /// Width and height, pixels, once it has shown a frame.
    pub size: Option<(u32, u32)>,
}

/// The living senders, sorted by name; blocks for milliseconds.
pub fn list() -> Vec<Sender> {
    if gst::init().is_err() {
        return Vec::new();
    }
    let Some(provider) = gst::DeviceProviderFactory::by_name(PROVIDER) else {
        return Vec::new();
    };
    let mut senders: Vec<_> = provider
        .devices()
        .iter()
        .map(|device| Sender {
            name: device.display_name().to_string(),
            size: device.caps().as_deref().and_then(size_in),
        })
        .collect();
    senders.sort_by(|one, other| one.name.cmp(&other.name));
    senders
}

fn size_in(caps: &gst::CapsRef) -> Option<(u32, u32)> {
    let structure = caps.structure(0)?;
    let side = |name| {
        let side = structure.get::<i32>(name).ok()?;
        u32::try_from(side).ok()
    };
    Some((side("width")?, side("height")?))
}

/// JPEG pictures of one sender, until the receiver is dropped.
#[derive(Debug)]
pub(crate) struct Preview {
    pipeline: gst::Pipeline,
    pictures: mpsc::Receiver<gst::Buffer>,
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Another application's picture, by its name.
    Sender(String),
    /// A video.
    File(PathBuf),
    /// One of our own test pictures.
    Pattern(String),
}

impl Origin {
    fn element(&self) -> Result<gst::Element, MediaError> {
        match self {
            Self::Sender(name) => {
                let source = make(SOURCE)?;
                set(&source, "sender-name", name)?;
                Ok(source)
            }
            Self::File(path) => film::opened(path),
            Self::Pattern(name) => {
                let source = make("videotestsrc")?;
                set(&source, "is-live", "true")?;
                set(&source, "pattern", name)?;
                Ok(source)
            }
        }
    }
}

impl Preview {
    /// Looks at something, `rate` times a second at most.
    pub(crate) fn start(origin: &Origin, rate: u32, flipped: bool) -> Result<Self, MediaError> {
        let pipeline = gst::Pipeline::new();
        let source = origin.element()?;
        let (pace, paced) = (make("videorate")?, make("capsfilter")?);
        set(&pace, "drop-only", "true")?;
        let rate = gst::Fraction::new(i32::try_from(rate.max(1)).unwrap_or(i32::MAX), 1);
        paced.set_property(
            "caps",
            gst::Caps::builder("video/x-raw")
                .field(
                    "framerate",
                    gst::FractionRange::new(gst::Fraction::new(0, 1), rate),
                )
                .build(),
        );
        let flip = make("videoflip")?;
        set(
            &flip,
            "video-direction",
            if flipped { "vert" } else { "identity" },
        )?;
        let (convert, small) = (make("videoconvertscale")?, make("capsfilter")?);
        small.set_property(
            "caps",
            gst::Caps::builder("video/x-raw")
                .field("width", gst::IntRange::new(1, PREVIEW_WIDTH))
                .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
                .build(),
        );
        let encoder = make("jpegenc")?;
        set(&encoder, "quality", "70")?;
        let (tell, pictures) = mpsc::channel(WAITING);
        let sink = outlet(move |sample| {
            if let Some(buffer) = sample.buffer_owned() {
                // Full is a reader that is slow, closed is one that has gone: its pipeline stops soon.
                tell.try_send(buffer).ok();
            }
        });
        // What comes here is no raw video any more.
        sink.set_caps(Some(&gst::Caps::new_empty_simple("image/jpeg")));
        // A file goes as fast as it is let.
        sink.set_sync(matches!(origin, Origin::File(_)));
        let elements = [
            &source,
            &pace,
            &paced,
            &convert,
            &flip,
            &small,
            &encoder,
            sink.upcast_ref(),
        ];
        let preview = Self { pipeline, pictures };
        preview.pipeline.add_many(elements)?;
        gst::Element::link_many(elements)?;
        preview.pipeline.set_state(gst::State::Playing)?;
        Ok(preview)
    }

    /// The next picture; `None` when none comes for `patience`.
    pub(crate) async fn next(&mut self, patience: Duration) -> Option<gst::Buffer> {
        tokio::time::timeout(patience, self.pictures.recv())
            .await
            .ok()?
    }
}

impl Drop for Preview {
    fn drop(&mut self) {
        let pipeline = self.pipeline.clone();
        // Stopping may wait for a frame that is being encoded; whoever drops us must not.
        std::thread::spawn(move || {
            if pipeline.set_state(gst::State::Null).is_err() {
                tracing::warn!("a preview did not stop");
            }
        });
    }
}

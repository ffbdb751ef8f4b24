//! Pictures that a model is shown beside the frames: files, decoded by GStreamer, and what is seen in them.

use std::path::Path;
use std::time::Duration;

use diffusion_engine::{Colours, EngineError, Model, Patch, Reference};
use gst::prelude::*;
use gst_video::{VideoFrameRef, VideoInfo};

use crate::frame;

/// How long a file may take to give its first picture.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which files, as they were asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Wanted {
    /// Reference images for the network.
    pub(crate) images: Vec<String>,
    /// The picture whose colours are transferred.
    pub(crate) colours: Option<String>,
}

impl Wanted {
    /// Takes over what a patch says. True if that was anything new.
    ///
    /// # Errors
    ///
    /// A sentence naming a file that is not there; nothing has changed then.
    pub(crate) fn follow(&mut self, patch: &Patch) -> Result<bool, String> {
        let mut next = self.clone();
        if let Some(images) = patch.reference_images() {
            next.images = images.to_vec();
        }
        if let Some(colours) = patch.colour_reference() {
            next.colours = Some(colours.to_owned()).filter(|path| !path.is_empty());
        }
        let changed = next != *self;
        if changed && let Some(missing) = next.files().find(|path| !Path::new(path).is_file()) {
            return Err(format!(
                "there is no picture `{missing}`; name a file on this machine"
            ));
        }
        *self = next;
        Ok(changed)
    }

    /// Whether the model can be shown them.
    pub(crate) fn suit(&self, model: &Model) -> bool {
        self.images.is_empty() || model.facts().reference_images
    }

    fn files(&self) -> impl Iterator<Item = &String> {
        self.images.iter().chain(&self.colours)
    }
}

/// What was seen in the files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sights {
    pub(crate) reference: Option<Reference>,
    pub(crate) colours: Option<Colours>,
}

/// Looks at the files, which takes up to seconds.
///
/// # Errors
///
/// A picture that cannot be decoded, or reference images for a model that takes none.
pub(crate) fn look(model: &Model, wanted: &Wanted) -> Result<Sights, EngineError> {
    if wanted.images.is_empty() && wanted.colours.is_none() {
        return Ok(Sights::default());
    }
    if !wanted.suit(model) {
        return Err(model.takes_no_reference());
    }
    let pictures = wanted.images.iter().map(|path| decode(path));
    let pictures = pictures.collect::<Result<Vec<_>, _>>()?;
    let mapped = pictures
        .iter()
        .map(Picture::map)
        .collect::<Result<Vec<_>, _>>()?;
    let views: Option<Vec<_>> = mapped.iter().map(frame::view).collect();
    let reference = match views.ok_or_else(unreadable)? {
        views if views.is_empty() => None,
        views => Some(model.look_at(&views)?),
    };
    let colours = wanted.colours.as_ref().map(|path| {
        let picture = decode(path)?;
        let mapped = picture.map()?;
        Colours::of(&frame::view(&mapped).ok_or_else(unreadable)?)
    });
    Ok(Sights {
        reference,
        colours: colours.transpose()?,
    })
}

fn unreadable() -> EngineError {
    EngineError::BadFrame {
        reason: "the decoded picture has no pixel plane".into(),
    }
}

struct Picture {
    buffer: gst::Buffer,
    info: VideoInfo,
}

impl Picture {
    fn map(&self) -> Result<VideoFrameRef<&gst::BufferRef>, EngineError> {
        VideoFrameRef::from_buffer_ref_readable(&self.buffer, &self.info).map_err(|_| unreadable())
    }
}

/// The first picture of a file.
fn decode(path: &str) -> Result<Picture, EngineError> {
    let failed = |reason: &str| EngineError::BadFrame {
        reason: format!("`{path}` cannot be decoded: {reason}"),
    };
    let text = "filesrc name=file ! decodebin ! videoconvert ! \
                video/x-raw,format=RGB,width=[1,8192],height=[1,8192] ! fakesink name=sink";
    let pipeline = gst::parse::launch(text).map_err(|error| failed(&error.to_string()))?;
    let bin = pipeline
        .downcast_ref::<gst::Bin>()
        .ok_or_else(|| failed("no pipeline"))?;
    let (Some(file), Some(sink)) = (bin.by_name("file"), bin.by_name("sink")) else {
        return Err(failed("no pipeline"));
    };
    file.set_property("location", path);
    let started = pipeline.set_state(gst::State::Paused);
    let patience = gst::ClockTime::try_from(PATIENCE).unwrap_or(gst::ClockTime::SECOND);
    let reached = started.and_then(|_| pipeline.state(patience).0);
    let sample = sink.property::<Option<gst::Sample>>("last-sample");
    let said = pipeline
        .bus()
        .and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
    // Nothing runs in it that could refuse to stop.
    let _ = pipeline.set_state(gst::State::Null);
    if let Some(gst::MessageView::Error(error)) = said.as_deref().map(gst::MessageRef::view) {
        return Err(failed(error.error().message()));
    }
    let sample = sample.filter(|_| reached.is_ok());
    let sample = sample.ok_or_else(|| failed("it gave no picture within ten seconds"))?;
    let info = sample
        .caps()
        .and_then(|caps| VideoInfo::from_caps(caps).ok());
    match (sample.buffer_owned(), info) {
        (Some(buffer), Some(info)) => Ok(Picture { buffer, info }),
        _ => Err(failed("it holds no picture")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(json: &str) -> Patch {
        Patch::from_json(json).unwrap()
    }

    #[test]
    fn files_are_taken_over_when_they_are_there_and_all_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        std::fs::write(&path, "").unwrap();
        let path = path.display().to_string();
        let mut wanted = Wanted::default();

        let both = serde_json::json!({ "vace_ref_images": [path, path], "colour_reference": path });
        assert_eq!(wanted.follow(&patch(&both.to_string())), Ok(true));
        assert_eq!(wanted.follow(&patch(&both.to_string())), Ok(false));
        assert_eq!(wanted.images.len(), 2);

        let refused = wanted.follow(&patch(
            r#"{"vace_ref_images": [], "colour_reference": "/nowhere.png"}"#,
        ));
        assert!(refused.unwrap_err().contains("`/nowhere.png`"));
        assert_eq!(wanted.images.len(), 2);

        let none = patch(r#"{"vace_ref_images": [], "colour_reference": ""}"#);
        assert_eq!(wanted.follow(&none), Ok(true));
        assert_eq!(wanted, Wanted::default());
    }

    #[test]
    fn a_file_that_is_no_picture_is_named() {
        gst::init().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        std::fs::write(&path, "no picture at all").unwrap();

        let error = decode(path.to_str().unwrap()).err().unwrap().to_string();

        assert!(error.contains("a.png` cannot be decoded"), "{error}");
    }
}

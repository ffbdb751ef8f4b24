//! Pictures that a model is shown beside the frames: files, decoded by GStreamer, and what is seen in them.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use diffusion_engine::{Colours, EngineError, Model, Patch, Reference};
use gst::prelude::*;
use gst_video::{VideoFrameRef, VideoInfo};

use crate::frame;
use crate::newest::NewestFirstServed;

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
    /// What is wanted after a patch; `None` if that is nothing new.
    ///
    /// # Errors
    ///
    /// A sentence naming a file that is not there.
    pub(crate) fn followed(&self, patch: &Patch) -> Result<Option<Self>, String> {
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
        Ok(changed.then_some(next))
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

/// What was seen last, and whether the stream has heard of it.
#[derive(Debug, Default)]
struct Seen {
    sights: Sights,
    is_news: bool,
}

/// Looks at pictures for a stream, and beside it.
#[derive(Debug, Default)]
pub(crate) struct Viewer {
    looks: NewestFirstServed<(Arc<Model>, Wanted)>,
    seen: Arc<Mutex<Seen>>,
}

impl Viewer {
    /// Keeps what was seen; the stream is told if it `is_news`.
    pub(crate) fn saw(&self, sights: Sights, is_news: bool) {
        *self.seen.lock().unwrap() = Seen { sights, is_news };
    }

    /// Looks beside the stream; of several wishes the newest counts. `fail` is told why nothing was seen.
    ///
    /// # Errors
    ///
    /// If the system gives no thread.
    pub(crate) fn look_beside(
        &self,
        wanted: (Arc<Model>, Wanted),
        fail: impl Fn(&EngineError) + Send + 'static,
    ) -> std::io::Result<()> {
        let seen = self.seen.clone();
        let work = move |(model, wanted): (Arc<Model>, Wanted)| match look(&model, &wanted) {
            Ok(sights) => {
                *seen.lock().unwrap() = Seen {
                    sights,
                    is_news: true,
                };
            }
            Err(error) => fail(&error),
        };
        self.looks.want("scope-pictures", wanted, work)
    }

    /// What the stream has not heard of yet; once.
    pub(crate) fn news(&self) -> Option<Sights> {
        let mut seen = self.seen.lock().unwrap();
        std::mem::take(&mut seen.is_news).then(|| seen.sights.clone())
    }

    /// Everything, for a stream that begins.
    pub(crate) fn all(&self) -> Sights {
        let mut seen = self.seen.lock().unwrap();
        seen.is_news = false;
        seen.sights.clone()
    }

    /// Ends what is under way and forgets everything.
    pub(crate) fn forget(&self) {
        self.looks.finish();
        *self.seen.lock().unwrap() = Seen::default();
    }
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
        let both = serde_json::json!({ "vace_ref_images": [path, path], "colour_reference": path });
        let both = patch(&both.to_string());

        let wanted = Wanted::default().followed(&both).unwrap().unwrap();
        assert_eq!(wanted.images.len(), 2);
        assert_eq!(wanted.followed(&both), Ok(None));

        let missing = patch(r#"{"vace_ref_images": [], "colour_reference": "/nowhere.png"}"#);
        let refused = wanted.followed(&missing).unwrap_err();
        assert!(refused.contains("`/nowhere.png`"), "{refused}");

        let none = patch(r#"{"vace_ref_images": [], "colour_reference": ""}"#);
        assert_eq!(wanted.followed(&none), Ok(Some(Wanted::default())));
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

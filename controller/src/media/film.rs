//! A video file or a test picture as the source of a session.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use gst::prelude::*;
use tokio::sync::mpsc::unbounded_channel;
use webrtc_live::{MediaError, make, outlet, set};

use super::event::Event;
use super::handover::{Handover, Source};
use super::share::News;

/// Pictures keep the time of the file; sound has nowhere to go. Phones say in a tag how they were held.
const FILE: &str = "filesrc name=source ! decodebin name=decoder caps=video/x-raw ! videoconvert \
     ! videoflip name=flip video-direction=auto ! capsfilter name=end";
const PATTERN: &str = "videotestsrc name=source is-live=true ! video/x-raw,width=512,height=512,framerate=30/1 \
     ! capsfilter name=end";
/// Size of a test picture, pixels.
pub(crate) const PATTERN_SIZE: (u32, u32) = (512, 512);
/// What a test picture may show: `videotestsrc`'s names.
pub(crate) const PATTERNS: [&str; 8] = [
    "ball",
    "smpte",
    "smpte75",
    "bar",
    "checkers-8",
    "circular",
    "gradient",
    "snow",
];
/// No file is begun again sooner: one of a single picture must not keep a core busy.
const SHORTEST_ROUND: Duration = Duration::from_millis(100);

/// A source that plays until it is dropped.
#[derive(Debug)]
pub(crate) struct Film {
    pipeline: gst::Pipeline,
    /// False once it was stopped: nobody may start it again.
    plays: Arc<Mutex<bool>>,
}

impl Film {
    /// Plays a file over and over, in its own time.
    pub(crate) fn file(
        path: &Path,
        flipped: bool,
        handover: &Arc<Handover>,
    ) -> Result<(Self, News), MediaError> {
        let film = Self::build(FILE, handover, true)?;
        let location = path
            .to_str()
            .ok_or_else(|| MediaError::Pipeline("the file's name is not UTF-8".into()))?;
        set(&film.named("source")?, "location", location)?;
        if flipped {
            set(&film.named("flip")?, "video-direction", "vert")?;
        }
        let news = film.play(true)?;
        Ok((film, news))
    }

    /// Shows one of [`PATTERNS`].
    pub(crate) fn pattern(
        name: &str,
        handover: &Arc<Handover>,
    ) -> Result<(Self, News), MediaError> {
        let film = Self::build(PATTERN, handover, false)?;
        set(&film.named("source")?, "pattern", name)?;
        let news = film.play(false)?;
        Ok((film, news))
    }

    fn build(text: &str, handover: &Arc<Handover>, paced: bool) -> Result<Self, MediaError> {
        let pipeline = gst::parse::launch(text)
            .map_err(|error| MediaError::Pipeline(error.message().to_owned()))?
            .downcast::<gst::Pipeline>()
            .map_err(|_| MediaError::Pipeline("the source is no pipeline".into()))?;
        let plays = Arc::new(Mutex::new(true));
        let film = Self { pipeline, plays };
        let crossing = Arc::downgrade(handover);
        let sink = outlet(move |sample| {
            if let Some(handover) = crossing.upgrade() {
                handover.decoded(Source::Film, &sample, None);
            }
        });
        sink.set_sync(paced);
        // Trap: only a sink that takes part in state changes gets a new base time after a seek; without it every picture
        // of the second round is late, and shown at once.
        sink.set_property("async", paced);
        film.pipeline.add(&sink)?;
        film.named("end")?.link(&sink)?;
        Ok(film)
    }

    fn named(&self, name: &str) -> Result<gst::Element, MediaError> {
        self.pipeline
            .by_name(name)
            .ok_or_else(|| MediaError::Pipeline(format!("the source has no `{name}`")))
    }

    /// Starts; a file begins anew at its end.
    fn play(&self, again: bool) -> Result<News, MediaError> {
        let (events, news) = unbounded_channel();
        let (ended, rounds) = mpsc::channel();
        if again {
            self.repeat(rounds);
        }
        // What fails in one element fails in those beside it: the first reason is the one.
        let told = AtomicBool::new(false);
        if let Some(bus) = self.pipeline.bus() {
            bus.set_sync_handler(move |_, message| {
                match message.view() {
                    gst::MessageView::Eos(_) => {
                        ended.send(()).ok();
                    }
                    gst::MessageView::Error(error) if !told.swap(true, Ordering::Relaxed) => {
                        events.send(Event::Failed(reason(&error.error()))).ok();
                    }
                    _ => {}
                }
                gst::BusSyncReply::Drop
            });
        }
        self.pipeline.set_state(gst::State::Playing)?;
        Ok(news)
    }

    /// Goes back to the beginning at each end, from a thread of its own: the one that tells of the end must not seek.
    /// The thread ends with the bus handler.
    fn repeat(&self, rounds: mpsc::Receiver<()>) {
        let (pipeline, plays) = (self.pipeline.downgrade(), self.plays.clone());
        let round = move || {
            let mut began = Instant::now();
            while rounds.recv().is_ok() {
                std::thread::sleep(SHORTEST_ROUND.saturating_sub(began.elapsed()));
                began = Instant::now();
                let plays = plays.lock().unwrap();
                let Some(pipeline) = pipeline.upgrade().filter(|_| *plays) else {
                    return;
                };
                let how = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT;
                if pipeline.seek_simple(how, gst::ClockTime::ZERO).is_err() {
                    // What cannot seek can be opened again.
                    pipeline.set_state(gst::State::Ready).ok();
                    pipeline.set_state(gst::State::Playing).ok();
                }
            }
        };
        let thread = std::thread::Builder::new().name("film".into()).spawn(round);
        if let Err(error) = thread {
            tracing::error!(%error, "no thread could be started");
        }
    }
}

/// A file as an element that gives decoded pictures.
pub(crate) fn opened(path: &Path) -> Result<gst::Element, MediaError> {
    let text = "filesrc name=source ! decodebin caps=video/x-raw ! videoconvert name=end";
    // Trap: asked to make ghosts of open pads, the parser takes the one that decodebin is to be linked with later.
    let file = gst::parse::bin_from_description(text, false)
        .map_err(|error| MediaError::Pipeline(error.message().to_owned()))?;
    let exit = file.by_name("end").and_then(|end| end.static_pad("src"));
    let exit = exit.ok_or_else(|| MediaError::Missing("videoconvert".into()))?;
    file.add_pad(&gst::GhostPad::with_target(&exit)?)?;
    let location = path
        .to_str()
        .ok_or_else(|| MediaError::Pipeline("the file's name is not UTF-8".into()))?;
    let source = file.by_name("source");
    let source = source.ok_or_else(|| MediaError::Missing("filesrc".into()))?;
    set(&source, "location", location)?;
    Ok(file.upcast())
}

/// Width and height of a video, pixels, when it can be decoded; blocks for `patience` at most.
pub(crate) fn size(path: &Path, patience: Duration) -> Option<(u32, u32)> {
    let pipeline = gst::Pipeline::new();
    let (source, sink) = (opened(path).ok()?, make("fakesink").ok()?);
    pipeline.add_many([&source, &sink]).ok()?;
    source.link(&sink).ok()?;
    let patience = gst::ClockTime::try_from(patience).ok();
    let paused = pipeline.set_state(gst::State::Paused);
    // Something has come when the sink has it.
    let (settled, ..) = pipeline.state(patience);
    let caps = sink.static_pad("sink").and_then(|pad| pad.current_caps());
    let stopped = pipeline.set_state(gst::State::Null);
    let (Ok(_), Ok(_), Ok(_), Some(caps)) = (paused, settled, stopped, caps) else {
        return None;
    };
    let structure = caps.structure(0)?;
    let side = |name| u32::try_from(structure.get::<i32>(name).ok()?).ok();
    Some((side("width")?, side("height")?))
}

/// Why a source does not play, in a sentence.
fn reason(error: &gst::glib::Error) -> String {
    let undecodable = error.matches(gst::CoreError::MissingPlugin)
        || error.matches(gst::StreamError::CodecNotFound)
        || error.matches(gst::StreamError::TypeNotFound)
        || error.matches(gst::StreamError::WrongType);
    if undecodable {
        "the file has no video that this machine can decode".into()
    } else {
        error.message().to_owned()
    }
}

impl Drop for Film {
    fn drop(&mut self) {
        *self.plays.lock().unwrap() = false;
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::warn!("a source did not stop");
        }
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_video_with_sound_tells_its_size() {
        gst::init().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clip.webm");
        let line = "videotestsrc num-buffers=10 ! video/x-raw,width=160,height=120 ! vp8enc deadline=1 ! mux. \
                    audiotestsrc num-buffers=20 ! vorbisenc ! mux. webmmux name=mux ! filesink";
        let made = std::process::Command::new("gst-launch-1.0")
            .arg("-q")
            .args(line.split_whitespace())
            .arg(format!("location={}", file.display()))
            .status();
        assert!(made.unwrap().success());

        let source = opened(&file);
        assert!(source.is_ok(), "{source:?}");
        assert_eq!(size(&file, Duration::from_secs(5)), Some((160, 120)));
        assert_eq!(
            size(Path::new("/nowhere.mp4"), Duration::from_secs(5)),
            None
        );
    }
}

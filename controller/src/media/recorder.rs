//! A stream of pictures to a file.
//!
//! ```text
//! reel ► appsrc ► scale, convert ► queue ► encoder ► muxer ► file
//! ```
//!
//! Decision: an encoder of its own, at the picture's size, rather than a copy of what the client is sent. That stream
//! follows the client's network (its bit rate, its pause, its lost connection) and has a key frame when the client asks;
//! a recording is to notice nothing but the picture. Without a client there is no such stream at all.
//!
//! An MP4 is written in fragments, so a file that was cut off (a crash, a full disk) plays to its last fragment, and
//! closed as an ordinary MP4.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;
use webrtc_live::codec::{Encoder, Hardware, add_linked, after_encoder};
use webrtc_live::{Codec, MediaError, make, set};

use super::codec;
use super::reel::{Passed, Reel};

/// Converted pictures that wait for the encoder while the disk is slow: a second of them, and no more than 64 MiB.
const WAITING: &str = "30";
const WAITING_BYTES: &str = "67108864";
/// How often it is asked whether there is room.
const LOOK: Duration = Duration::from_secs(1);
/// Longest part of an MP4 that a crash takes along, milliseconds.
const FRAGMENT: &str = "1000";

/// What a recording is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    codec: Codec,
    muxer: &'static str,
    settings: &'static [(&'static str, &'static str)],
    /// What its files end in.
    pub(crate) ending: &'static str,
}

const MP4: Format = Format {
    codec: Codec::H264,
    muxer: "mp4mux",
    settings: &[
        ("fragment-duration", FRAGMENT),
        ("fragment-mode", "first-moov-then-finalise"),
        ("trak-timescale", "90000"),
    ],
    ending: "mp4",
};
const WEBM: Format = Format {
    codec: Codec::Vp8,
    muxer: "webmmux",
    settings: &[],
    ending: "webm",
};

impl Format {
    /// The first one that this machine can write.
    pub(crate) fn best() -> Result<Self, MediaError> {
        let able = codec::able();
        let has = |format: &Self| {
            able.contains(&format.codec) && gst::ElementFactory::find(format.muxer).is_some()
        };
        [MP4, WEBM].into_iter().find(has).ok_or_else(|| {
            MediaError::Missing("mp4mux with openh264enc or x264enc, or webmmux with vp8enc".into())
        })
    }
}

/// Why a recording cannot go on, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Broken {
    /// There is no more room.
    Full(String),
    /// Anything else.
    Failed(String),
}

/// Whether a recording of so many bytes may go on; a sentence when not.
pub(crate) type Room = Box<dyn Fn(u64) -> Result<(), String> + Send + Sync>;
/// Called once, from a thread that must not wait, when the recording cannot go on.
pub(crate) type Ended = Box<dyn Fn(Broken) + Send + Sync>;

/// A recording under way.
#[derive(Debug)]
pub(crate) struct Recorder {
    pipeline: gst::Pipeline,
    reel: Arc<Reel>,
    written: Arc<AtomicU64>,
    closing: Arc<Closing>,
}

/// How far the end has come.
#[derive(Debug, Default)]
struct Closing {
    outcome: Mutex<Option<Result<(), String>>>,
    changed: Condvar,
}

impl Closing {
    /// The first outcome stands; true for it.
    fn tell(&self, outcome: Result<(), String>) -> bool {
        let mut known = self.outcome.lock().unwrap();
        let first = known.is_none();
        if first {
            *known = Some(outcome);
            self.changed.notify_all();
        }
        first
    }

    fn wait(&self, patience: Duration) -> Option<Result<(), String>> {
        let known = self.outcome.lock().unwrap();
        let (known, _) = self
            .changed
            .wait_timeout_while(known, patience, |known| known.is_none())
            .unwrap();
        known.clone()
    }
}

impl Recorder {
    /// Records to this file, which exists and is empty. Blocks for milliseconds.
    pub(crate) fn start(
        format: Format,
        file: &Path,
        room: Room,
        ended: Ended,
    ) -> Result<Self, MediaError> {
        let pipeline = gst::Pipeline::new();
        let source = gst_app::AppSrc::builder()
            .is_live(true)
            .format(gst::Format::Time)
            .build();
        let (scale, form, queue) = (
            make("videoconvertscale")?,
            make("capsfilter")?,
            make("queue")?,
        );
        set(&scale, "add-borders", "true")?;
        set(&queue, "max-size-buffers", WAITING)?;
        set(&queue, "max-size-bytes", WAITING_BYTES)?;
        set(&queue, "max-size-time", "0")?;
        let encoder = Encoder::new(format.codec, Hardware::Avoided)?;
        let muxer = make(format.muxer)?;
        for (property, value) in format.settings {
            set(&muxer, property, value)?;
        }
        let sink = make("filesink")?;
        let location = file
            .to_str()
            .ok_or_else(|| MediaError::Pipeline("the folder's name is not UTF-8".into()))?;
        set(&sink, "location", location)?;
        set(&sink, "async", "false")?;

        let mut elements = vec![
            source.clone().upcast(),
            scale,
            form.clone(),
            queue,
            encoder.element.clone(),
        ];
        elements.extend(after_encoder(format.codec)?);
        elements.extend([muxer, sink.clone()]);
        add_linked(&pipeline, &elements)?;

        end_quietly(&encoder.element);

        let (written, closing) = (Arc::default(), Arc::<Closing>::default());
        let ended = Arc::new(ended);
        count(&sink, &written, room, ended.clone());
        watch(&pipeline, closing.clone(), ended);
        let recorder = Self {
            pipeline,
            reel: Arc::new(Reel::new(source, form, encoder, format.codec)),
            written,
            closing,
        };
        recorder
            .pipeline
            .set_state(gst::State::Playing)
            .map_err(|error| match recorder.closing.wait(Duration::ZERO) {
                Some(Err(reason)) => MediaError::Pipeline(reason),
                _ => error.into(),
            })?;
        Ok(recorder)
    }

    /// Where pictures go in.
    pub(crate) fn door(&self) -> Arc<Reel> {
        self.reel.clone()
    }

    pub(crate) fn passed(&self) -> Passed {
        self.reel.passed()
    }

    /// Size of the file so far, bytes.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Ends the file and closes it; blocks for `patience` and as long as the disk takes to let go.
    ///
    /// # Errors
    ///
    /// A sentence; what was written until then can be played.
    pub(crate) fn finish(&self, patience: Duration) -> Result<(), String> {
        self.reel.close();
        let outcome = self.closing.wait(patience).unwrap_or_else(|| {
            Err(format!(
                "the disk did not take the end of the recording within {patience:?}"
            ))
        });
        self.stop();
        outcome
    }

    fn stop(&self) {
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::warn!("a recording's pipeline did not stop");
        }
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Counts what is written, and asks for room now and then, in the recording's own thread.
fn count(sink: &gst::Element, written: &Arc<AtomicU64>, room: Room, ended: Arc<Ended>) {
    let Some(pad) = sink.static_pad("sink") else {
        return;
    };
    let written = written.clone();
    let state = Mutex::new((Instant::now(), false));
    let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
    pad.add_probe(kinds, move |_, info| {
        let size = match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => buffer.size() as u64,
            Some(gst::PadProbeData::BufferList(list)) => list.calculate_size() as u64,
            _ => 0,
        };
        let total = written.fetch_add(size, Ordering::Relaxed) + size;
        let mut state = state.lock().unwrap();
        let (looked, told) = *state;
        if !told && looked.elapsed() >= LOOK {
            let outcome = room(total);
            *state = (Instant::now(), outcome.is_err());
            drop(state);
            if let Err(reason) = outcome {
                ended(Broken::Full(reason));
            }
        }
        gst::PadProbeReturn::Ok
    });
}

/// Trap: at the end of a stream openh264enc encodes an empty picture, and its library prints an error about it. Our
/// encoders hold nothing back, so the end may go around them.
fn end_quietly(encoder: &gst::Element) {
    let (Some(entry), Some(exit)) = (encoder.static_pad("sink"), encoder.static_pad("src")) else {
        return;
    };
    let exit = exit.downgrade();
    entry.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        match (info.event().map(|event| event.type_()), exit.upgrade()) {
            (Some(gst::EventType::Eos), Some(exit)) => {
                exit.push_event(gst::event::Eos::new());
                // Not `Drop`: for an event that GStreamer takes back from the probe, and finds none.
                gst::PadProbeReturn::Handled
            }
            _ => gst::PadProbeReturn::Ok,
        }
    });
}

/// Waits for the end of the file, or for whatever is in its way.
fn watch(pipeline: &gst::Pipeline, closing: Arc<Closing>, ended: Arc<Ended>) {
    let Some(bus) = pipeline.bus() else { return };
    bus.set_sync_handler(move |_, message| {
        match message.view() {
            gst::MessageView::Eos(_) => {
                closing.tell(Ok(()));
            }
            gst::MessageView::Error(error) => {
                tracing::debug!(error = %error.error(), debug = error.debug().as_deref(), "a recording failed");
                let reason = error.error().message().to_owned();
                if closing.tell(Err(reason.clone())) {
                    let full = error.error().matches(gst::ResourceError::NoSpaceLeft);
                    ended(if full {
                        Broken::Full(reason)
                    } else {
                        Broken::Failed(reason)
                    });
                }
            }
            _ => {}
        }
        gst::BusSyncReply::Drop
    });
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::media::inlet::{Door, Frame};

    fn picture() -> Frame {
        let caps = "video/x-raw,format=RGB,width=640,height=480,framerate=0/1";
        let noise = |at: usize| (at.wrapping_mul(2_654_435_761) >> 7) as u8;
        Frame {
            caps: caps.parse().unwrap(),
            buffer: gst::Buffer::from_slice((0..640 * 480 * 3).map(noise).collect::<Vec<_>>()),
            mark: None,
        }
    }

    /// A disk that takes nothing, and then goes on: a pipe whose reader waits.
    #[test]
    fn a_disk_that_stalls_costs_pictures_and_never_time() {
        gst::init().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let (go_on, wait) = mpsc::channel::<()>();
        let reader = thread::spawn({
            let pipe = pipe.clone();
            move || {
                let mut file = File::open(pipe).unwrap();
                wait.recv().unwrap();
                let mut all = Vec::new();
                file.read_to_end(&mut all).unwrap();
                all.len()
            }
        });
        let room = Box::new(|_| Ok(()));
        let ended = Box::new(|why| panic!("{why:?}"));
        let recorder = Recorder::start(WEBM, &pipe, room, ended).unwrap();
        let door = recorder.door();

        let end = Instant::now() + Duration::from_secs(20);
        let mut slowest = Duration::ZERO;
        while recorder.passed().dropped < 10 {
            assert!(Instant::now() < end, "{:?}", recorder.passed());
            let began = Instant::now();
            door.push(&mut picture());
            slowest = slowest.max(began.elapsed());
            thread::sleep(Duration::from_millis(10));
        }
        let held = recorder.passed();
        go_on.send(()).unwrap();
        recorder.finish(Duration::from_secs(10)).unwrap();

        assert!(slowest < Duration::from_secs(1), "{slowest:?}");
        assert!(held.taken < 100, "the queue has a bound: {held:?}");
        drop(recorder);
        assert!(reader.join().unwrap() > 100_000);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_refused_at_the_start() {
        gst::init().unwrap();
        let room = Box::new(|_| Ok(()));
        let refused = Recorder::start(
            MP4,
            Path::new("/nowhere/at/all.mp4"),
            room,
            Box::new(|_| {}),
        );

        let reason = refused.unwrap_err().to_string();
        assert!(reason.contains("/nowhere/at/all.mp4"), "{reason}");
    }
}

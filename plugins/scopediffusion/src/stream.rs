//! One stream of frames of one size: the engine, the scaling around it, and the timestamps of frames in flight.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::sights::Sights;
use diffusion_engine::{Engine, EngineError, Interrupt, Model, Outcome, Patch, Prompts, Spent};
use gst::prelude::*;
use gst_video::{VideoFrameRef, VideoInfo};

use crate::frame::{self, Scaler};
use crate::pool;
use crate::settings::Settings;

/// Why a frame gave no picture.
#[derive(Debug)]
pub(crate) enum StreamError {
    /// The engine refused or failed.
    Engine(EngineError),
    /// The buffer does not hold the frame its caps promise.
    BadFrame(String),
    /// No memory for a picture, or GStreamer refused to scale.
    Buffer(String),
}

impl From<EngineError> for StreamError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// What was got ready beside the stream, to be taken up between two frames.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    /// Another loading of the model.
    pub(crate) model: Option<Arc<Model>>,
    /// Other pictures beside the frames.
    pub(crate) sights: Option<Sights>,
}

/// What exists from caps to caps.
#[derive(Debug)]
pub(crate) struct Stream {
    info: VideoInfo,
    engine: Engine,
    scaler: Option<Scaler>,
    /// Buffers without memory, carrying the timestamps of frames whose pictures are still to come.
    in_flight: VecDeque<gst::Buffer>,
    /// Where memory for pictures comes from.
    pool: Option<gst::BufferPool>,
}

impl Stream {
    /// Opens an engine for frames of `info`.
    ///
    /// # Errors
    ///
    /// If the model cannot work at that size, or GStreamer cannot scale to the size asked for.
    pub(crate) fn new(
        model: Arc<Model>,
        settings: &Settings,
        info: VideoInfo,
    ) -> Result<Self, StreamError> {
        let size = settings.model_size(info.width(), info.height());
        let engine = Engine::new(model, size, settings.pace(), settings.parameters.clone())?;
        let scaler = (size != (info.width(), info.height()))
            .then(|| Scaler::new(&info, size))
            .transpose()
            .map_err(|error| StreamError::Buffer(error.to_string()))?;
        Ok(Self {
            info,
            engine,
            scaler,
            in_flight: VecDeque::new(),
            pool: None,
        })
    }

    /// How much later than its own input a picture leaves, in frames' worth of running time.
    pub(crate) fn delay(&self) -> Option<gst::ClockTime> {
        let (frames, fps) = (self.engine.delay() as u64, self.info.fps());
        match (
            frames,
            u64::try_from(fps.numer()),
            u64::try_from(fps.denom()),
        ) {
            (0, _, _) => Some(gst::ClockTime::ZERO),
            (_, Ok(numer @ 1..), Ok(denom)) => {
                gst::ClockTime::SECOND.mul_div_ceil(frames * denom, numer)
            }
            _ => None,
        }
    }

    /// Format and size of the frames and of the pictures.
    pub(crate) fn info(&self) -> &VideoInfo {
        &self.info
    }

    /// Draws into buffers of this pool from now on; whoever gives it keeps it active.
    pub(crate) fn draw_into(&mut self, pool: Option<gst::BufferPool>) {
        self.pool = pool;
    }

    /// Width and height that the model works at.
    pub(crate) fn size(&self) -> (u32, u32) {
        self.engine.size()
    }

    /// Runs everything once, so that the first frame is as fast as the others.
    pub(crate) fn warm_up(&mut self) -> Result<(), StreamError> {
        Ok(self.engine.warm_up()?)
    }

    /// Takes a patch over.
    pub(crate) fn apply(&mut self, patch: &Patch, prompts: Prompts) -> Result<(), EngineError> {
        self.engine.apply(patch, prompts)?;
        self.forget_lost(0);
        Ok(())
    }

    /// Goes on with what was got ready beside the stream.
    pub(crate) fn take_up(&mut self, fresh: Fresh) -> Result<(), EngineError> {
        if let Some(model) = fresh.model {
            self.engine.replace_model(model)?;
        }
        if let Some(sights) = fresh.sights {
            self.show(sights);
        }
        Ok(())
    }

    /// Shows the engine other pictures beside the frames.
    pub(crate) fn show(&mut self, sights: Sights) {
        self.engine.set_reference(sights.reference);
        self.engine.set_colours(sights.colours);
    }

    /// What the graphs took over the last frame.
    pub(crate) fn spent(&self) -> Spent {
        self.engine.spent()
    }

    /// A handle to stop the frame under way.
    pub(crate) fn interrupt(&self) -> Interrupt {
        self.engine.interrupt()
    }

    /// Pictures so far that were no pictures and were not shown.
    pub(crate) fn faults(&self) -> u64 {
        self.engine.faults()
    }

    /// Drops the timestamps of frames that will have no picture, oldest first.
    ///
    /// - `leaving`: frames whose picture is complete now.
    fn forget_lost(&mut self, leaving: usize) {
        let waiting = self.engine.in_flight() + leaving;
        let lost = self.in_flight.len().saturating_sub(waiting);
        self.in_flight.drain(..lost);
    }

    /// Runs one frame; gives the picture that is complete now, with the timestamps of its own input.
    ///
    /// # Errors
    ///
    /// [`StreamError`]; the stream can go on with the next frame.
    pub(crate) fn process(
        &mut self,
        input: &gst::Buffer,
    ) -> Result<Option<gst::Buffer>, StreamError> {
        let frame = VideoFrameRef::from_buffer_ref_readable(input, &self.info)
            .map_err(|_| StreamError::BadFrame(bad_frame(input, &self.info)))?;
        let engine = &mut self.engine;
        let mut run = |frame: &VideoFrameRef<&gst::BufferRef>| match frame::view(frame) {
            Some(view) => engine.process(Some(&view)).map_err(StreamError::from),
            None => Err(StreamError::BadFrame("the frame has no pixel plane".into())),
        };
        let outcome = match &mut self.scaler {
            Some(scaler) => scaler
                .read(&frame, run)
                .map_err(|error| StreamError::Buffer(error.to_string()))??,
            None => run(&frame)?,
        };
        self.in_flight.push_back(header(input));
        self.collect(outcome)
    }

    /// Draws from the prompt alone; gives the picture that is complete now.
    ///
    /// - `header`: an empty buffer with the timestamps of this frame.
    ///
    /// # Errors
    ///
    /// [`StreamError`]; the stream can go on with the next frame.
    pub(crate) fn generate(
        &mut self,
        header: gst::Buffer,
    ) -> Result<Option<gst::Buffer>, StreamError> {
        let outcome = self.engine.process(None)?;
        self.in_flight.push_back(header);
        self.collect(outcome)
    }

    /// A further picture that is complete now, after a change that made the delay shorter.
    ///
    /// # Errors
    ///
    /// [`StreamError`].
    pub(crate) fn catch_up(&mut self) -> Result<Option<gst::Buffer>, StreamError> {
        let outcome = self.engine.catch_up()?;
        self.collect(outcome)
    }

    /// The next picture still in flight at the end of the stream.
    ///
    /// # Errors
    ///
    /// [`StreamError`].
    pub(crate) fn drain(&mut self) -> Result<Option<gst::Buffer>, StreamError> {
        if self.in_flight.is_empty() {
            return Ok(None);
        }
        let outcome = self.engine.drain()?;
        self.collect(outcome)
    }

    /// Forgets everything in flight, after a flush.
    pub(crate) fn reset(&mut self) {
        self.engine.reset();
        self.in_flight.clear();
    }

    fn collect(&mut self, outcome: Outcome) -> Result<Option<gst::Buffer>, StreamError> {
        self.forget_lost(usize::from(outcome == Outcome::Picture));
        if outcome == Outcome::Filling {
            return Ok(None);
        }
        let Some(header) = self.in_flight.pop_front() else {
            return Ok(None);
        };
        let no_room = |error: gst::glib::BoolError| StreamError::Buffer(error.to_string());
        let unpainted = || StreamError::Buffer("the picture's memory cannot be mapped".into());
        let buffer = pool::take(self.pool.as_ref(), &self.info);
        let mut buffer = buffer.ok_or_else(|| StreamError::Buffer("out of memory".into()))?;
        let out = buffer.make_mut();
        header.copy_into(out, HEADER, ..).map_err(no_room)?;
        let mut frame =
            VideoFrameRef::from_buffer_ref_writable(out, &self.info).map_err(no_room)?;
        let engine = &self.engine;
        let paint = |frame: &mut VideoFrameRef<&mut gst::BufferRef>| -> Result<(), StreamError> {
            let mut view = frame::view_mut(frame).ok_or_else(unpainted)?;
            Ok(engine.write_picture(&mut view)?)
        };
        match &mut self.scaler {
            Some(scaler) => scaler.write(&mut frame, paint).map_err(no_room)??,
            None => paint(&mut frame)?,
        }
        drop(frame);
        Ok(Some(buffer))
    }
}

/// What a picture takes over from the frame it was drawn from.
const HEADER: gst::BufferCopyFlags = gst::BufferCopyFlags::TIMESTAMPS
    .union(gst::BufferCopyFlags::FLAGS)
    .union(gst::BufferCopyFlags::META);

/// An empty buffer with the timestamps, flags and metas of `input`, less those that describe its memory.
fn header(input: &gst::Buffer) -> gst::Buffer {
    let mut header = gst::Buffer::new();
    let out = header.make_mut();
    let flags = gst::BufferCopyFlags::TIMESTAMPS.union(gst::BufferCopyFlags::FLAGS);
    // Copying timestamps and flags between two buffers of ours has no way to fail.
    let copied = input.copy_into(out, flags, ..);
    debug_assert!(copied.is_ok(), "{copied:?}");
    input.foreach_meta(|meta| {
        if !meta.has_tag::<gst::meta::tags::Memory>() {
            // A meta that cannot be copied is dropped, as every transform in GStreamer does.
            let _ = meta.transform(out, &gst::meta::MetaTransformCopy::new(..));
        }
        std::ops::ControlFlow::Continue(())
    });
    header
}

fn bad_frame(input: &gst::Buffer, info: &VideoInfo) -> String {
    format!(
        "a buffer of {} bytes cannot hold a {} frame of {}×{} ({} bytes)",
        input.size(),
        info.format(),
        info.width(),
        info.height(),
        info.size()
    )
}

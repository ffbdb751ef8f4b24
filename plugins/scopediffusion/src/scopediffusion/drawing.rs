//! The stream itself, on whichever thread infers: the caller's in strict pacing, our own in live pacing.

use diffusion_engine::Prompts;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_video::VideoInfo;

use super::imp::ScopeDiffusion;
use super::queue::Item;
use crate::pool;
use crate::processor::timed;
use crate::stream::{Stream, StreamError};

impl ScopeDiffusion {
    pub(super) fn handle(
        &self,
        item: Item<gst::Buffer, gst::Event>,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        match item {
            Item::Frame(buffer) => self.draw(&buffer),
            Item::Event(event) => {
                match event.view() {
                    gst::EventView::Caps(caps) => self.configure(caps.caps())?,
                    gst::EventView::Segment(segment) => {
                        if let Some(segment) = segment.segment().downcast_ref::<gst::ClockTime>() {
                            self.streaming.lock().unwrap().segment = segment.clone();
                        }
                    }
                    gst::EventView::Eos(_) => match self.drain() {
                        // Downstream has had enough of pictures, not of the news that there are no more.
                        Err(gst::FlowError::Eos) | Ok(()) => {}
                        Err(error) => return Err(error),
                    },
                    _ => {}
                }
                match self.srcpad.push_event(event) {
                    true => Ok(gst::FlowSuccess::Ok),
                    // A sticky event that nobody took yet is kept by the pad; the next buffer tells why.
                    false => Ok(gst::FlowSuccess::Ok),
                }
            }
        }
    }

    pub(super) fn configure(&self, caps: &gst::CapsRef) -> Result<(), gst::FlowError> {
        let info = VideoInfo::from_caps(caps).map_err(|_| gst::FlowError::NotNegotiated)?;
        // Pictures of the old size go out before the caps of the new one.
        self.drain()?;
        match self
            .processor
            .stream(self.obj().upcast_ref(), info)
            .ok_or(gst::FlowError::Flushing)?
        {
            Ok(stream) => {
                let old = {
                    let mut streaming = self.streaming.lock().unwrap();
                    streaming.stream = Some(stream);
                    streaming.pool.take()
                };
                drop(old);
                Ok(())
            }
            Err(error) => Err(self.fail(&error)),
        }
    }

    pub(super) fn draw(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.follow_control(buffer);
        self.agree_on_memory();
        let patches = self.processor.unheard();
        let fresh = self.processor.fresh();
        // A stream that loses nothing also draws every frame as it was told before that frame.
        let prompts = match self.is_live() {
            true => Prompts::Later,
            false => Prompts::Wait,
        };
        let (drawn, counts, took) = {
            let mut streaming = self.streaming.lock().unwrap();
            let stream = streaming
                .stream
                .as_mut()
                .ok_or(gst::FlowError::NotNegotiated)?;
            let (drawn, took) = timed(|| {
                let told = stream.take_up(fresh).and_then(|()| {
                    let mut patches = patches.iter();
                    patches.try_for_each(|patch| stream.apply(patch, prompts))
                });
                told.map_err(StreamError::from)
                    .and_then(|()| stream.process(buffer))
            });
            (drawn, (stream.spent(), stream.faults()), took)
        };
        match drawn {
            Ok(picture) => {
                let element = self.obj();
                self.processor
                    .count_inference(element.upcast_ref(), took, counts);
                self.announce_latency();
                if let Some(picture) = picture {
                    self.push(picture)?;
                }
                self.push_all(Stream::catch_up)?;
                Ok(gst::FlowSuccess::Ok)
            }
            Err(StreamError::BadFrame(text)) => {
                gst::element_imp_warning!(
                    self,
                    gst::StreamError::Format,
                    ("frame skipped: {text}")
                );
                Ok(gst::FlowSuccess::Ok)
            }
            Err(error) => Err(self.fail(&error)),
        }
    }

    /// Asks downstream whose memory pictures shall be drawn into, after new caps and whenever downstream has changed.
    fn agree_on_memory(&self) {
        let changed = self.srcpad.check_reconfigure();
        let (info, old) = {
            let mut streaming = self.streaming.lock().unwrap();
            let stale = changed || streaming.pool.is_none();
            let stream = streaming.stream.as_ref().filter(|_| stale);
            let Some(info) = stream.map(|stream| stream.info().clone()) else {
                return;
            };
            (info, streaming.pool.take())
        };
        // Downstream may offer the same one again, and must not find it in use.
        drop(old);
        let agreed = pool::Agreed::with(&self.srcpad, &info);
        let mut streaming = self.streaming.lock().unwrap();
        if let Some(stream) = &mut streaming.stream {
            stream.draw_into(agreed.pool());
        }
        streaming.pool = Some(agreed);
    }

    /// Lets control sources write the controllable properties for this frame's moment.
    pub(super) fn follow_control(&self, buffer: &gst::Buffer) {
        let moment = self
            .streaming
            .lock()
            .unwrap()
            .segment
            .to_stream_time(buffer.pts());
        if let Some(moment) = moment {
            // Fails only without any control source, which is the usual case.
            let _ = self.obj().sync_values(moment);
        }
    }

    pub(super) fn drain(&self) -> Result<(), gst::FlowError> {
        self.push_all(Stream::drain)
    }

    /// Pushes pictures as long as `next` has one.
    fn push_all(
        &self,
        next: fn(&mut Stream) -> Result<Option<gst::Buffer>, StreamError>,
    ) -> Result<(), gst::FlowError> {
        loop {
            let picture = match &mut self.streaming.lock().unwrap().stream {
                Some(stream) => next(stream),
                None => return Ok(()),
            };
            match picture {
                Ok(Some(picture)) => self.push(picture)?,
                Ok(None) => return Ok(()),
                Err(error) => return Err(self.fail(&error)),
            };
        }
    }

    pub(super) fn push(&self, picture: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.processor.stats().frames_out += 1;
        self.srcpad.push(picture)
    }

    pub(super) fn fail(&self, error: &StreamError) -> gst::FlowError {
        self.processor.fail(self.obj().upcast_ref(), error)
    }

    pub(super) fn announce_latency(&self) {
        let (element, delay) = (self.obj(), self.delay());
        self.processor
            .announce_latency(element.upcast_ref(), delay, self.is_live());
    }

    pub(super) fn delay(&self) -> gst::ClockTime {
        let streaming = self.streaming.lock().unwrap();
        streaming
            .stream
            .as_ref()
            .and_then(Stream::delay)
            .unwrap_or(gst::ClockTime::ZERO)
    }
}

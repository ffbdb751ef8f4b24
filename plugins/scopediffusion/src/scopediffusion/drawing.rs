//! The stream itself, on whichever thread infers: the caller's in strict pacing, our own in live pacing.

use std::time::Instant;

use diffusion_engine::Prompts;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_video::VideoInfo;

use super::imp::ScopeDiffusion;
use super::queue::Item;
use crate::stream::{Stream, StreamError};
use crate::{errors, messages};

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
        let model = self
            .model
            .lock()
            .unwrap()
            .clone()
            .ok_or(gst::FlowError::Flushing)?;
        // Pictures of the old size go out before the caps of the new one.
        self.drain()?;
        let settings = {
            let mut control = self.control.lock().unwrap();
            // The engine is made from the parameters as they stand: nothing is left to tell it.
            control.unheard.clear();
            control.settings.clone()
        };
        match Stream::new(model, &settings, info) {
            Ok(stream) => {
                self.streaming.lock().unwrap().stream = Some(stream);
                Ok(())
            }
            Err(error) => Err(self.fail(&error)),
        }
    }

    pub(super) fn draw(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.follow_control(buffer);
        let patches = std::mem::take(&mut self.control.lock().unwrap().unheard);
        // A stream that loses nothing also draws every frame as it was told before that frame.
        let prompts = match self.rhythm.lock().unwrap().live {
            Some(true) => Prompts::Later,
            _ => Prompts::Wait,
        };
        let (began, faults) = (Instant::now(), &mut 0);
        let drawn = {
            let mut streaming = self.streaming.lock().unwrap();
            let stream = streaming
                .stream
                .as_mut()
                .ok_or(gst::FlowError::NotNegotiated)?;
            let told = patches
                .iter()
                .try_for_each(|patch| stream.apply(patch, prompts));
            let drawn = told
                .map_err(StreamError::from)
                .and_then(|()| stream.process(buffer));
            *faults = stream.faults();
            drawn
        };
        self.report_faults(*faults);
        match drawn {
            Ok(picture) => {
                self.stats.lock().unwrap().inferred(began.elapsed());
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

    /// Counts pictures that were none; says so at the first of a run.
    fn report_faults(&self, faults: u64) {
        let begins = {
            let mut stats = self.stats.lock().unwrap();
            stats.faults_at(faults)
        };
        if begins {
            gst::element_imp_warning!(
                self,
                gst::StreamError::Encode,
                ("the model gave values that are no picture (NaN); the last good picture is held. \
                 Export it in float32, or with its attention in float32")
            );
        }
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
        self.stats.lock().unwrap().frames_out += 1;
        self.srcpad.push(picture)
    }

    pub(super) fn fail(&self, error: &StreamError) -> gst::FlowError {
        let message = errors::stream(error);
        let element = self.obj();
        let reason = errors::reason(error);
        // No bus, no listener.
        let _ = element.post_message(messages::processor_stopped(element.upcast_ref(), &reason));
        self.post_error_message(message);
        gst::FlowError::Error
    }

    /// Tells the pipeline when the latency it knows is no longer true.
    pub(super) fn announce_latency(&self) {
        let delay = self.delay();
        let live = self.rhythm.lock().unwrap().live == Some(true);
        let changed = {
            let mut stats = self.stats.lock().unwrap();
            let wanted = if live {
                stats.new_latency(delay)
            } else {
                Some(delay).filter(|delay| *delay != stats.latency)
            };
            wanted.inspect(|latency| stats.latency = *latency)
        };
        if changed.is_some() {
            let element = self.obj();
            // No bus, nobody to recalculate.
            let _ = element.post_message(gst::message::Latency::builder().src(&*element).build());
        }
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

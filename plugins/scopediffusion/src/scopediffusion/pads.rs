//! The sink pad's side: the choice between the two pacing modes, and frames and events in order.

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::imp::{CAT, ScopeDiffusion};
use super::queue::Item;
use crate::messages;
use crate::settings::Pacing;

/// How far the choice between the two pacing modes has come, and what the inference thread last met.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rhythm {
    pub(super) live: Option<bool>,
    flow: Result<gst::FlowSuccess, gst::FlowError>,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self {
            live: None,
            flow: Ok(gst::FlowSuccess::Ok),
        }
    }
}

impl ScopeDiffusion {
    pub(super) fn src_activate(
        &self,
        pad: &gst::Pad,
        active: bool,
    ) -> Result<(), gst::LoggableError> {
        self.queue.set_flushing(!active);
        if active {
            self.processor.let_frames_through();
        } else {
            // Waits for the frame being inferred, which ends at once.
            self.processor.stop_frame();
            pad.stop_task()
                .map_err(|error| gst::loggable_error!(CAT, "{error}"))?;
        }
        Ok(())
    }

    pub(super) fn chain(
        &self,
        pad: &gst::Pad,
        buffer: gst::Buffer,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.processor.stats().frames_in += 1;
        let rhythm = *self.rhythm.lock().unwrap();
        match rhythm.live {
            None => {
                gst::error!(CAT, obj = pad, "frame before caps");
                Err(gst::FlowError::NotNegotiated)
            }
            Some(false) => self.handle(Item::Frame(buffer)),
            Some(true) => {
                rhythm.flow?;
                let displaced = self
                    .queue
                    .push(Item::Frame(buffer))
                    .map_err(|_| gst::FlowError::Flushing)?;
                if let Some(frame) = displaced {
                    self.count_dropped(pad, &frame);
                }
                Ok(gst::FlowSuccess::Ok)
            }
        }
    }

    pub(super) fn count_dropped(&self, pad: &gst::Pad, frame: &gst::Buffer) {
        let counts = {
            let mut stats = self.processor.stats();
            stats.frames_dropped += 1;
            (stats.frames_out, stats.frames_dropped)
        };
        let element = self.obj();
        let segment = pad
            .sticky_event::<gst::event::Segment>(0)
            .map(|event| event.segment().clone());
        if let Some(segment) = segment.and_then(|segment| segment.downcast::<gst::ClockTime>().ok())
        {
            // As above: no bus, no loss.
            let _ = element.post_message(messages::dropped(
                element.upcast_ref(),
                &segment,
                frame,
                counts,
            ));
        }
    }

    pub(super) fn sink_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        match event.view() {
            gst::EventView::FlushStart(_) => {
                self.queue.set_flushing(true);
                self.processor.stop_frame();
                gst::Pad::event_default(pad, Some(&*self.obj()), event)
            }
            gst::EventView::FlushStop(_) => self.flush_stop(pad, event),
            gst::EventView::Caps(_) => {
                self.choose_rhythm(pad);
                self.pass(event)
            }
            _ if event.is_serialized() => self.pass(event),
            _ => gst::Pad::event_default(pad, Some(&*self.obj()), event),
        }
    }

    /// Sends a serialised event the way frames go, so that it stays in order with them.
    pub(super) fn pass(&self, event: gst::Event) -> bool {
        let live = self.rhythm.lock().unwrap().live == Some(true);
        match live {
            true => self.queue.push(Item::Event(event)).is_ok(),
            false => self.handle(Item::Event(event)).is_ok(),
        }
    }

    pub(super) fn flush_stop(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        let live = self.rhythm.lock().unwrap().live == Some(true);
        if live {
            // The inference thread has seen the flush; it must stand still before it is set going again. Refused
            // only while the pad is being deactivated, and then there is nothing to set going.
            let _ = self.srcpad.pause_task();
        }
        if let Some(stream) = &mut self.streaming.lock().unwrap().stream {
            stream.reset();
        }
        self.rhythm.lock().unwrap().flow = Ok(gst::FlowSuccess::Ok);
        self.processor.let_frames_through();
        let forwarded = gst::Pad::event_default(pad, Some(&*self.obj()), event);
        self.queue.set_flushing(false);
        forwarded && (!live || self.start_inference().is_ok())
    }

    /// Decides between live and strict, once, when the first caps arrive: by then upstream knows what it is.
    pub(super) fn choose_rhythm(&self, pad: &gst::Pad) {
        if self.rhythm.lock().unwrap().live.is_some() {
            return;
        }
        let live = match self.processor.settings().pacing {
            Pacing::Live => true,
            Pacing::Strict => false,
            Pacing::Auto => {
                let mut query = gst::query::Latency::new();
                pad.peer_query(&mut query) && query.result().0
            }
        };
        gst::info!(
            CAT,
            imp = self,
            "pacing: {}",
            if live { "live" } else { "strict" }
        );
        self.rhythm.lock().unwrap().live = Some(live);
        if live && let Err(error) = self.start_inference() {
            gst::element_imp_error!(
                self,
                gst::CoreError::Thread,
                ("the inference thread did not start: {error}")
            );
        }
    }

    pub(super) fn start_inference(&self) -> Result<(), glib::BoolError> {
        let this = self.ref_counted();
        self.srcpad.start_task(move || this.infer_next())
    }

    /// One round of the inference thread.
    pub(super) fn infer_next(&self) {
        let flow = match self.queue.pop() {
            Ok(item) => self.handle(item),
            Err(_) => Err(gst::FlowError::Flushing),
        };
        if let Err(error) = flow {
            self.rhythm.lock().unwrap().flow = Err(error);
            if error == gst::FlowError::Eos {
                // Upstream hears of it with its next frame and answers with EOS, which must still get through.
                return;
            }
            gst::debug!(CAT, imp = self, "inference thread pauses: {error}");
            // Refused only while the pad is being deactivated, which stops the task anyway.
            let _ = self.srcpad.pause_task();
        }
    }
}

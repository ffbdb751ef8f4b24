//! Both pads: pictures in from upstream, pictures out from a thread of the source pad.

use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_video::VideoInfo;
use webrtc_live::{Codec, rtp};

use super::flow::{Frame, Manner};
use super::imp::{CAT, FalWebRTCBin};
use super::material::{Form, raw_like};
use super::output::Item;
use super::picture::{self, Fitter, Picture};

/// What the source pad's thread knows of downstream.
#[derive(Debug, Default)]
pub(crate) struct Downstream {
    input: Option<gst::Caps>,
    agreed: Option<VideoInfo>,
    returned: Fitter,
    black: Option<Picture>,
}

/// Raw formats in system memory, the likeliest first. Named one by one: GStreamer's own list grows with every version.
const FORMATS: [&str; 30] = [
    "I420",
    "NV12",
    "YV12",
    "NV21",
    "YUY2",
    "UYVY",
    "YVYU",
    "VYUY",
    "RGB",
    "BGR",
    "RGBx",
    "BGRx",
    "xRGB",
    "xBGR",
    "RGBA",
    "BGRA",
    "ARGB",
    "ABGR",
    "AYUV",
    "A420",
    "Y42B",
    "Y444",
    "Y41B",
    "NV16",
    "NV24",
    "GRAY8",
    "GRAY16_LE",
    "RGB16",
    "I420_10LE",
    "P010_10LE",
];

/// Raw video.
pub(crate) fn template() -> gst::Caps {
    gst::Caps::builder("video/x-raw")
        .field("format", gst::List::new(FORMATS))
        .field("width", gst::IntRange::new(1, i32::MAX))
        .field("height", gst::IntRange::new(1, i32::MAX))
        .field(
            "framerate",
            gst::FractionRange::new(gst::Fraction::new(0, 1), gst::Fraction::new(i32::MAX, 1)),
        )
        .build()
}

/// What can be sent: raw video, or what needs no encoder of ours. Far ends take no more than the baseline of H.264.
pub(crate) fn sink_template() -> gst::Caps {
    let size = gst::IntRange::new(1, i32::MAX);
    let encoded = |codec: Codec| {
        gst::Structure::builder(codec.media_type())
            .field("width", size)
            .field("height", size)
    };
    let h264 = encoded(Codec::H264)
        .field("stream-format", "byte-stream")
        .field("alignment", "au")
        .field(
            "profile",
            gst::List::new(["constrained-baseline", "baseline"]),
        );
    let mut caps = template();
    caps.merge_structure(encoded(Codec::Vp8).build());
    caps.merge_structure(h264.build());
    caps
}

impl FalWebRTCBin {
    pub(super) fn chain(
        &self,
        pad: &gst::Pad,
        buffer: gst::Buffer,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        (*self.flow_result.lock().unwrap())?;
        if self.flow.form().is_none() {
            gst::error!(CAT, obj = pad, "frame before caps");
            return Err(gst::FlowError::NotNegotiated);
        }
        self.flow
            .input(buffer)
            .map_err(|_| gst::FlowError::Flushing)?;
        if self.flow.take_key_wish() {
            // A source without an encoder has no use for it.
            pad.push_event(rtp::key_frame_wish());
        }
        self.wake();
        Ok(gst::FlowSuccess::Ok)
    }

    pub(super) fn sink_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        match event.view() {
            gst::EventView::FlushStart(_) => {
                self.flow.set_flushing(true);
                gst::Pad::event_default(pad, Some(&*self.obj()), event)
            }
            gst::EventView::FlushStop(_) => {
                // The source pad's thread has seen the flush; it must stand still before it is set going again.
                // Refused only while the pad is being deactivated, and then there is nothing to set going.
                let _ = self.srcpad.pause_task();
                *self.flow_result.lock().unwrap() = Ok(gst::FlowSuccess::Ok);
                let forwarded = gst::Pad::event_default(pad, Some(&*self.obj()), event);
                self.flow.set_flushing(false);
                forwarded && self.start_output()
            }
            gst::EventView::Caps(caps) => {
                match Form::of(&caps.caps_owned()) {
                    Some(form) => self.flow.set_form(form),
                    None => return false,
                }
                self.choose_manner(pad);
                self.flow.output.push(Item::Event(event)).is_ok()
            }
            gst::EventView::Segment(segment) => {
                if segment.segment().format() != gst::Format::Time {
                    gst::element_imp_error!(
                        self,
                        gst::StreamError::Format,
                        ("the stream is not measured in time; put `identity single-segment=true` or a parser before")
                    );
                    return false;
                }
                self.flow.new_segment();
                self.flow.output.push(Item::Event(event)).is_ok()
            }
            gst::EventView::Eos(_) => {
                let alone = self.settings.lock().unwrap().connect_timeout;
                self.flow.drain(alone);
                self.obj().tell_lost();
                self.flow.output.push(Item::Event(event)).is_ok()
            }
            _ if event.is_serialized() => self.flow.output.push(Item::Event(event)).is_ok(),
            _ => gst::Pad::event_default(pad, Some(&*self.obj()), event),
        }
    }

    /// Live or not is upstream's to know; by its first caps it does.
    fn choose_manner(&self, pad: &gst::Pad) {
        let mut query = gst::query::Latency::new();
        self.flow
            .set_manner(pad.peer_query(&mut query) && query.result().0);
        gst::info!(
            CAT,
            imp = self,
            "pictures flow in manner {:?}",
            self.flow.manner()
        );
    }

    pub(super) fn src_activate(&self, active: bool) -> Result<(), gst::LoggableError> {
        self.flow.set_flushing(!active);
        if active {
            *self.flow_result.lock().unwrap() = Ok(gst::FlowSuccess::Ok);
            *self.downstream.lock().unwrap() = Downstream::default();
            if !self.start_output() {
                return Err(gst::loggable_error!(
                    CAT,
                    "the source pad's thread did not start"
                ));
            }
        } else {
            self.srcpad
                .stop_task()
                .map_err(|error| gst::loggable_error!(CAT, "{error}"))?;
        }
        Ok(())
    }

    fn start_output(&self) -> bool {
        let this = self.ref_counted();
        self.srcpad.start_task(move || this.put_out()).is_ok()
    }

    /// One round of the source pad's thread.
    fn put_out(&self) {
        let flow = match self.flow.output.pop() {
            Ok(Item::Event(event)) => self.put_event(event),
            Ok(Item::Frame(frame)) => {
                self.flow.made_room();
                self.put_frame(frame)
            }
            Err(_) => Err(gst::FlowError::Flushing),
        };
        if let Err(error) = flow {
            *self.flow_result.lock().unwrap() = Err(error);
            if error == gst::FlowError::Eos {
                // Upstream hears of it with its next frame and answers with EOS, which must still get through.
                return;
            }
            gst::debug!(CAT, imp = self, "output pauses: {error}");
            // Refused only while the pad is being deactivated, which stops the task anyway.
            let _ = self.srcpad.pause_task();
        }
    }

    fn put_event(&self, event: gst::Event) -> Result<gst::FlowSuccess, gst::FlowError> {
        if let gst::EventView::Caps(caps) = event.view() {
            let mut downstream = self.downstream.lock().unwrap();
            downstream.input = Some(raw_like(&caps.caps_owned()));
            downstream.agreed = None;
            drop(downstream);
            // Refusal shows with the next frame.
            self.agree().map(|_| gst::FlowSuccess::Ok)
        } else {
            self.srcpad.push_event(event);
            Ok(gst::FlowSuccess::Ok)
        }
    }

    /// The caps that go out: upstream's, or the nearest to them that downstream takes.
    fn agree(&self) -> Result<VideoInfo, gst::FlowError> {
        let agreed = {
            let downstream = self.downstream.lock().unwrap();
            downstream.agreed.clone()
        };
        if let Some(agreed) = agreed.filter(|_| !self.srcpad.check_reconfigure()) {
            return Ok(agreed);
        }
        let input = self
            .downstream
            .lock()
            .unwrap()
            .input
            .clone()
            .ok_or(gst::FlowError::NotNegotiated)?;
        let allowed = self.srcpad.peer_query_caps(Some(&template()));
        let caps = if allowed.can_intersect(&input) {
            input
        } else {
            nearest(&allowed, &input)
        };
        let info = VideoInfo::from_caps(&caps).map_err(|_| gst::FlowError::NotNegotiated)?;
        let known = self.srcpad.current_caps();
        if known.as_ref() != Some(&caps) && !self.srcpad.push_event(gst::event::Caps::new(&caps)) {
            return Err(gst::FlowError::NotNegotiated);
        }
        let mut downstream = self.downstream.lock().unwrap();
        downstream.agreed = Some(info.clone());
        downstream.black = None;
        Ok(info)
    }

    fn put_frame(&self, frame: Frame) -> Result<gst::FlowSuccess, gst::FlowError> {
        let info = self.agree()?;
        let fitted = {
            let mut downstream = self.downstream.lock().unwrap();
            match frame.picture {
                Some(picture) => downstream.returned.fit(&picture, &info),
                None => match downstream
                    .black
                    .take()
                    .map_or_else(|| picture::black(&info), Ok)
                {
                    Ok(black) => {
                        downstream.black = Some(black.clone());
                        Ok(black.buffer)
                    }
                    Err(error) => Err(error),
                },
            }
        };
        let mut buffer = match fitted {
            Ok(buffer) => buffer,
            Err(error) => {
                // One bad frame is no reason to end a live stream.
                gst::warning!(CAT, imp = self, "a frame was left out: {error}");
                self.flow.count(|meter, _| meter.dropped += 1);
                return Ok(gst::FlowSuccess::Ok);
            }
        };
        let pts = frame.pts.or_else(|| self.present());
        {
            let buffer = buffer.make_mut();
            buffer.set_pts(pts);
            buffer.set_dts(None);
            buffer.set_duration(frame.duration);
        }
        self.flow.count(|meter, now| meter.output.count(now));
        self.srcpad.push(buffer)
    }

    /// The stream's time now, for pictures that have no time of their own.
    fn present(&self) -> Option<gst::ClockTime> {
        let clock = self.clock.lock().unwrap().clone()?;
        let running = clock.time().checked_sub(self.obj().base_time()?)?;
        let segment = self.srcpad.sticky_event::<gst::event::Segment>(0)?;
        let segment = segment
            .segment()
            .clone()
            .downcast::<gst::ClockTime>()
            .ok()?;
        segment.position_from_running_time(running)
    }

    pub(super) fn src_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            gst::QueryViewMut::Latency(query) => {
                let mut upstream = gst::query::Latency::new();
                if !self.sinkpad.peer_query(&mut upstream) {
                    return false;
                }
                let (live, min, max) = upstream.result();
                let ours = if self.flow.manner() == Manner::Live {
                    self.latency()
                } else {
                    gst::ClockTime::ZERO
                };
                query.set(live, min + ours, max.opt_add(ours));
                true
            }
            gst::QueryViewMut::Caps(query) => {
                let caps = template();
                let caps = query
                    .filter()
                    .map_or_else(|| caps.clone(), |filter| filter.intersect(&caps));
                query.set_result(&caps);
                true
            }
            _ => gst::Pad::query_default(pad, Some(&*self.obj()), query),
        }
    }

    pub(super) fn sink_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            // Anything raw: what comes out is fitted to what downstream takes. Its wish comes first all the same, so
            // that nothing needs fitting where nothing has to.
            gst::QueryViewMut::Caps(query) => {
                let wished = self.srcpad.peer_query_caps(Some(&template()));
                let mut caps = wished;
                caps.merge(sink_template());
                let caps = match query.filter() {
                    Some(filter) => caps.intersect_with_mode(filter, gst::CapsIntersectMode::First),
                    None => caps,
                };
                query.set_result(&caps);
                true
            }
            // Pictures are kept and sent, so downstream's allocation is none of upstream's business.
            gst::QueryViewMut::Allocation(query) => {
                query.add_allocation_meta::<gst_video::VideoMeta>(None);
                true
            }
            _ => gst::Pad::query_default(pad, Some(&*self.obj()), query),
        }
    }
}

/// The one of `allowed` that is most like `wanted`.
fn nearest(allowed: &gst::Caps, wanted: &gst::Caps) -> gst::Caps {
    let mut caps = allowed.clone();
    caps.truncate();
    let Some(wanted) = wanted.structure(0) else {
        return caps;
    };
    {
        let caps = caps.make_mut();
        let Some(structure) = caps.structure_mut(0) else {
            return gst::Caps::new_empty();
        };
        for name in ["width", "height"] {
            if let Ok(value) = wanted.get::<i32>(name) {
                structure.fixate_field_nearest_int(name, value);
            }
        }
        if let Ok(rate) = wanted.get::<gst::Fraction>("framerate") {
            structure.fixate_field_nearest_fraction("framerate", rate);
        }
        if let Ok(ratio) = wanted.get::<gst::Fraction>("pixel-aspect-ratio")
            && structure.has_field("pixel-aspect-ratio")
        {
            structure.fixate_field_nearest_fraction("pixel-aspect-ratio", ratio);
        }
        if let Ok(format) = wanted.get::<&str>("format") {
            structure.fixate_field_str("format", format);
        }
    }
    caps.fixate();
    caps
}

//! The vfuncs of the source. Drawing itself is [`crate::stream`]'s.
//!
//! Locks: `streaming` (held while a picture is drawn) then those of `processor` (held for a moment); `waiting` alone.

use std::collections::VecDeque;
use std::sync::{LazyLock, Mutex};

use diffusion_engine::Prompts;
use gst::glib;
use gst::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_src::CreateSuccess;
use gst_base::subclass::prelude::*;
use gst_video::VideoInfo;

use super::moments::{Moment, Moments};
use crate::processor::{Processor, timed};
use crate::settings::Pacing;
use crate::stream::{Fresh, Stream, StreamError};
use crate::{caps, pool, properties, skin};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "scopediffusionsrc",
        gst::DebugColorFlags::empty(),
        Some("Video from a prompt"),
    )
});

/// What exists while pictures flow.
#[derive(Debug)]
struct Streaming {
    stream: Stream,
    moments: Moments,
    /// Pictures that are complete but not handed out yet.
    ready: VecDeque<gst::Buffer>,
    /// The next picture does not follow the last one.
    discont: bool,
}

/// Where the streaming thread waits for its moment.
#[derive(Debug, Default)]
struct Waiting {
    flushing: bool,
    clock_id: Option<gst::SingleShotClockId>,
}

#[derive(Debug)]
pub struct ScopeDiffusionSrc {
    processor: Processor,
    streaming: Mutex<Option<Streaming>>,
    waiting: Mutex<Waiting>,
}

#[glib::object_subclass]
impl ObjectSubclass for ScopeDiffusionSrc {
    const NAME: &'static str = "GstScopeDiffusionSrc";
    type Type = super::ScopeDiffusionSrc;
    type ParentType = gst_base::PushSrc;

    fn new() -> Self {
        Self {
            processor: Processor::new(&CAT, true),
            streaming: Mutex::default(),
            waiting: Mutex::default(),
        }
    }
}

impl ObjectImpl for ScopeDiffusionSrc {
    fn properties() -> &'static [glib::ParamSpec] {
        properties::SOURCE.as_ref()
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> = LazyLock::new(|| {
            skin::actions(|element: &super::ScopeDiffusionSrc, json| {
                let live = element.is_live();
                let processor = &element.imp().processor;
                processor.apply(element.upcast_ref(), live, json)
            })
        });
        SIGNALS.as_ref()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let element = self.obj();
        self.processor
            .set_property(element.upcast_ref(), element.is_live(), value, pspec);
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        self.processor.property(pspec)
    }

    fn constructed(&self) {
        self.parent_constructed();
        let element = self.obj();
        element.set_format(gst::Format::Time);
        element.set_live(true);
    }
}

impl GstObjectImpl for ScopeDiffusionSrc {}

impl ElementImpl for ScopeDiffusionSrc {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Scope diffusion source",
                "Source/Video",
                "Makes video from a prompt with a diffusion model (StreamDiffusion on ONNX Runtime)",
                "The Scope live video authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let (src, always) = (gst::PadDirection::Src, gst::PadPresence::Always);
            vec![
                gst::PadTemplate::new("src", src, always, &caps::template())
                    .expect("name and caps are constants"),
            ]
        });
        TEMPLATES.as_ref()
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        let element = self.obj();
        if matches!(
            transition,
            gst::StateChange::NullToReady | gst::StateChange::ReadyToPaused
        ) {
            element.set_live(self.processor.settings().pacing != Pacing::Strict);
        }
        self.processor.rise(element.upcast_ref(), transition)?;
        let success = self.parent_change_state(transition)?;
        self.processor.sink(transition);
        Ok(success)
    }
}

impl BaseSrcImpl for ScopeDiffusionSrc {
    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *self.streaming.lock().unwrap() = None;
        Ok(())
    }

    fn caps(&self, filter: Option<&gst::Caps>) -> Option<gst::Caps> {
        let template = caps::template();
        let caps = match self.processor.model() {
            Some(model) => caps::restrict(&template, model.facts(), &self.processor.settings()),
            None => template,
        };
        Some(match filter {
            Some(filter) => filter.intersect_with_mode(&caps, gst::CapsIntersectMode::First),
            None => caps,
        })
    }

    /// Says in words why a size that downstream insists on is impossible; the base class only says "not negotiated".
    fn negotiate(&self) -> Result<(), gst::LoggableError> {
        let wanted = self
            .obj()
            .src_pad()
            .peer_query_caps(Some(&caps::template()));
        let impossible = !wanted.is_empty()
            && self
                .caps(None)
                .is_some_and(|possible| !wanted.can_intersect(&possible));
        if impossible
            && let Ok(info) = VideoInfo::from_caps(&self.fixate(wanted))
            && let Some(Err(error)) = self.processor.stream(self.obj().upcast_ref(), info)
        {
            self.processor.report(self.obj().upcast_ref(), &error);
        }
        self.parent_negotiate()
    }

    /// Towards the size the model likes best, at 30 frames a second.
    fn fixate(&self, mut caps: gst::Caps) -> gst::Caps {
        caps.truncate();
        let settings = self.processor.settings();
        let usual = match &settings.model_dir {
            Some(_) => 512,
            None => 256,
        };
        let side = |asked: u32| {
            i32::try_from(asked)
                .ok()
                .filter(|side| *side > 0)
                .unwrap_or(usual)
        };
        if let Some(structure) = caps.make_mut().structure_mut(0) {
            structure.fixate_field_nearest_int("width", side(settings.width));
            structure.fixate_field_nearest_int("height", side(settings.height));
            structure.fixate_field_nearest_fraction("framerate", gst::Fraction::new(30, 1));
        }
        self.parent_fixate(caps)
    }

    fn set_caps(&self, caps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let info = VideoInfo::from_caps(caps)
            .map_err(|error| gst::loggable_error!(CAT, "{caps}: {error}"))?;
        let moments = Moments::new(info.fps());
        let missing = || gst::loggable_error!(CAT, "no model is loaded");
        let stream = self.processor.stream(self.obj().upcast_ref(), info);
        match stream.ok_or_else(missing)? {
            Ok(stream) => {
                let mut streaming = self.streaming.lock().unwrap();
                let moments = streaming
                    .take()
                    .map_or(moments, |old| old.moments.at_rate(moments));
                *streaming = Some(Streaming {
                    stream,
                    moments,
                    ready: VecDeque::new(),
                    discont: true,
                });
                Ok(())
            }
            Err(error) => {
                self.processor.report(self.obj().upcast_ref(), &error);
                Err(gst::loggable_error!(CAT, "the model cannot work at {caps}"))
            }
        }
    }

    /// The base class keeps the pool active that the query holds afterwards.
    fn decide_allocation(
        &self,
        query: &mut gst::query::Allocation,
    ) -> Result<(), gst::LoggableError> {
        let info = {
            let streaming = self.streaming.lock().unwrap();
            streaming.as_ref().map(|that| that.stream.info().clone())
        };
        let pool = info.and_then(|info| pool::choose(query, &info));
        if let Some(streaming) = self.streaming.lock().unwrap().as_mut() {
            streaming.stream.draw_into(pool);
        }
        Ok(())
    }

    fn query(&self, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            gst::QueryViewMut::Latency(latency) => {
                let live = self.obj().is_live();
                latency.set(live, self.processor.stats().latency, gst::ClockTime::NONE);
                true
            }
            _ => BaseSrcImplExt::parent_query(self, query),
        }
    }

    fn unlock(&self) -> Result<(), gst::ErrorMessage> {
        let mut waiting = self.waiting.lock().unwrap();
        waiting.flushing = true;
        if let Some(clock_id) = waiting.clock_id.take() {
            clock_id.unschedule();
        }
        drop(waiting);
        self.processor.stop_frame();
        Ok(())
    }

    fn unlock_stop(&self) -> Result<(), gst::ErrorMessage> {
        self.waiting.lock().unwrap().flushing = false;
        self.processor.let_frames_through();
        Ok(())
    }

    fn is_seekable(&self) -> bool {
        false
    }
}

impl PushSrcImpl for ScopeDiffusionSrc {
    fn create(
        &self,
        _buffer: Option<&mut gst::BufferRef>,
    ) -> Result<CreateSuccess, gst::FlowError> {
        loop {
            if let Some(picture) = self.next_ready()? {
                self.processor.stats().frames_out += 1;
                return Ok(CreateSuccess::NewBuffer(picture));
            }
            let moment = self.wait_for_moment()?;
            self.draw(moment)?;
        }
    }
}

impl ScopeDiffusionSrc {
    fn next_ready(&self) -> Result<Option<gst::Buffer>, gst::FlowError> {
        let mut streaming = self.streaming.lock().unwrap();
        let streaming = streaming.as_mut().ok_or(gst::FlowError::NotNegotiated)?;
        Ok(streaming.ready.pop_front())
    }

    /// The moment of the next picture, once it has come; those missed meanwhile are counted.
    fn wait_for_moment(&self) -> Result<Moment, gst::FlowError> {
        let element = self.obj();
        let clock = element.clock().zip(element.base_time());
        let (moment, missed) = {
            let mut streaming = self.streaming.lock().unwrap();
            let streaming = streaming.as_mut().ok_or(gst::FlowError::NotNegotiated)?;
            let now = clock.as_ref().filter(|_| element.is_live());
            let now = now.and_then(|(clock, base)| clock.time().checked_sub(*base));
            let missed = now.map_or(0, |now| streaming.moments.catch_up(now));
            streaming.discont |= missed > 0;
            (streaming.moments.next(), missed)
        };
        {
            let mut stats = self.processor.stats();
            stats.frames_in += 1 + missed;
            stats.frames_dropped += missed;
        }
        let Some((clock, base)) = clock.filter(|_| element.is_live()) else {
            return match self.waiting.lock().unwrap().flushing {
                true => Err(gst::FlowError::Flushing),
                false => Ok(moment),
            };
        };
        let clock_id = clock.new_single_shot_id(base + moment.start);
        {
            let mut waiting = self.waiting.lock().unwrap();
            if waiting.flushing {
                return Err(gst::FlowError::Flushing);
            }
            waiting.clock_id = Some(clock_id.clone());
        }
        let (waited, _) = clock_id.wait();
        let mut waiting = self.waiting.lock().unwrap();
        waiting.clock_id = None;
        if waiting.flushing || waited == Err(gst::ClockError::Unscheduled) {
            return Err(gst::FlowError::Flushing);
        }
        Ok(moment)
    }

    fn draw(&self, moment: Moment) -> Result<(), gst::FlowError> {
        let element = self.obj();
        let element: &gst::Element = element.upcast_ref();
        // Fails only without any control source, which is the usual case.
        let _ = element.sync_values(moment.start);
        let live = self.obj().is_live();
        let patches = self.processor.unheard();
        let fresh = self.processor.fresh();
        let prompts = match live {
            true => Prompts::Later,
            false => Prompts::Wait,
        };
        let mut header = gst::Buffer::new();
        let (drawn, counts, delay, took) = {
            let mut streaming = self.streaming.lock().unwrap();
            let streaming = streaming.as_mut().ok_or(gst::FlowError::NotNegotiated)?;
            let discont = std::mem::take(&mut streaming.discont);
            stamp(header.make_mut(), moment, discont);
            let (drawn, took) = timed(|| draw(streaming, fresh, &patches, prompts, header));
            let delay = streaming.stream.delay();
            let counts = (streaming.stream.spent(), streaming.stream.faults());
            (drawn, counts, delay, took)
        };
        if let Err(error) = drawn {
            return Err(self.processor.fail(element, &error));
        }
        self.processor.count_inference(element, took, counts);
        let delay = delay.unwrap_or(gst::ClockTime::ZERO);
        self.processor.announce_latency(element, delay, live);
        Ok(())
    }
}

fn stamp(header: &mut gst::BufferRef, moment: Moment, discont: bool) {
    header.set_pts(moment.start);
    header.set_duration(moment.end - moment.start);
    header.set_offset(moment.number);
    header.set_offset_end(moment.number + 1);
    if discont {
        header.set_flags(gst::BufferFlags::DISCONT);
    }
}

fn draw(
    streaming: &mut Streaming,
    fresh: Fresh,
    patches: &[diffusion_engine::Patch],
    prompts: Prompts,
    header: gst::Buffer,
) -> Result<(), StreamError> {
    let (stream, ready) = (&mut streaming.stream, &mut streaming.ready);
    stream.take_up(fresh)?;
    for patch in patches {
        stream.apply(patch, prompts)?;
    }
    ready.extend(stream.generate(header)?);
    while let Some(picture) = stream.catch_up()? {
        ready.push_back(picture);
    }
    Ok(())
}

//! The vfuncs. Everything that is not GStreamer's own rhythm lives in the files beside this one.
//!
//! Locks, in the order they may nest: `streaming` (held by whichever thread infers, while it infers) then `control`
//! or `stats` (held for a moment). None is held while pushing downstream or posting.

use std::sync::{LazyLock, Mutex};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::pads::Rhythm;
use super::queue::NewestFirst;
use crate::processor::Processor;
use crate::stream::Stream;
use crate::{caps, pool, properties, skin};

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "scopediffusion",
        gst::DebugColorFlags::empty(),
        Some("Diffusion of live video"),
    )
});

/// What exists while buffers flow.
#[derive(Debug, Default)]
pub(super) struct Streaming {
    pub(super) stream: Option<Stream>,
    /// Where `stream` draws, once that is agreed.
    pub(super) pool: Option<pool::Agreed>,
    pub(super) segment: gst::FormattedSegment<gst::ClockTime>,
}

#[derive(Debug)]
pub struct ScopeDiffusion {
    pub(super) sinkpad: gst::Pad,
    pub(super) srcpad: gst::Pad,
    pub(super) processor: Processor,
    pub(super) streaming: Mutex<Streaming>,
    pub(super) rhythm: Mutex<Rhythm>,
    pub(super) queue: NewestFirst<gst::Buffer, gst::Event>,
}

#[glib::object_subclass]
impl ObjectSubclass for ScopeDiffusion {
    const NAME: &'static str = "GstScopeDiffusion";
    type Type = super::ScopeDiffusion;
    type ParentType = gst::Element;

    fn with_class(klass: &Self::Class) -> Self {
        let template = |name: &str| {
            klass
                .pad_template(name)
                .expect("pad_templates() below makes it")
        };
        let sinkpad = gst::Pad::builder_from_template(&template("sink"))
            .chain_function(|pad, parent, buffer| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |this| this.chain(pad, buffer),
                )
            })
            .event_function(|pad, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |this| this.sink_event(pad, event))
            })
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |this| this.sink_query(pad, query))
            })
            .flags(gst::PadFlags::ACCEPT_TEMPLATE)
            .build();
        let srcpad = gst::Pad::builder_from_template(&template("src"))
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |this| this.src_query(pad, query))
            })
            .activatemode_function(|pad, parent, _mode, active| {
                let panicked = || {
                    Err(gst::loggable_error!(
                        CAT,
                        "panic while activating the source pad"
                    ))
                };
                Self::catch_panic_pad_function(parent, panicked, |this| {
                    this.src_activate(pad, active)
                })
            })
            .build();
        Self {
            sinkpad,
            srcpad,
            processor: Processor::new(&CAT, false),
            streaming: Mutex::default(),
            rhythm: Mutex::default(),
            queue: NewestFirst::default(),
        }
    }
}

impl ObjectImpl for ScopeDiffusion {
    fn properties() -> &'static [glib::ParamSpec] {
        properties::FILTER.as_ref()
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> = LazyLock::new(|| {
            skin::actions(|element: &super::ScopeDiffusion, json| {
                let live = element.imp().is_live();
                let processor = &element.imp().processor;
                processor.apply(element.upcast_ref(), live, json)
            })
        });
        SIGNALS.as_ref()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let element = self.obj();
        self.processor
            .set_property(element.upcast_ref(), self.is_live(), value, pspec);
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        self.processor.property(pspec)
    }

    fn constructed(&self) {
        self.parent_constructed();
        let element = self.obj();
        for pad in [&self.sinkpad, &self.srcpad] {
            element.add_pad(pad).expect("a new element has no pads");
        }
    }
}

impl GstObjectImpl for ScopeDiffusion {}

impl ElementImpl for ScopeDiffusion {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Scope diffusion",
                "Filter/Effect/Video",
                "Redraws live video with a diffusion model (StreamDiffusion on ONNX Runtime)",
                "The Scope live video authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let pad = |name, direction| {
                gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps::template())
                    .expect("name and caps are constants")
            };
            vec![
                pad("sink", gst::PadDirection::Sink),
                pad("src", gst::PadDirection::Src),
            ]
        });
        TEMPLATES.as_ref()
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        self.processor.rise(self.obj().upcast_ref(), transition)?;
        let success = self.parent_change_state(transition)?;
        if transition == gst::StateChange::PausedToReady {
            let old = std::mem::take(&mut *self.streaming.lock().unwrap());
            drop(old);
            *self.rhythm.lock().unwrap() = Rhythm::default();
        }
        self.processor.sink(transition);
        Ok(success)
    }
}

impl ScopeDiffusion {
    /// Whether frames are inferred on a thread of their own; false until that is decided.
    pub(super) fn is_live(&self) -> bool {
        self.rhythm.lock().unwrap().live == Some(true)
    }
}

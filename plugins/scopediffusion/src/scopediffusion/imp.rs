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
use crate::stats::Stats;
use crate::stream::Stream;
use crate::{caps, properties};

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
            // apply-parameters (json): null when the patch took, else a sentence saying what is wrong with it.
            vec![
                glib::subclass::Signal::builder("apply-parameters")
                    .action()
                    .param_types([String::static_type()])
                    .return_type::<Option<String>>()
                    .class_handler(|args| {
                        let element = args.first()?.get::<super::ScopeDiffusion>().ok()?;
                        let json = args
                            .get(1)?
                            .get::<Option<String>>()
                            .ok()?
                            .unwrap_or_default();
                        let this = element.imp();
                        let applied =
                            this.processor
                                .apply(element.upcast_ref(), this.is_live(), &json);
                        Some(applied.err().to_value())
                    })
                    .build(),
            ]
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
        // Going to PAUSED only picks up what was set in READY: an unchanged model is already there.
        if matches!(
            transition,
            gst::StateChange::NullToReady | gst::StateChange::ReadyToPaused
        ) {
            let element = self.obj();
            let loaded = self.processor.load_model(element.upcast_ref());
            loaded.map_err(|message| {
                self.post_error_message(message);
                gst::StateChangeError
            })?;
        }
        if transition == gst::StateChange::NullToReady {
            *self.processor.stats() = Stats::default();
        }
        let success = self.parent_change_state(transition)?;
        match transition {
            gst::StateChange::PausedToReady => {
                *self.streaming.lock().unwrap() = Streaming::default();
                *self.rhythm.lock().unwrap() = Rhythm::default();
            }
            gst::StateChange::ReadyToNull => self.processor.forget_model(),
            _ => {}
        }
        Ok(success)
    }
}

impl ScopeDiffusion {
    /// Whether frames are inferred on a thread of their own; false until that is decided.
    pub(super) fn is_live(&self) -> bool {
        self.rhythm.lock().unwrap().live == Some(true)
    }
}

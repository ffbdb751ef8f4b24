//! The vfuncs. Everything that is not GStreamer's own rhythm lives in the files beside this one.
//!
//! Locks, in the order they may nest: `streaming` (held by whichever thread infers, while it infers) then `control`
//! or `stats` (held for a moment). None is held while pushing downstream or posting.

use std::sync::{Arc, LazyLock, Mutex};

use diffusion_engine::{EngineError, Model, OrtBackend, Parameters, Patch};
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::pads::Rhythm;
use super::queue::NewestFirst;
use crate::models;
use crate::prompts::PromptEncoder;
use crate::settings::Settings;
use crate::stats::Stats;
use crate::stream::Stream;
use crate::{caps, errors, messages, properties};

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "scopediffusion",
        gst::DebugColorFlags::empty(),
        Some("Diffusion of live video"),
    )
});

/// What was asked for, and the part of it the engine has not heard yet.
#[derive(Debug, Default)]
pub(super) struct Control {
    pub(super) settings: Settings,
    pub(super) unheard: Vec<Patch>,
}

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
    pub(super) control: Mutex<Control>,
    pub(super) model: Mutex<Option<Arc<Model>>>,
    pub(super) streaming: Mutex<Streaming>,
    pub(super) rhythm: Mutex<Rhythm>,
    pub(super) queue: NewestFirst<gst::Buffer, gst::Event>,
    pub(super) stats: Mutex<Stats>,
    prompts: PromptEncoder,
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
            control: Mutex::default(),
            model: Mutex::default(),
            streaming: Mutex::default(),
            rhythm: Mutex::default(),
            queue: NewestFirst::default(),
            stats: Mutex::default(),
            prompts: PromptEncoder::default(),
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
                        Some(element.imp().apply(&json).err().to_value())
                    })
                    .build(),
            ]
        });
        SIGNALS.as_ref()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let name = pspec.name();
        if properties::set_fixed(&mut self.control.lock().unwrap().settings, name, value) {
            return;
        }
        let refused = properties::patch_for(name, value).and_then(|json| self.apply(&json).err());
        if let Some(sentence) = refused {
            gst::element_imp_warning!(
                self,
                gst::ResourceError::Settings,
                ("property `{name}` keeps its value: {sentence}")
            );
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let model = self.model.lock().unwrap().clone();
        let facts = model.as_ref().map(|model| model.facts());
        match pspec.name() {
            "stats" => self
                .stats
                .lock()
                .unwrap()
                .structure(facts.map(|facts| facts.provider.as_str()))
                .to_value(),
            "model-info" => facts.map(messages::model_info).to_value(),
            name => {
                properties::get(&self.control.lock().unwrap().settings, name).unwrap_or_else(|| {
                    unreachable!("GObject knows only the properties listed, and `{name}` is none")
                })
            }
        }
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
            self.load_model().map_err(|message| {
                self.post_error_message(message);
                gst::StateChangeError
            })?;
        }
        if transition == gst::StateChange::NullToReady {
            *self.stats.lock().unwrap() = Stats::default();
        }
        let success = self.parent_change_state(transition)?;
        match transition {
            gst::StateChange::PausedToReady => {
                *self.streaming.lock().unwrap() = Streaming::default();
                *self.rhythm.lock().unwrap() = Rhythm::default();
            }
            gst::StateChange::ReadyToNull => {
                *self.model.lock().unwrap() = None;
                self.prompts.finish();
            }
            _ => {}
        }
        Ok(success)
    }
}

impl ScopeDiffusion {
    fn load_model(&self) -> Result<(), gst::ErrorMessage> {
        let (source, library) = {
            let settings = &self.control.lock().unwrap().settings;
            let source = models::Source {
                dir: settings.model_dir.clone(),
                device: settings.device(),
            };
            (source, settings.onnxruntime_lib.clone())
        };
        let backend =
            OrtBackend::load(library.as_deref()).map_err(|error| errors::engine(&error))?;
        let element = self.obj();
        let mut progress = |stage: &str| {
            gst::info!(CAT, imp = self, "{stage}");
            // A message nobody is there to receive is no loss.
            let _ = element.post_message(messages::model_loading(element.upcast_ref(), stage));
        };
        let model = models::load(&source, backend, &mut progress)
            .map_err(|error| errors::engine(&error))?;
        gst::info!(CAT, imp = self, "model: {:?}", model.facts());
        *self.model.lock().unwrap() = Some(model);
        Ok(())
    }

    /// Checks a patch and takes it over; the next frame is drawn with it.
    fn apply(&self, json: &str) -> Result<(), String> {
        let patch = Patch::from_json(json).map_err(|error| errors::sentence(&error))?;
        let parameters = {
            let mut control = self.control.lock().unwrap();
            let parameters = &mut control.settings.parameters;
            parameters
                .apply(&patch)
                .map_err(|error| errors::sentence(&error))?;
            let parameters = parameters.clone();
            control.unheard.push(patch);
            parameters
        };
        if self.rhythm.lock().unwrap().live == Some(true) {
            self.encode_prompts(parameters);
        }
        Ok(())
    }

    /// Encodes the prompts beside the stream, so that it does not have to wait for them.
    fn encode_prompts(&self, parameters: Parameters) {
        let Some(model) = self.model.lock().unwrap().clone() else {
            return;
        };
        let element = self.obj().downgrade();
        let failed = move |error: &EngineError| {
            if let Some(element) = element.upgrade() {
                let sentence = errors::sentence(error);
                gst::element_warning!(
                    element,
                    gst::LibraryError::Encode,
                    ("the prompt stays as it was: {sentence}")
                );
            }
        };
        if let Err(error) = self.prompts.encode(model, parameters, failed) {
            gst::element_imp_warning!(
                self,
                gst::CoreError::Thread,
                ("the prompt stays as it was: {error}")
            );
        }
    }

    pub(super) fn settings(&self) -> Settings {
        self.control.lock().unwrap().settings.clone()
    }
}

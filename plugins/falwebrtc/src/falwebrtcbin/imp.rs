//! The vfuncs. Everything that is not GStreamer's own rhythm lives in the files beside this one.
//!
//! Locks: each field's is held for a moment, none over a call out. The worker's thread is joined without any.

use std::sync::mpsc::Sender;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use fal_client::Stage;
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use webrtc_live::codec::Hardware;

use super::errors::Refusal;
use super::flow::Flow;
use super::pads::{self, Downstream};
use super::settings::Settings;
use super::worker::Event;
use super::{properties, signals};

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "falwebrtcbin",
        gst::DebugColorFlags::empty(),
        Some("Live video through a fal app"),
    )
});

/// The worker as the element sees it.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) tell: Sender<Event>,
    pub(super) thread: std::thread::JoinHandle<()>,
}

/// What is known of the connection.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) stage: Option<&'static str>,
    pub(super) attempt: u32,
    /// Since when, on the flow's clock.
    pub(super) since: Duration,
    pub(super) reason: Option<String>,
}

pub struct FalWebRTCBin {
    pub(super) sinkpad: gst::Pad,
    pub(super) srcpad: gst::Pad,
    pub(super) settings: Mutex<Settings>,
    pub(super) flow: Arc<Flow>,
    pub(super) running: Mutex<Option<Running>>,
    pub(super) progress: Mutex<Progress>,
    pub(super) downstream: Mutex<Downstream>,
    pub(super) flow_result: Mutex<Result<gst::FlowSuccess, gst::FlowError>>,
    /// The latency that was told.
    pub(super) told_latency: Mutex<gst::ClockTime>,
    /// The pipeline's.
    pub(super) clock: Mutex<Option<gst::Clock>>,
    /// Counts the application's sockets.
    pub(super) sockets: Mutex<u32>,
    /// What next to encode and decode with.
    pub(super) hardware: Mutex<Hardware>,
}

#[glib::object_subclass]
impl ObjectSubclass for FalWebRTCBin {
    const NAME: &'static str = "GstFalWebRTCBin";
    type Type = super::FalWebRTCBin;
    type ParentType = gst::Bin;

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
            .build();
        let srcpad = gst::Pad::builder_from_template(&template("src"))
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |this| this.src_query(pad, query))
            })
            .activatemode_function(|_, parent, _mode, active| {
                let panicked = || {
                    Err(gst::loggable_error!(
                        CAT,
                        "panic while activating the source pad"
                    ))
                };
                Self::catch_panic_pad_function(parent, panicked, |this| this.src_activate(active))
            })
            .build();
        Self {
            sinkpad,
            srcpad,
            settings: Mutex::default(),
            flow: Arc::new(Flow::new()),
            running: Mutex::default(),
            progress: Mutex::default(),
            downstream: Mutex::default(),
            flow_result: Mutex::new(Ok(gst::FlowSuccess::Ok)),
            told_latency: Mutex::default(),
            clock: Mutex::default(),
            sockets: Mutex::default(),
            hardware: Mutex::new(Hardware::Preferred),
        }
    }
}

impl ObjectImpl for FalWebRTCBin {
    fn properties() -> &'static [glib::ParamSpec] {
        properties::PROPERTIES.as_ref()
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        signals::SIGNALS.as_ref()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let name = pspec.name();
        if name == "parameters" {
            let replaced = foreign_text::text(value)
                .map_err(|error| error.to_string())
                .and_then(|json| self.replace_parameters(json.unwrap_or_default()));
            if let Err(sentence) = replaced {
                self.warn_of(name, &sentence);
            }
            return;
        }
        let set = properties::set(&mut self.settings.lock().unwrap(), name, value);
        match set {
            Ok(()) if name == "fallback" => self
                .flow
                .set_fallback(self.settings.lock().unwrap().fallback),
            Ok(()) => {}
            Err(sentence) => self.warn_of(name, &sentence),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "stats" => self.stats().to_value(),
            "stage" => self
                .progress
                .lock()
                .unwrap()
                .stage
                .unwrap_or("idle")
                .to_value(),
            name => properties::get(&self.settings.lock().unwrap(), name).unwrap_or_else(|| {
                unreachable!("GObject knows only the properties listed, and `{name}` is none")
            }),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        let element = self.obj();
        // It is neither a source nor a sink of its pipeline, whatever is inside.
        element.set_suppressed_flags(gst::ElementFlags::SINK | gst::ElementFlags::SOURCE);
        for pad in [&self.sinkpad, &self.srcpad] {
            element.add_pad(pad).expect("a new element has no pads");
        }
    }

    fn dispose(&self) {
        self.stop();
    }
}

impl GstObjectImpl for FalWebRTCBin {}

impl ElementImpl for FalWebRTCBin {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "fal WebRTC bin",
                "Filter/Effect/Video/Network",
                "Sends live video to a fal app by WebRTC and gives out what comes back",
                "The Scope live video authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let pad = |name, direction, caps: gst::Caps| {
                gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps)
                    .expect("name and caps are constants")
            };
            vec![
                pad("sink", gst::PadDirection::Sink, pads::sink_template()),
                pad("src", gst::PadDirection::Src, pads::template()),
            ]
        });
        TEMPLATES.as_ref()
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        match transition {
            gst::StateChange::ReadyToPaused => self.start().map_err(|refusal| {
                self.stopped(&refusal);
                gst::StateChangeError
            })?,
            // Whoever waits in the sink pad must leave before the pads can be deactivated.
            gst::StateChange::PausedToReady => self.flow.set_flushing(true),
            _ => {}
        }
        let success = self.parent_change_state(transition);
        if transition == gst::StateChange::PausedToReady
            || (transition == gst::StateChange::ReadyToPaused && success.is_err())
        {
            self.stop();
        }
        success
    }

    /// The inner bin keeps a clock and a time of its own, so it must not hear of the pipeline's.
    fn set_clock(&self, clock: Option<&gst::Clock>) -> bool {
        *self.clock.lock().unwrap() = clock.cloned();
        true
    }
}

impl BinImpl for FalWebRTCBin {
    /// What goes wrong inside ends a connection, never the pipeline: nothing of it reaches the application's bus.
    fn handle_message(&self, message: gst::Message) {
        if let gst::MessageView::Error(error) = message.view() {
            let source = message
                .src()
                .map(|source| source.path_string().to_string())
                .unwrap_or_default();
            gst::warning!(
                CAT,
                imp = self,
                "{source}: {} ({:?})",
                error.error(),
                error.debug()
            );
            // A far end that hangs up shows as an error of sctpenc, which the peer connection's state tells as well.
            if !source.contains("sctp") {
                // Hardware may start and then refuse a size, a format or one stream too many.
                *self.hardware.lock().unwrap() = Hardware::Avoided;
                self.link_failed(error.error().message());
            }
        }
    }
}

impl FalWebRTCBin {
    fn warn_of(&self, name: &str, sentence: &str) {
        gst::element_imp_warning!(
            self,
            gst::ResourceError::Settings,
            ("property `{name}` keeps its value: {sentence}")
        );
    }

    /// Checks what was asked for and starts the worker. Nothing here waits for the network.
    fn start(&self) -> Result<(), Refusal> {
        let settings = self.settings.lock().unwrap().clone();
        let capacity = settings.queue_size as usize;
        let bound = Some(settings.max_latency).filter(|bound| !bound.is_zero());
        self.flow.begin(settings.fallback, capacity, bound);
        *self.progress.lock().unwrap() = Progress::default();
        *self.told_latency.lock().unwrap() = gst::ClockTime::ZERO;
        *self.hardware.lock().unwrap() = Hardware::Preferred;
        let running = self.launch(&settings)?;
        *self.running.lock().unwrap() = Some(running);
        Ok(())
    }

    /// Ends the worker and waits until its media are gone, which takes milliseconds.
    fn stop(&self) {
        let running = self.running.lock().unwrap().take();
        if let Some(running) = running {
            running.tell.send(Event::Stop).ok();
            // The last reference may be dropped by the worker itself.
            if running.thread.thread().id() != std::thread::current().id()
                && running.thread.join().is_err()
            {
                gst::error!(CAT, imp = self, "the worker panicked");
            }
        }
        *self.progress.lock().unwrap() = Progress::default();
    }

    pub(super) fn tell(&self, event: Event) {
        if let Some(running) = &*self.running.lock().unwrap() {
            running.tell.send(event).ok();
        }
    }

    fn link_failed(&self, reason: &str) {
        let attempt = self.progress.lock().unwrap().attempt;
        let what = super::link::Happened::Failed(reason.to_owned());
        self.tell(Event::Link { attempt, what });
    }

    /// For error messages: what cannot go on.
    pub(super) fn stopped(&self, refusal: &Refusal) {
        let sentence = format!("{}; {}", refusal.reason, refusal.remedy);
        self.obj()
            .report(Stage::Failed.as_str(), Duration::ZERO, 0, Some(refusal));
        // A message nobody is there to receive is no loss.
        let _ = self.obj().post_message(super::messages::processor_stopped(
            self.obj().upcast_ref(),
            &sentence,
        ));
        gst::element_imp_error!(self, gst::ResourceError::OpenReadWrite, ("{sentence}"));
    }
}

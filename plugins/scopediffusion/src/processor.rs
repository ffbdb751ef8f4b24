//! What the filter and the source have in common: settings and patches, the model, statistics, reports.
//!
//! Nothing here knows how frames come or go. No lock is held while a message is posted.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use diffusion_engine::{
    EngineError, Interrupt, LoadInterrupt, Model, OrtBackend, Parameters, Patch, Spent,
};
use gst::glib;
use gst::prelude::*;

use crate::models::Source;
use crate::newest::NewestFirstServed;
use crate::settings::{self, Settings};
use crate::sights::{self, Viewer};
use crate::stats::Stats;
use crate::stream::{Fresh, Stream, StreamError};
use crate::warm::Warmth;
use crate::{errors, messages, models, properties};

/// What was asked for, and the part of it the engine has not heard yet.
#[derive(Debug, Default)]
struct Control {
    settings: Settings,
    unheard: Vec<Patch>,
}

/// Everything of an element but its pads.
#[derive(Debug)]
pub(crate) struct Processor {
    cat: &'static gst::DebugCategory,
    /// Draws from the prompt alone, whatever `input_mode` is said.
    text_only: bool,
    control: Mutex<Control>,
    model: Mutex<Option<Arc<Model>>>,
    stats: Mutex<Stats>,
    prompts: NewestFirstServed<(Arc<Model>, Parameters)>,
    reloads: NewestFirstServed<(Source, Parameters)>,
    /// The model loaded anew, until the stream takes it up.
    fresh: Arc<Mutex<Option<Arc<Model>>>>,
    viewer: Viewer,
    warmth: Warmth,
    /// Stops the load under way.
    loading: LoadInterrupt,
    /// Stops the frame under way.
    interrupt: Mutex<Option<Interrupt>>,
}

impl Processor {
    /// - `cat`: where it logs; `text_only`: there is no video to redraw.
    pub(crate) fn new(cat: &'static gst::DebugCategory, text_only: bool) -> Self {
        let mut settings = Settings::default();
        if text_only {
            settings.parameters.input_mode = diffusion_engine::InputMode::Text;
        }
        Self {
            cat,
            text_only,
            control: Mutex::new(Control {
                settings,
                unheard: Vec::new(),
            }),
            model: Mutex::default(),
            stats: Mutex::default(),
            prompts: NewestFirstServed::default(),
            reloads: NewestFirstServed::default(),
            fresh: Arc::default(),
            viewer: Viewer::default(),
            warmth: Warmth::default(),
            loading: LoadInterrupt::default(),
            interrupt: Mutex::default(),
        }
    }

    /// Writes a property; a value that does not fit is a warning, and the old one stays.
    ///
    /// - `live`: frames flow that must not wait for the text encoder.
    pub(crate) fn set_property(
        &self,
        element: &gst::Element,
        live: bool,
        value: &glib::Value,
        pspec: &glib::ParamSpec,
    ) {
        let name = pspec.name();
        if properties::set_fixed(&mut self.control.lock().unwrap().settings, name, value) {
            return;
        }
        if let Err(sentence) = self.write(element, live, name, value) {
            gst::element_warning!(
                element,
                gst::ResourceError::Settings,
                ("property `{name}` keeps its value: {sentence}")
            );
        }
    }

    fn write(
        &self,
        element: &gst::Element,
        live: bool,
        name: &str,
        value: &glib::Value,
    ) -> Result<(), String> {
        let text = foreign_text::text(value).map_err(|error| error.to_string())?;
        if name == "loras" {
            let loras = settings::loras(text.unwrap_or_default())?;
            self.control.lock().unwrap().settings.loras = loras;
            return Ok(());
        }
        match properties::patch_for(name, value) {
            Some(json) => self.apply(element, live, &json),
            None => Ok(()),
        }
    }

    pub(crate) fn property(&self, pspec: &glib::ParamSpec) -> glib::Value {
        let model = self.model();
        let facts = model.as_ref().map(|model| model.facts());
        match pspec.name() {
            "stats" => self
                .stats
                .lock()
                .unwrap()
                .structure(
                    facts.map(|facts| facts.provider.as_str()),
                    model.as_ref().and_then(|model| model.device_memory()),
                )
                .to_value(),
            "model-info" => facts.map(messages::model_info).to_value(),
            name => properties::get(&self.settings(), name).unwrap_or_else(|| {
                unreachable!("GObject knows only the properties listed, and `{name}` is none")
            }),
        }
    }

    /// Checks a patch and takes it over; the next frame is drawn with it.
    ///
    /// # Errors
    ///
    /// A sentence saying what is wrong with it; nothing has changed then.
    pub(crate) fn apply(
        &self,
        element: &gst::Element,
        live: bool,
        json: &str,
    ) -> Result<(), String> {
        let mut patch = Patch::from_json(json).map_err(|error| errors::sentence(&error))?;
        if self.text_only {
            patch.leave_out_input_mode();
        }
        let model = self.model();
        let facts = model.as_ref().map(|model| model.facts());
        let inputs = facts.map_or(&[][..], |facts| facts.lora_inputs.as_slice());
        let wanted = self.settings().sights.followed(&patch)?;
        let look = model.as_ref().zip(wanted.as_ref());
        // Whatever can be refused is refused before anything is taken over.
        let looked = match look {
            Some((model, wanted)) if !wanted.suit(model) => {
                return Err(errors::sentence(&model.takes_no_reference()));
            }
            Some((model, wanted)) if !live => {
                Some(sights::look(model, wanted).map_err(|error| errors::sentence(&error))?)
            }
            Some(_) | None => None,
        };
        let (parameters, reload) = {
            let mut control = self.control.lock().unwrap();
            let mut next = control.settings.clone();
            let reload = match patch.lora_scales() {
                Some(scales) => next.scale_loras(scales, inputs)?,
                None => false,
            };
            if let Some(wanted) = &wanted {
                next.sights.clone_from(wanted);
            }
            next.parameters
                .apply(&patch)
                .map_err(|error| errors::sentence(&error))?;
            control.settings = next;
            control.unheard.push(patch);
            let settings = &control.settings;
            (
                settings.parameters.clone(),
                reload.then(|| settings.source()),
            )
        };
        if let Some(sights) = looked {
            self.viewer.saw(sights, true);
        } else if let Some((model, wanted)) = model.clone().zip(wanted) {
            let weak = element.downgrade();
            let begun = self.viewer.look_beside((model, wanted), move |error| {
                warn(&weak, "the reference images stay as they were", error);
            });
            begun.map_err(|error| format!("the reference images stay as they were: {error}"))?;
        }
        if let Some(source) = reload.filter(|_| self.model().is_some()) {
            self.reload(element, (source, parameters.clone()));
        }
        if live {
            self.encode_prompts(element, parameters);
        }
        Ok(())
    }

    /// Encodes the prompts beside the stream, so that it does not have to wait for them.
    fn encode_prompts(&self, element: &gst::Element, parameters: Parameters) {
        let Some(model) = self.model() else {
            return;
        };
        let weak = element.downgrade();
        let encode = move |(model, parameters): (Arc<Model>, Parameters)| {
            if let Err(error) = model.prepare(&parameters) {
                warn(&weak, "the prompt stays as it was", &error);
            }
        };
        let wanted = (model, parameters);
        if let Err(error) = self.prompts.want("scope-prompts", wanted, encode) {
            gst::element_warning!(
                element,
                gst::CoreError::Thread,
                ("the prompt stays as it was: {error}")
            );
        }
    }

    /// Loads the model anew beside the stream; it is taken up between two frames.
    fn reload(&self, element: &gst::Element, wanted: (Source, Parameters)) {
        let (weak, fresh, cat) = (element.downgrade(), self.fresh.clone(), self.cat);
        let loading = self.loading.clone();
        let load = move |(source, parameters): (Source, Parameters)| {
            let progress = |stage: &str| {
                if let Some(element) = weak.upgrade() {
                    gst::info!(cat, obj = element, "{stage}");
                    // A message nobody is there to receive is no loss.
                    let _ = element.post_message(messages::model_loading(&element, stage));
                }
            };
            // The library is loaded: this only finds it.
            let loaded = OrtBackend::load(None)
                .and_then(|backend| models::load(&source, backend, &loading, &mut { progress }))
                .and_then(|model| model.prepare(&parameters).map(|()| model));
            match loaded {
                Ok(model) => *fresh.lock().unwrap() = Some(model),
                // The element goes to NULL and waits for this thread.
                Err(EngineError::Interrupted) => {}
                Err(error) => warn(&weak, "the adapters keep their scales", &error),
            }
        };
        if let Err(error) = self.reloads.want("scope-adapters", wanted, load) {
            gst::element_warning!(
                element,
                gst::CoreError::Thread,
                ("the adapters keep their scales: {error}")
            );
        }
    }

    /// What was got ready beside the stream, for it to go on with; once.
    pub(crate) fn fresh(&self) -> Fresh {
        let model = self.fresh.lock().unwrap().take();
        if model.is_some() {
            self.model.lock().unwrap().clone_from(&model);
        }
        let sights = self.viewer.news();
        Fresh { model, sights }
    }

    pub(crate) fn settings(&self) -> Settings {
        self.control.lock().unwrap().settings.clone()
    }

    pub(crate) fn warmth(&self) -> &Warmth {
        &self.warmth
    }

    pub(crate) fn model(&self) -> Option<Arc<Model>> {
        self.model.lock().unwrap().clone()
    }

    pub(crate) fn stats(&self) -> std::sync::MutexGuard<'_, Stats> {
        self.stats.lock().unwrap()
    }

    /// Patches that the engine has not heard yet, oldest first.
    pub(crate) fn unheard(&self) -> Vec<Patch> {
        std::mem::take(&mut self.control.lock().unwrap().unheard)
    }

    /// Loads what the settings name, telling its stages.
    ///
    /// # Errors
    ///
    /// The message to post.
    pub(crate) fn load_model(&self, element: &gst::Element) -> Result<(), gst::ErrorMessage> {
        let settings = self.settings();
        let source = settings.source();
        let backend = OrtBackend::load(settings.onnxruntime_lib.as_deref())
            .map_err(|error| errors::engine(&error))?;
        let mut progress = |stage: &str| {
            gst::info!(self.cat, obj = element, "{stage}");
            // A message nobody is there to receive is no loss.
            let _ = element.post_message(messages::model_loading(element, stage));
        };
        let (model, took) = timed(|| models::load(&source, backend, &self.loading, &mut progress));
        let model = model.map_err(|error| errors::engine(&error))?;
        let facts = model.facts();
        gst::info!(self.cat, obj = element, "model: {facts:?}");
        let sights =
            sights::look(&model, &settings.sights).map_err(|error| errors::engine(&error))?;
        self.viewer.saw(sights, false);
        let known = self.model.lock().unwrap().replace(model.clone());
        if known.is_some_and(|known| Arc::ptr_eq(&known, &model)) {
            return Ok(());
        }
        // As above.
        let _ = element.post_message(messages::model_ready(element, facts, took));
        if let Some(reason) = &facts.fallback {
            let message = messages::provider_fallback(element, &facts.provider, reason);
            // As above.
            let _ = element.post_message(message);
        }
        Ok(())
    }

    pub(crate) fn forget_model(&self) {
        *self.model.lock().unwrap() = None;
        self.prompts.finish();
        // An engine can take minutes to build, and nobody will use it.
        self.loading.stop();
        self.reloads.finish();
        self.loading.go_on();
        self.viewer.forget();
        self.warmth.forget();
        *self.fresh.lock().unwrap() = None;
    }

    /// An engine for frames of `info`, made from the parameters as they stand and warmed up.
    ///
    /// # Errors
    ///
    /// As [`Stream::new`]; `None` if no model is loaded.
    pub(crate) fn stream(
        &self,
        element: &gst::Element,
        info: gst_video::VideoInfo,
    ) -> Option<Result<Stream, StreamError>> {
        let model = self.model()?;
        let settings = {
            let mut control = self.control.lock().unwrap();
            // Nothing is left to tell that engine.
            control.unheard.clear();
            control.settings.clone().with_scales()
        };
        let stream = Stream::new(model, &settings, info);
        Some(stream.and_then(|mut stream| {
            stream.show(self.viewer.all());
            *self.interrupt.lock().unwrap() = Some(stream.interrupt());
            self.warm_at_caps(element, &mut stream)?;
            Ok(stream)
        }))
    }

    /// Ends the frame under way, so that nobody has to wait for it.
    pub(crate) fn stop_frame(&self) {
        let interrupt = self.interrupt.lock().unwrap().clone();
        if let Some(interrupt) = interrupt {
            interrupt.stop();
        }
    }

    /// Lets frames through again.
    pub(crate) fn let_frames_through(&self) {
        let interrupt = self.interrupt.lock().unwrap().clone();
        if let Some(interrupt) = interrupt {
            interrupt.go_on();
        }
    }

    /// Counts one inference and the pictures that were none; the first of a run of those is a warning.
    pub(crate) fn count_inference(
        &self,
        element: &gst::Element,
        took: Duration,
        (spent, faults): (Spent, u64),
    ) {
        let begins = {
            let mut stats = self.stats();
            stats.inferred(took);
            stats.ran(spent);
            stats.faults_at(faults)
        };
        if begins {
            gst::element_warning!(
                element,
                gst::StreamError::Encode,
                ("the model gave values that are no picture (NaN); the last good picture is held. \
                 Export it in float32, or with its attention in float32")
            );
        }
    }

    /// Tells the pipeline when the latency it knows is no longer true.
    ///
    /// - `delay`: of frames in flight; `timed`: whether the time an inference takes counts too.
    pub(crate) fn announce_latency(
        &self,
        element: &gst::Element,
        delay: gst::ClockTime,
        timed: bool,
    ) {
        let changed = {
            let mut stats = self.stats();
            let wanted = if timed {
                stats.new_latency(delay)
            } else {
                Some(delay).filter(|delay| *delay != stats.latency)
            };
            wanted.inspect(|latency| stats.latency = *latency)
        };
        if changed.is_some() {
            // No bus, nobody to recalculate.
            let _ = element.post_message(gst::message::Latency::builder().src(element).build());
        }
    }

    /// Reports that no more pictures will come, and why; nothing, if the frame was ended on purpose.
    pub(crate) fn fail(&self, element: &gst::Element, error: &StreamError) -> gst::FlowError {
        if matches!(error, StreamError::Engine(EngineError::Interrupted)) {
            return gst::FlowError::Flushing;
        }
        self.report(element, error);
        gst::FlowError::Error
    }

    /// As [`Processor::fail`], where it is not the data flow that ends.
    pub(crate) fn report(&self, element: &gst::Element, error: &StreamError) {
        let reason = errors::reason(error);
        // No bus, no listener.
        let _ = element.post_message(messages::processor_stopped(element, &reason));
        element.post_error_message(errors::stream(error));
    }
}

/// Reports work beside the stream that failed.
fn warn(element: &glib::WeakRef<gst::Element>, consequence: &str, error: &EngineError) {
    if let Some(element) = element.upgrade() {
        let sentence = errors::sentence(error);
        gst::element_warning!(
            element,
            gst::LibraryError::Failed,
            ("{consequence}: {sentence}")
        );
    }
}

/// The clock that inferences are timed with.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    (work(), began.elapsed())
}

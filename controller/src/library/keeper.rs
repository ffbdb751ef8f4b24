//! Keeping a model loaded: an element in READY that no frame ever passes.
//!
//! The plugin shares what it loaded between all elements of the same model for as long as one of them is READY. So
//! the library holds one, a session's own opens at once, and a refused load never touches a running session.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use gst::prelude::*;

use super::facts::{self, Facts};
use super::models::DIFFUSION_FACTORY;
use crate::processor::Processor;

/// Told what a load is doing, in words for people.
pub type Stage = Arc<dyn Fn(&str) + Send + Sync>;

/// Why a model was not loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeeperError {
    /// The element is not installed.
    #[error("the element `{0}` is not installed; put its plugin on GST_PLUGIN_PATH")]
    NoElement(&'static str),
    /// The element has no such property, or refuses the value.
    #[error("`{factory}` does not take `{property}` = `{value}`")]
    BadProperty {
        /// The element.
        factory: &'static str,
        /// The property's name.
        property: &'static str,
        /// What was to be set.
        value: String,
    },
    /// The element said why.
    #[error("{0}")]
    Refused(String),
}

/// A loaded model; dropping it lets go, which may take a moment.
pub trait Keeper: Send + Sync + fmt::Debug {
    /// What loading it has shown.
    fn facts(&self) -> Facts;
}

/// Loads models.
pub trait Keepers: Send + Sync + fmt::Debug {
    /// Loads what the processor needs. Blocks, for minutes perhaps.
    fn open(&self, processor: &Processor, stage: Stage) -> Result<Box<dyn Keeper>, KeeperError>;

    /// What the files of a model folder tell, without loading it; the empty path is the model inside the program.
    /// Blocks while it reads.
    ///
    /// # Errors
    ///
    /// Why the folder cannot be used.
    fn inspect(&self, dir: &Path) -> Result<Facts, KeeperError>;

    /// Whether an element of that factory could be made.
    fn has_element(&self, factory: &str) -> bool;
}

/// The real thing.
#[derive(Debug, Default)]
pub struct GstKeepers;

#[derive(Debug)]
struct GstKeeper(gst::Pipeline);

impl Keeper for GstKeeper {
    fn facts(&self) -> Facts {
        let element = self.0.children().into_iter().next();
        let told = element.filter(|element| element.has_property("model-info"));
        let info =
            told.and_then(|element| element.property::<Option<gst::Structure>>("model-info"));
        info.map_or_else(Facts::new, |info| facts::of(&info))
    }
}

impl Drop for GstKeeper {
    fn drop(&mut self) {
        // Going down to NULL cannot fail.
        let _ = self.0.set_state(gst::State::Null);
    }
}

impl Keepers for GstKeepers {
    fn open(&self, processor: &Processor, stage: Stage) -> Result<Box<dyn Keeper>, KeeperError> {
        let Some(factory) = processor.factory else {
            return Ok(Box::new(GstKeeper(gst::Pipeline::new())));
        };
        let element = make(factory, processor)?;
        let keeper = GstKeeper(gst::Pipeline::new());
        keeper
            .0
            .add(&element)
            .map_err(|err| KeeperError::Refused(err.to_string()))?;
        let reason = watch(&keeper.0, stage);
        match keeper.0.set_state(gst::State::Ready) {
            Ok(_) => Ok(Box::new(keeper)),
            Err(_) => {
                let reason = reason.lock().unwrap().take();
                let unknown = || format!("`{factory}` did not say why it cannot start");
                Err(KeeperError::Refused(reason.unwrap_or_else(unknown)))
            }
        }
    }

    fn inspect(&self, dir: &Path) -> Result<Facts, KeeperError> {
        let element = gst::ElementFactory::make(DIFFUSION_FACTORY)
            .build()
            .map_err(|_| KeeperError::NoElement(DIFFUSION_FACTORY))?;
        let dir = dir.display().to_string();
        let told: gst::Structure = element.emit_by_name("inspect-model", &[&dir]);
        match told.get::<String>("reason") {
            Ok(reason) => Err(KeeperError::Refused(reason)),
            Err(_) => Ok(facts::of(&told)),
        }
    }

    fn has_element(&self, factory: &str) -> bool {
        gst::ElementFactory::find(factory).is_some()
    }
}

fn make(factory: &'static str, processor: &Processor) -> Result<gst::Element, KeeperError> {
    let element = gst::ElementFactory::make(factory)
        .build()
        .map_err(|_| KeeperError::NoElement(factory))?;
    for (property, value) in &processor.properties {
        let bad = || KeeperError::BadProperty {
            factory,
            property,
            value: value.clone(),
        };
        let spec = element.find_property(property).ok_or_else(bad)?;
        let parsed = gst::glib::Value::deserialize_with_pspec(value, &spec).map_err(|_| bad())?;
        element.set_property_from_value(property, &parsed);
    }
    Ok(element)
}

/// Listens on the pipeline's bus, on whatever thread posts: stages go to `stage`, the first error is kept.
fn watch(pipeline: &gst::Pipeline, stage: Stage) -> Arc<Mutex<Option<String>>> {
    let reason = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&reason);
    let handler = move |_: &gst::Bus, message: &gst::Message| {
        match message.view() {
            gst::MessageView::Error(err) => {
                kept.lock()
                    .unwrap()
                    .get_or_insert_with(|| err.error().message().to_owned());
            }
            gst::MessageView::Element(element) => {
                let loading = element
                    .structure()
                    .filter(|found| found.name() == "model-loading");
                if let Some(text) = loading.and_then(|found| found.get::<String>("stage").ok()) {
                    stage(&text);
                }
            }
            _ => {}
        }
        gst::BusSyncReply::Drop
    };
    if let Some(bus) = pipeline.bus() {
        bus.set_sync_handler(handler);
    }
    reason
}

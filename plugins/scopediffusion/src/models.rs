//! Loaded models, shared by every element of the process that uses the same one.
//!
//! A model lives as long as one element holds it in READY or above. An application that wants new streams to start
//! at once keeps one element in READY.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};

use diffusion_engine::{EngineError, Folder, LoadInterrupt, Lora, Model, Opening, OrtBackend};

/// The files of `scope-tiny`, embedded at build time.
static BUILTIN_FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/builtin_files.rs"));

/// What makes two elements share a model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Source {
    /// A diffusers-style folder of ONNX graphs; `None` is the built-in model.
    pub(crate) dir: Option<PathBuf>,
    /// Another folder whose autoencoder takes the place of the model's own.
    pub(crate) vae_dir: Option<PathBuf>,
    /// Adapters merged into its weights.
    pub(crate) loras: Vec<Lora>,
    /// Where it runs, and what is kept for the next start.
    pub(crate) opening: Opening,
}

type Slot = Arc<Mutex<Weak<Model>>>;

static SLOTS: Mutex<Vec<(Source, Slot)>> = Mutex::new(Vec::new());

/// The folder that is part of the program.
///
/// # Errors
///
/// As [`Folder::open`]; none in a sound build.
pub(crate) fn built_in() -> Result<Folder, EngineError> {
    Folder::embedded("scope-tiny", BUILTIN_FILES)
}

/// The model of `source`: the one already loaded, else loaded now, which takes milliseconds to minutes.
///
/// A second element asking for the same model meanwhile waits for the first one's; other models are not held up.
/// `progress` gets a sentence for each stage; `interrupt` ends the load from another thread.
///
/// # Errors
///
/// Whatever keeps the folder from opening or ONNX Runtime from loading it.
pub(crate) fn load(
    source: &Source,
    backend: &'static OrtBackend,
    interrupt: &LoadInterrupt,
    progress: &mut dyn FnMut(&str),
) -> Result<Arc<Model>, EngineError> {
    let folder = match &source.dir {
        Some(dir) => Folder::open(dir)?,
        None => built_in()?,
    };
    // Adapters that are inputs of the graphs are no part of what is loaded.
    let source = &Source {
        loras: folder.merged(&source.loras)?,
        ..source.clone()
    };
    let slot = {
        let mut slots = SLOTS.lock().unwrap();
        // Forgotten models leave their entry behind; this is where those are swept.
        slots.retain(|(_, slot)| {
            Arc::strong_count(slot) > 1 || slot.lock().unwrap().strong_count() > 0
        });
        match slots.iter().find(|(known, _)| known == source) {
            Some((_, slot)) => slot.clone(),
            None => {
                let slot = Slot::default();
                slots.push((source.clone(), slot.clone()));
                slot
            }
        }
    };
    // Held while loading, so that the same model is never loaded twice; `progress` only posts a message.
    let mut known = slot.lock().unwrap();
    if let Some(model) = known.upgrade() {
        return Ok(model);
    }
    let folder = match &source.vae_dir {
        Some(dir) => folder.with_autoencoder(dir)?,
        None => folder,
    };
    let model = Model::load_unless(
        interrupt,
        &folder,
        backend,
        source.opening.clone(),
        &source.loras,
        progress,
    )?;
    let model = Arc::new(model);
    *known = Arc::downgrade(&model);
    Ok(model)
}

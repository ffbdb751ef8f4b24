//! What is on disk and what is loaded: models, node graphs, assets.

pub mod assets;
pub mod binding;
pub mod keeper;
pub mod loader;
pub mod loras;
pub mod models;
pub mod node_graph;
pub mod schema;
pub mod shelf;
pub mod wish;

use std::sync::Arc;

use crate::config::Config;
use assets::Assets;
use keeper::Keepers;
use loader::Loader;
use models::Catalogue;
use shelf::Shelf;

/// Everything the REST edge asks about models and files.
#[derive(Debug)]
pub struct Library {
    /// The models that could be loaded.
    pub catalogue: Catalogue,
    /// The models that are.
    pub loader: Loader,
    /// Uploaded files.
    pub assets: Assets,
    /// Recordings.
    pub shelf: Arc<Shelf>,
    /// The way to the elements.
    pub keepers: Arc<dyn Keepers>,
}

impl Library {
    /// A library over the configured folders.
    pub fn new(config: &Config, keepers: Arc<dyn Keepers>) -> Self {
        let catalogue = Catalogue::new(config.models_dir.clone());
        Self {
            loader: Loader::new(catalogue.clone(), Arc::clone(&keepers)),
            assets: Assets::new(config.assets_dir.clone(), config.upload_limit),
            shelf: Arc::new(Shelf::new(config.recording.clone())),
            catalogue,
            keepers,
        }
    }
}

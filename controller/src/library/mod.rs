//! What is on disk and what is loaded: models, node graphs, assets.

pub mod assets;
pub mod binding;
pub mod facts;
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
use facts::Surveyor;
use keeper::Keepers;
use loader::Loader;
use models::{Catalogue, Model};
use schema::Described;
use serde_json::Value;
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
    /// What the models are.
    pub surveyor: Arc<Surveyor>,
    /// The way to the elements.
    pub keepers: Arc<dyn Keepers>,
}

impl Library {
    /// What `GET /api/v1/pipelines/schemas` answers. Blocks.
    pub fn schemas(&self) -> Value {
        schema::schemas(&self.described())
    }

    /// What `GET /api/v1/nodes/definitions` answers. Blocks.
    pub fn node_definitions(&self) -> Value {
        schema::node_definitions(&self.described())
    }

    /// Every model with what is known of it.
    fn described(&self) -> Vec<Described> {
        let loaded = self.loader.loaded();
        let describe = |model: Model| {
            let told = self.surveyor.look(&model.home);
            let same = loaded
                .iter()
                .find(|loaded| loaded.pipeline_id() == model.id);
            let shown = same.and_then(|loaded| loaded.facts().cloned());
            Described { model, told, shown }
        };
        self.catalogue.models().into_iter().map(describe).collect()
    }

    /// A library over the configured folders.
    pub fn new(config: &Config, keepers: Arc<dyn Keepers>) -> Self {
        let catalogue = Catalogue::new(config.models_dir.clone());
        let surveyor = Arc::new(Surveyor::new(Arc::clone(&keepers)));
        Self {
            loader: Loader::new(
                catalogue.clone(),
                Arc::clone(&keepers),
                Arc::clone(&surveyor),
            ),
            surveyor,
            assets: Assets::new(config.assets_dir.clone(), config.upload_limit),
            shelf: Arc::new(Shelf::new(config.recording.clone())),
            catalogue,
            keepers,
        }
    }
}

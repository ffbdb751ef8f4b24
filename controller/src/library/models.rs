//! The models that could be loaded: two that are always there, and a folder each for the rest.
//!
//! What Scope's REST calls a *pipeline* is a *model* here; the pipelines are GStreamer's. Folders are looked at on
//! each call, so a model copied in shows up without a restart.

use std::fs;
use std::path::{Path, PathBuf};

/// The element that runs a model.
pub const DIFFUSION_FACTORY: &str = "scopediffusion";
/// The model inside the program.
pub const TINY: &str = "scope-tiny";
/// The model that does nothing.
pub const PASSTHROUGH: &str = "passthrough";

/// One loadable model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Scope's `pipeline_id`.
    pub id: String,
    /// Where its graphs are.
    pub home: Home,
}

/// Where a model's graphs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// Inside the program.
    BuiltIn,
    /// Nowhere: frames pass through.
    Nothing,
    /// In this folder.
    Folder(PathBuf),
}

/// The list of models.
#[derive(Debug, Clone)]
pub struct Catalogue {
    models_dir: PathBuf,
}

impl Catalogue {
    /// Looks for model folders in `models_dir`, which need not exist.
    pub fn new(models_dir: PathBuf) -> Self {
        Self { models_dir }
    }

    /// Where LoRA files lie.
    pub fn lora_dir(&self) -> PathBuf {
        self.models_dir.join("lora")
    }

    /// Where models keep what takes long to prepare; may be removed at any time.
    pub fn cache_dir(&self) -> PathBuf {
        self.models_dir.join(".cache")
    }

    /// All models, the built-in ones first: clients take the first as their default.
    pub fn models(&self) -> Vec<Model> {
        let mut models = vec![
            Model {
                id: TINY.into(),
                home: Home::BuiltIn,
            },
            Model {
                id: PASSTHROUGH.into(),
                home: Home::Nothing,
            },
        ];
        let mut folders = self.folders();
        folders.sort();
        for folder in folders {
            let Some(id) = folder.file_name().map(|name| slug(&name.to_string_lossy())) else {
                continue;
            };
            if models.iter().any(|model| model.id == id) {
                tracing::warn!(folder = %folder.display(), %id, "model folder skipped: the id is taken");
            } else {
                models.push(Model {
                    id,
                    home: Home::Folder(folder),
                });
            }
        }
        models
    }

    /// The model of that id.
    pub fn find(&self, id: &str) -> Option<Model> {
        self.models().into_iter().find(|model| model.id == id)
    }

    fn folders(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(&self.models_dir) else {
            return vec![];
        };
        let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        paths.filter(|path| holds_model(path)).collect()
    }
}

/// A sign that the folder came from diffusers, or a network in ONNX beside a text encoder. What is missing is said when
/// it is looked into.
fn holds_model(folder: &Path) -> bool {
    if folder.join("model_index.json").is_file() {
        return true;
    }
    let has_graph = fs::read_dir(folder.join("unet")).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.path().extension().is_some_and(|end| end == "onnx"))
    });
    has_graph && folder.join("text_encoder").is_dir()
}

/// A folder name as an id: what is no letter, digit, `-`, `_` or `.` becomes `-`.
fn slug(name: &str) -> String {
    let keep = |c: char| {
        if c.is_ascii_alphanumeric() || "-_.".contains(c) {
            c
        } else {
            '-'
        }
    };
    name.chars().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        root
    }

    fn ids(root: &Path) -> Vec<String> {
        Catalogue::new(root.into())
            .models()
            .into_iter()
            .map(|model| model.id)
            .collect()
    }

    #[test]
    fn without_a_folder_there_are_still_two_models() {
        assert_eq!(ids(Path::new("/does/not/exist")), [TINY, PASSTHROUGH]);
    }

    #[test]
    fn a_folder_of_graphs_is_a_model_with_no_code() {
        let root = folder_with(&[
            "sd turbo/unet/model.onnx",
            "sd turbo/model_index.json",
            "lcm/unet/other.onnx",
            "lcm/text_encoder/model.onnx",
            "lora/style.safetensors",
            "half/model_index.json",
        ]);

        assert_eq!(
            ids(root.path()),
            [TINY, PASSTHROUGH, "half", "lcm", "sd-turbo"]
        );
    }

    #[test]
    fn a_folder_cannot_take_the_place_of_a_built_in_model() {
        let root = folder_with(&[
            "passthrough/unet/model.onnx",
            "passthrough/model_index.json",
        ]);

        let found = Catalogue::new(root.path().into())
            .find(PASSTHROUGH)
            .unwrap();

        assert_eq!(found.home, Home::Nothing);
    }
}

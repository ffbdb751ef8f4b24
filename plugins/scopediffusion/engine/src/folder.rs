//! What a diffusers ONNX folder holds, discovered from its files, without any runtime.
//!
//! Nothing but the roles is fixed: `text_encoder/`, `unet/`, `vae_encoder/` and `vae_decoder/`
//! hold one graph each, `tokenizer/` and `scheduler/` hold texts. `model_index.json` names classes
//! that every exporter spells differently, so the files decide, not it.
//!
//! Graphs in a directory are opened by path, because their weights may lie in files beside them;
//! an embedded folder is a table of contents in the program itself.

mod adapters;
mod config;
mod fused;
mod proof;
mod survey;

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

pub(crate) use self::config::{AutoencoderConfig, ExportRecord, IndexConfig, UnetConfig};
pub(crate) use self::fused::Files;
pub use self::survey::Survey;
use crate::error::EngineError;
use crate::onnx::{self, Fault, Outline};
use crate::schedule::{Schedule, SchedulerConfig};
use crate::tokenizer::{Tokenizer, TokenizerFiles};

/// Longest text file (vocabulary, config) that is read, bytes.
const LONGEST_TEXT: u64 = 64 << 20;

/// A model folder whose files have been looked through and found complete.
#[derive(Debug, Clone)]
pub struct Folder {
    name: String,
    root: Root,
    pub(crate) text_encoder: Part,
    /// Stable Diffusion XL has two.
    pub(crate) text_encoder_2: Option<Part>,
    pub(crate) unet: Part,
    /// What makes reference images of pictures, for a network that takes them.
    pub(crate) image_encoder: Option<Part>,
    pub(crate) vae_encoder: Part,
    pub(crate) vae_decoder: Part,
    /// One for each text encoder.
    pub(crate) tokenizers: Vec<Arc<Tokenizer>>,
    pub(crate) schedule: Arc<Schedule>,
    pub(crate) trailing: bool,
    pub(crate) index: IndexConfig,
    pub(crate) unet_config: UnetConfig,
    pub(crate) autoencoder: AutoencoderConfig,
    record: ExportRecord,
}

/// One graph of the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    role: &'static str,
    path: PathBuf,
    bytes: Option<&'static [u8]>,
    /// A copy of it for CUDA, not looked at yet.
    fused: Option<PathBuf>,
}

impl Part {
    /// The directory that it lies in, which is what it does: `unet`, `vae_decoder` and so on.
    pub(crate) fn role(&self) -> &'static str {
        self.role
    }

    /// Where the file lies; for an embedded one, a name to show.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the file says about itself.
    pub(crate) fn outline(&self) -> Result<Outline, EngineError> {
        let read = match self.bytes {
            Some(bytes) => onnx::outline(Cursor::new(bytes), bytes.len() as u64),
            None => {
                let (file, length) = open(&self.path)?;
                onnx::outline(file, length)
            }
        };
        read.map_err(|error| EngineError::ModelFileCorrupt {
            path: self.path.clone(),
            reason: error.to_string(),
        })
    }

    /// The whole file.
    pub(crate) fn content(&self) -> Result<Cow<'static, [u8]>, EngineError> {
        if let Some(bytes) = self.bytes {
            return Ok(Cow::Borrowed(bytes));
        }
        let read = std::fs::read(&self.path).map_err(|error| EngineError::ModelFileCorrupt {
            path: self.path.clone(),
            reason: error.to_string(),
        });
        read.map(Cow::Owned)
    }

    /// The file itself, if it is part of the program.
    pub(crate) fn bytes(&self) -> Option<&'static [u8]> {
        self.bytes
    }
}

#[derive(Debug, Clone)]
enum Root {
    Directory(PathBuf),
    Embedded {
        name: &'static str,
        files: &'static [(&'static str, &'static [u8])],
    },
}

impl Folder {
    /// Looks through a directory.
    ///
    /// # Errors
    ///
    /// The first file that is missing, damaged (cut short, a git-lfs pointer, a web page, not
    /// ONNX), or that describes a kind of model the engine cannot run.
    pub fn open(dir: &Path) -> Result<Self, EngineError> {
        if !dir.is_dir() {
            return Err(EngineError::ModelFolderMissing {
                path: dir.to_path_buf(),
            });
        }
        Self::discover(name_of(dir), Root::Directory(dir.to_path_buf()))
    }

    /// Looks through a folder that is part of the program.
    ///
    /// - `name`: what to call the model.
    /// - `files`: path below the folder (`unet/model.onnx`) and content of every file.
    ///
    /// # Errors
    ///
    /// As [`Folder::open`].
    pub fn embedded(
        name: &'static str,
        files: &'static [(&'static str, &'static [u8])],
    ) -> Result<Self, EngineError> {
        Self::discover(name.into(), Root::Embedded { name, files })
    }

    /// The same model with the autoencoder of another folder: that of a whole model, or one that
    /// holds `vae_encoder/` and `vae_decoder/` only.
    ///
    /// # Errors
    ///
    /// As [`Folder::open`]. Whether the two fit together shows when the model is loaded.
    pub fn with_autoencoder(mut self, dir: &Path) -> Result<Self, EngineError> {
        if !dir.is_dir() {
            return Err(EngineError::ModelFolderMissing {
                path: dir.to_path_buf(),
            });
        }
        let root = Root::Directory(dir.to_path_buf());
        let part = |role: &'static str| {
            let part = root.graph(role)?;
            let path = root.show(&format!("{role}/model.onnx"));
            part.ok_or(EngineError::ModelFileMissing { path })
        };
        (self.vae_encoder, self.vae_decoder) = (part("vae_encoder")?, part("vae_decoder")?);
        root.prove(&self.vae_encoder)?;
        root.prove(&self.vae_decoder)?;
        self.autoencoder = root.autoencoder()?;
        Ok(self)
    }

    /// What the model is called: the name of its directory, or of the one around it if that is
    /// just `model` or `onnx`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn discover(name: String, root: Root) -> Result<Self, EngineError> {
        let missing = |file: &str| EngineError::ModelFileMissing {
            path: root.show(file),
        };
        if root.graph("unet")?.is_none()
            && let Some(reason) = root.no_graph_of_ours()
        {
            let reason = reason.into();
            return Err(EngineError::ModelUnsupported { name, reason });
        }
        let part = |role: &'static str| {
            root.graph(role)?
                .ok_or_else(|| missing(&format!("{role}/model.onnx")))
        };
        let (unet, text_encoder) = (part("unet")?, part("text_encoder")?);
        let (vae_encoder, vae_decoder) = (part("vae_encoder")?, part("vae_decoder")?);
        let text_encoder_2 = root.graph("text_encoder_2")?;
        let image_encoder = root.graph("image_encoder")?;
        let graphs = [&unet, &text_encoder, &vae_encoder, &vae_decoder];
        for graph in graphs
            .into_iter()
            .chain(&text_encoder_2)
            .chain(&image_encoder)
        {
            root.prove(graph)?;
        }
        let mut tokenizers = vec![Arc::new(root.tokenizer("tokenizer")?)];
        if text_encoder_2.is_some() {
            tokenizers.push(Arc::new(root.tokenizer("tokenizer_2")?));
        }

        let scheduler_file = "scheduler/scheduler_config.json";
        let scheduler: SchedulerConfig = root
            .json(scheduler_file)?
            .ok_or_else(|| missing(scheduler_file))?;
        let schedule =
            Schedule::new(&scheduler).map_err(|reason| EngineError::ModelFileCorrupt {
                path: root.show(scheduler_file),
                reason,
            })?;
        let index: IndexConfig = root.json("model_index.json")?.unwrap_or_default();
        index
            .check()
            .map_err(|reason| EngineError::ModelFileCorrupt {
                path: root.show("model_index.json"),
                reason,
            })?;
        let unet_config: UnetConfig = root.json("unet/config.json")?.unwrap_or_default();
        unet_config
            .check()
            .map_err(|reason| EngineError::ModelFileCorrupt {
                path: root.show("unet/config.json"),
                reason,
            })?;
        let record: ExportRecord = root.json("export.json")?.unwrap_or_default();
        Ok(Self {
            tokenizers,
            schedule: Arc::new(schedule),
            trailing: scheduler.timestep_spacing.as_deref() == Some("trailing"),
            autoencoder: root.autoencoder()?,
            index,
            unet_config,
            name,
            text_encoder,
            text_encoder_2,
            unet,
            image_encoder,
            vae_encoder,
            vae_decoder,
            record,
            root,
        })
    }

    /// What to call a file of this folder in an error.
    pub(crate) fn show(&self, file: &str) -> PathBuf {
        self.root.show(file)
    }
}

impl Root {
    fn show(&self, file: &str) -> PathBuf {
        match self {
            Self::Directory(dir) => dir.join(file),
            Self::Embedded { name, .. } => Path::new("embedded").join(name).join(file),
        }
    }

    /// The graph of a role: `model.onnx`, else the only ONNX file of its directory.
    fn graph(&self, role: &'static str) -> Result<Option<Part>, EngineError> {
        let mut names = self.onnx_files(role);
        let all = names.len();
        names.retain(|name| name != fused::NAME);
        let has_copy = names.len() < all;
        let name = match names.iter().find(|name| *name == "model.onnx") {
            Some(name) => name,
            None => match names.as_slice() {
                [] => return Ok(None),
                [only] => only,
                several => {
                    return Err(EngineError::ModelUnsupported {
                        name: self.show(role).display().to_string(),
                        reason: format!("none of its {} graphs is model.onnx", several.len()),
                    });
                }
            },
        };
        let file = format!("{role}/{name}");
        let bytes = match self {
            Self::Directory(_) => None,
            Self::Embedded { files, .. } => embedded(files, &file),
        };
        Ok(Some(Part {
            role,
            path: self.show(&file),
            bytes,
            fused: has_copy.then(|| self.show(&format!("{role}/{}", fused::NAME))),
        }))
    }

    fn onnx_files(&self, role: &str) -> Vec<String> {
        let mut names: Vec<String> = match self {
            Self::Directory(dir) => {
                let entries = std::fs::read_dir(dir.join(role))
                    .into_iter()
                    .flatten()
                    .flatten();
                entries
                    .filter_map(|entry| entry.file_name().into_string().ok())
                    .collect()
            }
            Self::Embedded { files, .. } => files
                .iter()
                .filter_map(|(path, _)| path.strip_prefix(role)?.strip_prefix('/'))
                .map(str::to_string)
                .collect(),
        };
        names.retain(|name| name.ends_with(".onnx"));
        names.sort();
        names
    }

    /// Checks that a graph's file is whole, as far as that shows without reading the weights.
    fn prove(&self, part: &Part) -> Result<(), EngineError> {
        let corrupt = |reason: String| EngineError::ModelFileCorrupt {
            path: part.path.clone(),
            reason,
        };
        let proof = match part.bytes {
            Some(bytes) => proof::prove(&mut Cursor::new(bytes), bytes.len() as u64),
            None => {
                let (file, length) = open(&part.path)?;
                proof::prove(&mut BufReader::new(file), length)
            }
        };
        proof.map_err(corrupt)?;
        self.check(part)
    }

    /// Checks that the weights which a graph speaks of are there and where they may be.
    fn check(&self, part: &Part) -> Result<(), EngineError> {
        let path = part.path.clone();
        let outline = part.outline()?;
        let dir = part.path.parent().unwrap_or(Path::new("."));
        onnx::check(&outline, dir).map_err(|fault| match fault {
            Fault::Corrupt(reason) => EngineError::ModelFileCorrupt { path, reason },
            Fault::Missing(path) => EngineError::ModelFileMissing { path },
            Fault::Unsupported(reason) => EngineError::ModelUnsupported {
                name: part.role.into(),
                reason,
            },
        })
    }

    /// A text file of the folder, or `None` if there is none.
    fn text(&self, file: &str) -> Result<Option<Cow<'static, [u8]>>, EngineError> {
        let dir = match self {
            Self::Embedded { files, .. } => return Ok(embedded(files, file).map(Cow::Borrowed)),
            Self::Directory(dir) => dir,
        };
        let path = dir.join(file);
        if !path.exists() {
            return Ok(None);
        }
        let corrupt = |reason: String| EngineError::ModelFileCorrupt {
            path: path.clone(),
            reason,
        };
        let mut bytes = Vec::new();
        open(&path)?
            .0
            .take(LONGEST_TEXT + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| corrupt(error.to_string()))?;
        if bytes.len() as u64 > LONGEST_TEXT {
            return Err(corrupt(format!("it is longer than {LONGEST_TEXT} bytes")));
        }
        Ok(Some(Cow::Owned(bytes)))
    }

    fn json<T: DeserializeOwned>(&self, file: &str) -> Result<Option<T>, EngineError> {
        let Some(bytes) = self.text(file)? else {
            return Ok(None);
        };
        let parsed =
            serde_json::from_slice(&bytes).map_err(|error| EngineError::ModelFileCorrupt {
                path: self.show(file),
                reason: error.to_string(),
            })?;
        Ok(Some(parsed))
    }

    fn autoencoder(&self) -> Result<AutoencoderConfig, EngineError> {
        for file in ["vae_decoder/config.json", "vae/config.json", "config.json"] {
            if let Some(config) = self.json(file)? {
                return Ok(config);
            }
        }
        Ok(AutoencoderConfig::default())
    }

    fn tokenizer(&self, dir: &str) -> Result<Tokenizer, EngineError> {
        let read = |file: &str| self.text(&format!("{dir}/{file}"));
        let (json, special) = (read("tokenizer.json")?, read("special_tokens_map.json")?);
        let (vocabulary, merges) = (read("vocab.json")?, read("merges.txt")?);
        let files = TokenizerFiles {
            tokenizer: json.as_deref(),
            vocabulary: vocabulary.as_deref(),
            merges: merges.as_deref(),
            special_tokens: special.as_deref(),
        };
        Tokenizer::new(&files).map_err(|(file, reason)| {
            let path = self.show(&format!("{dir}/{file}"));
            if reason == "it is missing" {
                EngineError::ModelFileMissing { path }
            } else {
                EngineError::ModelFileCorrupt { path, reason }
            }
        })
    }
}

fn embedded(files: &[(&'static str, &'static [u8])], file: &str) -> Option<&'static [u8]> {
    files
        .iter()
        .find(|(path, _)| *path == file)
        .map(|(_, bytes)| *bytes)
}

/// A file and its length; what is not a plain file (a pipe would block us) is refused.
fn open(path: &Path) -> Result<(File, u64), EngineError> {
    let corrupt = |reason: String| EngineError::ModelFileCorrupt {
        path: path.to_path_buf(),
        reason,
    };
    let found = std::fs::metadata(path).map_err(|error| corrupt(error.to_string()))?;
    if !found.is_file() {
        return Err(corrupt("it is not a file".into()));
    }
    let file = File::open(path).map_err(|error| corrupt(error.to_string()))?;
    Ok((file, found.len()))
}

fn name_of(dir: &Path) -> String {
    let absolute = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let names = absolute
        .ancestors()
        .filter_map(|path| path.file_name()?.to_str());
    let telling = names.filter(|name| !matches!(*name, "model" | "onnx"));
    telling.take(1).collect::<String>()
}

#[cfg(test)]
mod tests;

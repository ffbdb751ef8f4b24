//! ONNX Runtime: found and loaded at run time, one environment for the life of the process.
//!
//! The only module (with its children) that says `ort::`, that is unsafe, and that reads the
//! process's environment.
//!
//! Decision: nothing of `ort` is touched before a library has been found and checked, because the
//! crate panics without one. The environment is a static that is never dropped: a second one
//! cannot be made, and dropping it at exit crashes with CUDA.
//!
//! Decision: one thread pool for all graphs, without spinning. The graphs of a model run one after
//! another, and a pool that spins takes the cores from the next graph and from GStreamer.

mod graph;
mod search;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ::ort::environment::{Environment, GlobalThreadPoolOptions};
use ::ort::ep::{self, ArenaExtendStrategy, ExecutionProvider};
use ::ort::logging::LogLevel;
use ::ort::session::Session;
use ::ort::session::builder::SessionBuilder;

use self::graph::OrtGraph;
use super::{Changes, Device, Graph, Provider};
use crate::error::EngineError;
use crate::folder::Part;

/// ONNX Runtime, loaded. There is at most one in a process.
#[derive(Debug)]
pub struct OrtBackend {
    environment: Environment,
    path: PathBuf,
    version: String,
}

/// Where a graph that is opened from memory finds the weights that lie beside it.
const WEIGHTS_DIR: &str = "session.model_external_initializers_file_folder_path";

static LOADED: OnceLock<OrtBackend> = OnceLock::new();
static LOADING: Mutex<()> = Mutex::new(());

impl OrtBackend {
    /// Finds, checks and loads ONNX Runtime; later calls return what the first success loaded.
    ///
    /// - `explicit`: a library file or a folder that holds one. Without it, `SCOPE_ONNXRUNTIME`,
    ///   `ORT_DYLIB_PATH`, the plugin's own folder, the user's data folder, Python packages and the
    ///   system's library path are searched.
    ///
    /// # Errors
    ///
    /// [`EngineError::RuntimeMissing`] with all places that were tried; trying again after
    /// installing the library works in the same process. [`EngineError::RuntimeFailed`] if the
    /// library is there but does not start.
    pub fn load(explicit: Option<&Path>) -> Result<&'static Self, EngineError> {
        if let Some(loaded) = LOADED.get() {
            return Ok(loaded);
        }
        let _one_at_a_time = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = LOADED.get() {
            return Ok(loaded);
        }
        let mut tried = Vec::new();
        for candidate in search::candidates(explicit) {
            // ONNX Runtime looks for its providers beside the name it was opened by, so no links.
            let path = candidate.path.canonicalize().unwrap_or(candidate.path);
            match check(&path) {
                Ok(version) => {
                    let backend = start(path, version)?;
                    return Ok(LOADED.get_or_init(|| backend));
                }
                Err(why) => {
                    let path = path.display();
                    // The dynamic loader begins with the path, which is said already.
                    let why = why.strip_prefix(&format!("{path}: ")).unwrap_or(&why);
                    tried.push(format!("{path} ({}): {why}", candidate.from));
                }
            }
        }
        Err(EngineError::RuntimeMissing { tried })
    }

    /// The library's version, for example `1.31.1`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The library file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether [`Provider::Auto`] has something better than the CPU to try.
    pub(crate) fn has_cuda(&self) -> bool {
        ep::CUDA::is_available().unwrap_or(false)
    }

    /// Opens one part of a model on a device; `device.provider` must be decided, not `Auto`.
    pub(crate) fn open(
        &self,
        part: &Part,
        device: Device,
        changes: Changes<'_>,
    ) -> Result<Box<dyn Graph>, EngineError> {
        let mut builder = self.builder(device)?;
        if changes.content.is_some()
            && let Some(dir) = part.path().parent().filter(|dir| dir.is_dir())
        {
            builder = builder
                .with_config_entry(WEIGHTS_DIR, dir.display().to_string())
                .map_err(|error| self.failed(&error))?;
        }
        // Weights inside the file are changed in its content: the runtime would override them too, but goes on
        // optimising with the old ones.
        for weight in changes
            .weights
            .iter()
            .filter(|weight| weight.inside.is_none())
        {
            let value = graph::weight(weight).map_err(|error| self.failed(&error))?;
            builder = builder
                .with_external_initializer(&weight.name, value)
                .map_err(|error| self.failed(&error))?;
        }
        let opened = match changes.content.or(part.bytes()) {
            Some(bytes) => builder.commit_from_memory(bytes),
            None => builder.commit_from_file(part.path()),
        };
        let session = opened.map_err(|error| refused(part, device, error.message()))?;
        Ok(Box::new(OrtGraph::new(part.role(), session)))
    }

    fn builder(&self, device: Device) -> Result<SessionBuilder, EngineError> {
        let builder = Session::builder(&self.environment).map_err(|error| self.failed(&error))?;
        let index = i32::try_from(device.index).unwrap_or(i32::MAX);
        let cuda = || {
            ep::CUDA::default()
                .with_device_id(index)
                .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
                .build()
                .error_on_failure()
        };
        let (name, providers) = match device.provider {
            Provider::Auto | Provider::Cpu => return Ok(builder),
            Provider::Cuda => ("cuda", vec![cuda()]),
            Provider::TensorRt => {
                let tensorrt = ep::TensorRT::default()
                    .with_device_id(index)
                    .with_fp16(true);
                (
                    "tensorrt",
                    vec![tensorrt.build().error_on_failure(), cuda()],
                )
            }
        };
        search::map_nvidia_libraries(&self.path);
        builder
            .with_execution_providers(providers)
            .map_err(|error| EngineError::ProviderUnavailable {
                provider: name,
                reason: missing(error.message()),
            })
    }

    fn failed<R>(&self, error: &::ort::Error<R>) -> EngineError {
        EngineError::RuntimeFailed {
            path: self.path.clone(),
            reason: error.message().into(),
        }
    }
}

/// The library's version, if it is new enough for the API level that `ort` was built for.
fn check(library: &Path) -> Result<String, String> {
    let version = search::version_of(library)?;
    let minor = version
        .split('.')
        .nth(1)
        .and_then(|minor| minor.parse::<u32>().ok());
    match minor {
        Some(minor) if minor >= ::ort::MINOR_VERSION => Ok(version),
        Some(_) => Err(format!(
            "version {version} is too old, 1.{} or newer is needed",
            ::ort::MINOR_VERSION
        )),
        None => Err(format!("it calls its version {version:?}")),
    }
}

fn start(path: PathBuf, version: String) -> Result<OrtBackend, EngineError> {
    let failed = |reason: String| EngineError::RuntimeFailed {
        path: path.clone(),
        reason,
    };
    let text = |error: ::ort::Error| failed(error.message().to_string());
    // First of all: everything else of the crate asks for the library by itself and panics.
    let builder = ::ort::init_from(&path).map_err(|error| failed(error.to_string()))?;
    let pool = GlobalThreadPoolOptions::default()
        .with_spin_control(false)
        .map_err(text)?;
    let environment = builder
        .with_name("scope-diffusion")
        .with_telemetry(false)
        .with_global_thread_pool(pool)
        .with_logger(Arc::new(
            |level: LogLevel, category: &str, _: &str, _: &str, message: &str| {
                tracing::debug!(?level, category, "{message}");
            },
        ))
        .build()
        .map_err(text)?;
    environment.set_log_level(LogLevel::Error);
    tracing::debug!(path = %path.display(), version, "ONNX Runtime loaded");
    Ok(OrtBackend {
        environment,
        path,
        version,
    })
}

/// The name of the library that a provider lacks, where the runtime gives it.
fn missing(message: &str) -> String {
    let library = message
        .split_once("with error: ")
        .and_then(|(_, detail)| detail.split_once(": cannot open shared object file"))
        .map(|(library, _)| library);
    match library {
        Some("libcuda.so.1") => "there is no NVIDIA driver (libcuda.so.1 is missing)".into(),
        Some(library) => format!("the library {library} is missing"),
        None => message.into(),
    }
}

/// Sorts a refusal to open into: the device, the file, or a model that this runtime cannot run.
fn refused(part: &Part, device: Device, message: &str) -> EngineError {
    let any = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if any(&["CUDA failure", "CUDA error", "no CUDA-capable device"]) {
        let provider = if device.provider == Provider::TensorRt {
            "tensorrt"
        } else {
            "cuda"
        };
        return EngineError::ProviderUnavailable {
            provider,
            reason: message.into(),
        };
    }
    let outside = any(&[
        "External data path does not exist",
        "external data",
        "External data",
    ]);
    if let Some(path) = quoted(message).filter(|_| outside) {
        return EngineError::ModelFileMissing { path: path.into() };
    }
    if any(&[
        "opset",
        "Opset",
        "not a registered function",
        "Failed to find kernel",
        "NOT_IMPLEMENTED",
    ]) {
        return EngineError::ModelUnsupported {
            name: part.role().into(),
            reason: message.into(),
        };
    }
    EngineError::ModelFileCorrupt {
        path: part.path().to_path_buf(),
        reason: message.into(),
    }
}

fn quoted(message: &str) -> Option<&str> {
    message.split('"').nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_of_a_provider_is_named() {
        let said = "Failed to load library /a/libonnxruntime_providers_cuda.so with error: \
                    libcublasLt.so.13: cannot open shared object file: No such file or directory";

        assert_eq!(missing(said), "the library libcublasLt.so.13 is missing");
    }
}

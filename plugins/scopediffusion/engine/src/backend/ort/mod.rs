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

mod bound;
mod cache;
mod device;
mod graph;
mod open;
mod placement;
mod queue;
mod resident;
mod search;
mod slot;
mod tensorrt;
#[cfg(test)]
mod tests;
mod trouble;
mod workshop;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ::ort::environment::{Environment, GlobalThreadPoolOptions};
use ::ort::logging::LogLevel;

use crate::error::EngineError;

pub(crate) use self::bound::Handle;
pub(crate) use self::open::{Gauge, Opener};
pub(crate) use self::resident::{Design, Landing, Parts, Resident, Round};
pub(crate) use self::workshop::Workshop;

/// ONNX Runtime, loaded. There is at most one in a process.
#[derive(Debug)]
pub struct OrtBackend {
    environment: Environment,
    path: PathBuf,
    version: String,
}

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

    fn failed(&self, reason: &str) -> EngineError {
        EngineError::RuntimeFailed {
            path: self.path.clone(),
            reason: reason.into(),
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

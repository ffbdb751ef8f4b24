//! Opening graphs on a device: providers, their options, and what to do when one will not have a graph.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::ort::ep::{
    self, ArbitrarilyConfigurableExecutionProvider, ArenaExtendStrategy, ExecutionProviderDispatch,
};
use ::ort::session::Session;
use ::ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::bound::Sessions;
use super::cache::Entry;
use super::device::makers;
use super::graph::{self, OrtGraph};
use super::queue::{self, Queue};
use super::slot::Place;
use super::workshop::Workshop;
use super::{OrtBackend, placement, search, tensorrt, trouble};
use crate::backend::{Changes, Device, Graph, Latents, Opening, Provider, Shapes};
use crate::error::EngineError;
use crate::folder::Part;
use crate::onnx::{self, Outline, picture};
use crate::watch::LoadInterrupt;

/// Where a graph that is opened from memory finds the weights that lie beside it.
const WEIGHTS_DIR: &str = "session.model_external_initializers_file_folder_path";

/// A device that graphs of one model are opened on; on a GPU they share a stream.
#[derive(Debug)]
pub(crate) struct Opener<'b> {
    backend: &'b OrtBackend,
    device: Device,
    cache_dir: Option<PathBuf>,
    shapes: Shapes,
    /// What engines depend on besides the graph.
    makers: String,
    interrupt: LoadInterrupt,
    queue: Option<Arc<Queue>>,
    /// Graphs turn bytes into numbers and back.
    picture_graphs: bool,
    /// Graphs are opened from their fused copies.
    fused: bool,
    /// Latents stay where the graphs compute.
    on_provider: bool,
}

/// Tells how full a device is.
#[derive(Debug, Clone)]
pub(crate) struct Gauge(Arc<Queue>);

impl Gauge {
    /// Bytes in use, by whomever, and bytes that it has.
    pub(crate) fn read(&self) -> Option<(u64, u64)> {
        self.0.memory().ok()
    }
}

/// What a provider is asked for beyond running the graph; given up where a graph opens without only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wish {
    /// Pictures lie channel by channel within a pixel, as tensor cores want them.
    channels_last: bool,
    /// All work of a run is recorded once and started as one.
    recording: bool,
}

pub(super) const PLAIN: Wish = Wish {
    channels_last: false,
    recording: false,
};

impl OrtBackend {
    /// Opens graphs as `opening` says, whose provider must be decided, not `Auto`.
    pub(crate) fn on(&self, opening: &Opening) -> Result<Opener<'_>, EngineError> {
        let device = opening.device;
        let provider = trouble::name(device.provider);
        let unavailable = |reason| EngineError::ProviderUnavailable { provider, reason };
        let queue = match device.provider {
            Provider::Auto | Provider::Cpu => None,
            Provider::Cuda | Provider::TensorRt => {
                self.has_files_of(device.provider).map_err(unavailable)?;
                search::map_nvidia_libraries(self.path());
                // Tells what is missing by itself; the runtime would say the same with more words.
                let queue = Queue::new(device.index);
                let explained = queue.map_err(|said| trouble::unusable(&said, device.index));
                Some(explained.map_err(unavailable)?)
            }
        };
        Ok(Opener {
            backend: self,
            device,
            cache_dir: opening.cache_dir.clone(),
            shapes: opening.shapes.unwrap_or_default(),
            makers: match device.provider {
                Provider::TensorRt => format!("{} {:?}", makers(device.index), opening.shapes),
                Provider::Auto | Provider::Cpu | Provider::Cuda => String::new(),
            },
            interrupt: LoadInterrupt::default(),
            // Neither the CPU nor TensorRT has their operations.
            fused: device.provider == Provider::Cuda,
            picture_graphs: queue.is_some() || opening.latents == Latents::Provider,
            on_provider: match opening.latents {
                Latents::Auto => queue.is_some(),
                Latents::Host => false,
                Latents::Provider => true,
            },
            queue,
        })
    }

    /// Whether the provider's own library lies beside ONNX Runtime.
    ///
    /// # Errors
    ///
    /// A sentence that names the file.
    pub(crate) fn has_files_of(&self, provider: Provider) -> Result<(), String> {
        let names: &[&str] = match provider {
            Provider::Auto | Provider::Cpu => &[],
            Provider::Cuda => &["onnxruntime_providers_cuda"],
            Provider::TensorRt => &[
                "onnxruntime_providers_tensorrt",
                "onnxruntime_providers_cuda",
            ],
        };
        let dir = self.path().parent().unwrap_or(Path::new(""));
        for name in names {
            let file = dir.join(format!(
                "{}{name}{}",
                std::env::consts::DLL_PREFIX,
                std::env::consts::DLL_SUFFIX
            ));
            if !file.exists() {
                return Err(format!(
                    "the file {} is missing: this ONNX Runtime is not built for it",
                    file.display()
                ));
            }
        }
        Ok(())
    }
}

impl Opener<'_> {
    /// What tells how full the device is; `None` on the CPU.
    pub(crate) fn gauge(&self) -> Option<Gauge> {
        self.queue.clone().map(Gauge)
    }

    /// The same, whose opening can be ended from another thread.
    pub(crate) fn stopped_by(self, interrupt: &LoadInterrupt) -> Self {
        Self {
            interrupt: interrupt.clone(),
            ..self
        }
    }

    /// What people call the provider.
    pub(crate) fn provider(&self) -> &'static str {
        trouble::name(self.device.provider)
    }

    /// Whether graphs are opened from their fused copies where there are any.
    pub(crate) fn takes_fused(&self) -> bool {
        self.fused
    }

    /// The same, taking fused copies, which it then can run only if they are none.
    #[cfg(test)]
    pub(crate) fn with_fused(self) -> Self {
        Self {
            fused: true,
            ..self
        }
    }

    /// The same, with the graphs for pictures that a device has.
    #[cfg(test)]
    pub(super) fn with_picture_graphs(self) -> Self {
        Self {
            picture_graphs: true,
            ..self
        }
    }

    /// Opens one part of a model.
    pub(crate) fn open(
        &self,
        part: &Part,
        changes: Changes<'_>,
    ) -> Result<Box<dyn Graph>, EngineError> {
        let _allocating = self.queue.as_ref().map(|_| queue::allocating());
        let entry = self.entry(part, &changes);
        if let (Some(entry), Provider::Cpu | Provider::Auto) = (&entry, self.device.provider) {
            return self.open_through(entry, part, changes);
        }
        let mut opened = Err(self.backend.failed("no way of opening was tried"));
        for wish in self.wishes(part, changes.content) {
            opened = self.open_so(part, changes, wish, entry.as_ref());
            // Engines of another driver, or cut short, are as good as none.
            if opened.is_err() && entry.as_ref().is_some_and(Entry::forget_engines) {
                opened = self.open_so(part, changes, wish, entry.as_ref());
            }
            match &opened {
                Ok(_) => break,
                Err(error) => tracing::debug!(role = part.role(), ?wish, %error, "does not open"),
            }
        }
        opened
    }

    /// Where what is prepared for a graph is kept, if it is kept.
    fn entry(&self, part: &Part, changes: &Changes<'_>) -> Option<Entry> {
        let provider = trouble::name(self.device.provider);
        let made_by = format!(
            "{} {} {provider} {} {}",
            env!("CARGO_PKG_VERSION"),
            self.backend.version(),
            self.device.index,
            self.makers
        );
        Entry::of(self.cache_dir.as_deref()?, part, changes, &made_by)
    }

    /// Opens the graph that was optimised at an earlier start, or optimises it and keeps that.
    fn open_through(
        &self,
        entry: &Entry,
        part: &Part,
        changes: Changes<'_>,
    ) -> Result<Box<dyn Graph>, EngineError> {
        let failed = |error: ::ort::Error<SessionBuilder>| self.backend.failed(error.message());
        if let Some(kept) = entry.graph() {
            let builder = self.builder(PLAIN, None, part, &changes)?;
            let builder = builder.with_optimization_level(GraphOptimizationLevel::Disable);
            match builder.map_err(failed)?.commit_from_file(kept) {
                Ok(main) => return self.finish(part, main, PLAIN),
                Err(error) => {
                    tracing::warn!(kept = %kept.display(), "removed from the cache: {}", error.message());
                    entry.forget();
                }
            }
        }
        let builder = self.builder(PLAIN, None, part, &changes)?;
        let builder = builder.with_optimized_model_path(entry.part());
        let opened = self.commit(builder.map_err(failed)?, part, changes);
        match opened {
            Ok(main) => {
                entry.keep();
                self.finish(part, main, PLAIN)
            }
            // Perhaps there is only no room for what should be kept.
            Err(_) => {
                entry.forget();
                self.open_so(part, changes, PLAIN, None)
            }
        }
    }

    /// Ways to open a graph, best first.
    fn wishes(&self, part: &Part, content: Option<&[u8]>) -> Vec<Wish> {
        let on_gpu = self.device.provider == Provider::Cuda;
        if !on_gpu {
            return vec![PLAIN];
        }
        let outline = outline_of(part, content);
        let channels_last = Wish {
            // In a fused copy they do already.
            channels_last: !part.is_fused(),
            ..PLAIN
        };
        let recording = Wish {
            recording: true,
            ..channels_last
        };
        // Shapes that are computed are computed on the CPU, and that cannot be recorded.
        let fixed = outline.as_ref().is_some_and(Outline::is_fixed);
        let recorded = (fixed && part.role() != "text_encoder").then_some(recording);
        let mut wishes: Vec<_> = recorded.into_iter().chain([channels_last, PLAIN]).collect();
        wishes.dedup();
        wishes
    }

    fn open_so(
        &self,
        part: &Part,
        changes: Changes<'_>,
        wish: Wish,
        entry: Option<&Entry>,
    ) -> Result<Box<dyn Graph>, EngineError> {
        let main = self.commit(self.builder(wish, entry, part, &changes)?, part, changes)?;
        self.finish(part, main, wish)
    }

    /// Opens the main session of a graph.
    fn commit(
        &self,
        mut builder: SessionBuilder,
        part: &Part,
        changes: Changes<'_>,
    ) -> Result<Session, EngineError> {
        let failed = |error: ::ort::Error<SessionBuilder>| self.backend.failed(error.message());
        if changes.content.is_some()
            && let Some(dir) = part.path().parent().filter(|dir| dir.is_dir())
        {
            let entry = builder.with_config_entry(WEIGHTS_DIR, dir.display().to_string());
            builder = entry.map_err(failed)?;
        }
        // Weights inside the file are changed in its content: the runtime would override them too, but goes on
        // optimising with the old ones.
        let outside = changes.weights.iter();
        for weight in outside.filter(|weight| weight.inside.is_none()) {
            let value = graph::weight(weight);
            let value = value.map_err(|error| self.backend.failed(error.message()))?;
            let weighted = builder.with_external_initializer(&weight.name, value);
            builder = weighted.map_err(failed)?;
        }
        let canceler = builder.canceler();
        let cancel = move || {
            // Refused only for options that are gone, and with them what was to be ended.
            let _ = canceler.cancel();
        };
        let opened = self.interrupt.during(Box::new(cancel), || {
            match changes.content.or(part.bytes()) {
                Some(bytes) => builder.commit_from_memory(bytes),
                None => builder.commit_from_file(part.path()),
            }
        })?;
        opened.map_err(|error| match self.interrupt.is_stopped() {
            true => EngineError::Interrupted,
            false => trouble::of_opening(part, self.device, error.message()),
        })
    }

    /// Puts what belongs to a graph around its session.
    fn finish(
        &self,
        part: &Part,
        main: Session,
        wish: Wish,
    ) -> Result<Box<dyn Graph>, EngineError> {
        let refused = |error: ::ort::Error| trouble::of_opening(part, self.device, error.message());
        let picture = self.picture_side(part.role(), &main)?;
        let place = Place::of(&main, self.queue.clone()).map_err(refused)?;
        let sessions = Sessions {
            main,
            picture,
            recording: wish.recording,
            numbered: 0,
            place,
        };
        Ok(Box::new(OrtGraph::new(part.role(), sessions)))
    }

    /// The graph between bytes and an encoder or decoder.
    fn picture_side(&self, role: &str, main: &Session) -> Result<Option<Session>, EngineError> {
        let halves = |ports: &[::ort::value::Outlet]| {
            let first = ports.first().map(graph::element_of);
            first == Some(crate::backend::Element::F16)
        };
        let content = match role {
            "vae_encoder" => picture::from_bytes(halves(main.inputs())),
            "vae_decoder" => picture::into_bytes(halves(main.outputs())),
            _ => return Ok(None),
        };
        if !self.picture_graphs {
            return Ok(None);
        }
        // TensorRT has nothing to gain here, and no use for bytes.
        let providers = self
            .queue
            .as_ref()
            .map(|queue| vec![self.cuda(queue, PLAIN)]);
        let mut builder = self.builder_for(providers.unwrap_or_default(), PLAIN)?;
        let opened = builder.commit_from_memory(&content);
        let opened = opened.map_err(|error| self.backend.failed(error.message()))?;
        Ok(Some(opened))
    }

    fn builder(
        &self,
        wish: Wish,
        entry: Option<&Entry>,
        part: &Part,
        changes: &Changes<'_>,
    ) -> Result<SessionBuilder, EngineError> {
        let Some(queue) = &self.queue else {
            return self.builder_for(Vec::new(), wish);
        };
        let cuda = self.cuda(queue, wish);
        if self.device.provider != Provider::TensorRt {
            return self.builder_for(vec![cuda], wish);
        }
        let outline = outline_of(part, changes.content);
        let pixels = changes.pixels.max(1);
        let engines = entry.and_then(Entry::engines);
        let options =
            tensorrt::options(part.role(), outline.as_ref(), self.shapes, pixels, engines);
        tracing::debug!(role = part.role(), ?options, "TensorRT");
        let builder = self.builder_for(vec![self.tensorrt(queue, options), cuda], wish)?;
        // TensorRT knows patterns of plain operations, and none that ONNX Runtime makes of them.
        let builder = builder.with_optimization_level(GraphOptimizationLevel::Disable);
        builder.map_err(|error| self.backend.failed(error.message()))
    }

    /// - `providers`: best first; the CPU stands behind them.
    fn builder_for(
        &self,
        providers: Vec<ExecutionProviderDispatch>,
        wish: Wish,
    ) -> Result<SessionBuilder, EngineError> {
        let failed = |message: &str| self.backend.failed(message);
        let builder = Session::builder(&self.backend.environment);
        let builder = builder.map_err(|error| failed(error.message()))?;
        let builder = builder
            .with_config_entry(placement::RECORD.0, placement::RECORD.1)
            .map_err(|error| failed(error.message()))?;
        if providers.is_empty() {
            return Ok(builder);
        }
        let builder = builder.with_execution_providers(providers);
        let mut builder = builder.map_err(|error| EngineError::ProviderUnavailable {
            provider: trouble::name(self.device.provider),
            reason: trouble::missing_library(error.message()),
        })?;
        if wish.recording {
            // A node that is left over is then refused here and not in the middle of recording.
            builder = builder
                .with_disable_cpu_fallback()
                .map_err(|error| failed(error.message()))?;
        }
        Ok(builder)
    }

    fn index(&self) -> i32 {
        i32::try_from(self.device.index).unwrap_or(i32::MAX)
    }

    fn cuda(&self, queue: &Queue, wish: Wish) -> ExecutionProviderDispatch {
        cuda(queue, wish)
    }

    /// What opens graphs of our own beside the model's; `None` where latents stay on the host.
    pub(crate) fn workshop(&self) -> Option<Workshop> {
        let environment = self.backend.environment.clone();
        self.on_provider
            .then(|| Workshop::new(environment, self.queue.clone()))
    }

    #[allow(unsafe_code, reason = "a stream is handed over by its address")]
    fn tensorrt(
        &self,
        queue: &Queue,
        options: Vec<(&'static str, String)>,
    ) -> ExecutionProviderDispatch {
        let mut tensorrt = ep::TensorRT::default().with_device_id(self.index());
        for (name, value) in options {
            tensorrt = tensorrt.with_arbitrary_config(name, value);
        }
        // SAFETY: as above.
        let tensorrt = unsafe { tensorrt.with_compute_stream(queue.stream()) };
        tensorrt.build().error_on_failure()
    }
}

/// What a graph says about itself, as far as it can be read.
fn outline_of(part: &Part, content: Option<&[u8]>) -> Option<Outline> {
    match content {
        Some(bytes) => onnx::outline(Cursor::new(bytes), bytes.len() as u64).ok(),
        None => part.outline().ok(),
    }
}

#[allow(unsafe_code, reason = "a stream is handed over by its address")]
pub(super) fn cuda(queue: &Queue, wish: Wish) -> ExecutionProviderDispatch {
    let cuda = ep::CUDA::default()
        .with_device_id(queue.device())
        .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
        .with_conv_max_workspace(true)
        .with_tf32(true)
        .with_prefer_nhwc(wish.channels_last)
        .with_cuda_graph(wish.recording);
    // SAFETY: every graph holds the queue, and drops it after its sessions.
    let cuda = unsafe { cuda.with_compute_stream(queue.stream()) };
    cuda.build().error_on_failure()
}

//! Opens the engine's own small graphs on a model's device, after the model has been loaded.

use std::sync::Arc;

use ::ort::environment::Environment;
use ::ort::session::Session;

use super::bound::{Failure, text};
use super::open::{PLAIN, cuda};
use super::queue::Queue;

/// Where a model's graphs run.
#[derive(Debug, Clone)]
pub(crate) struct Workshop {
    environment: Environment,
    queue: Option<Arc<Queue>>,
}

impl Workshop {
    pub(super) fn new(environment: Environment, queue: Option<Arc<Queue>>) -> Self {
        Self { environment, queue }
    }

    /// The stream of the device; `None` on the CPU.
    pub(super) fn queue(&self) -> Option<Arc<Queue>> {
        self.queue.clone()
    }

    /// Opens a graph that is all on the device. The caller has a turn at its queue.
    pub(super) fn open(&self, content: &[u8]) -> Result<Session, Failure> {
        let mut builder = Session::builder(&self.environment).map_err(text)?;
        if let Some(queue) = &self.queue {
            // TensorRT has nothing to gain here.
            let builder_on = builder.with_execution_providers([cuda(queue, PLAIN)]);
            let builder_on = builder_on.map_err(|error| error.message().to_string())?;
            let strict = builder_on.with_disable_cpu_fallback();
            builder = strict.map_err(|error| error.message().to_string())?;
        }
        builder.commit_from_memory(content).map_err(text)
    }
}

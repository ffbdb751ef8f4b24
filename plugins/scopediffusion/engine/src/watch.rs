//! What an engine holds over the graphs while they run: it can stop them, and sees how long they took.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A run in an inference runtime that somebody else may stop.
pub(crate) trait Stoppable: Any + Send + Sync + fmt::Debug {
    /// Makes the run under way, and every later one, fail soon.
    fn stop(&self);

    /// Lets runs be.
    fn go_on(&self);
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    nanoseconds: AtomicU64,
    runtime: OnceLock<Box<dyn Stoppable>>,
}

/// Handed to every run of a graph.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watch {
    shared: Arc<Shared>,
}

impl Watch {
    /// Whether runs shall not begin.
    pub(crate) fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::SeqCst)
    }

    /// What the runtime needs to stop a run, made by `new` at the first one.
    ///
    /// Ask [`Watch::is_stopped`] after this: whoever stops meanwhile either finds it or is found.
    pub(crate) fn runtime(&self, new: impl FnOnce() -> Box<dyn Stoppable>) -> &dyn Any {
        let runtime = self.shared.runtime.get_or_init(new);
        &**runtime
    }

    /// Adds the time that a run took.
    pub(crate) fn add(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.shared
            .nanoseconds
            .fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// The time of the runs since this was asked last.
    pub(crate) fn take(&self) -> Duration {
        Duration::from_nanos(self.shared.nanoseconds.swap(0, Ordering::Relaxed))
    }

    pub(crate) fn interrupt(&self) -> Interrupt {
        Interrupt(self.clone())
    }
}

/// Stops an engine from another thread, in the middle of a frame.
#[derive(Debug, Clone)]
pub struct Interrupt(Watch);

impl Interrupt {
    /// Makes the frame under way, and every later one, fail with
    /// [`crate::EngineError::Interrupted`] within one operation of the graph that runs.
    pub fn stop(&self) {
        self.0.shared.stopped.store(true, Ordering::SeqCst);
        if let Some(runtime) = self.0.shared.runtime.get() {
            runtime.stop();
        }
    }

    /// Lets frames through again.
    pub fn go_on(&self) {
        self.0.shared.stopped.store(false, Ordering::SeqCst);
        if let Some(runtime) = self.0.shared.runtime.get() {
            runtime.go_on();
        }
    }
}

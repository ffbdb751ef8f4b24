//! What an engine holds over the graphs while they run: it can stop them, and sees how long they took.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::error::EngineError;

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

/// What ends the load under way.
type Cancel = Box<dyn Fn() + Send>;

#[derive(Default)]
struct Loading {
    stopped: bool,
    cancel: Option<Cancel>,
}

/// Ends the loading of a model from another thread.
///
/// Graphs are given up between two of their optimisations; an engine that TensorRT is building is finished first, and
/// nothing after it is begun.
#[derive(Clone, Default)]
pub struct LoadInterrupt(Arc<Mutex<Loading>>);

impl fmt::Debug for LoadInterrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoadInterrupt(stopped: {})", self.is_stopped())
    }
}

impl LoadInterrupt {
    /// Makes the load under way, and every later one, fail with [`crate::EngineError::Interrupted`].
    pub fn stop(&self) {
        let mut loading = self.loading();
        loading.stopped = true;
        if let Some(cancel) = &loading.cancel {
            cancel();
        }
    }

    /// Lets loads through again.
    pub fn go_on(&self) {
        self.loading().stopped = false;
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.loading().stopped
    }

    /// Does `work`, which `cancel` ends from another thread; not at all if it is stopped already.
    pub(crate) fn during<T>(
        &self,
        cancel: Cancel,
        work: impl FnOnce() -> T,
    ) -> Result<T, EngineError> {
        {
            let mut loading = self.loading();
            if loading.stopped {
                return Err(EngineError::Interrupted);
            }
            loading.cancel = Some(cancel);
        }
        let done = work();
        self.loading().cancel = None;
        Ok(done)
    }

    fn loading(&self) -> MutexGuard<'_, Loading> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn a_load_under_way_is_cancelled_and_a_later_one_not_begun() {
        let (interrupt, cancelled) = (LoadInterrupt::default(), Arc::new(AtomicUsize::new(0)));
        let cancel = || -> Cancel {
            let cancelled = Arc::clone(&cancelled);
            Box::new(move || _ = cancelled.fetch_add(1, Ordering::SeqCst))
        };

        let done = interrupt.during(cancel(), || interrupt.stop());
        assert_eq!((done, cancelled.load(Ordering::SeqCst)), (Ok(()), 1));
        let begun = interrupt.during(cancel(), || panic!("it was stopped"));
        assert_eq!(begun, Err(EngineError::Interrupted));

        interrupt.go_on();
        assert_eq!(interrupt.during(cancel(), || 7), Ok(7));
        interrupt.stop();
        assert_eq!(cancelled.load(Ordering::SeqCst), 1, "nothing was under way");
    }
}

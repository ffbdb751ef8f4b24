//! The door into a pipeline: an appsrc that is fed one item at a time, when it asks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// What comes while the pipeline is busy waits with at most a few others; the oldest goes. Nothing here waits.
///
/// Trap: appsrc can drop old buffers by itself (`leaky-type`), but 1.22 then drops a caps change that waits among
/// them too, and the frames of a new size go on under the old caps.
pub struct Feed<T> {
    source: gst_app::AppSrc,
    slot: Arc<Mutex<Slot<T>>>,
    capacity: usize,
    give: Arc<Give<T>>,
}

/// Hands an item to the appsrc.
type Give<T> = dyn Fn(&gst_app::AppSrc, T) + Send + Sync;

#[derive(Debug)]
struct Slot<T> {
    waiting: VecDeque<T>,
    /// The pipeline asked and found nothing.
    hungry: bool,
}

impl<T> std::fmt::Debug for Feed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Feed").field(&self.source).finish()
    }
}

impl<T: Send + 'static> Feed<T> {
    /// At most `capacity` items wait; `give` pushes one, with its caps, and must not wait.
    pub fn new(
        source: gst_app::AppSrc,
        capacity: usize,
        give: impl Fn(&gst_app::AppSrc, T) + Send + Sync + 'static,
    ) -> Self {
        // By default 200 000 bytes are a full queue; a single frame is larger.
        source.set_max_bytes(0);
        let give: Arc<Give<T>> = Arc::new(give);
        let slot = Arc::new(Mutex::new(Slot {
            waiting: VecDeque::new(),
            hungry: false,
        }));
        let (asked, given) = (slot.clone(), give.clone());
        let need_data = move |source: &gst_app::AppSrc, _: u32| {
            let next = {
                let mut slot = asked.lock().unwrap();
                slot.hungry = slot.waiting.is_empty();
                slot.waiting.pop_front()
            };
            if let Some(next) = next {
                given(source, next);
            }
        };
        source.set_callbacks(
            gst_app::AppSrcCallbacks::builder()
                .need_data(need_data)
                .build(),
        );
        Self {
            source,
            slot,
            capacity: capacity.max(1),
            give,
        }
    }

    /// What is fed.
    pub fn source(&self) -> &gst_app::AppSrc {
        &self.source
    }

    /// Whether something waits here.
    pub fn is_busy(&self) -> bool {
        !self.slot.lock().unwrap().waiting.is_empty()
    }

    /// Hands an item in; true if an older one had to go for it.
    pub fn push(&self, item: T) -> bool {
        {
            let mut slot = self.slot.lock().unwrap();
            if !std::mem::take(&mut slot.hungry) {
                let full = slot.waiting.len() >= self.capacity;
                if full {
                    slot.waiting.pop_front();
                }
                slot.waiting.push_back(item);
                return full;
            }
        }
        (self.give)(&self.source, item);
        false
    }
}

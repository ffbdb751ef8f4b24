//! A sender's picture as a node of PipeWire, the media graph of Linux desktops: OBS and others see a camera of its name.
//!
//! ```text
//!   show ── newest frame ──► slot ──► our thread ── one copy ──► PipeWire's memory ──► whoever is connected
//! ```
//!
//! Decision: PipeWire's library is loaded at run time. A system without it can build and run everything else, and the
//! missing library is one more way of "PipeWire does not run here". Whatever it does happens on a thread of its own, so
//! that whoever shows frames waits for nothing; where it went away, or is not there yet, it is looked for again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::{Published, Publisher, SenderName, ShareError, Video};

mod library;
mod node;
mod picture;
mod pod;

use node::Node;

/// How often PipeWire is looked for where it is not.
const RETRY: Duration = Duration::from_secs(2);

/// How a published frame lies in memory: rows from the top without padding, four bytes a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    /// PipeWire's number of the pixel format.
    format: u32,
    width: u32,
    height: u32,
}

impl Layout {
    fn of(video: &Video, opaque: bool) -> Self {
        Self {
            format: pod::published_as(video.format, opaque),
            width: video.width,
            height: video.height,
        }
    }

    fn stride(&self) -> u32 {
        self.width.saturating_mul(4)
    }
}

/// What the showing side, our thread and PipeWire's have in common.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Rung when there is something for our thread to do.
    bell: Condvar,
    /// Somebody is connected and wants frames.
    wanted: AtomicBool,
    shown: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    newest: Option<Published>,
    /// What the last frame that came in looked like.
    layout: Option<Layout>,
    /// Somebody has just connected: he is to see the last frame even if no other comes.
    joined: bool,
    /// PipeWire ended the connection, and why.
    failed: Option<String>,
    stop: bool,
}

/// The node of one sender, as long as it lives.
#[derive(Debug)]
pub(super) struct PipeWirePublisher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl PipeWirePublisher {
    /// Publishes under this name from now on. `complain` is told once for each time that PipeWire is not there.
    pub(super) fn start(
        name: &SenderName,
        complain: Box<dyn Fn(ShareError) + Send>,
    ) -> Result<Self, ShareError> {
        let shared = Arc::<Shared>::default();
        let work = Work {
            name: name.clone(),
            shared: shared.clone(),
            complain,
        };
        let thread = thread::Builder::new()
            .name("spout-pipewire".into())
            .spawn(move || work.run())
            .map_err(|source| ShareError::System {
                doing: "starting the thread that publishes to PipeWire".into(),
                source,
            })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }
}

impl Publisher for PipeWirePublisher {
    fn show(&self, frame: Published) {
        let mut state = self.shared.state.lock().unwrap();
        let layout = Some(Layout::of(&frame.video, frame.opaque));
        let changed = state.layout != layout;
        state.layout = layout;
        let before = state.newest.replace(frame);
        if changed || self.shared.wanted.load(Ordering::Acquire) {
            self.shared.bell.notify_one();
        }
        drop(state);
        // Outside of the lock: it may go back to a pool.
        drop(before);
    }

    fn shown(&self) -> u64 {
        self.shared.shown.load(Ordering::Relaxed)
    }
}

impl Drop for PipeWirePublisher {
    fn drop(&mut self) {
        self.shared.state.lock().unwrap().stop = true;
        self.shared.bell.notify_one();
        // The thread itself may be the one that drops the last hold on us, while it complains: it ends by itself.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the thread that publishes to PipeWire had panicked");
        }
    }
}

/// What our thread is asked to do.
enum Task {
    /// Show this frame, to nobody if need be: what it looks like is offered.
    Show(Published),
    /// Show the last frame to who has just come.
    Repeat,
    /// Connect anew.
    Reconnect(String),
    Stop,
}

struct Work {
    name: SenderName,
    shared: Arc<Shared>,
    complain: Box<dyn Fn(ShareError) + Send>,
}

impl Work {
    fn run(self) {
        // Only with a frame is there something to offer.
        let Some(mut frame) = self.first() else {
            return;
        };
        let mut complained = false;
        while let Err(reason) = self.publish(&mut frame, &mut complained) {
            if !std::mem::replace(&mut complained, true) {
                (self.complain)(ShareError::PipeWire { reason });
            }
            if !self.rest(&mut frame) {
                return;
            }
        }
    }

    /// Connects and shows frames until told to stop; an error is why the connection ended. `frame` is the last one.
    fn publish(&self, frame: &mut Published, complained: &mut bool) -> Result<(), String> {
        self.shared.wanted.store(false, Ordering::Release);
        self.shared.state.lock().unwrap().failed = None;
        let mut node = Node::connect(&self.name, frame, &self.shared)?;
        *complained = false;
        tracing::debug!("sender `{}` is a node of PipeWire", self.name);
        loop {
            let present = Layout::of(&frame.video, frame.opaque);
            match self.next(present) {
                Task::Show(next) => *frame = next,
                Task::Repeat => {}
                Task::Reconnect(reason) => return Err(reason),
                Task::Stop => return Ok(()),
            }
            node.show(frame);
        }
    }

    /// Waits for a first frame; `None` when told to stop.
    fn first(&self) -> Option<Published> {
        let mut state = self.shared.state.lock().unwrap();
        while !state.stop {
            if let Some(frame) = state.newest.take() {
                return Some(frame);
            }
            state = self.shared.bell.wait(state).unwrap();
        }
        None
    }

    /// Waits for something to do, while frames of layout `present` are offered.
    fn next(&self, present: Layout) -> Task {
        let mut state = self.shared.state.lock().unwrap();
        loop {
            if state.stop {
                return Task::Stop;
            }
            if let Some(reason) = state.failed.take() {
                return Task::Reconnect(reason);
            }
            let changed = state.layout != Some(present);
            let wanted = self.shared.wanted.load(Ordering::Acquire);
            if (wanted || changed)
                && let Some(frame) = state.newest.take()
            {
                state.joined = false;
                return Task::Show(frame);
            }
            if std::mem::take(&mut state.joined) {
                return Task::Repeat;
            }
            state = self.shared.bell.wait(state).unwrap();
        }
    }

    /// Waits before the next try, for which `frame` becomes the newest; false when told to stop.
    fn rest(&self, frame: &mut Published) -> bool {
        let until = Instant::now() + RETRY;
        let mut state = self.shared.state.lock().unwrap();
        while !state.stop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                if let Some(newest) = state.newest.take() {
                    *frame = newest;
                }
                return true;
            }
            state = self.shared.bell.wait_timeout(state, left).unwrap().0;
        }
        false
    }
}

//! The node itself: a stream of PipeWire's that is given frames, and drives whoever is connected with them.
//!
//! Calls are made by our thread with the loop's lock held; PipeWire's thread calls back with the same lock held. The
//! lock is PipeWire's own, and only ever held for a moment: its sockets do not block.
#![allow(unsafe_code, reason = "PipeWire's interface is C")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex};

use super::library::{Dict, Events, Header, Item, Library, Pod, Stream, ThreadLoop, library};
use super::{Layout, Shared, picture, pod};
use crate::{Published, SenderName};

const OUTPUT: c_int = 1;
const ANYBODY: u32 = u32::MAX;
const MAP_BUFFERS: c_int = 1 << 2;
const DRIVER: c_int = 1 << 3;

const STREAMING: c_int = 3;
const UNCONNECTED: c_int = 0;

/// See the module. What PipeWire points to is in boxes of its own, which do not move.
pub(super) struct Node {
    library: &'static Library,
    thread: *mut ThreadLoop,
    stream: *mut Stream,
    callee: Box<Callee>,
    _events: Box<Events>,
    offered: (Layout, (u32, u32)),
    count: u64,
}

/// Who PipeWire calls.
struct Callee {
    library: &'static Library,
    shared: Arc<Shared>,
    /// Set before PipeWire's thread runs.
    stream: AtomicPtr<Stream>,
    agreed: Mutex<Option<Layout>>,
}

/// Hands pods over, by the array of pointers that PipeWire wants.
fn with_pods<T>(pods: &[Vec<u8>], call: impl FnOnce(*mut *const Pod, u32) -> T) -> T {
    // Pods are read as words of 64 bits.
    let aligned: Vec<Vec<u64>> = pods
        .iter()
        .map(|pod| {
            let (words, _) = pod.as_chunks::<8>();
            words.iter().copied().map(u64::from_ne_bytes).collect()
        })
        .collect();
    let mut pointers: Vec<*const Pod> = aligned.iter().map(|pod| pod.as_ptr().cast()).collect();
    let len = u32::try_from(pointers.len()).unwrap_or(u32::MAX);
    call(pointers.as_mut_ptr(), len)
}

impl Node {
    /// A node that offers what `frame` looks like; the error is a sentence.
    pub(super) fn connect(
        name: &SenderName,
        frame: &Published,
        shared: &Arc<Shared>,
    ) -> Result<Self, String> {
        let library = library()?;
        // SAFETY: a name that ends in NUL, and no properties.
        let thread =
            unsafe { (library.thread_loop_new)(c"spout-pipewire-loop".as_ptr(), ptr::null()) };
        if thread.is_null() {
            return Err(format!(
                "its loop cannot be made: {}",
                std::io::Error::last_os_error()
            ));
        }
        let mut node = Self {
            library,
            thread,
            stream: ptr::null_mut(),
            callee: Box::new(Callee {
                library,
                shared: shared.clone(),
                stream: AtomicPtr::default(),
                agreed: Mutex::new(None),
            }),
            _events: Box::new(Events {
                version: 0,
                destroy: None,
                state_changed: Some(state_changed),
                control_info: None,
                io_changed: None,
                param_changed: Some(param_changed),
                add_buffer: None,
                remove_buffer: None,
                process: None,
                drained: None,
            }),
            offered: (
                Layout::of(&frame.video, frame.opaque),
                frame.video.framerate,
            ),
            count: 0,
        };
        // From here on `node` takes apart what there is of it when it is dropped.
        node.open(name)?;
        Ok(node)
    }

    fn open(&mut self, name: &SenderName) -> Result<(), String> {
        let name = CString::new(name.as_str()).map_err(|error| error.to_string())?;
        let entries = [
            (c"media.type", c"Video"),
            (c"media.category", c"Capture"),
            (c"media.role", c"Camera"),
            (c"media.class", c"Video/Source"),
            (c"node.name", name.as_c_str()),
            (c"node.description", name.as_c_str()),
        ];
        let items = entries.map(|(key, value)| Item {
            key: key.as_ptr(),
            value: value.as_ptr(),
        });
        let dict = Dict {
            flags: 0,
            len: u32::try_from(items.len()).unwrap_or_default(),
            items: items.as_ptr(),
        };
        let refused = |what: &str, code: c_int| {
            Err(format!(
                "{what}: {}",
                std::io::Error::from_raw_os_error(-code)
            ))
        };
        // SAFETY: all texts end in NUL and outlive the calls, which copy them; PipeWire's thread does not run yet; the
        // callee and the events live in boxes until the stream is destroyed.
        unsafe {
            let properties = (self.library.properties_new_dict)(&dict);
            self.stream = (self.library.stream_new_simple)(
                (self.library.thread_loop_get_loop)(self.thread),
                name.as_ptr(),
                properties,
                &*self._events,
                ptr::from_ref(&*self.callee).cast_mut().cast(),
            );
            if self.stream.is_null() {
                return Err(format!(
                    "its stream cannot be made: {}",
                    std::io::Error::last_os_error()
                ));
            }
            self.callee.stream.store(self.stream, Ordering::Release);
            let (layout, framerate) = &self.offered;
            let offer = [pod::offer(layout, *framerate)];
            let code = with_pods(&offer, |pods, len| {
                let flags = MAP_BUFFERS | DRIVER;
                (self.library.stream_connect)(self.stream, OUTPUT, ANYBODY, flags, pods, len)
            });
            if code < 0 {
                return refused("it cannot be reached", code);
            }
            let code = (self.library.thread_loop_start)(self.thread);
            if code < 0 {
                return refused("its thread does not start", code);
            }
        }
        Ok(())
    }

    /// Offers what this frame looks like, if that has changed; shows it to whoever is connected and agrees.
    pub(super) fn show(&mut self, frame: &Published) {
        let layout = Layout::of(&frame.video, frame.opaque);
        // SAFETY: the loop is alive; unlocked below on the only way out.
        unsafe { (self.library.thread_loop_lock)(self.thread) };
        if self.offered != (layout, frame.video.framerate) {
            self.offered = (layout, frame.video.framerate);
            let offer = [pod::offer(&layout, frame.video.framerate)];
            with_pods(&offer, |pods, len| {
                // SAFETY: the stream is alive, and its loop locked. A refusal shows as a format nobody agrees to.
                unsafe { (self.library.stream_update_params)(self.stream, pods, len) }
            });
        }
        let wanted = self.callee.shared.wanted.load(Ordering::Acquire);
        let agreed = *self.callee.agreed.lock().unwrap() == Some(layout);
        let shown = wanted && agreed && self.draw(frame, &layout);
        // SAFETY: locked above.
        unsafe { (self.library.thread_loop_unlock)(self.thread) };
        self.callee
            .shared
            .shown
            .fetch_add(u64::from(shown), Ordering::Relaxed);
    }

    /// Fills one of PipeWire's buffers; false if all of them are with receivers.
    fn draw(&mut self, frame: &Published, layout: &Layout) -> bool {
        // SAFETY: the stream is alive and its loop locked, so its buffers stay until they are queued. What it hands
        // out is what its headers say, as far as the counts and sizes in it reach, which are looked at first; a
        // buffer that was dequeued is ours alone, and mapped as asked for.
        unsafe {
            let buffer = (self.library.stream_dequeue_buffer)(self.stream);
            if buffer.is_null() {
                return false;
            }
            let spa = (*buffer).buffer;
            let data = (*spa).blocks;
            let drawn = (*spa).blocks_len > 0 && !(*data).data.is_null() && {
                let memory = std::slice::from_raw_parts_mut(
                    (*data).data.cast::<u8>(),
                    (*data).max_size as usize,
                );
                picture::draw(frame, memory)
            };
            let chunk = (*data).chunk;
            if (*spa).blocks_len > 0 && !chunk.is_null() {
                (*chunk).offset = 0;
                (*chunk).size = match drawn {
                    true => layout.stride() * layout.height,
                    false => 0,
                };
                (*chunk).stride = layout.stride().cast_signed();
                (*chunk).flags = 0;
            }
            for index in 0..(*spa).metas_len as usize {
                let meta = (*spa).metas.add(index);
                let (kind, size) = ((*meta).kind, (*meta).size);
                if kind == pod::HEADER.0 && size >= pod::HEADER.1 && !(*meta).data.is_null() {
                    let captured = i64::try_from(frame.stamp.captured).unwrap_or(i64::MAX);
                    (*meta).data.cast::<Header>().write(Header {
                        flags: 0,
                        offset: 0,
                        pts: captured,
                        dts_offset: 0,
                        seq: self.count,
                    });
                }
            }
            self.count += 1;
            (self.library.stream_queue_buffer)(self.stream, buffer);
            (self.library.stream_trigger_process)(self.stream);
            if !drawn {
                tracing::warn!("PipeWire gave a buffer too small for a frame");
            }
            drawn
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // SAFETY: made by `connect`, taken apart in the order PipeWire wants: first its thread, so that nobody calls
        // back any more, then the stream, then the loop.
        unsafe {
            (self.library.thread_loop_stop)(self.thread);
            if !self.stream.is_null() {
                (self.library.stream_destroy)(self.stream);
            }
            (self.library.thread_loop_destroy)(self.thread);
        }
    }
}

/// PipeWire's thread: somebody connected, nobody is any more, or the connection to PipeWire has ended.
unsafe extern "C" fn state_changed(
    callee: *mut c_void,
    old: c_int,
    new: c_int,
    reason: *const c_char,
) {
    // SAFETY: what `open` gave, alive as long as the stream.
    let callee = unsafe { &*callee.cast::<Callee>() };
    let shared = &callee.shared;
    shared.wanted.store(new == STREAMING, Ordering::Release);
    let mut state = shared.state.lock().unwrap();
    if new < UNCONNECTED || (new == UNCONNECTED && old > UNCONNECTED) {
        // SAFETY: null, or a text of PipeWire's for the time of this call.
        let reason = (!reason.is_null()).then(|| unsafe { CStr::from_ptr(reason) });
        let reason = reason.map_or("it hung up".into(), CStr::to_string_lossy);
        state.failed = Some(format!("its connection has ended: {reason}"));
    }
    state.joined = new == STREAMING;
    shared.bell.notify_one();
}

/// PipeWire's thread: receivers agreed on a format, or on none any more.
unsafe extern "C" fn param_changed(callee: *mut c_void, about: u32, param: *const Pod) {
    if about != pod::FORMAT {
        return;
    }
    // SAFETY: what `open` gave, alive as long as the stream.
    let callee = unsafe { &*callee.cast::<Callee>() };
    // SAFETY: null, or a pod of PipeWire's for the time of this call, as long as it says.
    let bytes = (!param.is_null()).then(|| unsafe {
        std::slice::from_raw_parts(param.cast::<u8>(), (*param).size as usize + 8)
    });
    let agreed = bytes.and_then(pod::agreed);
    *callee.agreed.lock().unwrap() = agreed;
    let stream = callee.stream.load(Ordering::Acquire);
    if let Some(layout) = agreed
        && !stream.is_null()
    {
        let wishes = [pod::buffers(&layout), pod::header()];
        with_pods(&wishes, |pods, len| {
            // SAFETY: the stream is alive while it calls, and its loop locked.
            unsafe { (callee.library.stream_update_params)(stream, pods, len) }
        });
        callee.shared.state.lock().unwrap().joined = true;
        callee.shared.bell.notify_one();
    }
}

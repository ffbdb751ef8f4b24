//! A CUDA stream, and the copies between host and device that go through it.
//!
//! All graphs of a model put their work on one stream and the host waits once, before it looks at a
//! result. The few functions of the CUDA runtime that this needs come out of the library that the
//! provider itself has mapped: there is nothing to link.

#![allow(
    unsafe_code,
    reason = "talks to the CUDA runtime, which is loaded at run time"
)]

use std::ffi::{c_int, c_uint, c_void};
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

type Code = c_int;

/// Functions of the CUDA runtime, by their names there.
#[derive(Debug)]
struct Runtime {
    get_device: unsafe extern "C" fn(*mut c_int) -> Code,
    set_device: unsafe extern "C" fn(c_int) -> Code,
    stream_create: unsafe extern "C" fn(*mut *mut c_void, c_uint) -> Code,
    stream_destroy: unsafe extern "C" fn(*mut c_void) -> Code,
    stream_synchronize: unsafe extern "C" fn(*mut c_void) -> Code,
    memcpy: unsafe extern "C" fn(*mut c_void, *const c_void, usize, c_int, *mut c_void) -> Code,
    host_alloc: unsafe extern "C" fn(*mut *mut c_void, usize, c_uint) -> Code,
    free_host: unsafe extern "C" fn(*mut c_void) -> Code,
    mem_info: unsafe extern "C" fn(*mut usize, *mut usize) -> Code,
    memset: unsafe extern "C" fn(*mut c_void, c_int, usize, *mut c_void) -> Code,
    event_create: unsafe extern "C" fn(*mut *mut c_void, c_uint) -> Code,
    event_destroy: unsafe extern "C" fn(*mut c_void) -> Code,
    event_record: unsafe extern "C" fn(*mut c_void, *mut c_void) -> Code,
    event_synchronize: unsafe extern "C" fn(*mut c_void) -> Code,
    event_elapsed: unsafe extern "C" fn(*mut f32, *mut c_void, *mut c_void) -> Code,
}

/// `cudaMemcpyDefault`: the runtime sees from the addresses which way to copy.
const EITHER_WAY: c_int = 4;
/// `cudaStreamNonBlocking`: does not wait for the default stream.
const NON_BLOCKING: c_uint = 1;
/// `cudaErrorMemoryAllocation`.
const OUT_OF_MEMORY: Code = 2;

const LIBRARIES: &[&str] = if cfg!(windows) {
    &["cudart64_13.dll", "cudart64_12.dll"]
} else {
    &["libcudart.so.13", "libcudart.so.12"]
};

impl Runtime {
    fn load() -> Result<&'static Self, String> {
        static LOADED: OnceLock<Runtime> = OnceLock::new();
        if let Some(loaded) = LOADED.get() {
            return Ok(loaded);
        }
        let open = |name: &&str| {
            // SAFETY: NVIDIA's libraries have no preconditions for being loaded.
            unsafe { libloading::Library::new(*name) }.ok()
        };
        let library = LIBRARIES.iter().find_map(open);
        let library = library.ok_or(format!("the library {} is missing", LIBRARIES[0]))?;
        macro_rules! symbols {
            ($($field:ident = $name:literal),* $(,)?) => {
                Self { $($field: {
                    // SAFETY: the CUDA runtime has had a function of this name and signature since version 10.
                    let found = unsafe { library.get(concat!($name, "\0").as_bytes()) };
                    *found.map_err(|_| format!("{} has no {}", LIBRARIES[0], $name))?
                }),* }
            };
        }
        let runtime = symbols! {
            get_device = "cudaGetDevice",
            set_device = "cudaSetDevice",
            stream_create = "cudaStreamCreateWithFlags",
            stream_destroy = "cudaStreamDestroy",
            stream_synchronize = "cudaStreamSynchronize",
            memcpy = "cudaMemcpyAsync",
            host_alloc = "cudaHostAlloc",
            free_host = "cudaFreeHost",
            mem_info = "cudaMemGetInfo",
            memset = "cudaMemsetAsync",
            event_create = "cudaEventCreateWithFlags",
            event_destroy = "cudaEventDestroy",
            event_record = "cudaEventRecord",
            event_synchronize = "cudaEventSynchronize",
            event_elapsed = "cudaEventElapsedTime",
        };
        // Its functions are called for as long as the process lives.
        std::mem::forget(library);
        Ok(LOADED.get_or_init(|| runtime))
    }

    /// Does `work` with `device` as the current one of this thread.
    fn on<T>(&self, device: c_int, work: impl FnOnce() -> T) -> Result<T, String> {
        let mut before = 0;
        // SAFETY: writes one number to a place of ours.
        check("cudaGetDevice", unsafe {
            (self.get_device)(&raw mut before)
        })?;
        // SAFETY: takes a number; a wrong one is an error.
        check("cudaSetDevice", unsafe { (self.set_device)(device) })?;
        let done = work();
        // SAFETY: as above.
        check("cudaSetDevice", unsafe { (self.set_device)(before) })?;
        Ok(done)
    }
}

/// Words that [`super::trouble`] sorts errors by.
fn check(what: &str, code: Code) -> Result<(), String> {
    match code {
        0 => Ok(()),
        OUT_OF_MEMORY => Err(format!("{what}: out of memory")),
        code => Err(format!("CUDA error {code} in {what}")),
    }
}

/// The stream of one model on one device.
#[derive(Debug)]
pub(super) struct Queue {
    runtime: &'static Runtime,
    stream: NonNull<c_void>,
    device: c_int,
    turn: Mutex<()>,
}

// SAFETY: the CUDA runtime may be called from any thread, and a stream used by any.
unsafe impl Send for Queue {}
// SAFETY: as above; who must not come between uses `turn`.
unsafe impl Sync for Queue {}

/// While a CUDA graph is captured nobody else in the process may allocate on a device.
static CAPTURING: RwLock<()> = RwLock::new(());

/// The right to put work on a queue.
#[derive(Debug)]
pub(super) struct Turn<'q> {
    _queue: MutexGuard<'q, ()>,
    _others: Others,
}

#[derive(Debug)]
#[expect(dead_code, reason = "they are held, not read")]
enum Others {
    May(std::sync::RwLockReadGuard<'static, ()>),
    Wait(std::sync::RwLockWriteGuard<'static, ()>),
}

impl Queue {
    pub(super) fn new(device: u32) -> Result<Arc<Self>, String> {
        let runtime = Runtime::load()?;
        let device = c_int::try_from(device).unwrap_or(c_int::MAX);
        let mut stream = ptr::null_mut();
        let made = runtime.on(device, || {
            // SAFETY: writes one pointer to a place of ours.
            let code = unsafe { (runtime.stream_create)(&raw mut stream, NON_BLOCKING) };
            check("cudaStreamCreateWithFlags", code)
        })?;
        made?;
        let stream = NonNull::new(stream).ok_or("CUDA gave a stream that is none")?;
        Ok(Arc::new(Self {
            runtime,
            stream,
            device,
            turn: Mutex::new(()),
        }))
    }

    pub(super) fn stream(&self) -> *mut () {
        self.stream.as_ptr().cast()
    }

    pub(super) fn device(&self) -> i32 {
        self.device
    }

    /// Waits for everybody who is at it.
    ///
    /// - `alone`: a CUDA graph may be captured meanwhile.
    pub(super) fn turn(&self, alone: bool) -> Turn<'_> {
        Turn {
            _queue: self.turn.lock().unwrap_or_else(PoisonError::into_inner),
            _others: match alone {
                true => Others::Wait(CAPTURING.write().unwrap_or_else(PoisonError::into_inner)),
                false => Others::May(allocating()),
            },
        }
    }

    /// Copies `bytes` bytes in the order of the stream, whichever of the two lies on the device.
    ///
    /// # Safety
    ///
    /// Both must be that large and stay until [`Queue::wait`] has come back.
    pub(super) unsafe fn copy(
        &self,
        to: *mut c_void,
        from: *const c_void,
        bytes: usize,
    ) -> Result<(), String> {
        // SAFETY: the caller's word.
        let code =
            unsafe { (self.runtime.memcpy)(to, from, bytes, EITHER_WAY, self.stream.as_ptr()) };
        check("cudaMemcpyAsync", code)
    }

    /// Sets `bytes` bytes on the device to zero, in the order of the stream.
    ///
    /// # Safety
    ///
    /// There must be that many, and they must stay until then.
    pub(super) unsafe fn clear(&self, place: *mut c_void, bytes: usize) -> Result<(), String> {
        // SAFETY: the caller's word.
        let code = unsafe { (self.runtime.memset)(place, 0, bytes, self.stream.as_ptr()) };
        check("cudaMemsetAsync", code)
    }

    /// Waits until the device has done everything.
    pub(super) fn wait(&self) -> Result<(), String> {
        // SAFETY: the stream is ours and lives.
        let code = unsafe { (self.runtime.stream_synchronize)(self.stream.as_ptr()) };
        check("cudaStreamSynchronize", code)
    }

    /// Bytes in use on the device, by whomever, and bytes that it has.
    pub(super) fn memory(&self) -> Result<(u64, u64), String> {
        let (mut free, mut total) = (0, 0);
        let asked = self.runtime.on(self.device, || {
            // SAFETY: writes two numbers to places of ours.
            let code = unsafe { (self.runtime.mem_info)(&raw mut free, &raw mut total) };
            check("cudaMemGetInfo", code)
        })?;
        asked?;
        Ok((total.saturating_sub(free) as u64, total as u64))
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the stream is ours, and every graph that used it held this queue. An error has nobody to be told.
        unsafe { (self.runtime.stream_destroy)(self.stream.as_ptr()) };
    }
}

/// The right to allocate on a device while nobody captures a graph.
pub(super) fn allocating() -> std::sync::RwLockReadGuard<'static, ()> {
    CAPTURING.read().unwrap_or_else(PoisonError::into_inner)
}

/// A point in the order of a queue's work.
#[derive(Debug)]
pub(super) struct Event {
    runtime: &'static Runtime,
    event: NonNull<c_void>,
}

// SAFETY: the CUDA runtime may be called from any thread, and an event used by any.
unsafe impl Send for Event {}

impl Event {
    pub(super) fn new(queue: &Queue) -> Result<Self, String> {
        let (runtime, mut event) = (queue.runtime, ptr::null_mut());
        let made = runtime.on(queue.device, || {
            // SAFETY: writes one pointer to a place of ours.
            let code = unsafe { (runtime.event_create)(&raw mut event, 0) };
            check("cudaEventCreateWithFlags", code)
        })?;
        made?;
        let event = NonNull::new(event).ok_or("CUDA gave an event that is none")?;
        Ok(Self { runtime, event })
    }

    /// Puts it behind all work so far.
    pub(super) fn record(&self, queue: &Queue) -> Result<(), String> {
        // SAFETY: both live, on the same device.
        let code =
            unsafe { (self.runtime.event_record)(self.event.as_ptr(), queue.stream.as_ptr()) };
        check("cudaEventRecord", code)
    }

    /// Waits until the device has got there; not at all before the first [`Event::record`].
    pub(super) fn wait(&self) -> Result<(), String> {
        // SAFETY: it lives.
        let code = unsafe { (self.runtime.event_synchronize)(self.event.as_ptr()) };
        check("cudaEventSynchronize", code)
    }

    /// Time that the device took since `earlier`; both must have been waited for.
    pub(super) fn since(&self, earlier: &Self) -> Result<Duration, String> {
        let mut milliseconds = 0.0;
        // SAFETY: both live; writes one number to a place of ours.
        let code = unsafe {
            (self.runtime.event_elapsed)(
                &raw mut milliseconds,
                earlier.event.as_ptr(),
                self.event.as_ptr(),
            )
        };
        check("cudaEventElapsedTime", code)?;
        Ok(Duration::from_secs_f32(milliseconds.max(0.0) / 1e3))
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: it was made by that runtime and is destroyed once. An error has nobody to be told.
        unsafe { (self.runtime.event_destroy)(self.event.as_ptr()) };
    }
}

/// Memory of the host that the device copies from and to without a detour.
#[derive(Debug)]
pub(super) struct Pinned {
    runtime: &'static Runtime,
    place: NonNull<c_void>,
}

// SAFETY: the memory is its owner's alone and goes where it goes; any thread may free it.
unsafe impl Send for Pinned {}

impl Pinned {
    /// At least one byte, all zero.
    pub(super) fn new(queue: &Queue, bytes: usize) -> Result<Self, String> {
        let (bytes, mut place) = (bytes.max(1), ptr::null_mut());
        // On its own device: on another one this would be the first of many megabytes.
        let made = queue.runtime.on(queue.device, || {
            // SAFETY: writes one pointer to a place of ours.
            let code = unsafe { (queue.runtime.host_alloc)(&raw mut place, bytes, 0) };
            check("cudaHostAlloc", code)
        })?;
        made?;
        let place = NonNull::new(place).ok_or("cudaHostAlloc: out of memory")?;
        // SAFETY: it has just been given so many bytes.
        unsafe { place.as_ptr().write_bytes(0, bytes) };
        Ok(Self {
            runtime: queue.runtime,
            place,
        })
    }

    pub(super) fn place(&self) -> NonNull<c_void> {
        self.place
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: it was allocated by that runtime and is freed once. An error has nobody to be told.
        unsafe { (self.runtime.free_host)(self.place.as_ptr()) };
    }
}

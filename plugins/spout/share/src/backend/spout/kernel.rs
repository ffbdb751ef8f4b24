//! Windows' named objects: mappings, mutexes, semaphores. All of them by their ANSI names, as Spout's programs make them.
#![allow(unsafe_code, reason = "the kernel is asked by pointers")]

use std::time::Duration;

use windows::Win32::Foundation::{
    CloseHandle, ERROR_ALREADY_EXISTS, GetLastError, HANDLE, INVALID_HANDLE_VALUE, WAIT_ABANDONED,
    WAIT_OBJECT_0,
};
use windows::Win32::System::Memory::{
    CreateFileMappingA, FILE_MAP_ALL_ACCESS, MEMORY_BASIC_INFORMATION, MEMORY_MAPPED_VIEW_ADDRESS,
    MapViewOfFile, OpenFileMappingA, PAGE_READWRITE, UnmapViewOfFile, VirtualQuery,
};
use windows::Win32::System::Threading::{
    CreateEventA, CreateMutexA, CreateSemaphoreA, EVENT_MODIFY_STATE, OpenEventA, ReleaseMutex,
    ReleaseSemaphore, SYNCHRONIZATION_SYNCHRONIZE, SetEvent, WaitForSingleObject,
};
use windows::core::{PCSTR, Result};

/// How long Spout's programs wait for any lock: four frames at 60 a second.
pub(super) const PATIENCE: Duration = Duration::from_millis(67);

/// A name as the kernel takes it: `name` and `suffix`, and a NUL.
fn terminated(name: &[u8], suffix: &str) -> Vec<u8> {
    [name, suffix.as_bytes(), &[0]].concat()
}

fn milliseconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_millis()).unwrap_or(u32::MAX)
}

/// A handle, closed when dropped.
#[derive(Debug)]
struct Handle(HANDLE);

// SAFETY: a kernel handle belongs to the process; any thread may use it.
unsafe impl Send for Handle {}
// SAFETY: as above; the kernel orders what several threads do with it.
unsafe impl Sync for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: open, and closed nowhere else. There is nothing to do about a failure.
        let _ = unsafe { CloseHandle(self.0) };
    }
}

/// A named mutex. An owner that died leaves it to us: Spout's own library takes that for a failure and never lets go.
#[derive(Debug)]
pub(super) struct Mutex(Handle);

/// Held until dropped, on the thread that took it.
#[derive(Debug)]
pub(super) struct Held<'a>(&'a Mutex);

impl Mutex {
    pub(super) fn named(name: &[u8], suffix: &str) -> Result<Self> {
        let name = terminated(name, suffix);
        // SAFETY: the name ends in NUL and outlives the call.
        let handle = unsafe { CreateMutexA(None, false, PCSTR(name.as_ptr())) }?;
        Ok(Self(Handle(handle)))
    }

    /// `None` when somebody else keeps it for longer than `wait`.
    pub(super) fn hold(&self, wait: Duration) -> Option<Held<'_>> {
        // SAFETY: the handle is open.
        let outcome = unsafe { WaitForSingleObject(self.0.0, milliseconds(wait)) };
        (outcome == WAIT_OBJECT_0 || outcome == WAIT_ABANDONED).then_some(Held(self))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // SAFETY: held by this thread since `hold`.
        let _ = unsafe { ReleaseMutex(self.0.0.0) };
    }
}

/// A counter that both sides count up, see [`crate::counter`].
#[derive(Debug)]
pub(super) struct Semaphore(Handle);

impl Semaphore {
    pub(super) fn named(name: &[u8], suffix: &str) -> Result<Self> {
        let name = terminated(name, suffix);
        // SAFETY: the name ends in NUL and outlives the call.
        let handle = unsafe { CreateSemaphoreA(None, 1, i32::MAX, PCSTR(name.as_ptr())) }?;
        Ok(Self(Handle(handle)))
    }

    fn take(&self) -> bool {
        // SAFETY: the handle is open.
        unsafe { WaitForSingleObject(self.0.0, 0) == WAIT_OBJECT_0 }
    }

    /// One more.
    pub(super) fn count_up(&self) {
        if self.take() {
            // SAFETY: the handle is open. Full after 2³¹ frames, a year: then it stays.
            let _ = unsafe { ReleaseSemaphore(self.0.0, 2, None) };
        }
    }

    /// How many so far; 0 while somebody else is counting.
    pub(super) fn read(&self) -> u32 {
        let mut before = 0;
        if !self.take() {
            return 0;
        }
        // SAFETY: the handle is open and `before` outlives the call.
        let put_back = unsafe { ReleaseSemaphore(self.0.0, 1, Some(&mut before)) };
        // What was there after one was taken.
        put_back.map_or(0, |()| u32::try_from(before).unwrap_or(0))
    }
}

/// Frame sync: signalled by a receiver that is ready for the next frame. It is there as long as such a receiver is.
#[derive(Debug)]
pub(super) struct Event(Handle);

const SYNC: &str = "_Sync_Event";

impl Event {
    /// Makes the one of a sender, or joins it as it is. A wait ends it.
    pub(super) fn create(sender: &[u8]) -> Result<Self> {
        let name = terminated(sender, SYNC);
        // SAFETY: the name ends in NUL and outlives the call.
        let handle = unsafe { CreateEventA(None, false, false, PCSTR(name.as_ptr())) }?;
        Ok(Self(Handle(handle)))
    }

    /// Joins it if it is there. A sender must not keep it: it would take itself for a receiver.
    pub(super) fn open(sender: &[u8]) -> Option<Self> {
        let name = terminated(sender, SYNC);
        let rights = SYNCHRONIZATION_SYNCHRONIZE | EVENT_MODIFY_STATE;
        // SAFETY: the name ends in NUL and outlives the call.
        let handle = unsafe { OpenEventA(rights, false, PCSTR(name.as_ptr())) }.ok()?;
        Some(Self(Handle(handle)))
    }

    pub(super) fn signal(&self) {
        // SAFETY: the handle is open. There is nothing to do about a failure.
        let _ = unsafe { SetEvent(self.0.0) };
    }

    /// Whether it was signalled within `wait`.
    pub(super) fn wait(&self, wait: Duration) -> bool {
        // SAFETY: the handle is open.
        unsafe { WaitForSingleObject(self.0.0, milliseconds(wait)) == WAIT_OBJECT_0 }
    }
}

/// A named mapping and the mutex that goes with it.
#[derive(Debug)]
pub(super) struct Map {
    _mapping: Handle,
    view: MEMORY_MAPPED_VIEW_ADDRESS,
    len: usize,
    mutex: Mutex,
    /// It was not there before.
    pub(super) is_new: bool,
}

// SAFETY: the view is memory of the process; it is read and written only as bytes, under the mutex.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// Makes it, or joins it as it is.
    pub(super) fn create(name: &[u8], len: usize) -> Result<Self> {
        let text = terminated(name, "");
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        // SAFETY: the name ends in NUL and outlives the call; no file is behind it.
        let mapping = unsafe {
            CreateFileMappingA(
                INVALID_HANDLE_VALUE,
                None,
                PAGE_READWRITE,
                0,
                len,
                PCSTR(text.as_ptr()),
            )
        }?;
        // SAFETY: reads this thread's last error, which the call above has set also on success.
        let is_new = unsafe { GetLastError() } != ERROR_ALREADY_EXISTS;
        Self::view(name, Handle(mapping), is_new)
    }

    /// Joins it if it is there. Whoever keeps this open keeps it alive, so receivers must not.
    pub(super) fn open(name: &[u8]) -> Result<Self> {
        let text = terminated(name, "");
        // SAFETY: the name ends in NUL and outlives the call.
        let mapping =
            unsafe { OpenFileMappingA(FILE_MAP_ALL_ACCESS.0, false, PCSTR(text.as_ptr())) }?;
        Self::view(name, Handle(mapping), false)
    }

    fn view(name: &[u8], mapping: Handle, is_new: bool) -> Result<Self> {
        let mutex = Mutex::named(name, "_mutex")?;
        // SAFETY: the mapping is open; the whole of it is mapped at an address of the kernel's choice.
        let view = unsafe { MapViewOfFile(mapping.0, FILE_MAP_ALL_ACCESS, 0, 0, 0) };
        if view.Value.is_null() {
            return Err(windows::core::Error::from_thread());
        }
        let mut region = MEMORY_BASIC_INFORMATION::default();
        // SAFETY: `region` is as large as is said. It tells how large the first creator made the mapping.
        unsafe {
            VirtualQuery(
                Some(view.Value),
                &mut region,
                size_of::<MEMORY_BASIC_INFORMATION>(),
            )
        };
        Ok(Self {
            _mapping: mapping,
            view,
            len: region.RegionSize,
            mutex,
            is_new,
        })
    }

    /// Bytes of it, in whole pages.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Keeps others out.
    pub(super) fn hold(&self) -> Option<Held<'_>> {
        self.mutex.hold(PATIENCE)
    }

    /// The first `len` bytes, or as many as there are.
    pub(super) fn read(&self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len.min(self.len)];
        // SAFETY: both are at least so long and do not overlap. Somebody who ignores the mutex may write meanwhile:
        // bytes are bytes.
        unsafe {
            std::ptr::copy_nonoverlapping(
                self.view.Value.cast::<u8>(),
                bytes.as_mut_ptr(),
                bytes.len(),
            )
        };
        bytes
    }

    /// Overwrites the beginning; what is too long is cut.
    pub(super) fn write(&self, bytes: &[u8]) {
        let len = bytes.len().min(self.len);
        // SAFETY: both are at least so long and do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.view.Value.cast::<u8>(), len) };
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: mapped by `view` and unmapped nowhere else. There is nothing to do about a failure.
        let _ = unsafe { UnmapViewOfFile(self.view) };
    }
}

//! The kernel's named objects, and what lies in them.

use windows::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE, WAIT_ABANDONED, WAIT_OBJECT_0};
use windows::Win32::System::Memory::{
    CreateFileMappingA, FILE_MAP_ALL_ACCESS, MEMORY_BASIC_INFORMATION, MapViewOfFile,
    OpenFileMappingA, PAGE_READWRITE, UnmapViewOfFile, VirtualQuery,
};
use windows::Win32::System::Threading::{
    CreateEventA, CreateMutexA, CreateSemaphoreA, ReleaseMutex, ReleaseSemaphore, SetEvent,
    WaitForSingleObject,
};
use windows::core::{Owned, PCSTR};

pub(crate) const SLOT: usize = 256;

fn terminated(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

/// A named mapping; other programs find it as long as this lives.
pub(crate) struct Map {
    handle: Owned<HANDLE>,
    at: *mut u8,
    len: usize,
}

impl Map {
    pub(crate) fn make(name: &str, len: u32) -> Self {
        let name = terminated(name);
        let name = PCSTR(name.as_ptr());
        let made =
            unsafe { CreateFileMappingA(INVALID_HANDLE_VALUE, None, PAGE_READWRITE, 0, len, name) };
        Self::view(made.unwrap())
    }

    pub(crate) fn find(name: &str) -> Option<Self> {
        let name = terminated(name);
        let found = unsafe { OpenFileMappingA(FILE_MAP_ALL_ACCESS.0, false, PCSTR(name.as_ptr())) };
        found.ok().map(Self::view)
    }

    fn view(handle: HANDLE) -> Self {
        let view = unsafe { MapViewOfFile(handle, FILE_MAP_ALL_ACCESS, 0, 0, 0) };
        assert!(!view.Value.is_null(), "a mapping cannot be looked at");
        let mut region = MEMORY_BASIC_INFORMATION::default();
        let size = size_of::<MEMORY_BASIC_INFORMATION>();
        unsafe { VirtualQuery(Some(view.Value), &mut region, size) };
        Self {
            handle: unsafe { Owned::new(handle) },
            at: view.Value.cast(),
            len: region.RegionSize,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        unsafe { std::slice::from_raw_parts_mut(self.at, self.len) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        use windows::Win32::System::Memory::MEMORY_MAPPED_VIEW_ADDRESS;
        let _ = &self.handle;
        let view = MEMORY_MAPPED_VIEW_ADDRESS {
            Value: self.at.cast(),
        };
        unsafe { UnmapViewOfFile(view) }.unwrap();
    }
}

pub(crate) struct Mutex(Owned<HANDLE>);

impl Mutex {
    pub(crate) fn make(name: &str) -> Self {
        let name = terminated(name);
        let made = unsafe { CreateMutexA(None, false, PCSTR(name.as_ptr())) };
        Self(unsafe { Owned::new(made.unwrap()) })
    }

    /// Runs `work` while it is held; `None` if nobody lets go of it within 67 ms.
    pub(crate) fn held<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        self.take().then(|| {
            let done = work();
            unsafe { ReleaseMutex(*self.0) }.unwrap();
            done
        })
    }

    pub(crate) fn take(&self) -> bool {
        let outcome = unsafe { WaitForSingleObject(*self.0, 67) };
        outcome == WAIT_OBJECT_0 || outcome == WAIT_ABANDONED
    }
}

/// Frames so far: one more than that at the beginning.
pub(crate) struct Count(Owned<HANDLE>);

impl Count {
    pub(crate) fn make(name: &str) -> Self {
        let name = terminated(name);
        let made = unsafe { CreateSemaphoreA(None, 1, i32::MAX, PCSTR(name.as_ptr())) };
        Self(unsafe { Owned::new(made.unwrap()) })
    }

    fn step(&self, by: i32) -> i32 {
        let mut before = 0;
        if unsafe { WaitForSingleObject(*self.0, 0) } != WAIT_OBJECT_0 {
            return 0;
        }
        unsafe { ReleaseSemaphore(*self.0, by, Some(&mut before)) }.unwrap();
        before
    }

    pub(crate) fn up(&self) {
        self.step(2);
    }

    pub(crate) fn read(&self) -> i32 {
        self.step(1)
    }
}

/// Frame sync.
pub(crate) struct Sync(Owned<HANDLE>);

impl Sync {
    pub(crate) fn make(name: &str) -> Self {
        let name = terminated(name);
        let made = unsafe { CreateEventA(None, false, false, PCSTR(name.as_ptr())) };
        Self(unsafe { Owned::new(made.unwrap()) })
    }

    pub(crate) fn signal(&self) {
        unsafe { SetEvent(*self.0) }.unwrap();
    }
}

/// The names in a list, up to the first empty slot.
pub(crate) fn names(bytes: &[u8]) -> Vec<String> {
    bytes
        .chunks_exact(SLOT)
        .map(text)
        .take_while(|name| !name.is_empty())
        .collect()
}

/// The text in a slot, up to its NUL.
pub(crate) fn text(slot: &[u8]) -> String {
    let end = slot.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&slot[..end.unwrap_or(slot.len())]).into_owned()
}

/// Writes names into a list, sorted; those that do not fit are left out.
pub(crate) fn write_names(bytes: &mut [u8], mut names: Vec<String>) {
    names.sort();
    bytes.fill(0);
    for (slot, name) in bytes.chunks_exact_mut(SLOT).zip(names) {
        slot[..name.len()].copy_from_slice(name.as_bytes());
    }
}

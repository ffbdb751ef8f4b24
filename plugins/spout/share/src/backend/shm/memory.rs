//! Memory that two processes see. The only unsafe code of this backend.
//!
//! Three kinds, each with one owner of the right to write: a sender's [`Board`] is written through a [`Canvas`], of which
//! there is at most one; a receiver's [`View`] of it is mapped read-only; the [`Words`] of a connection are atomics for
//! both. The memory is sealed against shrinking, so no access to a mapping can fault, whatever the other side does.
//!
//! Decision: a view hands out `&[u8]` although another process could write there. The protocol forbids it, a sender
//! keeps to it as long as it runs our code, and the worst a broken one achieves is a torn picture: bytes are bytes.
#![allow(unsafe_code, reason = "mapping memory is what this file is for")]

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use rustix::fs::{
    MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create,
};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

/// Alignment of mappings, bytes. The stamp of a frame has a page of its own behind the pixels.
const PAGE: usize = 4096;

/// What a huge page replaces five hundred small ones of, bytes; smaller frames are not worth it.
const HUGE: usize = 2 << 20;

/// Words at the end of a frame's memory that describe it.
pub(super) const STAMP_WORDS: usize = 8;

/// Bytes of memory for a frame of `len` bytes with its stamp.
pub(super) fn board_len(len: usize) -> usize {
    len.div_ceil(PAGE) * PAGE + PAGE
}

/// A mapping, unmapped when dropped.
#[derive(Debug)]
struct Mapping {
    address: NonNull<c_void>,
    len: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread; who may write it is settled by the types above.
unsafe impl Send for Mapping {}
// SAFETY: as above; all shared access is by atomics or read-only.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(fd: impl AsFd, len: usize, writable: bool) -> io::Result<Self> {
        let (protection, populate) = match writable {
            true => (ProtFlags::READ | ProtFlags::WRITE, MapFlags::POPULATE),
            false => (ProtFlags::READ, MapFlags::POPULATE),
        };
        Self::with(fd, len, protection, populate)
    }

    fn with(fd: impl AsFd, len: usize, protection: ProtFlags, more: MapFlags) -> io::Result<Self> {
        let flags = MapFlags::SHARED | more;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let address = unsafe { mmap(std::ptr::null_mut(), len, protection, flags, fd, 0) }?;
        let address = NonNull::new(address).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { address, len })
    }

    /// A writable mapping of a new file, in huge pages where the system gives them: copying a frame walks through all
    /// of it, and every page costs. All of it is there before the first frame is copied.
    fn prepared(fd: impl AsFd, len: usize) -> io::Result<Self> {
        if len < HUGE {
            return Self::new(fd, len, true);
        }
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let mapping = Self::with(fd, len, protection, MapFlags::empty())?;
        for advice in [Advice::LinuxHugepage, Advice::LinuxPopulateWrite] {
            // SAFETY: advice about memory that was just mapped and that nobody has seen yet; it changes no byte of it.
            // A kernel without one of them does the same more slowly.
            let _ = unsafe { madvise(mapping.address.as_ptr(), len, advice) };
        }
        Ok(mapping)
    }

    /// The word at `index` of the page that begins at `offset`.
    fn word(&self, offset: usize, index: usize) -> &AtomicU64 {
        let at = offset + index * 8;
        assert!(
            at + 8 <= self.len,
            "words are addressed by constants below a page"
        );
        // SAFETY: in bounds by the assertion, aligned because mappings are by page and `offset` by 8, alive as long as
        // the mapping, and never reached but as an atomic: no slice handed out covers these bytes.
        unsafe { AtomicU64::from_ptr(self.address.as_ptr().cast::<u8>().add(at).cast()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length and unmapped nowhere else; no borrow outlives `self`.
        let _ = unsafe { munmap(self.address.as_ptr(), self.len) };
    }
}

fn sealed_file(len: usize) -> io::Result<OwnedFd> {
    let file = memfd_create("spout", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&file, len as u64)?;
    Ok(file)
}

/// Whether memory from elsewhere is at least `len` bytes long and stays so.
fn check(fd: impl AsFd + Copy, len: usize) -> Result<(), String> {
    let seals = fcntl_get_seals(fd).map_err(|_| "its memory is not a memfd".to_owned())?;
    if !seals.contains(SealFlags::SHRINK) {
        return Err("its memory is not sealed against shrinking".into());
    }
    let actual = fstat(fd).map_err(|error| error.to_string())?.st_size;
    match u64::try_from(actual).is_ok_and(|actual| actual >= len as u64) {
        true => Ok(()),
        false => Err(format!(
            "its memory has {actual} bytes where {len} were promised"
        )),
    }
}

/// A sender's memory for one frame.
#[derive(Debug)]
pub(super) struct Board {
    mapping: Mapping,
    frame_len: usize,
    written: AtomicBool,
}

impl Board {
    /// New memory and the file that receivers map; they cannot map it for writing where the kernel knows that seal.
    pub(super) fn new(frame_len: usize) -> io::Result<(Arc<Self>, OwnedFd)> {
        let len = board_len(frame_len);
        let file = sealed_file(len)?;
        let mapping = Mapping::prepared(&file, len)?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fcntl_add_seals(&file, seals | SealFlags::FUTURE_WRITE)
            .or_else(|_| fcntl_add_seals(&file, seals))?;
        let board = Self {
            mapping,
            frame_len,
            written: AtomicBool::new(false),
        };
        Ok((Arc::new(board), file))
    }

    /// The right to write, if nobody has it.
    pub(super) fn canvas(self: &Arc<Self>) -> Option<Canvas> {
        let taken = self.written.swap(true, Ordering::Acquire);
        (!taken).then(|| Canvas(self.clone()))
    }

    /// Whether somebody has the right to write.
    pub(super) fn is_written(&self) -> bool {
        self.written.load(Ordering::Acquire)
    }

    /// Whether `frame` is this memory.
    pub(super) fn is(&self, frame: &[u8]) -> bool {
        std::ptr::eq(frame.as_ptr(), self.mapping.address.as_ptr().cast::<u8>())
            && frame.len() == self.frame_len
    }

    /// Describes the frame that lies here.
    pub(super) fn set_stamp(&self, words: [u64; STAMP_WORDS]) {
        for (index, word) in words.into_iter().enumerate() {
            self.mapping
                .word(self.mapping.len - PAGE, index)
                .store(word, Ordering::Relaxed);
        }
    }
}

/// The right to write a [`Board`]; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Canvas(Arc<Board>);

impl AsMut<[u8]> for Canvas {
    fn as_mut(&mut self) -> &mut [u8] {
        let address = self.0.mapping.address.as_ptr().cast::<u8>();
        // SAFETY: mapped for at least `frame_len` bytes, alive while the board is; `written` lets only one canvas
        // exist and it is borrowed mutably. Receivers have read-only mappings and look only after a hand-over.
        unsafe { std::slice::from_raw_parts_mut(address, self.0.frame_len) }
    }
}

impl Drop for Canvas {
    fn drop(&mut self) {
        self.0.written.store(false, Ordering::Release);
    }
}

/// A receiver's sight of a [`Board`].
#[derive(Debug)]
pub(super) struct View {
    mapping: Mapping,
    frame_len: usize,
}

impl View {
    /// Maps memory from a sender, once it proved to be as large as promised and sealed.
    pub(super) fn new(file: &OwnedFd, frame_len: usize) -> Result<Self, String> {
        let len = board_len(frame_len);
        check(file, len)?;
        let mapping = Mapping::new(file, len, false).map_err(|error| error.to_string())?;
        Ok(Self { mapping, frame_len })
    }

    /// The picture.
    pub(super) fn frame(&self) -> &[u8] {
        // SAFETY: mapped for at least `frame_len` bytes, cannot shrink (checked and sealed), alive while `self` is.
        unsafe {
            std::slice::from_raw_parts(self.mapping.address.as_ptr().cast::<u8>(), self.frame_len)
        }
    }

    /// What the sender says of the frame that lies here.
    pub(super) fn stamp(&self) -> [u64; STAMP_WORDS] {
        std::array::from_fn(|index| {
            self.mapping
                .word(self.mapping.len - PAGE, index)
                .load(Ordering::Relaxed)
        })
    }
}

/// Atomics that both ends of a connection read and write.
#[derive(Debug)]
pub(super) struct Words(Mapping);

impl Words {
    /// As many as fit a page.
    pub(super) const COUNT: usize = PAGE / 8;

    /// New words, all zero, and the file that the receiver maps.
    pub(super) fn new() -> io::Result<(Self, OwnedFd)> {
        let file = sealed_file(PAGE)?;
        let mapping = Mapping::new(&file, PAGE, true)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok((Self(mapping), file))
    }

    /// Maps the words a sender offers.
    pub(super) fn open(file: &OwnedFd) -> Result<Self, String> {
        check(file, PAGE)?;
        Mapping::new(file, PAGE, true)
            .map(Self)
            .map_err(|error| error.to_string())
    }

    /// The lower half of one, for a futex.
    pub(super) fn half_word(&self, index: usize) -> &AtomicU32 {
        let word: *mut u64 = self.0.word(0, index).as_ptr();
        let half = usize::from(cfg!(target_endian = "big"));
        // SAFETY: within a word that is there as long as `self`, aligned as it is, and reached as an atomic only: as
        // this half everywhere in this program, and as whatever it likes in the other one, which no reference sees.
        unsafe { AtomicU32::from_ptr(word.cast::<u32>().add(half)) }
    }

    /// One of them.
    pub(super) fn word(&self, index: usize) -> &AtomicU64 {
        self.0.word(0, index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_canvas_writes_the_view_sees() {
        let (board, file) = Board::new(5000).unwrap();
        let view = View::new(&file, 5000).unwrap();

        board.canvas().unwrap().as_mut().fill(7);
        board.set_stamp([1, 2, 3, 4, 5, 6, 7, 8]);

        assert!(view.frame().iter().all(|byte| *byte == 7));
        assert_eq!(view.stamp(), [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn one_may_write_at_a_time() {
        let (board, _file) = Board::new(16).unwrap();

        let canvas = board.canvas();
        assert!(canvas.is_some() && board.canvas().is_none() && board.is_written());
        drop(canvas);
        assert!(board.canvas().is_some());
    }

    #[test]
    fn memory_that_could_fault_is_refused() {
        let plain = tempfile::tempfile().unwrap();
        plain.set_len(1 << 20).unwrap();
        assert!(
            View::new(&plain.into(), 16)
                .unwrap_err()
                .contains("not a memfd")
        );

        let open = sealed_file(1 << 20).unwrap();
        assert!(View::new(&open, 16).unwrap_err().contains("not sealed"));

        let (_board, small) = Board::new(16).unwrap();
        assert!(View::new(&small, 1 << 20).unwrap_err().contains("where"));
    }

    #[test]
    fn a_receiver_can_neither_write_nor_shrink_a_frame() {
        let (_board, file) = Board::new(16).unwrap();

        assert!(Mapping::new(&file, board_len(16), true).is_err());
        assert!(ftruncate(&file, 0).is_err());
    }

    #[test]
    fn words_are_the_same_on_both_sides() {
        let (ours, file) = Words::new().unwrap();
        let theirs = Words::open(&file).unwrap();

        ours.word(511).store(42, Ordering::Release);

        assert_eq!(theirs.word(511).load(Ordering::Acquire), 42);
    }
}

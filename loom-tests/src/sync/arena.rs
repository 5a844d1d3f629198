//! Memory of a segment behind loom's eyes: whoever touches bytes too early, too late, or twice, is caught.
//!
//! Every [`GRAIN`] bytes have a cell of loom's: a read has to be ordered behind the write, freeing behind all reads. A byte
//! is written once (S2) and not read before. What loom does not see is a read through a slice that was asked for earlier,
//! so a model asks again where it still reads.

use super::atomic::AtomicU64;
use loom::cell::UnsafeCell;
use std::cell::Cell;
use std::fmt;
use std::ops::Range;

/// An entry of the table of offsets, beside which others are read while it is written.
const GRAIN: usize = 4;

/// A fixed stretch of bytes.
pub(crate) struct Arena {
    /// Units of 16 bytes, as records are aligned to them.
    units: Box<[std::cell::UnsafeCell<u128>]>,
    watched: Box<[UnsafeCell<()>]>,
    is_written: Box<[Cell<bool>]>,
    bytes: usize,
}

// SAFETY: who may touch which bytes when is the protocol under test, and loom reports who breaks it; all threads of a
// model take turns on one.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    pub(crate) fn new(bytes: usize, _is_populated: bool) -> Option<Self> {
        Some(Self {
            units: (0..bytes.div_ceil(16)).map(|_| 0.into()).collect(),
            watched: (0..bytes.div_ceil(GRAIN))
                .map(|_| UnsafeCell::new(()))
                .collect(),
            is_written: (0..bytes).map(|_| Cell::new(false)).collect(),
            bytes,
        })
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn base(&self) -> *mut u8 {
        std::cell::UnsafeCell::raw_get(self.units.as_ptr()).cast()
    }

    fn grains(range: &Range<usize>) -> Range<usize> {
        range.start / GRAIN..range.end.div_ceil(GRAIN)
    }

    /// A hint, and none here.
    pub(crate) fn prefetch_for_writing(&self, _at: usize) {}

    /// # Safety
    /// As the original; what is broken of it is reported.
    pub(crate) unsafe fn write(&self, at: usize, bytes: &[u8]) {
        let range = at..at + bytes.len();
        for grain in &self.watched[Self::grains(&range)] {
            grain.with_mut(|_| ());
        }
        for is_written in &self.is_written[range] {
            assert!(!is_written.replace(true), "a byte is written once");
        }
        // SAFETY: inside, as the slices above were; loom would have complained of another user.
        unsafe {
            self.base()
                .add(at)
                .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
    }

    /// # Safety
    /// As the original; what is broken of it is reported.
    pub(crate) unsafe fn read(&self, at: usize, length: usize) -> &[u8] {
        let range = at..at + length;
        for grain in &self.watched[Self::grains(&range)] {
            grain.with(|_| ());
        }
        for is_written in &self.is_written[range] {
            assert!(is_written.get(), "what is read was written");
        }
        // SAFETY: inside, initialised, and not written again, as far as the two loops have seen.
        unsafe { std::slice::from_raw_parts(self.base().add(at), length) }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // A model that has failed unwinds through drops, which loom has no more steps for.
        if !std::thread::panicking() {
            for grain in &self.watched {
                grain.with_mut(|_| ());
            }
        }
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena").finish_non_exhaustive()
    }
}

/// A stretch of atomic words, zero at first.
#[derive(Debug)]
pub(crate) struct Words(Box<[AtomicU64]>);

impl Words {
    pub(crate) fn new(count: usize, _is_populated: bool) -> Option<Self> {
        Some(Self((0..count).map(|_| AtomicU64::new(0)).collect()))
    }

    pub(crate) fn at(&self, index: usize) -> &AtomicU64 {
        &self.0[index]
    }
}

//! Memory for a segment of the log: zeroed, aligned, touched before it is needed where that is asked for.
//!
//! The first touch of a fresh page is the dearest thing that an append can meet, so the kernel is asked for huge pages and
//! for all of them at once (`MADV_POPULATE_WRITE`). Where it has neither, one byte of each page is written.

use super::prefetch::prefetch_slot_for_writing;
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// The smallest page there is: the step in which memory is touched by hand.
const PAGE_BYTES: usize = 4_096;

/// A fixed stretch of zeroed bytes that threads share by protocol.
pub(crate) struct Arena {
    base: NonNull<u8>,
    bytes: usize,
    /// Gives the memory back when it is dropped.
    _source: memory::Source,
}

// SAFETY: the bytes are plain and owned by the arena; who may touch which of them when is the caller's protocol, which
// `read` and `write` ask for.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

#[cfg(target_os = "linux")]
mod memory {
    //! Memory straight from the kernel. The allocator's way to aligned zeroed memory is to write the zeros itself, into
    //! small pages, and to a fresh segment that is most of what it costs.

    use std::ptr::NonNull;

    /// Where huge pages begin.
    const HUGE_BYTES: usize = 2 << 20;

    /// The mapping: where it begins, and its length.
    pub(super) struct Source(NonNull<u8>, usize);

    /// So many zeroed bytes, at a multiple of a huge page where they are as many.
    pub(super) fn get(bytes: usize) -> Option<(NonNull<u8>, Source)> {
        let room = if bytes >= HUGE_BYTES {
            bytes.checked_add(HUGE_BYTES)?
        } else {
            bytes
        };
        if bytes == 0 {
            return None;
        }
        // SAFETY: an anonymous mapping of its own, at a place of the kernel's choice, touches nothing that is there.
        let mapping = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                room,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if mapping == libc::MAP_FAILED {
            return None;
        }
        let mapping = NonNull::new(mapping.cast::<u8>())?;
        let skipped = if bytes >= HUGE_BYTES {
            mapping.as_ptr().align_offset(HUGE_BYTES)
        } else {
            0
        };
        // SAFETY: the room has a huge page more than is used, so this lies inside, and is not null.
        let base = unsafe { NonNull::new_unchecked(mapping.as_ptr().add(skipped)) };
        Some((base, Source(mapping, room)))
    }

    /// Has all of it there; `false` if this kernel cannot.
    pub(super) fn populate(base: NonNull<u8>, bytes: usize) -> bool {
        // Newer than some kernels that the engine runs on, and than some versions of libc.
        const POPULATE_WRITE: libc::c_int = 23;
        let base = base.as_ptr().cast();
        // SAFETY: the range is a mapping of our own and is only advised about: both calls leave what the bytes hold as
        // it is.
        unsafe {
            libc::madvise(base, bytes, libc::MADV_HUGEPAGE);
            libc::madvise(base, bytes, POPULATE_WRITE) == 0
        }
    }

    impl Drop for Source {
        fn drop(&mut self) {
            // SAFETY: the mapping is ours, and whoever had it is gone.
            unsafe { libc::munmap(self.0.as_ptr().cast(), self.1) };
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod memory {
    //! Memory from the allocator.

    use std::alloc::Layout;
    use std::ptr::NonNull;

    /// The allocation.
    pub(super) struct Source(NonNull<u8>, Layout);

    pub(super) fn get(bytes: usize) -> Option<(NonNull<u8>, Source)> {
        let layout = Layout::from_size_align(bytes, 64)
            .ok()
            .filter(|_| bytes > 0)?;
        // SAFETY: the layout is not of size zero.
        let base = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })?;
        Some((base, Source(base, layout)))
    }

    pub(super) fn populate(_base: NonNull<u8>, _bytes: usize) -> bool {
        false
    }

    impl Drop for Source {
        fn drop(&mut self) {
            // SAFETY: allocated with this layout, and freed once.
            unsafe { std::alloc::dealloc(self.0.as_ptr(), self.1) };
        }
    }
}

impl Arena {
    /// So many zeroed bytes; touched already if asked to. `None` if there is no memory.
    pub(crate) fn new(bytes: usize, is_populated: bool) -> Option<Self> {
        let (base, source) = memory::get(bytes)?;
        let arena = Self {
            base,
            bytes,
            _source: source,
        };
        if is_populated && !memory::populate(base, bytes) {
            for at in (0..bytes).step_by(PAGE_BYTES) {
                // SAFETY: inside the memory, which nobody else knows yet; volatile, or it would be left out.
                unsafe { base.as_ptr().add(at).write_volatile(0) };
            }
        }
        Some(arena)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Copies `bytes` to the place `at`.
    ///
    /// # Safety
    /// Until this happens-before whoever reads them, nobody else touches these bytes.
    ///
    /// # Panics
    /// If they do not fit.
    #[inline(always)]
    pub(crate) unsafe fn write(&self, at: usize, bytes: &[u8]) {
        assert!(at <= self.bytes() && bytes.len() <= self.bytes() - at);
        // SAFETY: inside the allocation, as checked; nobody else touches it, as the caller promises; the source is
        // borrowed, so it is another place.
        unsafe {
            let to = self.base.as_ptr().add(at);
            to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
    }

    /// Asks for the lines from the place `at` on, which are to be written; past the end it asks for nothing that is there.
    #[inline(always)]
    pub(crate) fn prefetch_for_writing(&self, at: usize) {
        prefetch_slot_for_writing(self.base.as_ptr().wrapping_add(at), 0);
    }

    /// `length` bytes from the place `at`.
    ///
    /// # Safety
    /// Whoever wrote them did so before this, and nobody writes them again while they are borrowed.
    ///
    /// # Panics
    /// If the arena is shorter.
    #[inline(always)]
    pub(crate) unsafe fn read(&self, at: usize, length: usize) -> &[u8] {
        assert!(at <= self.bytes() && length <= self.bytes() - at);
        // SAFETY: inside the allocation, as checked, initialised (zeroed at first) and not written meanwhile, as the
        // caller promises.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(at), length) }
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena")
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

/// A stretch of atomic words, zero at first.
#[derive(Debug)]
pub(crate) struct Words(Arena);

impl Words {
    /// So many words; touched already if asked to. `None` if there is no memory.
    pub(crate) fn new(count: usize, is_populated: bool) -> Option<Self> {
        Arena::new(count.checked_mul(size_of::<AtomicU64>())?, is_populated).map(Self)
    }

    /// The word of this number.
    ///
    /// # Panics
    /// If there are fewer.
    #[inline(always)]
    pub(crate) fn at(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.0.bytes() / size_of::<AtomicU64>());
        // SAFETY: inside the allocation, as checked, aligned as the arena is, initialised with zero, and only ever used
        // as atomic words.
        unsafe { &*self.0.base.as_ptr().cast::<AtomicU64>().add(index) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_the_rest_is_zero() {
        for (bytes, is_populated) in [(64, true), (10_000, true), (5 << 20, true), (4_096, false)] {
            let arena = Arena::new(bytes, is_populated).unwrap();
            // SAFETY: one thread.
            unsafe {
                arena.write(bytes - 3, &[1, 2, 3]);
                assert_eq!(arena.read(bytes - 4, 4), [0, 1, 2, 3]);
                assert!(arena.read(0, bytes - 3).iter().all(|&byte| byte == 0));
            }
        }
    }

    #[test]
    fn words_begin_at_zero_and_keep_apart() {
        use std::sync::atomic::Ordering::Relaxed;
        let words = Words::new(1_000, true).unwrap();
        for index in 0..1_000 {
            assert_eq!(words.at(index).swap(index as u64, Relaxed), 0);
        }
        assert!((0..1_000).all(|index| words.at(index).load(Relaxed) == index as u64));
    }

    #[test]
    fn no_memory_is_no_arena() {
        assert!(Arena::new(0, false).is_none());
        assert!(Arena::new(usize::MAX / 4, false).is_none());
    }
}

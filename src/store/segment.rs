//! A segment: an arena of records, and the word that says who uses it.
//!
//! publish → **store** → worker → handler → outcome
//!
//! The control block of a segment outlives its bytes, so a reader that comes too late finds out without harm. The word's
//! transitions are all here: a reader pins, the log retires, and whoever makes the count zero of a retired one frees the
//! bytes (S5).

#![allow(
    unsafe_code,
    reason = "the bytes of a segment: written by the appender, read below the watermark, freed under S5"
)]

use super::header::{HEADER_BYTES, Header};
use super::location::UNIT;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Arena, UnsafeCell};
use std::fmt;

/// The bit that says that no pin is given any more.
const RETIRED: u64 = 1 << 63;
/// Bytes of an entry in the table of offsets.
pub(crate) const ENTRY_BYTES: usize = 4;

/// One segment; empty until it is opened.
#[derive(Default)]
pub(crate) struct Segment {
    /// Pins, and [`RETIRED`].
    word: AtomicU64,
    arena: UnsafeCell<Option<Arena>>,
    /// The position of the first record.
    first: AtomicU64,
    /// The position of the first record that begins a batch; `u64::MAX` until there is one...
    start: AtomicU64,
    /// ...and its place, in units.
    start_at: AtomicU32,
    /// Where the records end, in units; 0 while it is open.
    end: AtomicU32,
    /// When the last record was appended, in nanoseconds since 1970.
    stamp: AtomicU64,
    /// Bytes of the arena; 0 once they are freed.
    bytes: AtomicU64,
}

// SAFETY: the arena is set before the watermark says that the segment is there (S2), read while pinned, and taken out by
// the one thread that S5 names.
unsafe impl Sync for Segment {}
// SAFETY: all parts may be sent.
unsafe impl Send for Segment {}

impl Segment {
    /// Gives the segment its bytes. The appender's, before a record of it is committed.
    pub(crate) fn open(&self, arena: Arena, first: u64, is_continued: bool) {
        self.start.store(u64::MAX, Ordering::Relaxed);
        if !is_continued {
            self.begin_at(first, 0);
        }
        self.bytes.store(arena.bytes() as u64, Ordering::Relaxed);
        self.first.store(first, Ordering::Relaxed);
        // SAFETY: S1: one appender, and readers come here only after the watermark has passed this segment's start.
        self.arena.with_mut(|place| unsafe { *place = Some(arena) });
    }

    /// Says that no record is to follow. The appender's, before one of the next segment is committed.
    pub(crate) fn seal(&self, end: usize, stamp: u64) {
        self.stamp.store(stamp, Ordering::Relaxed);
        self.end.store((end / UNIT) as u32, Ordering::Relaxed);
    }

    pub(crate) fn first(&self) -> u64 {
        self.first.load(Ordering::Relaxed)
    }

    /// Says where the first batch begins that does so here, if that was not known. The appender's, before it is committed.
    pub(crate) fn begin_at(&self, position: u64, offset: usize) {
        if self.start.load(Ordering::Relaxed) == u64::MAX {
            self.start_at
                .store((offset / UNIT) as u32, Ordering::Relaxed);
            self.start.store(position, Ordering::Relaxed);
        }
    }

    /// The position and the place of the first record that begins a batch, or would; `None` if the segment lies within one.
    pub(crate) fn start(&self) -> Option<(u64, usize)> {
        let start = self.start.load(Ordering::Relaxed);
        let at = self.start_at.load(Ordering::Relaxed) as usize * UNIT;
        (start != u64::MAX).then_some((start, at))
    }

    /// Where the records of a sealed segment end.
    pub(crate) fn end(&self) -> usize {
        self.end.load(Ordering::Relaxed) as usize * UNIT
    }

    /// When the last record of a sealed segment was appended.
    pub(crate) fn stamp(&self) -> u64 {
        self.stamp.load(Ordering::Relaxed)
    }

    /// Bytes that it holds; 0 once they are freed.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.word.load(Ordering::Relaxed) & RETIRED != 0
    }

    /// Keeps the bytes alive until [`unpin`](Self::unpin); `false` if the segment was retired.
    #[must_use]
    pub(crate) fn pin(&self) -> bool {
        // Acquire [retire]: who finds it retired sees what is kept instead (S9).
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            if word & RETIRED != 0 {
                return false;
            }
            // Relaxed if it is pinned: the watermark has shown the bytes already; a pin only keeps them. Acquire [retire]
            // if it is not: as above.
            match self.word.compare_exchange_weak(
                word,
                word + 1,
                Ordering::Relaxed,
                Ordering::Acquire,
            ) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }

    /// Gives a pin back; the last one of a retired segment frees it.
    pub(crate) fn unpin(&self) {
        // AcqRel [unpin]: what was read under this pin happens-before the freeing, whoever does it (S5).
        let before = self.word.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before & !RETIRED > 0, "every unpin has its pin");
        if before == RETIRED | 1 {
            self.free();
        }
    }

    /// Gives no pin any more; frees the bytes if nobody has one. Once, by the lock's holder.
    pub(crate) fn retire(&self) {
        // AcqRel [unpin] [retire]: sees what readers did before they gave their pins back (S5); whoever finds no pin to be
        // had sees what is kept instead (S9).
        let before = self.word.fetch_or(RETIRED, Ordering::AcqRel);
        debug_assert!(before & RETIRED == 0, "a segment is retired once");
        if before == 0 {
            self.free();
        }
    }

    fn free(&self) {
        self.bytes.store(0, Ordering::Relaxed);
        // SAFETY: S5: the word says that nobody has a pin and nobody gets one, and it says so to one thread only.
        drop(self.arena.with_mut(|place| unsafe { (*place).take() }));
    }

    /// Writes a record's part. The appender's (S1), above the watermark.
    #[inline(always)]
    pub(crate) fn write(&self, at: usize, bytes: &[u8]) {
        // Only the pointer comes out of the cell, so that what is written is copied in line.
        let place = self.arena.with(|place| place);
        // SAFETY: S1: the arena was set by the same appender and is not retired, as it is the open segment's.
        if let Some(arena) = unsafe { &*place } {
            // SAFETY: S1: nobody else writes, and what lies above the watermark nobody reads.
            unsafe { arena.write(at, bytes) };
        }
    }

    /// Asks for the lines from `at` on, which the appender is about to write.
    #[inline(always)]
    pub(crate) fn prefetch(&self, at: usize) {
        let place = self.arena.with(|place| place);
        // SAFETY: as in `write`; nothing is read but where the arena lies.
        if let Some(arena) = unsafe { &*place } {
            arena.prefetch_for_writing(at);
        }
    }

    /// The bytes from `at`; of a record that the watermark covers, in a segment that the caller has pinned or whose
    /// retiring it keeps from happening (the lock's holder).
    #[inline(always)]
    pub(crate) fn read(&self, at: usize, length: usize) -> &[u8] {
        // SAFETY: the caller's pin keeps the arena (S5), and what the watermark covers is never written again (S2).
        self.arena.with(|place| unsafe {
            match &*place {
                Some(arena) => arena.read(at, length),
                None => unreachable!("a pinned segment has its bytes"),
            }
        })
    }

    /// The header of the record at this offset.
    #[inline(always)]
    pub(crate) fn header(&self, at: usize) -> &Header {
        bytemuck::from_bytes(self.read(at, HEADER_BYTES))
    }

    /// Where the record with this number in the segment lies; as [`read`](Self::read).
    #[inline(always)]
    pub(crate) fn offset_of(&self, number: u64) -> usize {
        let at = self.bytes() as usize - (number as usize + 1) * ENTRY_BYTES;
        let bytes = self.read(at, ENTRY_BYTES);
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize * UNIT
    }

    /// Enters where the record with this number lies; as [`write`](Self::write).
    #[inline(always)]
    pub(crate) fn enter(&self, number: u64, offset: usize) {
        let at = self.bytes() as usize - (number as usize + 1) * ENTRY_BYTES;
        self.write(at, &((offset / UNIT) as u32).to_le_bytes());
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("first", &self.first())
            .field("bytes", &self.bytes())
            .field("is_retired", &self.is_retired())
            .finish_non_exhaustive()
    }
}

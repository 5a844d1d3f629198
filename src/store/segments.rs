//! The row of segments: how far it is committed, where it ends, and where it begins.
//!
//! publish → **store** → worker → handler → outcome
//!
//! Whoever holds the append's lock has the [`Tail`] and changes the row (S1): puts records behind the last one, goes on to
//! the next segment, commits, retires from the front. Readers see the watermark and what lies below it (S2).

use super::chunks::Chunks;
use super::location::{Location, Watermark};
use super::segment::{ENTRY_BYTES, Segment};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arena, CachePadded};
use std::fmt;

/// How far before a record its lines are asked for.
const AHEAD_BYTES: usize = 512;

/// Where the row ends and begins; the lock's holder's.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// The open segment...
    pub(crate) segment: u64,
    /// ...its end so far...
    pub(crate) offset: usize,
    /// ...its records...
    pub(crate) count: u64,
    /// ...and its bytes; 0 before the first append.
    pub(crate) bytes: usize,
    /// The position of the next record.
    pub(crate) position: u64,
    /// The first segment that is kept.
    pub(crate) first: u64,
    /// The stamp of the last record.
    pub(crate) stamp: u64,
    /// Bytes of all segments that are not retired.
    pub(crate) bytes_kept: u64,
}

impl Tail {
    /// Whether another record of this size goes into the open segment.
    #[inline(always)]
    pub(crate) fn has_room(&self, size: usize) -> bool {
        self.offset + size + (self.count as usize + 1) * ENTRY_BYTES <= self.bytes
    }
}

/// The row.
pub(crate) struct Segments {
    front: CachePadded<Front>,
    row: Chunks<Segment>,
    /// The first segment that is kept.
    kept: AtomicU64,
}

/// What every append moves: together on one line, which goes from appender to appender.
struct Front {
    watermark: AtomicU64,
    /// The position of the next record: for distances, and for nothing that has to be there.
    end: AtomicU64,
}

impl Segments {
    pub(crate) fn new() -> Self {
        Self {
            front: CachePadded::new(Front {
                watermark: AtomicU64::new(Watermark::NOTHING.word()),
                end: AtomicU64::new(0),
            }),
            row: Chunks::new(),
            kept: AtomicU64::new(0),
        }
    }

    /// The segment of this number; `None` where there has been none yet.
    #[inline(always)]
    pub(crate) fn get(&self, number: u64) -> Option<&Segment> {
        self.row.get(number as usize)
    }

    /// How far the log is committed.
    #[inline(always)]
    pub(crate) fn watermark(&self) -> Watermark {
        // Acquire [commit]: pairs with the Release in `commit`; everything below is there, and stays as it is (S2).
        Watermark::from_word(self.front.watermark.load(Ordering::Acquire))
    }

    /// Makes everything up to `last` visible at once (S3). The lock's holder's.
    #[inline(always)]
    pub(crate) fn commit(&self, last: Location) {
        // Release [commit]: pairs with the Acquire in `watermark`.
        self.front
            .watermark
            .store(Watermark::after(last).word(), Ordering::Release);
    }

    /// Notes how far the log goes. The lock's holder's.
    #[inline(always)]
    pub(crate) fn note_end(&self, end: u64) {
        self.front.end.store(end, Ordering::Relaxed);
    }

    /// About how far the log goes.
    #[inline(always)]
    pub(crate) fn end_about(&self) -> u64 {
        self.front.end.load(Ordering::Relaxed)
    }

    /// The first segment that is kept.
    pub(crate) fn kept(&self) -> u64 {
        // Acquire [kept]: pairs with the Release in `retire_before`; the segment is there and knows its first position (S9).
        self.kept.load(Ordering::Acquire)
    }

    /// The position of the first record that is kept, which begins a batch; 0 if there is none.
    pub(crate) fn first(&self) -> u64 {
        self.start().0
    }

    /// Where the first record that is kept lies. What lies before it in its segment is the rest of a batch that is not.
    pub(crate) fn first_location(&self) -> Location {
        self.start().1
    }

    fn start(&self) -> (u64, Location) {
        let kept = self.kept();
        let start = self.get(kept).and_then(Segment::start);
        start.map_or((0, Location::default()), |(position, at)| {
            (position, Location::new(kept, at))
        })
    }

    /// Goes on to the next segment, within a batch or not: no record is to follow in the open one. The lock's holder's.
    #[cold]
    pub(crate) fn roll(&self, tail: &mut Tail, arena: Arena, is_continued: bool) {
        if tail.bytes > 0 {
            if let Some(open) = self.get(tail.segment) {
                open.seal(tail.offset, tail.stamp);
            }
            tail.segment += 1;
        }
        tail.bytes = arena.bytes();
        tail.bytes_kept += tail.bytes as u64;
        tail.offset = 0;
        tail.count = 0;
        self.row
            .make(tail.segment as usize)
            .open(arena, tail.position, is_continued);
    }

    /// Asks for the lines of the record after the next, behind the open segment's end so far. The lock's holder's.
    #[inline(always)]
    pub(crate) fn prefetch(&self, tail: &Tail) {
        if let Some(segment) = self.get(tail.segment) {
            segment.prefetch(tail.offset + AHEAD_BYTES);
        }
    }

    /// Puts a record of this size behind the last one, where there is room for it. The lock's holder's.
    #[inline(always)]
    pub(crate) fn put(
        &self,
        tail: &mut Tail,
        size: usize,
        write: impl FnOnce(&Segment, usize),
    ) -> Location {
        let Some(segment) = self.get(tail.segment) else {
            unreachable!("the open segment is there");
        };
        let at = tail.offset;
        write(segment, at);
        segment.enter(tail.count, at);
        tail.offset = at + size;
        tail.count += 1;
        tail.position += 1;
        Location::new(tail.segment, at)
    }

    /// Says that the next record begins a batch. The lock's holder's, behind a batch that went over a segment's end.
    pub(crate) fn begin(&self, tail: &Tail) {
        if let Some(open) = self.get(tail.segment) {
            open.begin_at(tail.position, tail.offset);
        }
    }

    /// Retires the segments before this one, which is the open one at most. The lock's holder's.
    pub(crate) fn retire_before(&self, tail: &mut Tail, next: u64) {
        let retired = tail.first..next;
        tail.first = next;
        // Release [kept]: pairs with the Acquire in `kept`.
        self.kept.store(next, Ordering::Release);
        for segment in retired.filter_map(|number| self.get(number)) {
            tail.bytes_kept -= segment.bytes();
            segment.retire();
        }
    }
}

impl fmt::Debug for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segments")
            .field("watermark", &self.watermark())
            .field("kept", &self.kept())
            .finish_non_exhaustive()
    }
}

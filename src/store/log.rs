//! The log: its segments, its watermark, and what the append's lock protects.
//!
//! publish → **store** → worker → handler → outcome
//!
//! Everything that changes does so under one lock (S1), which no reader takes; what readers may see is said by the
//! watermark (S2). Retention retires segments from the front, under the same lock.

use super::bell::Bell;
use super::chunks::Chunks;
use super::counts::StoreCounts;
use super::error::AppendError;
use super::group::Groups;
use super::kinds::Kinds;
use super::location::{Location, Watermark};
use super::record::HEADER_BYTES;
use super::retention::{Pins, Retention};
use super::segment::{ENTRY_BYTES, Segment};
use super::snapshot::Snapshots;
use super::spare::Spare;
use super::streams::{Pool, Streams};
use crate::event::SequenceLease;
use crate::metrics::CoarseBuckets;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::clock::Clock;
use crate::sync::{Arena, Barrier, CachePadded, Mutex, MutexGuard};

/// What a log is set to.
#[derive(Debug, Clone)]
pub(crate) struct LogSettings {
    pub(crate) segment_bytes: usize,
    pub(crate) is_populated: bool,
    pub(crate) capacity_bytes: u64,
    pub(crate) retention: Retention,
    pub(crate) clock: Clock,
}

/// How many words of a stream index are made at once, as a power of two.
const POOL_BITS: u32 = 18;
/// Appends up to this, 1 ms, find their bucket made.
const TIMES_NS_FIRST: u64 = (1 << 20) - 1;

/// What only the lock's holder touches.
#[derive(Debug)]
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
    pub(crate) sequence: SequenceLease,
    /// How long sampled appends took.
    pub(crate) append_times: CoarseBuckets,
}

impl Tail {
    /// Whether another record of this size goes into the open segment.
    #[inline(always)]
    pub(crate) fn has_room(&self, size: usize) -> bool {
        self.offset + size + (self.count as usize + 1) * ENTRY_BYTES <= self.bytes
    }
}

/// The log.
#[derive(Debug)]
pub(crate) struct Log {
    watermark: CachePadded<AtomicU64>,
    tail: CachePadded<Mutex<Tail>>,
    /// The position of the next record: for distances, and for nothing that has to be there.
    end: CachePadded<AtomicU64>,
    pub(crate) segments: Chunks<Segment>,
    /// The first segment that is kept.
    kept: AtomicU64,
    pub(crate) streams: Streams,
    pub(crate) kinds: Kinds,
    pub(crate) settings: LogSettings,
    pub(crate) counts: StoreCounts,
    pub(crate) pins: Pins,
    pub(crate) bell: Bell,
    pub(crate) groups: Groups,
    pub(crate) snapshots: Snapshots,
    /// How long sampled reads took: readers bring theirs by the dozen, so a lock is seldom met.
    pub(crate) read_times: Mutex<CoarseBuckets>,
    /// The stamp at which the log was made.
    pub(crate) started_raw: u64,
    spare: Spare,
}

impl Log {
    pub(crate) fn new(settings: LogSettings, barrier: Barrier) -> Self {
        let is_populated = settings.is_populated;
        Self {
            watermark: CachePadded::new(AtomicU64::new(Watermark::NOTHING.word())),
            tail: CachePadded::new(Mutex::new(Tail {
                segment: 0,
                offset: 0,
                count: 0,
                bytes: 0,
                position: 0,
                first: 0,
                stamp: 0,
                bytes_kept: 0,
                sequence: SequenceLease::default(),
                append_times: CoarseBuckets::up_to(TIMES_NS_FIRST),
            })),
            end: CachePadded::new(AtomicU64::new(0)),
            segments: Chunks::new(),
            kept: AtomicU64::new(0),
            streams: Streams::new(Pool::new(POOL_BITS, is_populated)),
            kinds: Kinds::new(),
            counts: StoreCounts::default(),
            pins: Pins::default(),
            bell: Bell::new(barrier),
            groups: Groups::default(),
            snapshots: Snapshots::default(),
            read_times: Mutex::default(),
            started_raw: settings.clock.raw(),
            spare: Spare::new(settings.segment_bytes, is_populated),
            settings,
        }
    }

    /// The append's lock.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock()
    }

    /// How far the log is committed.
    #[inline(always)]
    pub(crate) fn watermark(&self) -> Watermark {
        // Acquire [commit]: pairs with the Release in `commit`; everything below is there, and stays as it is (S2).
        Watermark::from_word(self.watermark.load(Ordering::Acquire))
    }

    /// Makes everything up to `last` visible at once (S3). The lock's holder's.
    #[inline(always)]
    pub(crate) fn commit(&self, last: Location) {
        // Release [commit]: pairs with the Acquire in `watermark`.
        self.watermark
            .store(Watermark::after(last).word(), Ordering::Release);
    }

    /// Notes how far the log goes. The lock's holder's.
    #[inline(always)]
    pub(crate) fn note_end(&self, end: u64) {
        self.end.store(end, Ordering::Relaxed);
    }

    /// About how far the log goes.
    #[inline(always)]
    pub(crate) fn end_about(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    /// The first segment that is kept.
    pub(crate) fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    /// The most bytes that a record can have.
    pub(crate) fn record_bytes_max(&self) -> usize {
        self.settings.segment_bytes - ENTRY_BYTES
    }

    /// Arenas for records of these sizes, as far as the open segment has no room; before anything is written, so that an
    /// append that fails leaves nothing.
    pub(crate) fn reserve(
        &self,
        tail: &Tail,
        sizes: impl Iterator<Item = usize>,
    ) -> Result<Vec<Arena>, AppendError> {
        let (mut offset, mut count, mut bytes) = (tail.offset, tail.count, tail.bytes);
        let mut arenas = Vec::new();
        for size in sizes {
            if offset + size + (count as usize + 1) * ENTRY_BYTES > bytes {
                let kept =
                    tail.bytes_kept + ((arenas.len() + 1) * self.settings.segment_bytes) as u64;
                if kept > self.settings.capacity_bytes {
                    return Err(AppendError::Full(format!(
                        "the store holds {} bytes and may hold {} (raise `capacity_bytes`, or let `retention` free some)",
                        tail.bytes_kept, self.settings.capacity_bytes
                    )));
                }
                bytes = self.settings.segment_bytes;
                let arena = self
                    .spare
                    .take()
                    .or_else(|| Arena::new(bytes, self.settings.is_populated));
                arenas.push(arena.ok_or(AppendError::NoMemory { bytes })?);
                (offset, count) = (0, 0);
            }
            offset += size;
            count += 1;
        }
        Ok(arenas)
    }

    /// Seals the open segment and opens the next, whose first `cut` records belong to an append that began before it.
    #[cold]
    pub(crate) fn roll(&self, tail: &mut Tail, arena: Arena, cut: u32) {
        if tail.bytes > 0 {
            if let Some(open) = self.segments.get(tail.segment as usize) {
                open.seal(tail.offset, tail.count as u32, tail.stamp);
            }
            tail.segment += 1;
        }
        tail.bytes = arena.bytes();
        tail.bytes_kept += tail.bytes as u64;
        tail.offset = 0;
        tail.count = 0;
        self.segments
            .make(tail.segment as usize)
            .open(arena, tail.position, cut);
        self.spare.want();
    }

    /// Retires what retention lets go of; returns how many segments. The open one stays.
    pub(crate) fn retain(&self, tail: &mut Tail) -> u64 {
        let now = self.settings.clock.wall_ns(self.settings.clock.raw());
        let pinned = self.pins.first();
        let mut retired = 0;
        while tail.first < tail.segment {
            let Some(segment) = self.segments.get(tail.first as usize) else {
                break;
            };
            let end = segment.first() + segment.count();
            let kept = tail.position - segment.first();
            let is_over = self.settings.retention.lets_go(
                kept - segment.count(),
                tail.bytes_kept - segment.bytes(),
                now.saturating_sub(segment.stamp()),
            );
            if !is_over || end > pinned {
                break;
            }
            tail.first += 1;
            tail.bytes_kept -= segment.bytes();
            // Relaxed: who takes the old value for the first finds that the segment was retired.
            self.kept.store(tail.first, Ordering::Relaxed);
            self.counts
                .bytes_retired
                .fetch_add(segment.bytes(), Ordering::Relaxed);
            segment.retire();
            retired += 1;
        }
        retired
    }

    /// Segments that were retired and that a reader still has pinned, and their bytes.
    pub(crate) fn held(&self) -> (u64, u64) {
        (0..self.kept())
            .filter_map(|segment| self.segments.get(segment as usize))
            .map(Segment::bytes)
            .filter(|bytes| *bytes > 0)
            .fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes))
    }

    /// The smallest segment that makes sense.
    pub(crate) const SEGMENT_BYTES_MIN: usize = 16 * HEADER_BYTES;
}

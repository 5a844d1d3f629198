//! The log: its segments, its watermark, and what the append's lock protects.
//!
//! publish → **store** → worker → handler → outcome
//!
//! Everything that changes does so under one lock (S1), which no reader takes; what readers may see is said by the
//! watermark (S2). Retention retires segments from the front, under the same lock.

use super::bell::Bell;
use super::counts::{StoreCounts, Tallies};
use super::error::AppendError;
use super::group::Groups;
use super::kinds::Kinds;
use super::location::Watermark;
use super::record::HEADER_BYTES;
use super::retention::{Pins, Retention};
use super::segment::{ENTRY_BYTES, Segment};
use super::segments::{Segments, Tail};
use super::snapshot::Snapshots;
use super::spare::Spare;
use super::streams::{Pool, Streams};
use crate::event::SequenceLease;
use crate::metrics::CoarseBuckets;
use crate::sync::atomic::Ordering;
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
pub(crate) struct Locked {
    pub(crate) tail: Tail,
    pub(crate) sequence: SequenceLease,
    pub(crate) tallies: Tallies,
    /// How long sampled appends took.
    pub(crate) append_times: CoarseBuckets,
}

/// The log.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) segments: Segments,
    locked: CachePadded<Mutex<Locked>>,
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
            segments: Segments::new(),
            locked: CachePadded::new(Mutex::new(Locked {
                tail: Tail::default(),
                sequence: SequenceLease::default(),
                tallies: Tallies::default(),
                append_times: CoarseBuckets::up_to(TIMES_NS_FIRST),
            })),
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

    /// The append's lock (S1).
    pub(crate) fn lock(&self) -> MutexGuard<'_, Locked> {
        self.locked.lock()
    }

    /// How far the log is committed.
    #[inline(always)]
    pub(crate) fn watermark(&self) -> Watermark {
        self.segments.watermark()
    }

    /// The most bytes that a record can have.
    pub(crate) fn record_bytes_max(&self) -> usize {
        self.settings.segment_bytes - ENTRY_BYTES
    }

    /// Arenas for records of these sizes, as far as the open segment has no room; before anything is written, so that an
    /// append that fails leaves nothing. A full log asks retention first: what is too old by now makes room.
    pub(crate) fn reserve<I: Iterator<Item = usize>>(
        &self,
        tail: &mut Tail,
        sizes: impl Fn() -> I,
    ) -> Result<Vec<Arena>, AppendError> {
        match self.arenas(tail, sizes()) {
            Err(AppendError::Full(_)) if self.retain(tail) > 0 => self.arenas(tail, sizes()),
            other => other,
        }
    }

    fn arenas(
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

    /// Goes on to the next segment, and has another made.
    #[cold]
    pub(crate) fn roll(&self, tail: &mut Tail, arena: Arena, is_continued: bool) {
        self.segments.roll(tail, arena, is_continued);
        self.spare.want();
    }

    /// Retires what retention lets go of; returns how many segments. The open one stays, and a record at least. A batch goes
    /// as a whole or not at all (SD1): what is kept begins with the first batch that begins in a segment.
    pub(crate) fn retain(&self, tail: &mut Tail) -> u64 {
        let now = self.settings.clock.wall_ns(self.settings.clock.raw());
        let pinned = self.pins.first();
        let before = tail.first;
        let (mut bytes, mut number) = (0, tail.first);
        while number < tail.segment {
            let (Some(segment), Some(next)) =
                (self.segments.get(number), self.segments.get(number + 1))
            else {
                break;
            };
            bytes += segment.bytes();
            number += 1;
            let Some((first, _)) = next.start() else {
                // A batch has no beginning here: both go together.
                continue;
            };
            let is_over = self.settings.retention.lets_go(
                tail.position - first,
                tail.bytes_kept - bytes,
                now.saturating_sub(segment.stamp()),
            );
            if !is_over || first > pinned || first == tail.position {
                break;
            }
            self.counts
                .bytes_retired
                .fetch_add(bytes, Ordering::Relaxed);
            self.segments.retire_before(tail, number);
            bytes = 0;
        }
        tail.first - before
    }

    /// Segments that were retired and that a reader still has pinned, and their bytes.
    pub(crate) fn held(&self) -> (u64, u64) {
        (0..self.segments.kept())
            .filter_map(|segment| self.segments.get(segment))
            .map(Segment::bytes)
            .filter(|bytes| *bytes > 0)
            .fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes))
    }

    /// The smallest segment that makes sense.
    pub(crate) const SEGMENT_BYTES_MIN: usize = 16 * HEADER_BYTES;
}

//! A bounded ring from one publisher to one worker.
//!
//! publish → route → **lane** → worker → handler → outcome
//!
//! The ring itself is rtrb; around it stand what both ends and a report want to know (counts), the
//! waiting publisher's word, and handling in place: the worker works on whole chunks without moving a
//! slot, and gives them back together.

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::ring::{Consumer, Producer, RingBuffer};
use crate::sync::{Arc, Barrier, CachePadded, prefetch_slot};
use std::fmt;
use std::mem::MaybeUninit;

use super::Room;

/// How many slots ahead of the one in work are asked for. Measured: 4 to 16 are alike, 1 or 2 too
/// near.
const PREFETCH_DISTANCE: usize = 8;

/// What a lane tells about itself while both ends are at work.
#[derive(Debug)]
pub(crate) struct LaneStats {
    /// Slots pushed; written by the sending end.
    pushed: CachePadded<AtomicU64>,
    /// How often the sending end found no room; written by the sending end.
    full_count: AtomicU64,
    /// Slots taken; written by the receiving end.
    taken: CachePadded<AtomicU64>,
    /// Some worker holds events back for this lane: it is served even by a worker that spills.
    wanted: AtomicBool,
    capacity: usize,
}

impl LaneStats {
    /// Slots that wait, at this moment or a moment ago.
    pub(crate) fn depth(&self) -> u64 {
        let taken = self.taken.load(Ordering::Acquire);
        self.pushed.load(Ordering::Acquire).saturating_sub(taken)
    }

    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    pub(crate) fn full_count(&self) -> u64 {
        self.full_count.load(Ordering::Relaxed)
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn set_wanted(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::Relaxed);
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }
}

/// Makes a lane of at least one slot; `room` is the sending publisher's word.
pub(crate) fn lane<T>(capacity: usize, room: Arc<Room>) -> (LaneTx<T>, LaneRx<T>) {
    let capacity = capacity.max(1);
    let (producer, consumer) = RingBuffer::new(capacity);
    let stats = Arc::new(LaneStats {
        pushed: CachePadded::new(AtomicU64::new(0)),
        full_count: AtomicU64::new(0),
        taken: CachePadded::new(AtomicU64::new(0)),
        wanted: AtomicBool::new(false),
        capacity,
    });
    let sender = LaneTx {
        ring: producer,
        pushed: 0,
        stats: Arc::clone(&stats),
    };
    let receiver = LaneRx {
        ring: consumer,
        taken: 0,
        stats,
        room,
    };
    (sender, receiver)
}

/// The sending end.
pub(crate) struct LaneTx<T> {
    // Its drop marks the ring, Release [abandoned]: pairs with the Acquire in `is_abandoned` (L8).
    ring: Producer<T>,
    pushed: u64,
    stats: Arc<LaneStats>,
}

impl<T> LaneTx<T> {
    /// Pushes one slot, written in place by `write`; `false` if there is no room, and then `write` is
    /// not called. `write` returns the reference it was given, as proof that it wrote.
    #[inline(always)]
    #[must_use]
    pub(crate) fn push_with(&mut self, write: impl FnOnce(&mut MaybeUninit<T>) -> &mut T) -> bool {
        // Inside, when the remembered head has been used up: Acquire [reuse], pairs with the Release
        // in `LaneRx::take`; the worker is done with the slot before it is written again (L3).
        let Ok(mut chunk) = self.ring.write_chunk_uninit(1) else {
            return false;
        };
        let slot = &mut chunk.as_mut_slices().0[0];
        let place: *const T = slot.as_ptr();
        let written: *const T = write(slot);
        assert!(
            std::ptr::eq(written, place),
            "a slot is written where it lies"
        );
        // Inside: Release [publish], pairs with the Acquire in `LaneRx::take`; the slot happens-before
        // whoever sees this tail (L2).
        // SAFETY: L1: the one claimed slot is ours alone, and `write` returned a reference to it as an
        // initialised value.
        unsafe { chunk.commit_all() };
        self.pushed += 1;
        self.stats.pushed.store(self.pushed, Ordering::Release);
        true
    }

    /// Slots known to be free without looking at the worker's cache line.
    #[inline(always)]
    pub(crate) fn known_credit(&self) -> usize {
        self.ring.cached_slots()
    }

    /// Slots that are free; looks at the worker's line.
    #[inline]
    pub(crate) fn credit(&self) -> usize {
        self.ring.slots()
    }

    /// Notes that a push found no room.
    #[cold]
    pub(crate) fn note_full(&self) {
        let count = self.stats.full_count.load(Ordering::Relaxed);
        self.stats.full_count.store(count + 1, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> &Arc<LaneStats> {
        &self.stats
    }
}

impl<T> fmt::Debug for LaneTx<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneTx")
            .field("stats", &self.stats)
            .finish()
    }
}

/// Whether a worker goes on with a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// On to the next slot.
    Next,
    /// This slot is done with, the rest of the chunk stays in the lane.
    Stop,
}

/// The receiving end.
pub(crate) struct LaneRx<T> {
    ring: Consumer<T>,
    taken: u64,
    stats: Arc<LaneStats>,
    room: Arc<Room>,
}

impl<T> LaneRx<T> {
    /// Works on up to `limit` waiting slots in place and then gives them back; returns how many.
    ///
    /// `f` gets the slot and whether it is the last of the chunk. What it leaves in a slot is dropped
    /// when the slot is given back; a slot's drop does not unwind (L4).
    #[inline(always)]
    pub(crate) fn take(
        &mut self,
        limit: usize,
        barrier: Barrier,
        mut f: impl FnMut(&mut T, bool) -> Flow,
    ) -> usize {
        // Inside: Acquire [publish], pairs with the Release in `LaneTx::push_with` (L2).
        let waiting = self.ring.slots();
        if waiting == 0 {
            return 0;
        }
        let count = waiting.min(limit);
        let Ok(mut chunk) = self.ring.read_chunk(count) else {
            unreachable!("the worker alone takes slots, so those counted are still there");
        };
        let mut done = 0;
        let (first, second) = chunk.as_mut_slices();
        'parts: for part in [first, second] {
            let base = part.as_ptr();
            for (index, slot) in part.iter_mut().enumerate() {
                prefetch_slot(base, index + PREFETCH_DISTANCE);
                done += 1;
                // Before it is handled: what a stuck handler has in its hands does not wait any more.
                self.stats
                    .taken
                    .store(self.taken + done as u64, Ordering::Release);
                if f(slot, done == count) == Flow::Stop {
                    break 'parts;
                }
            }
        }
        // Inside: what `f` left in the slots is dropped, then Release [reuse], pairs with the Acquire
        // in `LaneTx::push_with` (L3, L4).
        chunk.commit(done);
        self.taken += done as u64;
        self.room.released(barrier);
        done
    }

    /// Whether slots wait.
    #[inline(always)]
    pub(crate) fn has_waiting(&self) -> bool {
        self.ring.slots() != 0
    }

    /// Whether the sending end is gone. To be read *before* the last look for emptiness: what was
    /// pushed before the sender went is then found by that look (L8).
    pub(crate) fn is_abandoned(&self) -> bool {
        // Inside: Acquire [abandoned], pairs with the Release in the drop of the sender's end.
        self.ring.is_abandoned()
    }

    pub(crate) fn stats(&self) -> &Arc<LaneStats> {
        &self.stats
    }
}

impl<T> fmt::Debug for LaneRx<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneRx")
            .field("stats", &self.stats)
            .finish()
    }
}

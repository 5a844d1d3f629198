//! The two ends of a lane: a publisher's, which fills the ring, and a worker's, which empties it.
//!
//! publish → route → **lane** → worker → handler → outcome
//!
//! Around the ring stand the waiting publisher's word and handling in place: the worker works on slots
//! where they lie, drops what it leaves in them, and gives them back by chunks.

use crate::sync::atomic::Ordering;
use crate::sync::{Arc, Barrier, WatchedArc, prefetch_slot, prefetch_slot_for_writing};
use std::cell::Cell;
use std::fmt;
use std::mem::MaybeUninit;

use super::Room;
use super::ring::{LaneStats, Places};

/// How many slots ahead of the one in work are asked for. Measured: 4 to 16 are alike, 1 or 2 too
/// near.
const PREFETCH_DISTANCE: u64 = 8;

/// Makes a lane of at least one slot; `room` is the sending publisher's word.
pub(crate) fn lane<T>(capacity: usize, room: Arc<Room>) -> (LaneTx<T>, LaneRx<T>) {
    lane_from(capacity, room, 0)
}

/// As [`lane`], with `first` as the first position. Positions are 64 bits wide and start at 0, so none
/// ever overflows; tests begin elsewhere, where a narrower number would.
pub(super) fn lane_from<T>(capacity: usize, room: Arc<Room>, first: u64) -> (LaneTx<T>, LaneRx<T>) {
    let stats = Arc::new(LaneStats::new(capacity.max(1), first));
    let places = WatchedArc::new(Places::new(Arc::clone(&stats)));
    let sender = LaneTx {
        places: WatchedArc::clone(&places),
        stats: Arc::clone(&stats),
        tail: first,
        known_head: Cell::new(first),
    };
    let receiver = LaneRx {
        places,
        stats,
        room,
        head: first,
    };
    (sender, receiver)
}

/// The sending end.
pub(crate) struct LaneTx<T> {
    places: WatchedArc<Places<T>>,
    stats: Arc<LaneStats>,
    /// Places filled, released or not.
    tail: u64,
    /// The head as it was when last looked at.
    known_head: Cell<u64>,
}

impl<T> LaneTx<T> {
    /// Pushes one slot, written in place by `write`; `false` if there is no room, and then `write` is
    /// not called. `write` returns the reference it was given, as proof that it wrote.
    #[inline(always)]
    #[must_use]
    pub(crate) fn push_with(&mut self, write: impl FnOnce(&mut MaybeUninit<T>) -> &mut T) -> bool {
        let has_room = self.fill_with(write);
        if has_room {
            self.release();
            self.prepare();
        }
        has_room
    }

    /// As [`push_with`](Self::push_with), but the slot is seen only after [`release`](Self::release):
    /// one store, and one cache line that changes hands, for many slots.
    #[inline(always)]
    #[must_use]
    pub(crate) fn fill_with(&mut self, write: impl FnOnce(&mut MaybeUninit<T>) -> &mut T) -> bool {
        if self.known_credit() == 0 && self.credit() == 0 {
            return false;
        }
        self.places.at(self.tail).with_mut(|slot| {
            // SAFETY: L1, L3: the position is at or behind the released tail and less than a ring ahead
            // of the head, so the place is empty and ours alone; `[reuse]` was acquired with the head.
            let slot = unsafe { &mut *slot };
            let place: *const T = slot.as_ptr();
            let written: *const T = write(slot);
            assert!(
                std::ptr::eq(written, place),
                "a slot is written where it lies"
            );
        });
        // Behind the write: if that panics, the place stays empty and the lane has no hole.
        self.tail += 1;
        true
    }

    /// Shows the worker all slots that were filled.
    #[inline(always)]
    pub(crate) fn release(&mut self) {
        // Release [publish]: pairs with the Acquire in `LaneRx::take`; the slots happen-before whoever
        // sees this tail (L2).
        self.stats.tail.store(self.tail, Ordering::Release);
    }

    /// Wins the next slot's lines back from the worker's processor, before anybody waits for what will be
    /// written there.
    #[inline(always)]
    fn prepare(&self) {
        // Else the worker may be reading that very slot.
        if self.known_credit() > 0 {
            prefetch_slot_for_writing(self.places.address(self.tail), 0);
        }
    }

    /// Slots known to be free without looking at the worker's cache line.
    #[inline(always)]
    pub(crate) fn known_credit(&self) -> usize {
        (self.stats.capacity - (self.tail - self.known_head.get())) as usize
    }

    /// Slots that are free; looks at the worker's line.
    #[inline]
    pub(crate) fn credit(&self) -> usize {
        // Acquire [reuse]: pairs with the Release in `LaneRx::take`; the worker is done with a slot
        // before it is written again (L3).
        self.known_head.set(self.stats.head.load(Ordering::Acquire));
        self.known_credit()
    }

    /// Notes that a push found no room.
    #[cold]
    pub(crate) fn note_full(&self) {
        // Relaxed: a number with one writer.
        let count = self.stats.full_count.load(Ordering::Relaxed);
        self.stats.full_count.store(count + 1, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> &Arc<LaneStats> {
        &self.stats
    }
}

impl<T> Drop for LaneTx<T> {
    fn drop(&mut self) {
        self.release();
        // Release [abandoned]: pairs with the Acquire in `LaneRx::is_abandoned` (L8).
        self.stats.is_abandoned.store(true, Ordering::Release);
    }
}

impl<T> fmt::Debug for LaneTx<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneTx")
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

/// Whether a worker goes on with a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// On to the next slot.
    Next,
    /// The next slot is the last of the chunk, which is told so; the rest stays in the lane.
    OneMore,
}

/// What handling a slot answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Done {
    pub(crate) flow: Flow,
    /// Nothing is left in the slot that a drop would do anything about. Then the worker does not write to
    /// the slot at all, and need not win its lines from the publisher's processor: with a full lane, that
    /// was half of the time that a worker took for an event.
    pub(crate) is_clean: bool,
}

impl From<Flow> for Done {
    fn from(flow: Flow) -> Self {
        Self {
            flow,
            is_clean: false,
        }
    }
}

/// The receiving end.
pub(crate) struct LaneRx<T> {
    places: WatchedArc<Places<T>>,
    stats: Arc<LaneStats>,
    room: Arc<Room>,
    /// Places emptied, given back or not.
    head: u64,
}

impl<T> LaneRx<T> {
    /// Works on up to `limit` waiting slots in place and then gives them back; returns how many.
    ///
    /// `f` gets the slot and whether it is the last of the chunk. What it leaves in a slot is dropped
    /// there unless it says that nothing is ([`Done`]); a slot's drop does not unwind (L4). If `f` does, its slot stays the first in the lane and
    /// nothing in it is dropped: whoever takes next gets it again.
    #[inline(always)]
    pub(crate) fn take<D: Into<Done>>(
        &mut self,
        limit: usize,
        barrier: Barrier,
        mut f: impl FnMut(&mut T, bool) -> D,
    ) -> usize {
        let first = self.head;
        // Acquire [publish]: pairs with the Release in `LaneTx::release` (L2).
        let tail = self.stats.tail.load(Ordering::Acquire);
        let count = (tail - first).min(limit as u64);
        if count == 0 {
            return 0;
        }
        let mut end = first + count;
        let chunk = Chunk(self);
        let LaneRx {
            places,
            stats,
            head,
            ..
        } = &mut *chunk.0;
        let taken = &stats.taken;
        let mut position = first;
        loop {
            prefetch_slot(places.address(position + PREFETCH_DISTANCE), 0);
            let place = places.at(position);
            position += 1;
            // Before it is handled: what a stuck handler has in its hands does not wait any more.
            // Release [depth]: pairs with the Acquire in `LaneStats::depth` (L12).
            taken.store(position, Ordering::Release);
            let flow = place.with_mut(|slot| {
                // SAFETY: L2: the position lies before the tail, so a complete slot is here, and behind
                // the head, so it is ours alone (L3).
                let slot = unsafe { (*slot).assume_init_mut() };
                let Done { flow, is_clean } = f(slot, position == end).into();
                // Behind the handling, which may unwind, and before the drop, which does not (L4).
                *head = position;
                if !is_clean {
                    // SAFETY: L4: the slot was not dropped before, and its position counts as emptied.
                    unsafe { std::ptr::drop_in_place(slot) };
                }
                flow
            });
            if flow == Flow::OneMore {
                end = one_more(position, end);
            }
            if position == end {
                break;
            }
        }
        drop(chunk);
        self.room.released(barrier);
        (self.head - first) as usize
    }

    /// How many slots have been emptied since the lane was made.
    #[inline(always)]
    pub(crate) fn position(&self) -> u64 {
        self.head
    }

    /// Whether slots wait.
    #[inline(always)]
    pub(crate) fn has_waiting(&self) -> bool {
        // Relaxed: a look. `take` acquires what it then reads, and before a sleep it is the barrier that
        // makes sure that the look finds what was pushed (L7).
        self.stats.tail.load(Ordering::Relaxed) != self.head
    }

    /// Asks for the first slot, so that its lines are on their way while the worker gets ready.
    #[inline(always)]
    pub(crate) fn prefetch(&self) {
        prefetch_slot(self.places.address(self.head), 0);
    }

    /// Whether the sending end is gone. To be read *before* the last look for emptiness: what was
    /// pushed before the sender went is then found by that look (L8).
    pub(crate) fn is_abandoned(&self) -> bool {
        // Acquire [abandoned]: pairs with the Release in the drop of the sender's end.
        self.stats.is_abandoned.load(Ordering::Acquire)
    }

    pub(crate) fn stats(&self) -> &Arc<LaneStats> {
        &self.stats
    }
}

/// The end of a chunk that is to end behind the next slot. Out of line, or it is worked out for every slot.
#[cold]
#[inline(never)]
fn one_more(position: u64, end: u64) -> u64 {
    end.min(position + 1)
}

/// Gives back the places that were emptied, also when handling unwinds.
struct Chunk<'a, T>(&'a mut LaneRx<T>);

impl<T> Drop for Chunk<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        let stats = &self.0.stats;
        // Release [reuse]: pairs with the Acquire in `LaneTx::credit`; handling and dropping
        // happen-before whoever sees this head (L3).
        stats.head.store(self.0.head, Ordering::Release);
    }
}

impl<T> fmt::Debug for LaneRx<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneRx")
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

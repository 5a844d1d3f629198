//! A bounded ring of places: one end fills them, the other empties them.
//!
//! publish → route → **lane** → worker → handler → outcome
//!
//! Picture a row of places in a circle and two counts that only rise: `tail`, places filled so far, and
//! `head`, places emptied so far. What lies between them waits. Each count is stored by one end and read
//! by the other, which remembers what it read and looks again only when it has to. The row is as long as
//! the next power of two, so that a position is a mask away from its place; the capacity is what was
//! asked for.
//!
//! Why not `rtrb`, which this replaces and which the tests hold it against: it gives chunks of two
//! slices, and drops chunks of slots behind the worker, where here a slot is worked on and dropped in
//! one go, many can be filled before one store of the tail, and the models run on this very file
//! (docs/decisions/0008).

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Arc, CachePadded, UnsafeCell};
use std::fmt;
use std::mem::MaybeUninit;

/// A lane's words, those of its ring first; reports read them while both ends are at work.
#[derive(Debug)]
pub(crate) struct LaneStats {
    /// Places filled so far; stored by the sending end.
    pub(super) tail: CachePadded<AtomicU64>,
    /// Places emptied so far; stored by the receiving end.
    pub(super) head: CachePadded<AtomicU64>,
    /// Slots taken into work so far, ahead of `head` by the part of a chunk that is in work; stored by
    /// the receiving end.
    pub(super) taken: CachePadded<AtomicU64>,
    /// How often the sending end found no room; stored by it.
    pub(super) full_count: AtomicU64,
    /// The sending end is gone.
    pub(super) is_abandoned: AtomicBool,
    /// Some worker holds events back for this lane: it is served even by a worker that spills.
    wanted: AtomicBool,
    pub(super) capacity: u64,
}

impl LaneStats {
    pub(super) fn new(capacity: usize, first: u64) -> Self {
        Self {
            tail: CachePadded::new(AtomicU64::new(first)),
            head: CachePadded::new(AtomicU64::new(first)),
            taken: CachePadded::new(AtomicU64::new(first)),
            full_count: AtomicU64::new(0),
            is_abandoned: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            capacity: capacity as u64,
        }
    }

    /// Slots that wait, at this moment or a moment ago; what is in work does not wait.
    pub(crate) fn depth(&self) -> u64 {
        // Acquire [depth]: pairs with the Release in `LaneRx::take`; the tail is no older than what was
        // taken (L12).
        let taken = self.taken.load(Ordering::Acquire);
        // Relaxed: a number to look at, no slot is read for it.
        self.tail.load(Ordering::Relaxed).saturating_sub(taken)
    }

    // Relaxed, this and what follows: numbers and a hint, each for itself.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    pub(crate) fn full_count(&self) -> u64 {
        self.full_count.load(Ordering::Relaxed)
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn set_wanted(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::Relaxed);
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }
}

/// The row of places, shared by both ends; what waits in it is dropped with it.
pub(super) struct Places<T> {
    row: Box<[UnsafeCell<MaybeUninit<T>>]>,
    stats: Arc<LaneStats>,
}

// SAFETY: a place is reached by the sending end while its position is at or behind the tail (L1), by the
// receiving end between head and tail (L2, L3), and by the drop of the row when both are gone: values move
// between threads and are never shared, so `Send` is enough.
unsafe impl<T: Send> Sync for Places<T> {}

impl<T> Places<T> {
    pub(super) fn new(stats: Arc<LaneStats>) -> Self {
        let length = stats.capacity.next_power_of_two() as usize;
        Self {
            row: (0..length)
                .map(|_| UnsafeCell::new(MaybeUninit::uninit()))
                .collect(),
            stats,
        }
    }

    #[inline(always)]
    fn index(&self, position: u64) -> usize {
        position as usize & (self.row.len() - 1)
    }

    /// The place of a position.
    #[inline(always)]
    pub(super) fn at(&self, position: u64) -> &UnsafeCell<MaybeUninit<T>> {
        &self.row[self.index(position)]
    }

    /// Where a position lies, for a hint.
    #[inline(always)]
    pub(super) fn address(&self, position: u64) -> *const UnsafeCell<MaybeUninit<T>> {
        self.row.as_ptr().wrapping_add(self.index(position))
    }
}

impl<T> Drop for Places<T> {
    fn drop(&mut self) {
        // Relaxed: both ends are gone, and the `Arc` they shared makes visible what they did (L4).
        let tail = self.stats.tail.load(Ordering::Relaxed);
        let head = self.stats.head.load(Ordering::Relaxed);
        for position in head..tail {
            self.at(position).with_mut(|slot| {
                // SAFETY: L2, L4: between head and tail lie values that nobody has dropped, and both ends
                // are gone.
                unsafe { (*slot).assume_init_drop() }
            });
        }
    }
}

impl<T> fmt::Debug for Places<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places").finish_non_exhaustive()
    }
}

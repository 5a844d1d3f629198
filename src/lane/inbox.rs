//! A bounded queue from everybody to one worker, or to all workers of an unordered pool.
//!
//! publish → route → **lane** → worker → handler → outcome
//!
//! The queue is crossbeam's `ArrayQueue`; in front of it stands a count of free places (the credit).
//! Whoever holds a place cannot fail to push, which is what an event for several pools needs: reserve
//! everywhere, then push everywhere. A held place also is the publisher's busy mark for closing: when
//! credit and queued add up to the capacity, nobody is between the look at the gate and the push.

use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Arc, ArrayQueue, Barrier, CachePadded, Mutex, realtime, spin_loop, thread};
use std::collections::VecDeque;
use std::fmt;

use super::Room;

/// A bounded multi-producer queue with reservations and waiting publishers.
pub(crate) struct Inbox<T> {
    queue: ArrayQueue<T>,
    /// Free places; taken by publishers before they push, given back by workers after they took.
    credit: CachePadded<AtomicUsize>,
    /// How many values were spilled and are not inside yet. While there are any, publishers from outside
    /// wait, so that nobody overtakes them.
    deferred: AtomicUsize,
    /// A lock on the cold side only: it is taken by workers that find no room, and at the end.
    overflow: Mutex<Overflow<T>>,
    full_count: AtomicU64,
    taken: CachePadded<AtomicU64>,
    /// Publishers that wait for a place.
    waiting: CachePadded<AtomicUsize>,
    /// A lock on the cold side only: it is taken to begin or end a wait.
    waiters: Mutex<Vec<Arc<Room>>>,
}

/// What was spilled by workers, in order.
#[derive(Debug)]
struct Overflow<T> {
    queue: VecDeque<T>,
    /// Spilled so far.
    spilled: u64,
}

impl<T> Inbox<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            queue: ArrayQueue::new(capacity),
            credit: CachePadded::new(AtomicUsize::new(capacity)),
            deferred: AtomicUsize::new(0),
            overflow: Mutex::new(Overflow {
                queue: VecDeque::new(),
                spilled: 0,
            }),
            full_count: AtomicU64::new(0),
            taken: CachePadded::new(AtomicU64::new(0)),
            waiting: CachePadded::new(AtomicUsize::new(0)),
            waiters: Mutex::new(Vec::new()),
        }
    }

    /// Takes a free place; `false` if there is none. To be followed by [`push`](Self::push) or
    /// [`give_back`](Self::give_back).
    #[must_use]
    pub(crate) fn reserve(&self) -> bool {
        // Relaxed: the compare-exchange looks again.
        let mut free = self.credit.load(Ordering::Relaxed);
        while free > 0 {
            // Acquire [place]: pairs with the Release in `give_back`; the place was emptied before.
            match self.credit.compare_exchange_weak(
                free,
                free - 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => free = now,
            }
        }
        self.full_count.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// Puts a value into a reserved place.
    pub(crate) fn push(&self, value: T) {
        // Behind another thread that was stopped halfway through its turn, the queue gives its processor away.
        let _allowed = realtime::allow();
        let pushed = self.queue.push(value);
        assert!(pushed.is_ok(), "a reserved place is free (L9)");
    }

    /// Returns places: unused ones by a publisher, emptied ones by a worker; wakes whoever waits.
    pub(crate) fn give_back(&self, count: usize, barrier: Barrier) {
        // Release [place]: pairs with the compare-exchange in `reserve`; the places are empty (L9).
        // Release [settle]: pairs with the Acquire in `wait_settled`; what was popped is not counted there
        // as queued as well as free (L5).
        self.credit.fetch_add(count, Ordering::Release);
        barrier.light();
        // Relaxed: the barrier lets this see who announced, or lets them see the places (L6).
        if self.waiting.load(Ordering::Relaxed) != 0 {
            self.wake_waiters();
        }
    }

    /// Takes the oldest value; the place is to be given back once the value has been dealt with.
    #[inline]
    pub(crate) fn pop(&self) -> Option<T> {
        // As in `push`.
        let _allowed = realtime::allow();
        self.queue.pop()
    }

    /// Counts what a worker took; several workers of an unordered pool may.
    pub(crate) fn note_taken(&self, count: u64) {
        self.taken.fetch_add(count, Ordering::Relaxed);
    }

    #[inline(always)]
    pub(crate) fn has_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    pub(crate) fn depth(&self) -> u64 {
        self.queue.len() as u64
    }

    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    pub(crate) fn full_count(&self) -> u64 {
        self.full_count.load(Ordering::Relaxed)
    }

    pub(crate) fn capacity(&self) -> usize {
        self.queue.capacity()
    }

    /// Whether places are free and nobody's events are held back for them.
    pub(crate) fn has_room(&self) -> bool {
        // Relaxed: a look; `reserve` acquires. Before a sleep the barrier makes sure of it (L6).
        self.credit.load(Ordering::Relaxed) > 0 && !self.is_deferred()
    }

    /// Takes a value for which there is no room, from a worker, which must not wait (PD5); the ticket
    /// tells its place among all that were spilled here. Until all of them are inside, nobody else is let
    /// in, so the inbox keeps one order for everybody (L11).
    pub(crate) fn spill(&self, value: T) -> u64 {
        let mut overflow = self.overflow.lock();
        overflow.queue.push_back(value);
        overflow.spilled += 1;
        // Relaxed: whoever comes after this publish has returned sees it, or what came of it, in the same
        // word; whoever sees it joins under the lock (L11).
        self.deferred.fetch_add(1, Ordering::Relaxed);
        overflow.spilled
    }

    /// Moves what was spilled into free places, the oldest first; how many, and how many in all since the
    /// inbox was made. Lets publishers in again after the last. Whoever calls rings the bell.
    pub(crate) fn flush(&self, barrier: Barrier) -> (usize, u64) {
        // Something was spilled: the lock may be held by a worker that spills or moves on just now.
        let _allowed = realtime::allow();
        let mut overflow = self.overflow.lock();
        let mut moved = 0;
        while !overflow.queue.is_empty() && self.reserve() {
            if let Some(value) = overflow.queue.pop_front() {
                self.push(value);
                moved += 1;
            }
        }
        let moved_in_all = overflow.spilled - overflow.queue.len() as u64;
        drop(overflow);
        self.undefer(moved, barrier);
        (moved, moved_in_all)
    }

    /// Takes out what was spilled: for the end of the worker.
    pub(crate) fn take_spilled(&self, barrier: Barrier) -> VecDeque<T> {
        let queue = std::mem::take(&mut self.overflow.lock().queue);
        self.undefer(queue.len(), barrier);
        queue
    }

    fn undefer(&self, count: usize, barrier: Barrier) {
        if count == 0 {
            return;
        }
        // Release [deferred]: pairs with the Acquire in `is_deferred`; what was spilled is inside before
        // anybody is let in (L11).
        if self.deferred.fetch_sub(count, Ordering::Release) == count {
            barrier.light();
            self.wake_waiters();
        }
    }

    /// Whether spilled values wait behind the inbox.
    pub(crate) fn is_deferred(&self) -> bool {
        // Acquire [deferred]: pairs with the Release in `undefer`.
        self.deferred.load(Ordering::Acquire) != 0
    }

    /// Registers a publisher that is about to wait: the caller then announces on its `room`, looks
    /// once more, sleeps, and ends with [`stop_waiting`](Self::stop_waiting).
    pub(crate) fn start_waiting(&self, room: &Arc<Room>) {
        self.waiters.lock().push(Arc::clone(room));
        // Relaxed, here and below: the list is behind its lock, and the barrier in `Room::announce` stands
        // between this and the last look.
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes the registration back.
    pub(crate) fn stop_waiting(&self, room: &Arc<Room>) {
        self.waiters
            .lock()
            .retain(|other| !Arc::ptr_eq(other, room));
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Wakes every publisher that waits here, whatever for.
    #[cold]
    pub(crate) fn wake_waiters(&self) {
        // Somebody sleeps or is about to: the lock may be held by one who begins to wait or ends it.
        let _allowed = realtime::allow();
        for room in self.waiters.lock().iter() {
            room.wake();
        }
    }

    /// For the closer, after the gate moved and the heavy barrier: waits until nobody holds a place
    /// without having pushed. A worker may hold places for the length of a batch; `idle` says that it
    /// is worth waiting on.
    pub(crate) fn wait_settled(&self, mut go_on: impl FnMut() -> bool) {
        let mut spins = 0_u32;
        let is_settled = || {
            // Acquire [settle]: pairs with the Release in `give_back`; read before the length (L5).
            let free = self.credit.load(Ordering::Acquire);
            free + self.queue.len() >= self.capacity()
        };
        while !is_settled() && go_on() {
            spins += 1;
            if spins.is_multiple_of(64) {
                thread::yield_now();
            } else {
                spin_loop();
            }
        }
    }
}

impl<T> fmt::Debug for Inbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("depth", &self.depth())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

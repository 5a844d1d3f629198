//! A publisher that waits for room, and the worker that makes it.
//!
//! publish → route → **lane** → worker → handler → outcome
//!
//! The mirror image of the wake-up: the publisher announces WAITING, passes the heavy barrier, looks
//! at the lane once more and only then sleeps; the worker gives slots back, passes the light barrier
//! and looks at the word (L6).

use crate::sync::atomic::Ordering;
use crate::sync::{Barrier, CachePadded, ParkWord};
use std::time::Duration;

const IDLE: u32 = 0;
const WAITING: u32 = 1;

/// One publisher's word to sleep on; shared by all its lanes.
#[derive(Debug)]
pub(crate) struct Room {
    word: CachePadded<ParkWord>,
}

impl Room {
    pub(crate) fn new() -> Self {
        Self {
            word: CachePadded::new(ParkWord::new(IDLE)),
        }
    }

    /// The publisher's first step. After it the publisher looks once more, and then either
    /// [`sleep`](Self::sleep)s or [`cancel`](Self::cancel)s.
    pub(crate) fn announce(&self, barrier: Barrier) {
        // Relaxed: the barrier stands between this and the last look (L6).
        self.word.store(WAITING, Ordering::Relaxed);
        barrier.heavy();
    }

    /// Takes the announcement back: there is room after all.
    pub(crate) fn cancel(&self) {
        // Relaxed: nothing became visible; a wake-up that comes all the same finds nobody.
        self.word.store(IDLE, Ordering::Relaxed);
    }

    /// Sleeps until woken or until the time is up; may return early. Leaves the word idle.
    pub(crate) fn sleep(&self, timeout: Option<Duration>) {
        self.word.wait(WAITING, timeout);
        // Acquire [room]: pairs with the swap in `wake`; the given-back slots are visible.
        self.word.swap(IDLE, Ordering::Acquire);
    }

    /// The worker's side, after it gave slots back.
    #[inline(always)]
    pub(crate) fn released(&self, barrier: Barrier) {
        barrier.light();
        // Relaxed: the barrier lets this see the announcement, or lets the publisher see the room (L6).
        if self.word.load(Ordering::Relaxed) == WAITING {
            self.wake();
        }
    }

    /// Wakes the publisher if it waits, whatever for: room, or a gate that has closed.
    #[cold]
    pub(crate) fn wake(&self) {
        // Release [room]: pairs with the swap in `sleep`.
        if self.word.swap(IDLE, Ordering::Release) == WAITING {
            self.word.wake_all();
        }
    }
}

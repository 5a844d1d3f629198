//! A worker that sleeps, and whoever has something for it.
//!
//! publish → route → **lane** → worker → handler → outcome
//!
//! The worker announces PARKED, passes the heavy barrier, looks at everything once more, and sleeps.
//! A publisher pushes, passes the light barrier, looks at the word, and wakes only if it says PARKED.
//! One of the two sees the other (L7), so an event is never left behind a sleeping worker, and a
//! publisher of a busy worker pays one load.

use crate::sync::atomic::Ordering;
use crate::sync::{Barrier, CachePadded, ParkWord};
use std::time::Duration;

const AWAKE: u32 = 0;
const PARKED: u32 = 1;

/// The worker's word.
#[derive(Debug)]
pub(crate) struct Wake {
    word: CachePadded<ParkWord>,
}

impl Wake {
    pub(crate) fn new() -> Self {
        Self {
            word: CachePadded::new(ParkWord::new(AWAKE)),
        }
    }

    /// The worker's first step towards sleep. `false`: the barrier was refused, the worker goes on
    /// polling. After `true` it looks at everything once more and then [`sleep`](Self::sleep)s or
    /// [`cancel`](Self::cancel)s.
    #[must_use]
    pub(crate) fn announce(&self, barrier: Barrier) -> bool {
        // Relaxed: the barrier stands between this and the last look (L7).
        self.word.store(PARKED, Ordering::Relaxed);
        if barrier.try_heavy() {
            true
        } else {
            self.cancel();
            false
        }
    }

    /// The last look found something.
    pub(crate) fn cancel(&self) {
        // Relaxed: nothing became visible; a wake-up that comes all the same finds nobody.
        self.word.store(AWAKE, Ordering::Relaxed);
    }

    /// Sleeps until somebody wakes the worker, or until the time is up.
    pub(crate) fn sleep(&self, timeout: Option<Duration>) {
        match timeout {
            None => {
                // Acquire [wake]: pairs with the AcqRel in `wake`; what was pushed before is visible.
                while self.word.load(Ordering::Acquire) == PARKED {
                    self.word.wait(PARKED, None);
                }
            }
            Some(_) => {
                self.word.wait(PARKED, timeout);
                // Acquire [wake]: as above.
                self.word.swap(AWAKE, Ordering::Acquire);
            }
        }
    }

    /// Whether the worker sleeps or is about to; for reports and for picking a sleeper to wake.
    #[inline(always)]
    pub(crate) fn is_parked(&self) -> bool {
        // Relaxed: the light barrier before it lets this see the announcement, or lets the worker's last look
        // see what was pushed (L7).
        self.word.load(Ordering::Relaxed) == PARKED
    }

    /// The publisher's side, after its push: the light barrier, then the look.
    #[inline(always)]
    pub(crate) fn notify(&self, barrier: Barrier) {
        barrier.light();
        if self.is_parked() {
            self.wake();
        }
    }

    /// Wakes the worker if it is parked; says whether this call did it.
    #[cold]
    pub(crate) fn wake(&self) -> bool {
        // Release [wake]: pairs with the Acquire in `sleep`.
        if self.word.swap(AWAKE, Ordering::Release) == PARKED {
            self.word.wake_all();
            true
        } else {
            false
        }
    }
}

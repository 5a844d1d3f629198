//! Two copies of a value: one writer fills the active one, a reader takes the other.
//!
//! The writer never waits and never retries. A reader flips which copy is active, waits until the
//! writer is outside its (short) section, and then owns the copy that the writer has left. That works
//! as well when the writer sleeps or is stuck in a handler, because it records outside both.
//!
//! | word | written by | order | what it says |
//! |---|---|---|---|
//! | `active` | readers, under their lock | Release / Acquire `[flip]` | which copy the writer fills |
//! | `inside` | the writer | Release / Acquire `[leave]` | the writer is in its section |
//!
//! The race is store-then-load on both sides: the writer stores `inside` and loads `active`, the
//! reader stores `active` and loads `inside`. The barrier between them is two-sided ([`Barrier`]):
//! either the writer sees the new index, or the reader sees it inside and waits (H1). A reader that
//! then sees it outside with an Acquire load has everything the writer recorded before (H2).

use super::atomic::{AtomicU32, Ordering};
use super::{Barrier, CachePadded, Mutex, UnsafeCell, spin_loop, thread};

/// A double buffer with one writer and any number of readers, who take turns.
#[derive(Debug)]
pub(crate) struct Handover<T> {
    words: CachePadded<Words>,
    copies: [UnsafeCell<T>; 2],
    // Lock [turn]: taken by `read` for as long as it uses a copy.
    readers: Mutex<()>,
    barrier: Barrier,
}

#[derive(Debug)]
struct Words {
    inside: AtomicU32,
    active: AtomicU32,
}

// SAFETY: a copy is reached only by the one writer while it is active (H1) or by the reader that holds
// `readers` while it is not (H2), so `T` moves between threads and is never shared: `Send` is enough.
unsafe impl<T: Send> Sync for Handover<T> {}

impl<T> Handover<T> {
    pub(crate) fn new(first: T, second: T, barrier: Barrier) -> Self {
        Self {
            words: CachePadded::new(Words {
                inside: AtomicU32::new(0),
                active: AtomicU32::new(0),
            }),
            copies: [UnsafeCell::new(first), UnsafeCell::new(second)],
            readers: Mutex::new(()),
            barrier,
        }
    }

    /// Lets the writer work on the active copy. To be called by one thread at a time, and not from
    /// within itself; a second caller that arrives during the first is a programmer's mistake.
    ///
    /// # Panics
    /// If a write is going on already: that thread, or this one through `f`, is inside.
    #[inline(always)]
    pub(crate) fn write<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // Relaxed, both: the writer alone stores it, and the barrier stands before the look at `active`.
        assert_eq!(
            self.words.inside.load(Ordering::Relaxed),
            0,
            "one writer at a time"
        );
        self.words.inside.store(1, Ordering::Relaxed);
        let leave = Leave(&self.words.inside);
        self.barrier.light();
        // Acquire [flip]: pairs with the Release in `read`; the reader's clearing of this copy
        // happens-before the writer fills it again.
        let active = self.words.active.load(Ordering::Acquire) as usize;
        let result = self.copies[active].with_mut(|copy| {
            // SAFETY: H1: while `inside` is set no reader touches the copy that was active after it.
            f(unsafe { &mut *copy })
        });
        drop(leave);
        result
    }

    /// Flips the copies and lets the reader work on the one the writer has left.
    pub(crate) fn read<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // Lock [turn]: pairs with itself; each reader has what the one before did to the copies (H1).
        let _turn = self.readers.lock();
        // Relaxed: readers alone store it, under their lock.
        let left = self.words.active.load(Ordering::Relaxed);
        // Release [flip]: pairs with the Acquire in `write`.
        self.words.active.store(left ^ 1, Ordering::Release);
        self.barrier.heavy();
        let mut spins = 0_u32;
        // Acquire [leave]: pairs with the Release in `Leave`; all the writer recorded is visible.
        while self.words.inside.load(Ordering::Acquire) != 0 {
            spins += 1;
            if spins.is_multiple_of(64) {
                thread::yield_now();
            } else {
                spin_loop();
            }
        }
        self.copies[left as usize].with_mut(|copy| {
            // SAFETY: H2: the writer is outside or uses the other copy, and `readers` is held.
            f(unsafe { &mut *copy })
        })
    }
}

/// Ends the writer's section, also when recording panics.
struct Leave<'a>(&'a AtomicU32);

impl Drop for Leave<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // Release [leave]: pairs with the Acquire in `read`.
        self.0.store(0, Ordering::Release);
    }
}

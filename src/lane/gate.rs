//! Closing without losing what is being pushed at that moment.
//!
//! publish → route → **lane** → worker → handler → outcome
//!
//! A publisher brackets "is it open? then push" with its own [`Busy`] word. The closer shuts the
//! [`Gate`], passes the heavy barrier and waits for every busy word: after that nobody is between the
//! look and the push, and one more drain finds everything that was admitted (L5).

use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Barrier, CachePadded, spin_loop, thread};

/// How far an engine is closed. It only ever advances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum GateState {
    /// Everybody may publish.
    Open = 0,
    /// Handlers may publish, nobody else.
    Draining = 1,
    /// Nobody may publish.
    Shut = 2,
}

/// The word that says whether publishing is allowed.
#[derive(Debug)]
pub(crate) struct Gate {
    state: CachePadded<AtomicU32>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self {
            state: CachePadded::new(AtomicU32::new(GateState::Open as u32)),
        }
    }

    #[inline(always)]
    pub(crate) fn state(&self) -> GateState {
        // Acquire [gate]: pairs with the Release in `advance`.
        match self.state.load(Ordering::Acquire) {
            0 => GateState::Open,
            1 => GateState::Draining,
            _ => GateState::Shut,
        }
    }

    #[inline(always)]
    pub(crate) fn is_open(&self) -> bool {
        // Acquire [gate]: pairs with the Release in `advance`.
        self.state.load(Ordering::Acquire) == GateState::Open as u32
    }

    /// Moves the gate on; never back. The caller then passes the heavy barrier and waits for the busy
    /// words (L5).
    pub(crate) fn advance(&self, to: GateState) {
        // Release [gate]: pairs with the Acquire in `state` and `is_open`; whoever is refused sees what was
        // done before the engine was told to stop.
        self.state.fetch_max(to as u32, Ordering::Release);
    }
}

/// A publisher's own word: set while it is between looking at the gate and having pushed.
#[derive(Debug)]
pub(crate) struct Busy {
    word: CachePadded<AtomicU32>,
}

impl Busy {
    pub(crate) fn new() -> Self {
        Self {
            word: CachePadded::new(AtomicU32::new(0)),
        }
    }

    /// Enters the bracket; the look at the gate comes after it.
    #[inline(always)]
    pub(crate) fn enter(&self, barrier: Barrier) {
        // Relaxed: the barrier stands between this and the look at the gate (L5).
        self.word.store(1, Ordering::Relaxed);
        barrier.light();
    }

    /// Leaves the bracket: what was pushed is visible to a closer that sees the word clear.
    #[inline(always)]
    pub(crate) fn leave(&self) {
        // Release [close]: pairs with the Acquire in `wait_clear`.
        self.word.store(0, Ordering::Release);
    }

    /// For the closer, after the gate moved and the heavy barrier: waits until the publisher is
    /// outside its bracket. A bracket is some stores long and holds no wait.
    pub(crate) fn wait_clear(&self) {
        let mut spins = 0_u32;
        // Acquire [close]: pairs with the Release in `leave`.
        while self.word.load(Ordering::Acquire) != 0 {
            spins += 1;
            if spins.is_multiple_of(64) {
                thread::yield_now();
            } else {
                spin_loop();
            }
        }
    }
}

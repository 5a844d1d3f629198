//! What a worker is at, as a word that others read.
//!
//! publish → route → lane → **worker** → handler → outcome

use crate::sync::atomic::{AtomicU32, Ordering};

/// What a worker is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Between batches: polling, spinning.
    Polling = 0,
    /// In a batch, that is to say in a handler.
    InBatch = 1,
    /// Asleep.
    Parked = 2,
    /// Done for good, or a polled worker without a poller.
    Stopped = 3,
    /// Told to stop: abandoning what is left, dropping its handlers.
    Ending = 4,
}

/// The word; its worker alone sets it.
#[derive(Debug)]
pub(crate) struct PhaseWord(AtomicU32);

impl PhaseWord {
    /// A worker that nobody runs yet.
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(Phase::Stopped as u32))
    }

    #[inline(always)]
    pub(crate) fn set(&self, phase: Phase) {
        // Release [ended]: pairs with the Acquire in `get`; whoever answers for a worker that has stopped
        // has what it did until then (W3, W5).
        self.0.store(phase as u32, Ordering::Release);
    }

    pub(crate) fn get(&self) -> Phase {
        // Acquire [ended]: pairs with the Release in `set`.
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Polling,
            1 => Phase::InBatch,
            2 => Phase::Parked,
            4 => Phase::Ending,
            _ => Phase::Stopped,
        }
    }
}

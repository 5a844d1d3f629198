//! Counters with one writer, read by anybody at any time.
//!
//! publish → route → lane → worker → handler → **outcome**

use super::DeliveryCounts;
use crate::outcome::Ended;
use crate::sync::CachePadded;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counts of one subscription on one worker; that worker alone writes them. The one mark that others set
/// lies beside them, as it is looked at before each call.
#[derive(Debug, Default)]
pub(crate) struct CountsCell(CachePadded<Words>);

#[derive(Debug, Default)]
struct Words {
    admitted: AtomicU64,
    handled: AtomicU64,
    failed: AtomicU64,
    skipped: AtomicU64,
    withdrawn: AtomicU64,
    abandoned: AtomicU64,
    is_withdrawn: AtomicBool,
}

impl CountsCell {
    #[inline(always)]
    pub(crate) fn admit(&self) {
        let word = &self.0.admitted;
        // Relaxed: the ending behind it releases it.
        word.store(word.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// From here on no call begins on this worker.
    pub(crate) fn withdraw(&self) {
        // Relaxed: it is the worker's answer that promises it (W3), this only makes it true sooner.
        self.0.is_withdrawn.store(true, Ordering::Relaxed);
    }

    /// Relaxed: see [`withdraw`](Self::withdraw).
    #[inline(always)]
    pub(crate) fn is_withdrawn(&self) -> bool {
        self.0.is_withdrawn.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(crate) fn end(&self, ended: Ended) {
        let word = match ended {
            Ended::Handled => &self.0.handled,
            Ended::Failed => &self.0.failed,
            Ended::Skipped => &self.0.skipped,
            Ended::Withdrawn => &self.0.withdrawn,
            Ended::Abandoned => &self.0.abandoned,
        };
        // Release [ending]: pairs with the Acquire in `read`; whoever sees the ending sees the admission
        // before it (M1).
        word.store(word.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    /// Endings first, then admissions: a live snapshot never shows more ended than begun (PD8).
    pub(crate) fn read(&self) -> DeliveryCounts {
        let words = &*self.0;
        // Acquire [ending]: pairs with the Release in `end` (M1).
        let ended = |word: &AtomicU64| word.load(Ordering::Acquire);
        let handled = ended(&words.handled);
        let failed = ended(&words.failed);
        let skipped = ended(&words.skipped);
        let withdrawn = ended(&words.withdrawn);
        let abandoned = ended(&words.abandoned);
        DeliveryCounts {
            // Relaxed: read last, and nothing follows from it.
            admitted: words.admitted.load(Ordering::Relaxed),
            handled,
            failed,
            skipped,
            withdrawn,
            abandoned,
        }
    }
}

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
        word.store(word.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// From here on no call begins on this worker.
    pub(crate) fn withdraw(&self) {
        self.0.is_withdrawn.store(true, Ordering::Release);
    }

    /// Relaxed: whoever has to know that no call begins waits for the worker's answer.
    #[inline(always)]
    pub(crate) fn is_withdrawn(&self) -> bool {
        self.0.is_withdrawn.load(Ordering::Relaxed)
    }

    /// Release: a reader that sees the ending sees the admission before it (PD8).
    #[inline(always)]
    pub(crate) fn end(&self, ended: Ended) {
        let word = match ended {
            Ended::Handled => &self.0.handled,
            Ended::Failed => &self.0.failed,
            Ended::Skipped => &self.0.skipped,
            Ended::Withdrawn => &self.0.withdrawn,
            Ended::Abandoned => &self.0.abandoned,
        };
        word.store(word.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    /// Endings first, then admissions: a live snapshot never shows more ended than begun (PD8).
    pub(crate) fn read(&self) -> DeliveryCounts {
        let words = &*self.0;
        let handled = words.handled.load(Ordering::Acquire);
        let failed = words.failed.load(Ordering::Acquire);
        let skipped = words.skipped.load(Ordering::Acquire);
        let withdrawn = words.withdrawn.load(Ordering::Acquire);
        let abandoned = words.abandoned.load(Ordering::Acquire);
        DeliveryCounts {
            admitted: words.admitted.load(Ordering::Acquire),
            handled,
            failed,
            skipped,
            withdrawn,
            abandoned,
        }
    }
}

//! Counters with one writer, read by anybody at any time.
//!
//! publish → route → lane → worker → handler → **outcome**

use super::{AttemptCounts, DeliveryCounts};
use crate::outcome::Ended;
use crate::sync::CachePadded;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// From here on no call begins on this worker.
pub(crate) const MARK_WITHDRAWN: u32 = 1;
/// Deliveries of some key, or of all, are held here.
pub(crate) const MARK_HELD: u32 = 2;
/// The subscription's breaker is not closed.
pub(crate) const MARK_BREAKER: u32 = 4;
/// Each call is timed by itself: there is a limit, or slow calls count.
pub(crate) const MARK_TIMED: u32 = 8;

/// Counts of one subscription on one worker; that worker alone writes them. The marks lie beside them, as
/// they are looked at before each call, all in one load.
#[derive(Debug, Default)]
pub(crate) struct CountsCell(CachePadded<Words>);

#[derive(Debug, Default)]
struct Words {
    admitted: AtomicU64,
    handled: AtomicU64,
    failed: AtomicU64,
    dead_lettered: AtomicU64,
    skipped: AtomicU64,
    withdrawn: AtomicU64,
    abandoned: AtomicU64,
    marks: AtomicU32,
    failed_attempts: AtomicU64,
    retries: AtomicU64,
    timeouts: AtomicU64,
    held: AtomicU64,
}

/// Adds one to a number that only the calling thread writes.
fn bump(word: &AtomicU64) {
    // Relaxed: a number to look at.
    word.store(word.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

impl CountsCell {
    #[inline(always)]
    pub(crate) fn admit(&self) {
        let word = &self.0.admitted;
        // Relaxed: the ending behind it releases it.
        word.store(word.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// What is special about calls of this subscription on this worker; nearly always nothing.
    ///
    /// Relaxed: a mark is a hint to look closer. That no call begins behind a withdrawal is promised by the
    /// worker's answer (W3), and how a breaker stands is said by its own word.
    #[inline(always)]
    pub(crate) fn marks(&self) -> u32 {
        self.0.marks.load(Ordering::Relaxed)
    }

    pub(crate) fn set_mark(&self, mark: u32) {
        // Relaxed: see `marks`.
        self.0.marks.fetch_or(mark, Ordering::Relaxed);
    }

    pub(crate) fn clear_mark(&self, mark: u32) {
        // Relaxed: see `marks`.
        self.0.marks.fetch_and(!mark, Ordering::Relaxed);
    }

    /// Calls that went well: what a breaker's window counts by, so that it costs nothing while all does.
    pub(crate) fn handled(&self) -> u64 {
        // Relaxed: a number.
        self.0.handled.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(crate) fn end(&self, ended: Ended) {
        let word = match ended {
            Ended::Handled => &self.0.handled,
            Ended::Failed => &self.0.failed,
            Ended::DeadLettered => &self.0.dead_lettered,
            Ended::Skipped => &self.0.skipped,
            Ended::Withdrawn => &self.0.withdrawn,
            Ended::Abandoned => &self.0.abandoned,
        };
        // Release [ending]: pairs with the Acquire in `read`; whoever sees the ending sees the admission
        // before it (M1).
        word.store(word.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    /// An attempt failed, whatever follows from it.
    pub(crate) fn note_failed_attempt(&self) {
        bump(&self.0.failed_attempts);
    }

    /// Another attempt is to follow.
    pub(crate) fn note_retry(&self) {
        bump(&self.0.retries);
    }

    /// A call took longer than its limit.
    pub(crate) fn note_timeout(&self) {
        bump(&self.0.timeouts);
    }

    /// So many deliveries are on the shelf.
    pub(crate) fn set_held(&self, count: u64) {
        // Relaxed: a number to look at.
        self.0.held.store(count, Ordering::Relaxed);
    }

    /// How attempts went.
    pub(crate) fn attempts(&self) -> AttemptCounts {
        // Relaxed: numbers to look at, each for itself.
        let read = |word: &AtomicU64| word.load(Ordering::Relaxed);
        AttemptCounts {
            failed_attempts: read(&self.0.failed_attempts),
            retries: read(&self.0.retries),
            timeouts: read(&self.0.timeouts),
            held: read(&self.0.held),
        }
    }

    /// Endings first, then admissions: a live snapshot never shows more ended than begun (PD8).
    pub(crate) fn read(&self) -> DeliveryCounts {
        let words = &*self.0;
        // Acquire [ending]: pairs with the Release in `end` (M1).
        let ended = |word: &AtomicU64| word.load(Ordering::Acquire);
        let handled = ended(&words.handled);
        let failed = ended(&words.failed);
        let dead_lettered = ended(&words.dead_lettered);
        let skipped = ended(&words.skipped);
        let withdrawn = ended(&words.withdrawn);
        let abandoned = ended(&words.abandoned);
        DeliveryCounts {
            // Relaxed: read last, and nothing follows from it.
            admitted: words.admitted.load(Ordering::Relaxed),
            handled,
            failed,
            dead_lettered,
            skipped,
            withdrawn,
            abandoned,
        }
    }
}

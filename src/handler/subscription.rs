//! A subscription as all workers and reports share it.
//!
//! publish → route → lane → worker → **handler** → outcome

use super::Recipe;
use crate::metrics::DeliveryCounts;
use crate::outcome::Ended;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Arc, CachePadded};

/// One registered handler.
#[derive(Debug)]
pub(crate) struct SubscriptionShared {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) pool: usize,
    /// The place of its histogram in the recorders of its pool's workers.
    pub(crate) place: usize,
    pub(crate) recipe: Arc<dyn Recipe>,
    /// Set when the subscription is being withdrawn: no call begins any more.
    pub(crate) withdrawn: AtomicBool,
    /// A counter block for each worker of the pool.
    pub(crate) counts: Vec<CountsCell>,
}

impl SubscriptionShared {
    pub(crate) fn new(
        id: u64,
        name: String,
        pool: usize,
        place: usize,
        recipe: Arc<dyn Recipe>,
        worker_count: usize,
    ) -> Self {
        Self {
            id,
            name,
            pool,
            place,
            recipe,
            withdrawn: AtomicBool::new(false),
            counts: (0..worker_count).map(|_| CountsCell::default()).collect(),
        }
    }

    /// Sum over the workers.
    pub(crate) fn totals(&self) -> DeliveryCounts {
        let mut totals = DeliveryCounts::default();
        for cell in &self.counts {
            totals.add(&cell.read());
        }
        totals
    }
}

/// Counts of one subscription on one worker; that worker alone writes them.
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
}

impl CountsCell {
    #[inline(always)]
    pub(crate) fn admit(&self) {
        let word = &self.0.admitted;
        word.store(word.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
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

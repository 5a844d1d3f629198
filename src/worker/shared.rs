//! What others may read of a worker at any time.
//!
//! publish → route → lane → **worker** → handler → outcome

use super::phase::{Phase, PhaseWord};
use crate::event::{Class, EventId, Slot};
use crate::handler::WorkerId;
use crate::lane::LaneStats;
use crate::metrics::Recorder;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Barrier, CachePadded, Handover, Mutex};

/// Ids of abandoned events that are kept for the report; the rest is only counted.
pub(crate) const ABANDONED_IDS_MAX: usize = 1_000;

/// Events that no worker will handle any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Abandoned {
    /// Events, not deliveries.
    pub(crate) count: u64,
    pub(crate) ids: Vec<EventId>,
}

impl Abandoned {
    pub(crate) fn add(&mut self, id: EventId) {
        self.count += 1;
        if self.ids.len() < ABANDONED_IDS_MAX {
            self.ids.push(id);
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        let room = ABANDONED_IDS_MAX - self.ids.len().min(ABANDONED_IDS_MAX);
        self.ids.extend(other.ids.iter().take(room));
    }
}

/// A lane as reports know it.
#[derive(Debug)]
pub(crate) struct LaneEntry {
    pub(crate) class: Class,
    pub(crate) from_worker: bool,
    pub(crate) stats: Arc<LaneStats>,
}

#[derive(Debug)]
struct Words {
    phase: PhaseWord,
    /// Stamp at which a group was last recorded.
    recorded: AtomicU64,
    taken: AtomicU64,
    unhandled: AtomicU64,
    /// The subscription whose call is timed at this moment, 0 if none is...
    calling: AtomicU64,
    /// ...and since when.
    calling_since: AtomicU64,
    /// The subscription whose full shelf keeps the worker from taking anything, 0 if none does.
    held_back_by: AtomicU64,
}

/// A worker's side that reports read.
#[derive(Debug)]
pub(crate) struct WorkerShared {
    pub(crate) id: WorkerId,
    /// Its number among all workers.
    pub(crate) index: usize,
    words: CachePadded<Words>,
    pub(crate) recorder: Handover<Recorder>,
    /// A lock on the cold side only: lanes come and go, and are reported.
    pub(crate) lanes: Mutex<Vec<LaneEntry>>,
    pub(crate) abandoned: Mutex<Abandoned>,
    /// What this worker had spilled for workers of other pools when it ended, by the worker it is for.
    pub(crate) orphans: Mutex<Vec<(usize, Slot)>>,
}

impl WorkerShared {
    pub(crate) fn new(id: WorkerId, index: usize, barrier: Barrier, now: u64) -> Self {
        Self {
            id,
            index,
            words: CachePadded::new(Words {
                phase: PhaseWord::new(),
                recorded: AtomicU64::new(now),
                taken: AtomicU64::new(0),
                unhandled: AtomicU64::new(0),
                calling: AtomicU64::new(0),
                calling_since: AtomicU64::new(now),
                held_back_by: AtomicU64::new(0),
            }),
            recorder: Handover::new(Recorder::default(), Recorder::default(), barrier),
            lanes: Mutex::new(Vec::new()),
            abandoned: Mutex::new(Abandoned::default()),
            orphans: Mutex::new(Vec::new()),
        }
    }

    #[inline(always)]
    pub(crate) fn set_phase(&self, phase: Phase) {
        self.words.phase.set(phase);
    }

    pub(crate) fn phase(&self) -> Phase {
        self.words.phase.get()
    }

    // Relaxed, this and what follows: numbers with one writer, which a report reads each for itself.
    #[inline(always)]
    pub(crate) fn note_recorded(&self, stamp: u64) {
        self.words.recorded.store(stamp, Ordering::Relaxed);
    }

    pub(crate) fn recorded(&self) -> u64 {
        self.words.recorded.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(crate) fn note_taken(&self, count: u64) {
        let taken = &self.words.taken;
        taken.store(taken.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }

    pub(crate) fn taken(&self) -> u64 {
        self.words.taken.load(Ordering::Relaxed)
    }

    pub(crate) fn note_unhandled(&self) {
        let unhandled = &self.words.unhandled;
        unhandled.store(unhandled.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// A call that is timed by itself begins, or with 0 has ended.
    pub(crate) fn note_call(&self, subscription: u64, stamp: u64) {
        self.words.calling_since.store(stamp, Ordering::Relaxed);
        self.words.calling.store(subscription, Ordering::Relaxed);
    }

    /// The subscription whose call is timed at this moment, and since when.
    pub(crate) fn call(&self) -> Option<(u64, u64)> {
        let subscription = self.words.calling.load(Ordering::Relaxed);
        let since = self.words.calling_since.load(Ordering::Relaxed);
        (subscription != 0).then_some((subscription, since))
    }

    pub(crate) fn set_held_back_by(&self, subscription: u64) {
        self.words
            .held_back_by
            .store(subscription, Ordering::Relaxed);
    }

    /// The subscription for whose sake nothing is taken from outside.
    pub(crate) fn held_back_by(&self) -> Option<u64> {
        let subscription = self.words.held_back_by.load(Ordering::Relaxed);
        (subscription != 0).then_some(subscription)
    }

    pub(crate) fn unhandled(&self) -> u64 {
        self.words.unhandled.load(Ordering::Relaxed)
    }
}

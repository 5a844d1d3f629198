//! What publishers and workers share: gate, clock, routes, and the ports of all workers.
//!
//! publish → **route** → lane → worker → handler → outcome

use super::Routes;
use crate::event::{Class, Slot};
use crate::lane::{Busy, CLASS_COUNT, Gate, Inbox, LaneRx, Port, Room};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::clock::Clock;
use crate::sync::{Arc, Barrier, CachePadded, Mutex, OnceLock, realtime};
use std::any::Any;
use std::fmt;

/// Most pools an engine can have: a bit each in a routing word.
pub(crate) const POOL_COUNT_MAX: usize = 64;

/// A lane on its way to the worker that will serve it.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) lane: LaneRx<Slot>,
    pub(crate) class: Class,
    /// The sending end belongs to a worker: it is served also by a worker that spills.
    pub(crate) from_worker: bool,
}

/// Where events go that nobody subscribes to, if they are kept.
pub(crate) trait Keeper: Send + Sync {
    /// Whether there is room for one more; a little more than there is room for is kept all the same.
    fn has_room(&self) -> bool;
    fn keep(&self, slot: Slot);
}

/// What happens to an event that nobody subscribes to (PD11); it is counted in any case.
#[derive(Clone, Default)]
pub(crate) enum Unwanted {
    #[default]
    Dropped,
    Refused,
    Kept(Arc<dyn Keeper>),
}

impl fmt::Debug for Unwanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dropped => "Dropped",
            Self::Refused => "Refused",
            Self::Kept(_) => "Kept",
        })
    }
}

/// A message to a worker. What it is told beside lanes is a sealed letter here: routing carries it and
/// does not know of handlers.
#[derive(Debug)]
pub(crate) enum Control {
    Attach(Attached),
    Letter(Box<dyn Any + Send>),
    /// Nothing but a reason to end a batch: the worker's own.
    Nudge,
}

/// A worker as seen from outside.
pub(crate) type WorkerPort = Port<Slot, Control>;

/// A pool as publishers see it.
#[derive(Debug)]
pub(crate) struct PoolInfo {
    pub(crate) name: String,
    /// Index of its first worker among all workers.
    pub(crate) first: u32,
    pub(crate) count: u32,
    /// The queues that the workers of an unordered pool share, one for each class.
    pub(crate) shared: Option<[OnceLock<Inbox<Slot>>; CLASS_COUNT]>,
}

impl PoolInfo {
    pub(crate) fn workers(&self) -> std::ops::Range<usize> {
        self.first as usize..(self.first + self.count) as usize
    }
}

/// A publisher's words that others read: its bracket, its sleep, its counts.
#[derive(Debug)]
pub(crate) struct PublisherState {
    pub(crate) busy: Busy,
    pub(crate) room: Arc<Room>,
    counts: CachePadded<PublisherCounts>,
}

#[derive(Debug, Default)]
struct PublisherCounts {
    published: AtomicU64,
    dropped: AtomicU64,
    unhandled: AtomicU64,
}

/// Adds to a counter that only the calling thread writes.
///
/// Relaxed, as are the reads: numbers that nothing is concluded from; the lock that a publisher goes
/// through when it retires makes its last ones known.
#[inline(always)]
fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed) + by, Ordering::Relaxed);
}

impl PublisherState {
    pub(crate) fn new() -> Self {
        Self {
            busy: Busy::new(),
            room: Arc::new(Room::new()),
            counts: CachePadded::default(),
        }
    }

    #[inline(always)]
    pub(crate) fn note_published(&self, count: u64) {
        bump(&self.counts.published, count);
    }

    pub(crate) fn note_dropped(&self) {
        bump(&self.counts.dropped, 1);
    }

    pub(crate) fn note_unhandled(&self) {
        bump(&self.counts.unhandled, 1);
    }

    fn read(&self) -> PublishTotals {
        PublishTotals {
            published: self.counts.published.load(Ordering::Relaxed),
            dropped: self.counts.dropped.load(Ordering::Relaxed),
            unhandled: self.counts.unhandled.load(Ordering::Relaxed),
        }
    }
}

/// What publishers have done so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PublishTotals {
    pub(crate) published: u64,
    pub(crate) dropped: u64,
    pub(crate) unhandled: u64,
}

impl PublishTotals {
    fn add(&mut self, other: Self) {
        self.published += other.published;
        self.dropped += other.dropped;
        self.unhandled += other.unhandled;
    }
}

#[derive(Debug, Default)]
struct Publishers {
    alive: Vec<Arc<PublisherState>>,
    /// What publishers that are gone had done.
    gone: PublishTotals,
}

/// The shared part of an engine, as far as publishing needs it.
#[derive(Debug)]
pub(crate) struct Fabric {
    pub(crate) barrier: Barrier,
    /// Workers that never sleep need no bell.
    pub(crate) has_bell: bool,
    pub(crate) gate: Gate,
    pub(crate) clock: Clock,
    pub(crate) routes: Routes,
    pub(crate) pools: Vec<PoolInfo>,
    pub(crate) ports: Vec<Arc<WorkerPort>>,
    /// Publishers stamp only the events that are picked for it.
    pub(crate) is_sampled: bool,
    pub(crate) lane_capacity: usize,
    pub(crate) inbox_capacity: usize,
    pub(crate) spill_max: usize,
    /// An event that nobody subscribes to is an error, not a count.
    pub(crate) unwanted: Unwanted,
    /// Classes that may be dropped, by index.
    pub(crate) lossy: [bool; CLASS_COUNT],
    /// A lock on the cold side only: publishers come, go, and are counted.
    publishers: Mutex<Publishers>,
    /// What is published by `&self`, from many threads.
    shared_counts: CachePadded<PublisherCounts>,
}

/// What an engine's publishing side is made of.
#[derive(Debug)]
pub(crate) struct FabricParts {
    pub(crate) barrier: Barrier,
    pub(crate) has_bell: bool,
    pub(crate) clock: Clock,
    pub(crate) pools: Vec<PoolInfo>,
    pub(crate) ports: Vec<Arc<WorkerPort>>,
    pub(crate) is_sampled: bool,
    pub(crate) lane_capacity: usize,
    pub(crate) inbox_capacity: usize,
    pub(crate) spill_max: usize,
    pub(crate) unwanted: Unwanted,
    pub(crate) lossy: [bool; CLASS_COUNT],
}

impl Fabric {
    pub(crate) fn new(parts: FabricParts) -> Self {
        Self {
            barrier: parts.barrier,
            has_bell: parts.has_bell,
            gate: Gate::new(),
            clock: parts.clock,
            routes: Routes::new(),
            pools: parts.pools,
            ports: parts.ports,
            is_sampled: parts.is_sampled,
            lane_capacity: parts.lane_capacity,
            inbox_capacity: parts.inbox_capacity,
            spill_max: parts.spill_max,
            unwanted: parts.unwanted,
            lossy: parts.lossy,
            publishers: Mutex::new(Publishers::default()),
            shared_counts: CachePadded::default(),
        }
    }

    /// The shared queue of an unordered pool, made at its first use.
    pub(crate) fn shared_queue(&self, pool: usize, class: Class) -> Option<&Inbox<Slot>> {
        let queues = self.pools[pool].shared.as_ref()?;
        Some(queues[class.index()].get_or_init(|| {
            // Made once, at its first use.
            let _allowed = realtime::allow();
            Inbox::new(self.inbox_capacity)
        }))
    }

    /// Rings a worker's bell after something was put where it looks.
    #[inline(always)]
    pub(crate) fn ring(&self, port: &WorkerPort, class: Class) {
        if class == Class::Critical {
            port.mark_urgent();
        }
        if self.has_bell {
            port.wake.notify(self.barrier);
        }
    }

    /// Rings for an unordered pool: one sleeper is enough, and if nobody sleeps everybody will look
    /// again before they do.
    pub(crate) fn ring_pool(&self, pool: usize, class: Class) {
        self.barrier.light();
        for port in &self.ports[self.pools[pool].workers()] {
            if class == Class::Critical {
                port.mark_urgent();
            }
            if port.wake.is_parked() && port.wake.wake() {
                return;
            }
        }
    }

    pub(crate) fn enlist(&self, publisher: &Arc<PublisherState>) {
        // Lock [enlist]: either the closer finds it in the list, or it finds the gate moved (R2).
        self.publishers.lock().alive.push(Arc::clone(publisher));
    }

    pub(crate) fn retire(&self, publisher: &Arc<PublisherState>) {
        // Lock [enlist]: whoever does not find it in the list has what it pushed (R2).
        let mut publishers = self.publishers.lock();
        publishers.gone.add(publisher.read());
        publishers
            .alive
            .retain(|other| !Arc::ptr_eq(other, publisher));
    }

    /// All publishers that are alive now; the closer asks once it has moved the gate.
    pub(crate) fn publishers(&self) -> Vec<Arc<PublisherState>> {
        // Lock [enlist]: pairs with `enlist` and `retire`.
        self.publishers.lock().alive.clone()
    }

    pub(crate) fn note_shared_published(&self) {
        self.shared_counts.published.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn note_shared_dropped(&self) {
        self.shared_counts.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn note_shared_unhandled(&self) {
        self.shared_counts.unhandled.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn totals(&self) -> PublishTotals {
        let publishers = self.publishers.lock();
        let mut totals = publishers.gone;
        for publisher in &publishers.alive {
            totals.add(publisher.read());
        }
        totals.add(PublishTotals {
            published: self.shared_counts.published.load(Ordering::Relaxed),
            dropped: self.shared_counts.dropped.load(Ordering::Relaxed),
            unhandled: self.shared_counts.unhandled.load(Ordering::Relaxed),
        });
        totals
    }

    /// Every inbox and shared queue that exists.
    pub(crate) fn queues(&self) -> impl Iterator<Item = &Inbox<Slot>> {
        let inboxes = self
            .ports
            .iter()
            .flat_map(|port| (0..CLASS_COUNT).filter_map(|class| port.used_inbox(class)));
        let shared = self
            .pools
            .iter()
            .filter_map(|pool| pool.shared.as_ref())
            .flat_map(|queues| queues.iter().filter_map(OnceLock::get));
        inboxes.chain(shared)
    }
}

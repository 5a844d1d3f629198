//! What a worker could not put where it belongs, in order, until it can.
//!
//! **publish** → route → lane → worker → handler → outcome
//!
//! Publishing on a worker's thread never waits (PD5). What does not fit stays here, a queue for each
//! destination, and is flushed before the worker takes anything from outside. The destination is a
//! lane of the worker's own, an inbox, or the *lent* lane of a [`Publisher`](super::Publisher) that was
//! used on this thread: its sending end moves here until the queue is empty, so that nobody can push
//! past what waits.

use super::publisher::{Lent, OutLane};
use crate::event::{Class, Slot};
use crate::lane::Inbox;
use crate::route::Fabric;
use crate::sync::Arc;
use std::collections::VecDeque;

/// Where a queue of the spill is to go.
#[derive(Debug)]
enum Target {
    /// The worker's own lane to another worker; the number is its place in the worker's lane table.
    Own(usize),
    /// A publisher's lane, to be given back when nothing waits for it any more. What waits is kept with
    /// the lane, as another worker may add to it.
    Lent(Arc<Lent>),
    /// An inbox of a worker.
    Inbox(usize),
    /// The shared queue of a pool.
    Shared(usize),
}

#[derive(Debug)]
struct Entry {
    target: Target,
    class: Class,
    queue: VecDeque<Slot>,
}

/// A worker's spill.
#[derive(Debug)]
pub(crate) struct Spill {
    entries: Vec<Entry>,
    count: usize,
    count_max: usize,
}

impl Spill {
    pub(crate) fn new(count_max: usize) -> Self {
        Self {
            entries: Vec::new(),
            count: 0,
            count_max,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether `more` events fit.
    pub(crate) fn has_room(&self, more: usize) -> bool {
        let with_lanes: usize = self
            .entries
            .iter()
            .map(|entry| match &entry.target {
                Target::Lent(lent) => lent.waiting(),
                _ => 0,
            })
            .sum();
        self.count + with_lanes + more <= self.count_max
    }

    /// Whether events wait for the worker's own lane of this number.
    pub(crate) fn waits_for_own(&self, lane: usize) -> bool {
        self.entries
            .iter()
            .any(|entry| matches!(entry.target, Target::Own(other) if other == lane))
    }

    fn push_to(&mut self, index: Option<usize>, slot: Slot, target: impl FnOnce() -> Target) {
        self.count += 1;
        match index {
            Some(index) => self.entries[index].queue.push_back(slot),
            None => self.entries.push(Entry {
                target: target(),
                class: slot.class(),
                queue: VecDeque::from([slot]),
            }),
        }
    }

    pub(crate) fn push_own(&mut self, lane: usize, slot: Slot) {
        let index = self
            .entries
            .iter()
            .position(|entry| matches!(entry.target, Target::Own(other) if other == lane));
        self.push_to(index, slot, || Target::Own(lane));
    }

    /// Takes a publisher's lane in, before the first event that waits for it.
    pub(crate) fn borrow_lane(&mut self, lent: Arc<Lent>, class: Class) {
        self.entries.push(Entry {
            target: Target::Lent(lent),
            class,
            queue: VecDeque::new(),
        });
    }

    pub(crate) fn push_inbox(&mut self, fabric: &Fabric, worker: usize, slot: Slot) {
        fabric.ports[worker].inbox(slot.class().index()).defer();
        let class = slot.class();
        let index = self.entries.iter().position(|entry| {
            entry.class == class && matches!(entry.target, Target::Inbox(other) if other == worker)
        });
        self.push_to(index, slot, || Target::Inbox(worker));
    }

    pub(crate) fn push_shared(&mut self, fabric: &Fabric, pool: usize, slot: Slot) {
        if let Some(queue) = fabric.shared_queue(pool, slot.class()) {
            queue.defer();
        }
        let class = slot.class();
        let index = self.entries.iter().position(|entry| {
            entry.class == class && matches!(entry.target, Target::Shared(other) if other == pool)
        });
        self.push_to(index, slot, || Target::Shared(pool));
    }

    /// Moves on what has room now, the most urgent class first, each destination in order; says whether
    /// anything moved.
    pub(crate) fn flush(&mut self, fabric: &Fabric, lanes: &mut [Option<OutLane>]) -> bool {
        self.entries.sort_by_key(|entry| entry.class);
        let Self { entries, count, .. } = self;
        let mut has_moved = false;
        entries.retain_mut(|entry| {
            let Entry {
                target,
                class,
                queue,
            } = entry;
            let moved = match target {
                Target::Lent(lent) => {
                    let (moved, is_done) = lent.flush(fabric, *class);
                    has_moved |= moved > 0;
                    return !is_done;
                }
                Target::Own(lane) => match &mut lanes[*lane] {
                    Some(lane) => lane.flush(fabric, *class, queue),
                    None => unreachable!("a lane was open before anything could spill from it"),
                },
                Target::Inbox(worker) => {
                    let port = &fabric.ports[*worker];
                    let moved = flush_queue(fabric, port.inbox(class.index()), queue);
                    if moved > 0 {
                        fabric.ring(port, *class);
                    }
                    moved
                }
                Target::Shared(pool) => match fabric.shared_queue(*pool, *class) {
                    Some(shared) => {
                        let moved = flush_queue(fabric, shared, queue);
                        for _ in 0..moved {
                            fabric.ring_pool(*pool, *class);
                        }
                        moved
                    }
                    None => unreachable!("an unordered pool stays unordered"),
                },
            };
            *count -= moved;
            has_moved |= moved > 0;
            !queue.is_empty()
        });
        has_moved
    }

    /// Empties the spill: for the end of the worker.
    pub(crate) fn drain(&mut self, fabric: &Fabric, mut each: impl FnMut(Slot)) {
        for entry in self.entries.drain(..) {
            if let Target::Lent(lent) = &entry.target {
                lent.drain(fabric.barrier).into_iter().for_each(&mut each);
            }
            for slot in entry.queue {
                match &entry.target {
                    Target::Inbox(worker) => {
                        fabric.ports[*worker]
                            .inbox(entry.class.index())
                            .undefer(fabric.barrier);
                    }
                    Target::Shared(pool) => {
                        if let Some(queue) = fabric.shared_queue(*pool, entry.class) {
                            queue.undefer(fabric.barrier);
                        }
                    }
                    Target::Own(_) | Target::Lent(_) => {}
                }
                each(slot);
            }
        }
        self.count = 0;
    }
}

fn flush_queue(fabric: &Fabric, inbox: &Inbox<Slot>, queue: &mut VecDeque<Slot>) -> usize {
    let mut moved = 0;
    while !queue.is_empty() && inbox.reserve() {
        if let Some(slot) = queue.pop_front() {
            inbox.push(slot);
            inbox.undefer(fabric.barrier);
            moved += 1;
        }
    }
    moved
}

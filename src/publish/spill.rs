//! What a worker could not put where it belongs, in order, until it can.
//!
//! **publish** → route → lane → worker → handler → outcome
//!
//! Publishing on a worker's thread never waits (PD5). What does not fit is kept, in a queue for each
//! destination, and flushed before the worker takes anything from outside. What goes to a lane of the
//! worker's own waits here. What goes to the lane of a [`Publisher`](super::Publisher) that was used on
//! this thread waits beside that lane, whose sending end is lent to this worker: nobody can push past
//! it. What goes to an inbox, which all share, waits behind the inbox, in one order for all workers; here
//! is only kept which of it is this worker's.

use super::publisher::{Lent, OutLane};
use crate::event::{Class, Slot};
use crate::lane::{CLASS_COUNT, Inbox};
use crate::route::Fabric;
use crate::sync::{Arc, realtime};
use std::collections::VecDeque;

/// Where a queue of the spill is to go, and what waits.
#[derive(Debug)]
enum Target {
    /// The worker's own lane to another worker; the number is its place in the worker's lane table.
    Own(usize, VecDeque<Slot>),
    /// A publisher's lane, to be given back when nothing waits for it any more.
    Lent(Arc<Lent>),
    /// A worker's inbox, or the queue that a pool shares: tickets of what waits behind it.
    Queue(Queue, VecDeque<u64>),
}

/// A queue that all share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queue {
    /// The inbox of a worker.
    Inbox(usize),
    /// The shared queue of a pool.
    Shared(usize),
}

impl Queue {
    fn of(self, fabric: &Fabric, class: Class) -> &Inbox<Slot> {
        match self {
            Self::Inbox(worker) => fabric.ports[worker].inbox(class.index()),
            Self::Shared(pool) => match fabric.shared_queue(pool, class) {
                Some(queue) => queue,
                None => unreachable!("an unordered pool stays unordered"),
            },
        }
    }

    fn ring(self, fabric: &Fabric, class: Class, count: usize) {
        match self {
            Self::Inbox(worker) => fabric.ring(&fabric.ports[worker], class),
            Self::Shared(pool) => (0..count).for_each(|_| fabric.ring_pool(pool, class)),
        }
    }
}

#[derive(Debug)]
struct Entry {
    target: Target,
    class: Class,
}

/// A worker's spill.
#[derive(Debug)]
pub(crate) struct Spill {
    entries: Vec<Entry>,
    count_max: usize,
}

impl Spill {
    pub(crate) fn new(count_max: usize) -> Self {
        Self {
            entries: Vec::new(),
            count_max,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether `more` events fit.
    pub(crate) fn has_room(&self, more: usize) -> bool {
        let count: usize = self
            .entries
            .iter()
            .map(|entry| match &entry.target {
                Target::Own(_, queue) => queue.len(),
                Target::Lent(lent) => lent.waiting(),
                Target::Queue(_, tickets) => tickets.len(),
            })
            .sum();
        count + more <= self.count_max
    }

    /// Whether events wait for the worker's own lane of this number.
    pub(crate) fn waits_for_own(&self, lane: usize) -> bool {
        self.entries
            .iter()
            .any(|entry| matches!(entry.target, Target::Own(other, _) if other == lane))
    }

    pub(crate) fn push_own(&mut self, lane: usize, slot: Slot) {
        // What has no room where it goes is kept in memory that grows, up to a bound.
        let _allowed = realtime::allow();
        for entry in &mut self.entries {
            if let Target::Own(other, queue) = &mut entry.target
                && *other == lane
            {
                queue.push_back(slot);
                return;
            }
        }
        self.entries.push(Entry {
            class: slot.class(),
            target: Target::Own(lane, VecDeque::from([slot])),
        });
    }

    /// Takes a publisher's lane in, before the first event that waits for it.
    pub(crate) fn borrow_lane(&mut self, lent: Arc<Lent>, class: Class) {
        self.entries.push(Entry {
            target: Target::Lent(lent),
            class,
        });
    }

    pub(crate) fn push_queue(&mut self, fabric: &Fabric, target: Queue, slot: Slot) {
        // As in `push_own`.
        let _allowed = realtime::allow();
        let class = slot.class();
        let ticket = target.of(fabric, class).spill(slot);
        for entry in &mut self.entries {
            if let Target::Queue(other, tickets) = &mut entry.target
                && *other == target
                && entry.class == class
            {
                tickets.push_back(ticket);
                return;
            }
        }
        self.entries.push(Entry {
            target: Target::Queue(target, VecDeque::from([ticket])),
            class,
        });
    }

    /// Moves on what has room now, the most urgent class first, each destination in order; says whether
    /// anything moved.
    pub(crate) fn flush(&mut self, fabric: &Fabric, lanes: &mut [Option<OutLane>]) -> bool {
        self.entries.sort_by_key(|entry| entry.class);
        let mut has_moved = false;
        self.entries.retain_mut(|entry| {
            let Entry { target, class } = entry;
            match target {
                Target::Lent(lent) => {
                    let (moved, is_done) = lent.flush(fabric, *class);
                    has_moved |= moved > 0;
                    !is_done
                }
                Target::Own(lane, queue) => {
                    let Some(lane) = &mut lanes[*lane] else {
                        unreachable!("a lane was open before anything could spill from it");
                    };
                    has_moved |= lane.flush(fabric, *class, queue) > 0;
                    !queue.is_empty()
                }
                Target::Queue(queue, tickets) => {
                    let (moved, moved_in_all) = queue.of(fabric, *class).flush(fabric.barrier);
                    if moved > 0 {
                        queue.ring(fabric, *class, moved);
                    }
                    let before = tickets.len();
                    // Another worker, or the one whose inbox it is, may have moved this one's on.
                    tickets.retain(|ticket| *ticket > moved_in_all);
                    has_moved |= tickets.len() < before;
                    !tickets.is_empty()
                }
            }
        });
        has_moved
    }

    /// Empties the spill: for the end of the worker. `each` gets what waits for a lane and the worker it
    /// is for; what waits behind an inbox is the affair of the inbox's worker.
    pub(crate) fn drain(&mut self, fabric: &Fabric, mut each: impl FnMut(usize, Slot)) {
        for entry in self.entries.drain(..) {
            match entry.target {
                Target::Own(lane, queue) => queue
                    .into_iter()
                    .for_each(|slot| each(lane / CLASS_COUNT, slot)),
                Target::Lent(lent) => {
                    let (worker, queue) = lent.drain(fabric.barrier);
                    queue.into_iter().for_each(|slot| each(worker, slot));
                }
                Target::Queue(..) => {}
            }
        }
    }
}

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
    /// A publisher's lane, to be given back when the queue is empty.
    Lent(OutLane, Arc<Lent>),
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

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Whether `more` events fit.
    pub(crate) fn has_room(&self, more: usize) -> bool {
        self.count + more <= self.count_max
    }

    /// Whether events wait for the worker's own lane of this number.
    pub(crate) fn waits_for_own(&self, lane: usize) -> bool {
        self.entries
            .iter()
            .any(|entry| matches!(entry.target, Target::Own(other) if other == lane))
    }

    /// Whether this lent lane is here.
    pub(crate) fn holds_lent(&self, lent: &Arc<Lent>) -> bool {
        self.find_lent(lent).is_some()
    }

    fn find_lent(&self, lent: &Arc<Lent>) -> Option<usize> {
        self.entries.iter().position(
            |entry| matches!(&entry.target, Target::Lent(_, other) if Arc::ptr_eq(other, lent)),
        )
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
    pub(crate) fn borrow_lane(&mut self, lane: OutLane, class: Class, lent: &Arc<Lent>) {
        lane.tx.stats().set_wanted(true);
        self.entries.push(Entry {
            target: Target::Lent(lane, Arc::clone(lent)),
            class,
            queue: VecDeque::new(),
        });
    }

    pub(crate) fn push_lent(&mut self, lent: &Arc<Lent>, slot: Slot) {
        let index = self.find_lent(lent);
        assert!(index.is_some(), "a lent lane is in the spill it was lent to");
        self.push_to(index, slot, || unreachable!("the entry exists"));
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
        let before = self.count;
        for entry in &mut self.entries {
            let moved = match &mut entry.target {
                Target::Own(lane) => match &mut lanes[*lane] {
                    Some(lane) => flush_lane(fabric, lane, entry.class, &mut entry.queue),
                    None => unreachable!("a lane was open before anything could spill from it"),
                },
                Target::Lent(lane, _) => flush_lane(fabric, lane, entry.class, &mut entry.queue),
                Target::Inbox(worker) => {
                    let port = &fabric.ports[*worker];
                    let inbox = port.inbox(entry.class.index());
                    let moved = flush_queue(fabric, inbox, &mut entry.queue);
                    if moved > 0 {
                        fabric.ring(port, entry.class);
                    }
                    moved
                }
                Target::Shared(pool) => match fabric.shared_queue(*pool, entry.class) {
                    Some(queue) => {
                        let moved = flush_queue(fabric, queue, &mut entry.queue);
                        for _ in 0..moved {
                            fabric.ring_pool(*pool, entry.class);
                        }
                        moved
                    }
                    None => unreachable!("an unordered pool stays unordered"),
                },
            };
            self.count -= moved;
        }
        let finished = self
            .entries
            .extract_if(.., |entry| entry.queue.is_empty());
        for entry in finished {
            if let Target::Lent(lane, lent) = entry.target {
                lent.give_back(lane, fabric.barrier);
            }
        }
        self.count != before
    }

    /// Empties the spill: for the end of the worker.
    pub(crate) fn drain(&mut self, fabric: &Fabric, mut each: impl FnMut(Slot)) {
        for entry in self.entries.drain(..) {
            for slot in entry.queue {
                match &entry.target {
                    Target::Inbox(worker) => {
                        fabric.ports[*worker].inbox(entry.class.index()).undefer(fabric.barrier);
                    }
                    Target::Shared(pool) => {
                        if let Some(queue) = fabric.shared_queue(*pool, entry.class) {
                            queue.undefer(fabric.barrier);
                        }
                    }
                    Target::Own(_) | Target::Lent(..) => {}
                }
                each(slot);
            }
            if let Target::Lent(lane, lent) = entry.target {
                lent.give_back(lane, fabric.barrier);
            }
        }
        self.count = 0;
    }
}

fn flush_lane(
    fabric: &Fabric,
    lane: &mut OutLane,
    class: Class,
    queue: &mut VecDeque<Slot>,
) -> usize {
    let mut moved = 0;
    while lane.tx.credit() > 0
        && let Some(slot) = queue.pop_front()
    {
        let pushed = lane.tx.push_with(|place| slot.move_to(place));
        assert!(pushed, "the room was there and nobody else pushes");
        moved += 1;
    }
    if moved > 0 {
        fabric.ring(&lane.port, class);
    }
    moved
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

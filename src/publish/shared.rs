//! Publishing by `&self`, from anywhere, through the workers' inboxes.
//!
//! **publish** → route → lane → worker → handler → outcome
//!
//! Dearer than a private lane (a shared line or two per event), and for that in causal order across
//! threads: if one thread's publish returned before another's began, events of one key and class are
//! handled in that order.

use super::parcel::{Cargo, Label, Parcel, Refused, dispose, pools_in};
use super::spill::Queue;
use super::{
    Admission, PublishError, WorkerOut, current, is_worker_thread, may_publish, polls_any,
};
use crate::event::{Event, SequenceLease, Slot};
use crate::lane::{Inbox, Room};
use crate::route::{Fabric, POOL_COUNT_MAX, pick};
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Arc, clock, realtime, spin_loop, thread};
use smallvec::SmallVec;
use std::cell::RefCell;

/// Spins on a full inbox before the publisher sleeps.
const FULL_SPINS: u32 = 500;

#[derive(Debug, Clone, Copy)]
enum Place {
    Inbox(usize),
    Shared(usize),
    SpillInbox(usize),
    SpillShared(usize),
}

fn queue_of(fabric: &Fabric, place: Place, class: crate::event::Class) -> Option<&Inbox<Slot>> {
    match place {
        Place::Inbox(worker) => Some(fabric.ports[worker].inbox(class.index())),
        Place::Shared(pool) => fabric.shared_queue(pool, class),
        Place::SpillInbox(_) | Place::SpillShared(_) => None,
    }
}

/// Publishes through the inboxes.
pub(crate) fn publish_shared<E: Event>(
    fabric: &Arc<Fabric>,
    parcel: Parcel<E>,
    admission: Admission,
) -> Result<(), PublishError<E>> {
    parcel.send(|label, cargo| send(fabric, label, cargo, admission))
}

fn send(
    fabric: &Arc<Fabric>,
    label: &mut Label,
    cargo: &mut dyn Cargo,
    admission: Admission,
) -> Result<(), Refused> {
    current(fabric, |worker| {
        if let Some(worker) = worker {
            worker.inherit(label);
        }
    });
    let mut deadline = None;
    loop {
        match current(fabric, |worker| try_send(fabric, label, cargo, worker)) {
            Err(Refused::Full) => {}
            result => return result,
        }
        match admission {
            Admission::Lossy if fabric.lossy[label.class.index()] => {
                fabric.note_shared_dropped();
                return Ok(());
            }
            Admission::Fail | Admission::Lossy => return Err(Refused::Full),
            _ if is_worker_thread() => return Err(Refused::WouldDeadlock),
            Admission::Block if polls_any(fabric, fabric.routes.pools(label.type_index)) => {
                return Err(Refused::WouldDeadlock);
            }
            Admission::Block => wait(fabric, label, None),
            Admission::BlockFor(limit) => {
                let until = *deadline.get_or_insert_with(|| clock::deadline(limit));
                if until.is_some_and(|until| clock::left(until).is_zero()) {
                    return Err(Refused::Full);
                }
                wait(fabric, label, until);
            }
        }
    }
}

fn try_send(
    fabric: &Arc<Fabric>,
    label: &Label,
    cargo: &mut dyn Cargo,
    worker: Option<&WorkerOut>,
) -> Result<(), Refused> {
    let pools = fabric.routes.pools(label.type_index);
    if pools == 0 {
        if !may_publish(fabric) {
            return Err(Refused::Closed);
        }
        let note = || fabric.note_shared_unhandled();
        return dispose(&fabric.unwanted, label, cargo, note, sequence);
    }
    let mut places: SmallVec<[Place; POOL_COUNT_MAX]> = SmallVec::new();
    let mut is_full = false;
    for pool in pools_in(pools) {
        let place = destination(fabric, pool, label.key);
        let has_place = queue_of(fabric, place, label.class)
            .is_some_and(|queue| !queue.is_deferred() && queue.reserve());
        if has_place {
            places.push(place);
        } else if worker.is_some_and(WorkerOut::can_spill) {
            places.push(match place {
                Place::Shared(pool) => Place::SpillShared(pool),
                Place::Inbox(index) | Place::SpillInbox(index) => Place::SpillInbox(index),
                Place::SpillShared(pool) => Place::SpillShared(pool),
            });
        } else {
            is_full = true;
            break;
        }
    }
    // A reserved place is the bracket of a thread from outside; a worker's thread has its own word, as
    // it may push into a spill, which reserves nothing.
    match worker {
        Some(worker) => worker.state().busy.enter(fabric.barrier),
        None => fabric.barrier.light(),
    }
    let allowed = may_publish(fabric);
    if !allowed || is_full {
        for place in places {
            if let Some(queue) = queue_of(fabric, place, label.class) {
                queue.give_back(1, fabric.barrier);
            }
        }
        if let Some(worker) = worker {
            worker.state().busy.leave();
        }
        return Err(if allowed {
            Refused::Full
        } else {
            Refused::Closed
        });
    }
    label.expect_pools(places.len());
    let class = label.class;
    fabric.note_shared_published();
    label.put(cargo, sequence(), &places, |place, slot| {
        match (place, worker) {
            (Place::Inbox(index), _) => {
                fabric.ports[index].inbox(class.index()).push(slot);
                fabric.ring(&fabric.ports[index], class);
            }
            (Place::Shared(pool), _) => {
                if let Some(queue) = fabric.shared_queue(pool, class) {
                    queue.push(slot);
                    fabric.ring_pool(pool, class);
                }
            }
            (Place::SpillInbox(index), Some(worker)) => {
                worker.spill_queue(Queue::Inbox(index), slot)
            }
            (Place::SpillShared(pool), Some(worker)) => {
                worker.spill_queue(Queue::Shared(pool), slot)
            }
            (_, None) => unreachable!("only a worker's thread has a spill"),
        }
    });
    if let Some(worker) = worker {
        worker.state().busy.leave();
    }
    Ok(())
}

/// Sequence numbers of the thread, for all engines alike: they are unique in the process.
fn sequence() -> u64 {
    thread_local! {
        static LEASE: RefCell<SequenceLease> = RefCell::default();
    }
    LEASE
        .try_with(|lease| lease.borrow_mut().next())
        // A thread that is ending has no lease any more: a block for one number.
        .unwrap_or_else(|_| SequenceLease::default().next())
}

fn destination(fabric: &Fabric, pool: usize, key: Option<u64>) -> Place {
    static TURN: AtomicU32 = AtomicU32::new(0);
    let info = &fabric.pools[pool];
    if info.shared.is_some() {
        return Place::Shared(pool);
    }
    let offset = match key {
        Some(hash) => pick(hash, info.count),
        None => TURN.fetch_add(1, Ordering::Relaxed) % info.count,
    };
    Place::Inbox((info.first + offset) as usize)
}

/// Waits until every destination may have room, or for the gate, or the deadline.
fn wait(fabric: &Arc<Fabric>, label: &Label, until: Option<std::time::Instant>) {
    // Whoever publishes with an admission that waits has asked for it.
    let _allowed = realtime::allow();
    let pools = fabric.routes.pools(label.type_index);
    let queues: SmallVec<[&Inbox<Slot>; POOL_COUNT_MAX]> = pools_in(pools)
        .filter_map(|pool| queue_of(fabric, destination(fabric, pool, label.key), label.class))
        .collect();
    let ready = || queues.iter().all(|queue| queue.has_room()) || !fabric.gate.is_open();
    for spins in 0..FULL_SPINS {
        if ready() {
            return;
        }
        if spins % 64 == 63 {
            thread::yield_now();
        } else {
            spin_loop();
        }
    }
    let wait = |room: &Arc<Room>| {
        for queue in &queues {
            queue.start_waiting(room);
        }
        room.announce(fabric.barrier);
        if ready() {
            room.cancel();
        } else {
            room.sleep(until.map(clock::left));
        }
        for queue in &queues {
            queue.stop_waiting(room);
        }
    };
    thread_local! {
        /// The thread's word to sleep on; it waits in one place at a time.
        static ROOM: Arc<Room> = Arc::new(Room::new());
    }
    // A thread that is ending has none any more.
    if ROOM.try_with(wait).is_err() {
        thread::yield_now();
    }
}

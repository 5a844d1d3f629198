//! Publishing on a worker's own thread: never waits (PD5).
//!
//! **publish** → route → lane → worker → handler → outcome
//!
//! A handler's context publishes through the worker's [`WorkerOut`]: the worker's own events go into a
//! queue of its own, others' into lanes between workers, what does not fit into the spill.

use super::parcel::{Cargo, Label, Parcel, Refused, dispose, pools_in};
use super::publisher::{Lent, OutLane};
use super::spill::{Queue, Spill};
use super::{Admission, Options, PublishError, Receipt};
use crate::event::{Class, Event, EventId, Head, SequenceLease, Slot};
use crate::lane::{CLASS_COUNT, GateState};
use crate::route::{Control, Fabric, POOL_COUNT_MAX, PublisherState, pick};
use crate::sync::clock::Clock;
use crate::sync::{Arc, realtime};
use smallvec::SmallVec;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::rc::Rc;

thread_local! {
    /// The quick question, for every publish; the answer is nearly always no.
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
    static CURRENT: RefCell<Option<Rc<WorkerOut>>> = const { RefCell::new(None) };
    /// What this thread polls, by engine and pool: workers there run only when it does.
    static POLLED: RefCell<Vec<(usize, usize)>> = const { RefCell::new(Vec::new()) };
}

fn address(fabric: &Arc<Fabric>) -> usize {
    Arc::as_ptr(fabric) as usize
}

/// Whether this thread polls any of these pools of the engine: waiting for room there is waiting for itself.
pub(crate) fn polls_any(fabric: &Arc<Fabric>, pools: u64) -> bool {
    POLLED.with_borrow(|polled| {
        polled
            .iter()
            .any(|&(engine, pool)| engine == address(fabric) && pools & (1 << pool) != 0)
    })
}

/// Whether waiting for an outcome on this thread may be waiting for itself: a worker's, or one that polls.
pub(crate) fn may_wait_for_itself() -> bool {
    is_worker_thread() || POLLED.with_borrow(|polled| !polled.is_empty())
}

/// Notes that this thread polls a pool, for as long as this lives; it stays on the thread.
#[derive(Debug)]
pub(crate) struct Polling {
    mark: (usize, usize),
    stays: PhantomData<Rc<()>>,
}

impl Polling {
    pub(crate) fn new(fabric: &Arc<Fabric>, pool: usize) -> Self {
        let mark = (address(fabric), pool);
        POLLED.with_borrow_mut(|polled| polled.push(mark));
        Self {
            mark,
            stays: PhantomData,
        }
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        // A thread that is ending has no list any more.
        let _ = POLLED.try_with(|polled| {
            let mut polled = polled.borrow_mut();
            if let Some(place) = polled.iter().position(|mark| *mark == self.mark) {
                polled.swap_remove(place);
            }
        });
    }
}

/// Whether the calling thread is at work for some engine.
#[inline(always)]
pub(crate) fn is_worker_thread() -> bool {
    IS_WORKER.get()
}

/// Gives `f` the worker of this engine whose thread this is, if it is one's.
pub(crate) fn current<R>(fabric: &Arc<Fabric>, f: impl FnOnce(Option<&WorkerOut>) -> R) -> R {
    if !is_worker_thread() {
        return f(None);
    }
    let worker = CURRENT.with(|current| current.borrow().clone());
    f(worker
        .as_deref()
        .filter(|worker| Arc::ptr_eq(&worker.fabric, fabric)))
}

/// Whether the gate lets this thread publish: handlers may while the engine drains.
pub(crate) fn may_publish(fabric: &Arc<Fabric>) -> bool {
    match fabric.gate.state() {
        GateState::Open => true,
        GateState::Draining => current(fabric, |worker| worker.is_some()),
        GateState::Shut => false,
    }
}

/// Makes the calling thread a worker's until the guard goes; used around a whole run, or one poll.
pub(crate) struct OnThread {
    before: (bool, Option<Rc<WorkerOut>>),
}

impl OnThread {
    pub(crate) fn enter(worker: &Rc<WorkerOut>) -> Self {
        Self {
            before: (
                IS_WORKER.replace(true),
                CURRENT.with(|current| current.replace(Some(Rc::clone(worker)))),
            ),
        }
    }
}

impl Drop for OnThread {
    fn drop(&mut self) {
        IS_WORKER.set(self.before.0);
        CURRENT.with(|current| *current.borrow_mut() = self.before.1.take());
    }
}

/// The event that is being handled, as far as what it causes inherits from it.
///
/// Set for every event and hardly ever asked, so nearly always two numbers are all that is kept: an id that
/// differs from the derived one and a correlation that differs from the id are kept apart.
#[derive(Debug, Default)]
struct Cause {
    kind: Cell<CauseKind>,
    stamp: Cell<u64>,
    sequence: Cell<u64>,
    /// Id and correlation, 0 where there is nothing but the derived id.
    special: Cell<(u128, u128)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum CauseKind {
    #[default]
    None,
    Plain,
    Special,
}

impl Cause {
    #[inline(always)]
    fn set(&self, head: &Head) {
        self.stamp.set(head.stamp);
        self.sequence.set(head.sequence);
        if head.extras.is_none() && head.correlation.get() == 0 {
            self.kind.set(CauseKind::Plain);
        } else {
            self.set_special(head);
        }
    }

    #[cold]
    fn set_special(&self, head: &Head) {
        let id = head.extras.as_ref().and_then(|extras| extras.id);
        self.special
            .set((id.map_or(0, EventId::as_u128), head.correlation.get()));
        self.kind.set(CauseKind::Special);
    }

    /// The id of the event and the correlation of its story.
    fn get(&self, clock: &Clock) -> Option<(u128, u128)> {
        let derived = || EventId::derive(clock, self.stamp.get(), self.sequence.get()).as_u128();
        let (id, correlation) = match self.kind.get() {
            CauseKind::None => return None,
            CauseKind::Plain => (0, 0),
            CauseKind::Special => self.special.get(),
        };
        let id = if id == 0 { derived() } else { id };
        Some((id, if correlation == 0 { id } else { correlation }))
    }
}

/// The publishing side of one worker.
#[derive(Debug)]
pub(crate) struct WorkerOut {
    fabric: Arc<Fabric>,
    worker: usize,
    state: Arc<PublisherState>,
    queues: RefCell<Queues>,
    /// Events in the worker's own queues, to be asked without borrowing them.
    own_count: Cell<usize>,
    cause: Cause,
}

#[derive(Debug)]
struct Queues {
    /// Lanes to other workers, by worker and class.
    lanes: Box<[Option<OutLane>]>,
    /// Events for this very worker, by class.
    own: [VecDeque<Slot>; CLASS_COUNT],
    spill: Spill,
    lease: SequenceLease,
    turn: u32,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Own,
    Lane(usize),
    Shared(usize),
    SpillLane(usize),
    SpillShared(usize),
}

impl WorkerOut {
    pub(crate) fn new(fabric: Arc<Fabric>, worker: usize) -> Self {
        let state = Arc::new(PublisherState::new());
        fabric.enlist(&state);
        Self {
            worker,
            state,
            queues: RefCell::new(Queues {
                lanes: (0..fabric.ports.len() * CLASS_COUNT)
                    .map(|_| None)
                    .collect(),
                own: Default::default(),
                spill: Spill::new(fabric.spill_max),
                lease: SequenceLease::default(),
                turn: 0,
            }),
            own_count: Cell::new(0),
            cause: Cause::default(),
            fabric,
        }
    }

    /// What is published from here on is caused by this event.
    #[inline(always)]
    pub(crate) fn set_cause(&self, head: &Head) {
        self.cause.set(head);
    }

    /// Whether an event is being handled.
    pub(crate) fn has_cause(&self) -> bool {
        self.cause.kind.get() != CauseKind::None
    }

    /// Whether no pool has a subscription for a type.
    pub(crate) fn wanted_nowhere(&self, type_index: u32) -> bool {
        self.fabric.routes.pools(type_index) == 0
    }

    /// What is published from here on is caused by no event.
    #[inline(always)]
    pub(crate) fn clear_cause(&self) {
        self.cause.kind.set(CauseKind::None);
    }

    /// Fills in correlation and causation where nothing was said.
    pub(crate) fn inherit(&self, label: &mut Label) {
        let Some((id, correlation)) = self.cause.get(&self.fabric.clock) else {
            return;
        };
        if label.causation == 0 {
            label.causation = id;
        }
        if label.correlation == 0 {
            label.correlation = correlation;
        }
    }

    /// Publishes from a handler, with something special said about the event.
    pub(crate) fn publish_options<E: Event>(
        &self,
        event: E,
        class: Class,
        admission: Admission,
        options: Options,
    ) -> Result<(), PublishError<E>> {
        let mut parcel = Parcel::new(event, class, self.fabric.clock.raw());
        parcel.set(options);
        parcel.send(|label, cargo| self.send(label, cargo, admission))
    }

    /// Publishes what was put together before, as the worker's own.
    pub(crate) fn publish_parcel<E: Event>(
        &self,
        parcel: Parcel<E>,
        admission: Admission,
    ) -> Result<(), PublishError<E>> {
        parcel.send(|label, cargo| self.send(label, cargo, admission))
    }

    /// Ends the batch that the worker is at, as soon as that can be.
    #[cold]
    pub(crate) fn cut_batch(&self) {
        self.fabric.ports[self.worker].send(Control::Nudge, self.fabric.barrier);
    }

    /// Publishes from a handler, with a receipt.
    pub(crate) fn publish_tracked<E: Event>(
        &self,
        event: E,
        class: Class,
    ) -> Result<Receipt, PublishError<E>> {
        let mut parcel = Parcel::new(event, class, self.fabric.clock.raw());
        let receipt = parcel.track();
        parcel.send(|label, cargo| self.send(label, cargo, Admission::Block))?;
        Ok(receipt)
    }

    /// Publishes from a handler.
    fn send(
        &self,
        label: &mut Label,
        cargo: &mut dyn Cargo,
        admission: Admission,
    ) -> Result<(), Refused> {
        self.inherit(label);
        let fabric = &self.fabric;
        let pools = fabric.routes.pools(label.type_index);
        if pools == 0 {
            if fabric.gate.state() == GateState::Shut {
                return Err(Refused::Closed);
            }
            let note = || self.state.note_unhandled();
            let sequence = || self.queues.borrow_mut().lease.next();
            return dispose(&fabric.unwanted, label, cargo, note, sequence);
        }
        let mut queues = self.queues.borrow_mut();
        let queues = &mut *queues;
        let mut places: SmallVec<[Place; POOL_COUNT_MAX]> = SmallVec::new();
        let mut is_full = false;
        for pool in pools_in(pools) {
            match self.place(queues, pool, label) {
                Some(place) => places.push(place),
                None => is_full = true,
            }
        }
        let spilled = places
            .iter()
            .filter(|place| matches!(place, Place::SpillLane(_) | Place::SpillShared(_)))
            .count();
        let is_full = is_full || !queues.spill.has_room(spilled);
        self.state.busy.enter(fabric.barrier);
        let is_shut = fabric.gate.state() == GateState::Shut;
        if is_shut || is_full {
            self.state.busy.leave();
            for place in places {
                if let Place::Shared(pool) = place
                    && let Some(queue) = fabric.shared_queue(pool, label.class)
                {
                    queue.give_back(1, fabric.barrier);
                }
            }
            if is_shut {
                return Err(Refused::Closed);
            }
            return match admission {
                Admission::Lossy if fabric.lossy[label.class.index()] => {
                    self.state.note_dropped();
                    Ok(())
                }
                Admission::Fail | Admission::Lossy => Err(Refused::Full),
                Admission::Block | Admission::BlockFor(_) => Err(Refused::WouldDeadlock),
            };
        }
        label.expect_pools(places.len());
        let class = label.class;
        let sequence = queues.lease.next();
        label.put(cargo, sequence, &places, |place, slot| match place {
            Place::Own => {
                // The queue grows to the most that ever waited in it.
                let _allowed = realtime::allow();
                queues.own[class.index()].push_back(slot);
                self.own_count.set(self.own_count.get() + 1);
                if class == Class::Critical {
                    fabric.ports[self.worker].mark_urgent();
                }
            }
            Place::Lane(index) => {
                let Some(lane) = &mut queues.lanes[index] else {
                    unreachable!("a lane with room is open");
                };
                let pushed = lane.tx.push_with(|place| slot.move_to(place));
                assert!(pushed, "the room was there and nobody else pushes (L1)");
                fabric.ring(&lane.port, class);
            }
            Place::Shared(pool) => {
                if let Some(queue) = fabric.shared_queue(pool, class) {
                    queue.push(slot);
                    fabric.ring_pool(pool, class);
                }
            }
            Place::SpillLane(index) => queues.spill.push_own(index, slot),
            Place::SpillShared(pool) => {
                queues.spill.push_queue(fabric, Queue::Shared(pool), slot);
            }
        });
        self.state.note_published(1);
        self.state.busy.leave();
        Ok(())
    }

    fn place(&self, queues: &mut Queues, pool: usize, label: &Label) -> Option<Place> {
        let fabric = &self.fabric;
        if let Some(queue) = fabric.shared_queue(pool, label.class) {
            return Some(if !queue.is_deferred() && queue.reserve() {
                Place::Shared(pool)
            } else {
                Place::SpillShared(pool)
            });
        }
        let info = &fabric.pools[pool];
        let offset = match label.key {
            Some(hash) => pick(hash, info.count),
            None => {
                queues.turn = queues.turn.wrapping_add(1);
                queues.turn % info.count
            }
        };
        let worker = (info.first + offset) as usize;
        if worker == self.worker {
            return (queues.own[label.class.index()].len() < fabric.spill_max)
                .then_some(Place::Own);
        }
        let index = worker * CLASS_COUNT + label.class.index();
        let lane = queues.lanes[index]
            .get_or_insert_with(|| OutLane::open(fabric, worker, label.class, &self.state, true));
        if lane.has_room() && !queues.spill.waits_for_own(index) {
            Some(Place::Lane(index))
        } else {
            lane.tx.note_full();
            Some(Place::SpillLane(index))
        }
    }

    /// Whether the spill takes one more; for publishers that are used on this thread.
    pub(crate) fn can_spill(&self) -> bool {
        self.queues.borrow().spill.has_room(1)
    }

    /// Takes a publisher's full lane in, to move on what waits for it.
    pub(crate) fn borrow_lane(&self, lent: Arc<Lent>, class: Class) {
        self.queues.borrow_mut().spill.borrow_lane(lent, class);
    }

    pub(crate) fn spill_queue(&self, queue: Queue, slot: Slot) {
        self.queues
            .borrow_mut()
            .spill
            .push_queue(&self.fabric, queue, slot);
    }

    /// The bracket around a push from this thread that goes around the worker's own lanes.
    pub(crate) fn state(&self) -> &PublisherState {
        &self.state
    }

    /// Moves on what the spill can; says whether anything moved.
    pub(crate) fn flush(&self) -> bool {
        let mut queues = self.queues.borrow_mut();
        let Queues { spill, lanes, .. } = &mut *queues;
        !spill.is_empty() && spill.flush(&self.fabric, lanes)
    }

    pub(crate) fn is_spilling(&self) -> bool {
        !self.queues.borrow().spill.is_empty()
    }

    /// Whether any of the worker's own events waits.
    #[inline(always)]
    pub(crate) fn has_own(&self) -> bool {
        self.own_count.get() != 0
    }

    /// The next of the worker's own events of a class.
    #[inline(always)]
    pub(crate) fn take_own(&self, class: usize) -> Option<Slot> {
        let slot = self.queues.borrow_mut().own[class].pop_front();
        if slot.is_some() {
            self.own_count.set(self.own_count.get() - 1);
        }
        slot
    }

    #[inline(always)]
    pub(crate) fn own_waiting(&self, class: usize) -> usize {
        if self.has_own() {
            self.queues.borrow().own[class].len()
        } else {
            0
        }
    }

    /// Everything that is still here, with the worker it is for, for the end of the worker.
    pub(crate) fn drain(&self, mut each: impl FnMut(usize, Slot)) {
        let mut rest = Vec::new();
        {
            let mut queues = self.queues.borrow_mut();
            let Queues { spill, own, .. } = &mut *queues;
            spill.drain(&self.fabric, |worker, slot| rest.push((worker, slot)));
            for queue in own {
                rest.extend(queue.drain(..).map(|slot| (self.worker, slot)));
            }
            self.own_count.set(0);
        }
        for (worker, slot) in rest {
            each(worker, slot);
        }
    }

    /// The worker is gone.
    pub(crate) fn retire(&self) {
        self.fabric.retire(&self.state);
    }
}

//! A publisher of one thread, with private lanes.
//!
//! **publish** → route → lane → worker → handler → outcome
//!
//! Lanes are made at their first use: one for each worker and class. The fast path is one function,
//! [`Publisher::publish`] for a type with one pool, on a lane that is open and has room; whatever is
//! rarer goes through [`Publisher::send`], which is out of line and the same code for all types.

use super::parcel::{Cargo, Label, Parcel, Refused, dispose, pools_in};
use super::spill::Queue;
use super::{
    Admission, BatchError, Options, PublishError, Receipt, current, is_worker_thread, may_publish,
    polls_any,
};
use crate::event::{Class, Event, EventType, SequenceLease, Slot, is_sampled};
use crate::lane::{CLASS_COUNT, LaneTx, lane};
use crate::route::{Attached, Control, Fabric, POOL_COUNT_MAX, PublisherState, WorkerPort, pick};
use crate::sync::{Arc, Barrier, Mutex, MutexGuard, clock, realtime, spin_loop, thread};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::fmt;

/// Spins on a full lane before the publisher sleeps: parking is dear.
const FULL_SPINS: u32 = 2_000;
/// Events without a key that go to one worker before another is considered.
const UNKEYED_RUN: u32 = 32;
/// Events of a batch that are put into lanes under one bracket.
const BATCH_GROUP: usize = 64;

/// The sending end of a lane, and the bell behind it.
#[derive(Debug)]
pub(crate) struct OutLane {
    /// The number of the worker that it leads to.
    worker: usize,
    pub(crate) tx: LaneTx<Slot>,
    pub(crate) port: Arc<WorkerPort>,
}

impl OutLane {
    /// Makes a lane to a worker and sends the other end there.
    pub(crate) fn open(
        fabric: &Fabric,
        worker: usize,
        class: Class,
        state: &PublisherState,
        from_worker: bool,
    ) -> Self {
        // Made once, at its first use: allocated, and sent to the worker.
        let _allowed = realtime::allow();
        let port = Arc::clone(&fabric.ports[worker]);
        let (tx, rx) = lane(fabric.lane_capacity, Arc::clone(&state.room));
        port.send(
            Control::Attach(Attached {
                lane: rx,
                class,
                from_worker,
            }),
            fabric.barrier,
        );
        Self { worker, tx, port }
    }

    #[inline(always)]
    pub(crate) fn has_room(&self) -> bool {
        self.tx.known_credit() > 0 || self.tx.credit() > 0
    }

    /// Moves events from a queue into the lane while there is room; how many.
    pub(crate) fn flush(
        &mut self,
        fabric: &Fabric,
        class: Class,
        queue: &mut VecDeque<Slot>,
    ) -> usize {
        let mut moved = 0;
        while self.tx.credit() > 0
            && let Some(slot) = queue.pop_front()
        {
            let pushed = self.tx.push_with(|place| slot.move_to(place));
            assert!(pushed, "the room was there and nobody else pushes (L1)");
            moved += 1;
        }
        if moved > 0 {
            fabric.ring(&self.port, class);
        }
        moved
    }
}

/// A lane that is away in a worker's spill, what waits there for it, and the place it comes back to.
///
/// A lock on the cold side only: it is taken for events that do not fit, published on workers' threads.
/// Several of those may use the publisher in turn, while one of them has the lane.
#[derive(Debug)]
pub(crate) struct Lent {
    away: Mutex<Away>,
    state: Arc<PublisherState>,
}

#[derive(Debug)]
struct Away {
    /// `None` once the publisher has taken it back.
    lane: Option<OutLane>,
    /// The spill is done with the lane.
    is_back: bool,
    /// In the order of publishing.
    queue: VecDeque<Slot>,
    /// Places that were given out and are not filled yet: the lane stays away for them.
    promised: usize,
}

/// An answer of [`Lent::promise`].
enum Promise {
    Made,
    NoRoom,
    /// The lane is back; it is to be asked itself.
    Back,
}

impl Lent {
    /// Sends a lane away, with one place promised.
    fn new(lane: OutLane, state: &Arc<PublisherState>) -> Arc<Self> {
        lane.tx.stats().set_wanted(true);
        Arc::new(Self {
            away: Mutex::new(Away {
                lane: Some(lane),
                is_back: false,
                queue: VecDeque::new(),
                promised: 1,
            }),
            state: Arc::clone(state),
        })
    }

    /// A place behind what waits, to be followed by [`keep`](Self::keep) or
    /// [`withdraw`](Self::withdraw).
    fn promise(&self, waiting_max: usize) -> Promise {
        let mut away = self.away.lock();
        if away.is_back {
            return Promise::Back;
        }
        if away.queue.len() + away.promised >= waiting_max {
            return Promise::NoRoom;
        }
        away.promised += 1;
        Promise::Made
    }

    fn keep(&self, slot: Slot) {
        // What has no room where it goes is kept in memory that grows, up to a bound.
        let _allowed = realtime::allow();
        let mut away = self.away.lock();
        away.promised -= 1;
        away.queue.push_back(slot);
    }

    fn withdraw(&self) {
        self.away.lock().promised -= 1;
    }

    /// The lane, if the spill is done with it.
    fn take_back(&self) -> Option<OutLane> {
        let mut away = self.away.lock();
        if away.is_back { away.lane.take() } else { None }
    }

    /// How many events wait here.
    pub(crate) fn waiting(&self) -> usize {
        self.away.lock().queue.len()
    }

    /// Moves on what has room; how many that were, and whether the spill is done with the lane.
    pub(crate) fn flush(&self, fabric: &Fabric, class: Class) -> (usize, bool) {
        let mut away = self.away.lock();
        let Away { lane, queue, .. } = &mut *away;
        let moved = match lane {
            Some(lane) => lane.flush(fabric, class, queue),
            None => 0,
        };
        let is_done = away.queue.is_empty() && away.promised == 0;
        if is_done {
            self.give_back(away, fabric.barrier);
        }
        (moved, is_done)
    }

    /// The worker ends: what waits comes out, with the worker it is for, and the lane goes back.
    pub(crate) fn drain(&self, barrier: Barrier) -> (usize, VecDeque<Slot>) {
        let mut away = self.away.lock();
        let rest = std::mem::take(&mut away.queue);
        let worker = away.lane.as_ref().map_or(0, |lane| lane.worker);
        self.give_back(away, barrier);
        (worker, rest)
    }

    fn give_back(&self, mut away: MutexGuard<'_, Away>, barrier: Barrier) {
        away.is_back = true;
        if let Some(lane) = &away.lane {
            lane.tx.stats().set_wanted(false);
        }
        drop(away);
        self.state.room.released(barrier);
    }
}

/// One place in a publisher's table of lanes.
#[derive(Debug, Default)]
enum Entry {
    /// Never used.
    #[default]
    Closed,
    Open(OutLane),
    Lent(Arc<Lent>),
}

/// Publishes events from one thread.
///
/// Owned, `Send`, and used through `&mut`: each publisher has a private ring to every worker and class
/// it has used, so publishers never contend. Events of one publisher, one key and one class are handled
/// in the order of publishing (PD2). Make one per thread with [`Handle::publisher`](crate::Handle::publisher)
/// and keep it: lanes are made at their first use (256 KiB each by default).
pub struct Publisher {
    fabric: Arc<Fabric>,
    state: Arc<PublisherState>,
    /// By worker and class.
    lanes: Box<[Entry]>,
    lease: SequenceLease,
    class: Class,
    admission: Admission,
    /// The last stamp, for events that are not picked to be timed.
    stamp: u64,
    /// For events without a key: the present worker, by pool, and how many more it gets.
    runs: Box<[Run]>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Run {
    worker: u32,
    left: u32,
}

/// Where one share of an event goes.
#[derive(Debug, Clone, Copy)]
enum Place {
    Lane(usize),
    Shared(usize),
    SpillLent(usize),
    SpillShared(usize),
}

impl Publisher {
    pub(crate) fn new(fabric: Arc<Fabric>) -> Self {
        let state = Arc::new(PublisherState::new());
        fabric.enlist(&state);
        Self {
            lanes: (0..fabric.ports.len() * CLASS_COUNT)
                .map(|_| Entry::default())
                .collect(),
            runs: vec![Run::default(); fabric.pools.len()].into_boxed_slice(),
            lease: SequenceLease::default(),
            class: Class::default(),
            admission: Admission::default(),
            stamp: fabric.clock.raw(),
            state,
            fabric,
        }
    }

    /// The stamp of the event that is published next.
    #[inline(always)]
    fn next_stamp(&mut self) -> u64 {
        if self.fabric.is_sampled && !is_sampled(self.lease.peek()) {
            return self.stamp;
        }
        self.stamp = self.fabric.clock.raw();
        self.stamp
    }

    /// The class of events about which nothing else is said; normal at first.
    pub fn set_class(&mut self, class: Class) {
        self.class = class;
    }

    /// What to do when there is no room; [`Admission::Block`] at first.
    pub fn set_admission(&mut self, admission: Admission) {
        self.admission = admission;
    }

    /// Publishes an event. Returns once it is admitted to every pool that has a subscription of its
    /// type.
    ///
    /// # Errors
    /// The event comes back inside: no room (by the publisher's [`Admission`]), or the engine stops.
    ///
    /// # Panics
    /// If the event's `key` does; nothing is published then.
    #[inline]
    #[cfg_attr(rtsan, sanitize(realtime = "nonblocking"))]
    pub fn publish<E: Event>(&mut self, event: E) -> Result<(), PublishError<E>> {
        let stamp = self.next_stamp();
        match self.publish_fast(event, stamp) {
            Ok(()) => Ok(()),
            Err(event) => self.publish_slow(event, stamp),
        }
    }

    /// The way of nearly every event; hands it back if anything about it is special.
    #[inline(always)]
    fn publish_fast<E: Event>(&mut self, event: E, stamp: u64) -> Result<(), E> {
        let event_type = EventType::<E>::of();
        let pools = self.fabric.routes.pools(event_type.index());
        if !pools.is_power_of_two() || is_worker_thread() {
            return Err(event);
        }
        let key = event.key().hash();
        let pool = pools.trailing_zeros() as usize;
        let Some(hash) = key else { return Err(event) };
        let info = &self.fabric.pools[pool];
        let worker = (info.first + pick(hash, info.count)) as usize;
        let class = self.class;
        let Entry::Open(lane) = &mut self.lanes[worker * CLASS_COUNT + class.index()] else {
            return Err(event);
        };
        if !lane.has_room() {
            return Err(event);
        }
        let barrier = self.fabric.barrier;
        self.state.busy.enter(barrier);
        if !self.fabric.gate.is_open() {
            self.state.busy.leave();
            return Err(event);
        }
        let head = (hash, stamp, self.lease.next());
        let mut event = Some(event);
        let pushed = lane
            .tx
            .push_with(|slot| Slot::write_plain(slot, event_type, class, &head, &mut event));
        assert!(pushed, "the room was there and nobody else pushes (L1)");
        self.state.note_published(1);
        self.state.busy.leave();
        self.fabric.ring(&lane.port, class);
        Ok(())
    }

    #[inline(never)]
    fn publish_slow<E: Event>(&mut self, event: E, stamp: u64) -> Result<(), PublishError<E>> {
        let admission = self.admission;
        Parcel::new(event, self.class, stamp)
            .send(|label, cargo| self.send(label, cargo, admission))
    }

    /// Publishes an event, or hands it back at once if there is no room.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), without waiting.
    #[cfg_attr(rtsan, sanitize(realtime = "nonblocking"))]
    pub fn try_publish<E: Event>(&mut self, event: E) -> Result<(), PublishError<E>> {
        let stamp = self.next_stamp();
        match self.publish_fast(event, stamp) {
            Ok(()) => Ok(()),
            Err(event) => Parcel::new(event, self.class, stamp)
                .send(|label, cargo| self.send(label, cargo, Admission::Fail)),
        }
    }

    /// Publishes an event about which something special is said.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn publish_with<E: Event>(
        &mut self,
        event: E,
        options: Options,
    ) -> Result<(), PublishError<E>> {
        let class = options.class.unwrap_or(self.class);
        let admission = options.admission.unwrap_or(self.admission);
        let mut parcel = Parcel::new(event, class, self.fabric.clock.raw());
        parcel.set(options);
        parcel.send(|label, cargo| self.send(label, cargo, admission))
    }

    /// Publishes an event and keeps a receipt that tells how each delivery ended; one allocation more.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn publish_tracked<E: Event>(&mut self, event: E) -> Result<Receipt, PublishError<E>> {
        let mut parcel = Parcel::new(event, self.class, self.fabric.clock.raw());
        let receipt = parcel.track();
        let admission = self.admission;
        parcel.send(|label, cargo| self.send(label, cargo, admission))?;
        Ok(receipt)
    }

    /// Publishes many events with one stamp and one bell for each group of them.
    ///
    /// # Errors
    /// The batch stops at the first event that is refused; everything that was not published is inside
    /// the error, in order.
    #[cfg_attr(rtsan, sanitize(realtime = "nonblocking"))]
    pub fn publish_batch<E, I>(&mut self, events: I) -> Result<usize, BatchError<E, I::IntoIter>>
    where
        E: Event,
        I: IntoIterator<Item = E>,
    {
        let mut events = events.into_iter();
        if const { Slot::holds::<E>() } {
            return self.publish_groups(events);
        }
        // Each is boxed in any case, and too large to be collected on the stack.
        let mut published = 0;
        while let Some(event) = events.next() {
            if let Err(refused) = self.publish(event) {
                return Err(BatchError {
                    published,
                    refused,
                    pulled: Vec::new(),
                    rest: events,
                });
            }
            published += 1;
        }
        Ok(published)
    }

    fn publish_groups<E: Event, I: Iterator<Item = E>>(
        &mut self,
        mut events: I,
    ) -> Result<usize, BatchError<E, I>> {
        let mut published = 0;
        loop {
            // Pulled, and asked for their keys, outside the bracket: both are the user's code. Filled and
            // drained where it lies: moving the buffer would take longer than publishing a few events.
            let mut group: SmallVec<[(E, Option<u64>); BATCH_GROUP]> = SmallVec::new();
            for event in events.by_ref().take(BATCH_GROUP) {
                let key = event.key().hash();
                group.push((event, key));
            }
            if group.is_empty() {
                return Ok(published);
            }
            let stamp = self.fabric.clock.raw();
            let mut pulled = group.drain(..);
            loop {
                let (done, stopped_at) = self.put_group(&mut pulled, stamp);
                published += done;
                let Some(event) = stopped_at else { break };
                if let Err(refused) = self.publish_slow(event, stamp) {
                    return Err(BatchError {
                        published,
                        refused,
                        pulled: pulled.map(|(event, _)| event).collect(),
                        rest: events,
                    });
                }
                published += 1;
            }
        }
    }

    /// Puts events into lanes under one bracket, until one of them is special.
    #[inline]
    fn put_group<E: Event>(
        &mut self,
        group: &mut impl Iterator<Item = (E, Option<u64>)>,
        stamp: u64,
    ) -> (usize, Option<E>) {
        let event_type = EventType::<E>::of();
        let pools = self.fabric.routes.pools(event_type.index());
        let class = self.class;
        let mut done = 0;
        let mut touched: u64 = 0;
        let mut stopped_at = None;
        let plain = pools.is_power_of_two() && !is_worker_thread();
        self.state.busy.enter(self.fabric.barrier);
        let open = plain && self.fabric.gate.is_open();
        for (event, key) in group.by_ref() {
            let (true, Some(hash)) = (open, key) else {
                stopped_at = Some(event);
                break;
            };
            let info = &self.fabric.pools[pools.trailing_zeros() as usize];
            let offset = pick(hash, info.count);
            let worker = (info.first + offset) as usize;
            let Entry::Open(lane) = &mut self.lanes[worker * CLASS_COUNT + class.index()] else {
                stopped_at = Some(event);
                break;
            };
            if offset >= u64::BITS || !lane.has_room() {
                stopped_at = Some(event);
                break;
            }
            let head = (hash, stamp, self.lease.next());
            let mut event = Some(event);
            let filled = lane
                .tx
                .fill_with(|slot| Slot::write_plain(slot, event_type, class, &head, &mut event));
            assert!(filled, "the room was there and nobody else pushes (L1)");
            touched |= 1 << offset;
            done += 1;
        }
        if touched == 0 {
            self.state.busy.leave();
            return (done, stopped_at);
        }
        let first = self.fabric.pools[pools.trailing_zeros() as usize].first as usize;
        for offset in pools_in(touched) {
            let index = (first + offset) * CLASS_COUNT + class.index();
            if let Entry::Open(lane) = &mut self.lanes[index] {
                lane.tx.release();
            }
        }
        self.state.note_published(done as u64);
        self.state.busy.leave();
        for offset in pools_in(touched) {
            self.fabric.ring(&self.fabric.ports[first + offset], class);
        }
        (done, stopped_at)
    }

    /// The general way: several pools, no pool, no key, a lane to open, no room, a worker's thread.
    #[inline(never)]
    fn send(
        &mut self,
        label: &mut Label,
        cargo: &mut dyn Cargo,
        admission: Admission,
    ) -> Result<(), Refused> {
        current(&self.fabric, |worker| {
            if let Some(worker) = worker {
                worker.inherit(label);
            }
        });
        let mut deadline = None;
        loop {
            match self.try_send(label, cargo) {
                Err(Refused::Full) => {}
                result => return result,
            }
            let pools = self.fabric.routes.pools(label.type_index);
            match admission {
                Admission::Lossy if self.fabric.lossy[label.class.index()] => {
                    self.state.note_dropped();
                    return Ok(());
                }
                Admission::Fail | Admission::Lossy => return Err(Refused::Full),
                _ if is_worker_thread() => return Err(Refused::WouldDeadlock),
                Admission::Block if polls_any(&self.fabric, pools) => {
                    return Err(Refused::WouldDeadlock);
                }
                Admission::Block => self.wait(label, None),
                Admission::BlockFor(limit) => {
                    let until = *deadline.get_or_insert_with(|| clock::deadline(limit));
                    if until.is_some_and(|until| clock::left(until).is_zero()) {
                        return Err(Refused::Full);
                    }
                    self.wait(label, until);
                }
            }
        }
    }

    /// One try: a place in every pool first, then all of them together, which cannot fail.
    fn try_send(&mut self, label: &Label, cargo: &mut dyn Cargo) -> Result<(), Refused> {
        let fabric = Arc::clone(&self.fabric);
        let pools = fabric.routes.pools(label.type_index);
        if pools == 0 {
            if !may_publish(&fabric) {
                return Err(Refused::Closed);
            }
            let note = || self.state.note_unhandled();
            let sequence = || self.lease.next();
            return dispose(&fabric.unwanted, label, cargo, note, sequence);
        }
        let mut places: SmallVec<[Place; POOL_COUNT_MAX]> = SmallVec::new();
        let mut is_full = false;
        for pool in pools_in(pools) {
            match self.place(pool, label.class, label.key) {
                Some(place) => places.push(place),
                None => {
                    is_full = true;
                    break;
                }
            }
        }
        self.state.busy.enter(fabric.barrier);
        let allowed = may_publish(&fabric);
        if !allowed || is_full {
            self.state.busy.leave();
            for place in places {
                match place {
                    Place::Shared(pool) => {
                        if let Some(queue) = fabric.shared_queue(pool, label.class) {
                            queue.give_back(1, fabric.barrier);
                        }
                    }
                    Place::SpillLent(index) => {
                        if let Entry::Lent(lent) = &self.lanes[index] {
                            lent.withdraw();
                        }
                    }
                    Place::Lane(_) | Place::SpillShared(_) => {}
                }
            }
            return Err(if allowed {
                Refused::Full
            } else {
                Refused::Closed
            });
        }
        label.expect_pools(places.len());
        let class = label.class;
        let sequence = self.lease.next();
        label.put(cargo, sequence, &places, |place, slot| {
            self.put(&fabric, place, slot);
        });
        self.state.note_published(1);
        self.state.busy.leave();
        for place in places {
            match place {
                Place::Lane(index) => fabric.ring(&fabric.ports[index / CLASS_COUNT], class),
                Place::Shared(pool) => fabric.ring_pool(pool, class),
                Place::SpillLent(_) | Place::SpillShared(_) => {}
            }
        }
        Ok(())
    }

    /// A place for one share in this pool; `None` if there is none now.
    fn place(&mut self, pool: usize, class: Class, key: Option<u64>) -> Option<Place> {
        let fabric = Arc::clone(&self.fabric);
        if let Some(queue) = fabric.shared_queue(pool, class) {
            if !queue.is_deferred() && queue.reserve() {
                return Some(Place::Shared(pool));
            }
            return current(&fabric, |worker| {
                worker
                    .is_some_and(|worker| worker.can_spill())
                    .then_some(Place::SpillShared(pool))
            });
        }
        let index = self.lane_index(pool, class, key);
        loop {
            self.take_back(index);
            match &mut self.lanes[index] {
                Entry::Closed => {
                    self.lanes[index] = Entry::Open(OutLane::open(
                        &fabric,
                        index / CLASS_COUNT,
                        class,
                        &self.state,
                        false,
                    ));
                }
                Entry::Open(lane) => {
                    if lane.has_room() {
                        return Some(Place::Lane(index));
                    }
                    lane.tx.note_full();
                    return self.lend(index, class);
                }
                // Away: on a worker's thread the event waits behind what is there already.
                Entry::Lent(lent) => {
                    if !current(&fabric, |worker| worker.is_some()) {
                        return None;
                    }
                    match lent.promise(fabric.spill_max) {
                        Promise::Made => return Some(Place::SpillLent(index)),
                        Promise::NoRoom => return None,
                        Promise::Back => {}
                    }
                }
            }
        }
    }

    /// On a worker's thread a full lane moves into that worker's spill, which goes on where the lane
    /// ends: nobody can push past what waits.
    #[cold]
    fn lend(&mut self, index: usize, class: Class) -> Option<Place> {
        // As in `Lent::keep`.
        let _allowed = realtime::allow();
        let fabric = Arc::clone(&self.fabric);
        current(&fabric, |worker| {
            let worker = worker.filter(|worker| worker.can_spill())?;
            let Entry::Open(lane) = std::mem::take(&mut self.lanes[index]) else {
                unreachable!("an open lane was found full");
            };
            let lent = Lent::new(lane, &self.state);
            self.lanes[index] = Entry::Lent(Arc::clone(&lent));
            worker.borrow_lane(lent, class);
            Some(Place::SpillLent(index))
        })
    }

    /// Takes a lent lane back if its worker is done with it.
    fn take_back(&mut self, index: usize) {
        if let Entry::Lent(lent) = &self.lanes[index] {
            let back = lent.take_back();
            if let Some(lane) = back {
                // As in `Lent::keep`: its memory goes.
                let _allowed = realtime::allow();
                self.lanes[index] = Entry::Open(lane);
            }
        }
    }

    fn put(&mut self, fabric: &Arc<Fabric>, place: Place, slot: Slot) {
        match place {
            Place::Lane(index) => {
                let Entry::Open(lane) = &mut self.lanes[index] else {
                    unreachable!("a lane with room stays open");
                };
                let pushed = lane.tx.push_with(|place| slot.move_to(place));
                assert!(pushed, "the room was there and nobody else pushes (L1)");
            }
            Place::Shared(pool) => {
                if let Some(queue) = fabric.shared_queue(pool, slot.class()) {
                    queue.push(slot);
                }
            }
            Place::SpillLent(index) => {
                let Entry::Lent(lent) = &self.lanes[index] else {
                    unreachable!("a lent lane stays away while its worker is here");
                };
                lent.keep(slot);
            }
            Place::SpillShared(pool) => current(fabric, |worker| match worker {
                Some(worker) => worker.spill_queue(Queue::Shared(pool), slot),
                None => unreachable!("the place was found on a worker's thread"),
            }),
        }
    }

    /// The lane for a key, or for no key the one that is known to have the most room.
    fn lane_index(&mut self, pool: usize, class: Class, key: Option<u64>) -> usize {
        let info = &self.fabric.pools[pool];
        let (first, count) = (info.first, info.count);
        let offset = match key {
            Some(hash) => pick(hash, count),
            None => {
                let mut run = self.runs[pool];
                if run.left == 0 {
                    run.worker = (0..count)
                        .map(|step| (run.worker + 1 + step) % count)
                        .max_by_key(|&worker| {
                            let index = (first + worker) as usize * CLASS_COUNT + class.index();
                            // The first of equals: counted down from the next worker in turn.
                            let turn = (run.worker + count - worker) % count;
                            (self.known_credit(index), turn)
                        })
                        .unwrap_or(0);
                    run.left = UNKEYED_RUN;
                }
                run.left -= 1;
                self.runs[pool] = run;
                run.worker
            }
        };
        let index = (first + offset) as usize * CLASS_COUNT + class.index();
        if key.is_none()
            && let Entry::Open(lane) = &self.lanes[index]
        {
            if lane.tx.known_credit() < self.fabric.lane_capacity / 2 {
                // Reads the worker's line once for each half of the ring, and learns what is free.
                lane.tx.credit();
            }
            if lane.tx.known_credit() == 0 {
                // Full: look for another next time.
                self.runs[pool].left = 0;
            }
        }
        index
    }

    fn known_credit(&self, index: usize) -> usize {
        match &self.lanes[index] {
            Entry::Closed => self.fabric.lane_capacity,
            Entry::Open(lane) => lane.tx.known_credit(),
            Entry::Lent(_) => 0,
        }
    }

    /// Waits until one of the event's destinations may have room, or for the gate, or the deadline.
    fn wait(&mut self, label: &Label, until: Option<std::time::Instant>) {
        // Whoever publishes with an admission that waits has asked for it.
        let _allowed = realtime::allow();
        let fabric = Arc::clone(&self.fabric);
        let pools = fabric.routes.pools(label.type_index);
        for spins in 0..FULL_SPINS {
            if self.may_have_room(pools, label, fabric.lane_capacity / 8) || !fabric.gate.is_open()
            {
                return;
            }
            if spins % 64 == 63 {
                thread::yield_now();
            } else {
                spin_loop();
            }
        }
        let queues: SmallVec<[_; POOL_COUNT_MAX]> = pools_in(pools)
            .filter_map(|pool| fabric.shared_queue(pool, label.class))
            .collect();
        for queue in &queues {
            queue.start_waiting(&self.state.room);
        }
        self.state.room.announce(fabric.barrier);
        if self.may_have_room(pools, label, 1) || !fabric.gate.is_open() {
            self.state.room.cancel();
        } else {
            self.state.room.sleep(until.map(clock::left));
        }
        for queue in &queues {
            queue.stop_waiting(&self.state.room);
        }
    }

    /// Whether every destination of the event may have room for it by now; an event without a key may
    /// go to any worker, so any room will do.
    fn may_have_room(&mut self, pools: u64, label: &Label, slots: usize) -> bool {
        let slots = slots.max(1);
        pools_in(pools).all(|pool| {
            if let Some(queue) = self.fabric.shared_queue(pool, label.class) {
                return queue.has_room();
            }
            let info = &self.fabric.pools[pool];
            let (first, count) = (info.first, info.count);
            let candidates = match label.key {
                Some(hash) => {
                    let worker = first + pick(hash, count);
                    worker..worker + 1
                }
                None => first..first + count,
            };
            candidates.into_iter().any(|worker| {
                let index = worker as usize * CLASS_COUNT + label.class.index();
                self.take_back(index);
                match &self.lanes[index] {
                    Entry::Closed => true,
                    Entry::Open(lane) => lane.tx.credit() >= slots,
                    Entry::Lent(_) => false,
                }
            })
        })
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.fabric.retire(&self.state);
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("class", &self.class)
            .field("admission", &self.admission)
            .finish_non_exhaustive()
    }
}

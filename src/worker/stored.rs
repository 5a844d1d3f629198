//! Stored events: the log as one more lane.
//!
//! publish → **store → worker** → handler → outcome
//!
//! Every worker walks the log behind the watermark by itself and takes the records whose key is its own (EV9): nothing is
//! written a second time, so nothing can fail, be reordered or be lost between the log and the handlers. What a worker has
//! walked past is its *position*; it pins the log there, and appenders that are too far ahead of it wait or are refused.
//!
//! A record becomes a slot like any other event's, decoded once for all subscriptions of its type, and from there on nobody
//! knows the difference: retries, breakers and dead letters are those of every event.

use super::desk::Desk;
use crate::event::{Class, Descriptor, EventId, Extras, Head, Metadata, Slot, Stored, Wide};
use crate::lane::GateState;
use crate::publish::is_worker_thread;
use crate::route::{Fabric, pick};
use crate::store::{
    AppendError, Bell, Cursor, EventStore, Listener, ReadError, Reader, Record, RetentionPin,
    Start, Step, Watermark,
};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::clock::Clock;
use crate::sync::{Arc, Mutex};
use std::cell::Cell;
use std::fmt;

/// Records that a worker walks past in one turn, whoever's they are.
const WALK_MAX: usize = 1_024;

/// What is done with an append while a worker is too far behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenBehind {
    /// The appender waits until the worker has caught up; on a worker's thread the append is refused.
    #[default]
    Wait,
    /// The append is refused as full.
    Refuse,
}

/// A log that the workers of an engine follow.
pub(crate) struct Following {
    fabric: Arc<Fabric>,
    store: EventStore,
    /// How far each worker is.
    positions: Vec<RetentionPin>,
    lag_max: u64,
    when_behind: WhenBehind,
    /// Whom an appender that waits is woken by.
    room: Bell,
    /// How far the log was when all workers were woken last.
    rung_at: AtomicU64,
    /// The workers have ended.
    is_over: AtomicBool,
    lanes: Mutex<Vec<Option<StoredLane>>>,
}

impl Following {
    /// The lanes of all workers, from the same place on. To be announced by [`begin`](Self::begin).
    pub(crate) fn new(
        fabric: &Arc<Fabric>,
        store: &EventStore,
        start: Start,
        lag_max: u64,
        when_behind: WhenBehind,
    ) -> Result<Self, ReadError> {
        let mut lanes = Vec::new();
        let mut positions = Vec::new();
        // Pinned first, so that it is there when the lanes begin; what retention takes in between is looked for again.
        let (first, _pin) = loop {
            let first = match start {
                Start::Start => store.reader().first(),
                Start::End => store.reader().end(),
                Start::After(position) => position.saturating_add(1),
            };
            match store.pin(first) {
                Err(_) if !matches!(start, Start::After(_)) => {}
                pin => break (first, pin?),
            }
        };
        for (number, pool) in fabric.pools.iter().enumerate() {
            for index in 0..pool.count {
                let pin = store.pin(first)?;
                let reader = store.reader();
                let cursor = reader.cursor(first, reader.watermark())?;
                positions.push(pin.share());
                lanes.push(Some(StoredLane {
                    reader,
                    cursor,
                    pin,
                    ahead: None,
                    has_ahead: Cell::new(false),
                    extras: Default::default(),
                    is_first_pool: number == 0,
                    index,
                    count: pool.count,
                    following: None,
                }));
            }
        }
        Ok(Self {
            fabric: Arc::clone(fabric),
            store: store.clone(),
            positions,
            lag_max,
            when_behind,
            room: Bell::new(fabric.barrier),
            rung_at: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            lanes: Mutex::new(lanes),
        })
    }

    /// From here on appends are told of.
    pub(crate) fn begin(following: &Arc<Self>) {
        following
            .store
            .log
            .bell
            .listen(Arc::clone(following) as Arc<dyn Listener>);
    }

    /// The lane of a worker, once.
    pub(crate) fn lane(following: &Arc<Self>, worker: usize) -> Option<StoredLane> {
        let mut lane = following.lanes.lock().get_mut(worker)?.take()?;
        lane.following = Some(Arc::clone(following));
        Some(lane)
    }

    /// Has appends under way see that the gate has moved, and wakes those that wait.
    pub(crate) fn note_closing(&self) {
        drop(self.store.log.lock());
        self.room.disturb();
    }

    /// The workers have ended: the store is a store again.
    pub(crate) fn end(following: &Arc<Self>) {
        following.is_over.store(true, Ordering::Relaxed);
        following.room.disturb();
        following
            .store
            .log
            .bell
            .leave(&(Arc::clone(following) as Arc<dyn Listener>));
    }

    /// The position behind which everything was taken by no worker.
    pub(crate) fn position(&self) -> u64 {
        self.positions
            .iter()
            .map(RetentionPin::position)
            .min()
            .unwrap_or(0)
    }

    /// The most that a worker is behind.
    pub(crate) fn lag(&self) -> u64 {
        self.store
            .log
            .segments
            .end_about()
            .saturating_sub(self.position())
    }

    /// Whether the gate lets an append of this thread through.
    fn is_shut(&self) -> bool {
        match self.fabric.gate.state() {
            GateState::Open => false,
            GateState::Draining => !is_worker_thread(),
            GateState::Shut => true,
        }
    }

    fn is_behind(&self, worker: usize) -> bool {
        let end = self.store.log.segments.end_about();
        end.saturating_sub(self.positions[worker].position()) >= self.lag_max
    }

    #[cold]
    fn wait_for(&self, worker: usize) -> Result<(), AppendError> {
        let is_over = || self.is_over.load(Ordering::Relaxed);
        if is_over() {
            return Ok(());
        }
        // It may be asleep behind records that are all others', and nobody else would wake it.
        self.ring(worker);
        if self.when_behind == WhenBehind::Refuse {
            return Err(AppendError::Full(format!(
                "worker {worker} is {} records behind the log and may be {} (wait, or raise `lag_max`)",
                self.lag(),
                self.lag_max
            )));
        }
        if is_worker_thread() {
            return Err(AppendError::WouldDeadlock);
        }
        self.room.wait(
            || !self.is_behind(worker) || self.is_shut() || is_over(),
            None,
        );
        Ok(())
    }

    fn ring(&self, worker: usize) {
        self.fabric.ring(&self.fabric.ports[worker], Class::Normal);
    }

    /// Wakes every worker, so that those who sleep behind others' records walk past them.
    #[cold]
    fn ring_all(&self) {
        (0..self.fabric.ports.len()).for_each(|worker| self.ring(worker));
    }
}

impl Listener for Following {
    fn admit(&self, key: Option<u64>) -> Result<(), AppendError> {
        let key = key.unwrap_or(0);
        for pool in &self.fabric.pools {
            let worker = (pool.first + pick(key, pool.count)) as usize;
            if self.is_behind(worker) {
                self.wait_for(worker)?;
            }
        }
        Ok(())
    }

    fn is_closed(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed) && self.is_shut()
    }

    fn appended(&self, key: Option<u64>) {
        let key = key.unwrap_or(0);
        for pool in &self.fabric.pools {
            self.ring((pool.first + pick(key, pool.count)) as usize);
        }
        // Long before anybody is too far behind. Relaxed: two that come at once ring twice.
        let end = self.store.log.segments.end_about();
        if end.saturating_sub(self.rung_at.load(Ordering::Relaxed)) >= self.lag_max.div_ceil(4) {
            self.rung_at.store(end, Ordering::Relaxed);
            self.ring_all();
        }
    }

    fn rolled(&self) {
        self.ring_all();
    }
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Following")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// A worker's walk through the log.
pub(crate) struct StoredLane {
    reader: Reader,
    cursor: Cursor,
    pin: RetentionPin,
    /// The next event of this worker: looked for before the one in hand is handled, which can so be told whether it is the
    /// last.
    ahead: Option<Ahead>,
    has_ahead: Cell<bool>,
    /// What an event's handlers may ask of its record; used again once nobody else has it.
    extras: [Arc<Extras>; 2],
    is_first_pool: bool,
    /// The worker among those of its pool.
    index: u32,
    count: u32,
    following: Option<Arc<Following>>,
}

/// An event that was found, and its turn has not come.
struct Ahead {
    slot: Slot,
    position: u64,
    /// Why it cannot be read, if it cannot: then the slot has no value.
    fault: Option<String>,
}

impl StoredLane {
    /// Whether there is anything to walk past.
    pub(super) fn has_waiting(&self) -> bool {
        self.ahead.is_some() || !self.reader.is_at_end(&self.cursor)
    }

    /// Whether no event of this worker is known to follow the one in hand.
    pub(super) fn is_last(&self) -> bool {
        !self.has_ahead.get()
    }

    /// The next event that can be handled. The deliveries of those before it that cannot be read fail here, in their turn.
    pub(super) fn next(&mut self, desk: &mut Desk, walk: &mut Walk) -> Option<Slot> {
        loop {
            let Ahead { slot, fault, .. } = self.take(desk, walk)?;
            match fault {
                None => return Some(slot),
                Some(reason) => desk.unreadable(slot, &reason),
            }
        }
    }

    fn take(&mut self, desk: &mut Desk, walk: &mut Walk) -> Option<Ahead> {
        let next = match self.ahead.take() {
            Some(ahead) => ahead,
            None => self.walk(desk, walk)?,
        };
        self.ahead = self.walk(desk, walk);
        self.has_ahead.set(self.ahead.is_some());
        Some(next)
    }

    /// The worker has handled what it took: what lies before may be let go, and appenders may go on.
    pub(super) fn settle(&mut self) {
        let position = match &self.ahead {
            Some(ahead) => ahead.position,
            None => self.cursor.position,
        };
        if position > self.pin.position() {
            self.pin.advance(position);
            if let Some(following) = &self.following {
                following.room.ring();
            }
        }
        if self.ahead.is_none() {
            self.reader.release();
        }
    }

    /// Walks to the next record that is this worker's and that it has a handler for.
    #[inline]
    fn walk(&mut self, desk: &mut Desk, walk: &mut Walk) -> Option<Ahead> {
        let Self {
            reader,
            cursor,
            extras,
            ..
        } = self;
        while walk.left > 0 {
            let record = match reader.step(cursor, walk.watermark) {
                Step::Record(found) => reader.record(found),
                Step::End => return None,
                Step::Gone => unreachable!("what a worker has not walked past is pinned"),
            };
            walk.left -= 1;
            if record.is_mark() || pick(record.key(), self.count) != self.index {
                continue;
            }
            // The one in hand has the other.
            extras.swap(0, 1);
            let known = record.known();
            match known.filter(|known| !desk.bench.of_type(known.index).0.is_empty()) {
                Some(known) => {
                    let clock = &desk.caller.clock;
                    return Some(ahead_of(&record, known, clock, &mut extras[0], walk.now));
                }
                // Told once for the engine, by the worker of the first pool whose key it is.
                None if self.is_first_pool
                    && known.is_none_or(|known| desk.caller.out.wanted_nowhere(known.index)) =>
                {
                    desk.shared.note_unhandled();
                }
                None => {}
            }
        }
        None
    }

    /// Ends what is left for this worker, as nobody will handle it here: the log has it still.
    pub(super) fn abandon(&mut self, desk: &mut Desk) {
        loop {
            let mut walk = Walk::new(self, desk);
            while let Some(Ahead { mut slot, .. }) = self.take(desk, &mut walk) {
                desk.abandon_whole(&mut slot);
            }
            if walk.left > 0 {
                break;
            }
        }
        // The position stays: a later life begins there.
        self.reader.release();
    }
}

impl fmt::Debug for StoredLane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredLane")
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

/// How far one turn may walk, and when it began.
pub(super) struct Walk {
    watermark: Watermark,
    left: usize,
    /// Stamp and wall time.
    now: (u64, u64),
}

impl Walk {
    pub(super) fn new(lane: &StoredLane, desk: &Desk) -> Self {
        let clock = &desk.caller.clock;
        let raw = clock.raw();
        Self {
            watermark: lane.reader.watermark(),
            left: WALK_MAX,
            now: (raw, clock.wall_ns(raw)),
        }
    }
}

/// The event of a record as a slot.
#[inline]
fn ahead_of(
    record: &Record<'_>,
    known: &'static Descriptor,
    clock: &Clock,
    extras: &mut Arc<Extras>,
    now: (u64, u64),
) -> Ahead {
    if Arc::get_mut(extras).is_none() {
        // Somebody holds the last one's: it failed, or waits for its turn.
        *extras = Arc::default();
    }
    if let Some(extras) = Arc::get_mut(extras) {
        extras.id = Some(record.id());
        extras.stored = Some(Stored {
            position: record.position(),
            version: record.version(),
            class: record.class(),
        });
        extras.metadata = record.has_metadata().then(|| {
            record
                .metadata()
                .fold(Metadata::new(), |all, (name, value)| all.with(name, value))
        });
    }
    let head = || Head {
        key_hash: record.key(),
        stamp: clock.raw_near(now, record.stamp_ns()),
        sequence: record.position(),
        correlation: Wide::new(record.correlation()),
        causation: Wide::new(record.causation_id().map_or(0, EventId::as_u128)),
        extras: Some(Arc::clone(extras)),
    };
    let class = record.class();
    let decoded = known
        .text_fns
        .decode_bytes(record.payload(), class, true, head());
    let (slot, fault) = match decoded {
        Some(Ok(slot)) => (slot, None),
        failed => {
            let reason = failed.and_then(Result::err);
            let reason = reason.unwrap_or_else(|| "its type has no codec".to_owned());
            let slot = Slot::without_value(known.index, class, true, head());
            (slot, Some(reason))
        }
    };
    Ahead {
        slot,
        position: record.position(),
        fault,
    }
}

//! Snapshots: what an aggregate was at a version of its stream, so that not every event has to be applied again.
//!
//! publish → **store** → worker → handler → outcome
//!
//! The latest of each stream and type is kept beside the log, in memory, as a value of the aggregate's type: nothing is
//! encoded. There are so many at most; the one that was not asked for longest makes room. A snapshot is a
//! help and no truth: without it everything is as before, if the stream's events are still there. Where retention may
//! forget them, a policy can [pin](SnapshotPolicy::pinned) what comes behind the snapshot. One mutex guards the table; no
//! append takes it, and neither does a reader that loads no aggregate.

use super::log::Log;
use super::retention::RetentionPin;
use crate::sync::{Arc, Mutex};
use std::any::{Any, TypeId};
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// How many snapshots are kept unless the builder says otherwise.
pub(crate) const SNAPSHOTS_MAX: usize = 10_000;

/// When snapshots are taken, and what they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SnapshotPolicy {
    every: Option<u64>,
    is_pinning: bool,
}

impl SnapshotPolicy {
    /// None are taken.
    #[must_use]
    pub const fn never() -> Self {
        Self {
            every: None,
            is_pinning: false,
        }
    }

    /// One is taken as soon as a stream has so many events behind the last one.
    ///
    /// # Panics
    /// `events` is 0.
    #[must_use]
    pub const fn every(events: u64) -> Self {
        assert!(events > 0, "a snapshot is taken every 1 event or more");
        Self {
            every: Some(events),
            is_pinning: false,
        }
    }

    /// Each snapshot keeps the log from forgetting what comes behind it, until a later one takes its place or it makes room
    /// for another stream's. A stream that gets no more events so holds the log where it is.
    #[must_use]
    pub const fn pinned(mut self) -> Self {
        self.is_pinning = true;
        self
    }

    /// Whether one is due at a count of events, with the last one at another.
    pub(crate) fn is_due(self, count: u64, last: u64) -> bool {
        self.every
            .is_some_and(|every| count.saturating_sub(last) >= every)
    }

    pub(crate) fn is_pinning(self) -> bool {
        self.is_pinning
    }
}

/// What an aggregate was.
#[derive(Debug)]
pub struct Snapshot<A> {
    state: Arc<A>,
    version: u64,
    position: u64,
}

impl<A> Snapshot<A> {
    /// The state.
    #[must_use]
    pub fn state(&self) -> &A {
        &self.state
    }

    /// The version of the stream's last event that is in it.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The position of that event.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }
}

/// The snapshots of a log.
pub(crate) struct Snapshots(Mutex<Table>);

struct Table {
    by_type: HashMap<TypeId, HashMap<Arc<str>, Row>>,
    /// By the last use: the first makes room.
    used: BTreeMap<u64, (TypeId, Arc<str>)>,
    uses: u64,
    max: usize,
}

struct Row {
    state: Arc<dyn Any + Send + Sync>,
    version: u64,
    position: u64,
    used: u64,
    _pin: Option<RetentionPin>,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self(Mutex::new(Table {
            by_type: HashMap::new(),
            used: BTreeMap::new(),
            uses: 0,
            max: SNAPSHOTS_MAX,
        }))
    }
}

impl Table {
    fn remove(&mut self, of: TypeId, stream: &str) -> Option<Row> {
        let row = self.by_type.get_mut(&of)?.remove(stream)?;
        self.used.remove(&row.used);
        Some(row)
    }

    /// Takes out those for which there is no room.
    fn make_room(&mut self) -> Vec<Row> {
        let mut gone = Vec::new();
        while self.used.len() > self.max {
            let Some((_, (of, stream))) = self.used.pop_first() else {
                break;
            };
            gone.extend(
                self.by_type
                    .get_mut(&of)
                    .and_then(|rows| rows.remove(&stream)),
            );
        }
        gone
    }
}

impl Snapshots {
    /// So many at most from now on.
    pub(crate) fn limit(&self, max: usize) {
        let gone = {
            let mut table = self.0.lock();
            table.max = max;
            table.make_room()
        };
        // States are the user's: they are dropped outside of the lock.
        drop(gone);
    }

    pub(crate) fn get<A: Send + Sync + 'static>(&self, stream: &str) -> Option<Snapshot<A>> {
        let of = TypeId::of::<A>();
        let mut table = self.0.lock();
        let Table {
            by_type,
            used,
            uses,
            ..
        } = &mut *table;
        let row = by_type.get_mut(&of)?.get_mut(stream)?;
        *uses += 1;
        if let Some(name) = used.remove(&row.used) {
            used.insert(*uses, name);
        }
        row.used = *uses;
        let state = Arc::clone(&row.state).downcast().ok()?;
        Some(Snapshot {
            state,
            version: row.version,
            position: row.position,
        })
    }

    /// Keeps a state, unless there is a later one.
    pub(crate) fn put<A: Send + Sync + 'static>(
        &self,
        stream: &str,
        state: A,
        version: u64,
        position: u64,
        pin: Option<RetentionPin>,
    ) {
        let of = TypeId::of::<A>();
        let state: Arc<A> = Arc::new(state);
        let gone = {
            let mut table = self.0.lock();
            let rows = table.by_type.entry(of).or_default();
            if rows.get(stream).is_some_and(|row| row.version > version) {
                return;
            }
            let before = table.remove(of, stream);
            table.uses += 1;
            let (name, uses): (Arc<str>, u64) = (Arc::from(stream), table.uses);
            table.used.insert(uses, (of, Arc::clone(&name)));
            let row = Row {
                state,
                version,
                position,
                used: uses,
                _pin: pin,
            };
            table.by_type.entry(of).or_default().insert(name, row);
            (before, table.make_room())
        };
        drop(gone);
    }

    /// Whether there was one.
    pub(crate) fn remove<A: 'static>(&self, stream: &str) -> bool {
        let row = self.0.lock().remove(TypeId::of::<A>(), stream);
        row.is_some()
    }
}

impl Log {
    /// Keeps everything from this position on, or from the first that is left.
    pub(crate) fn pin_from(&self, position: u64) -> RetentionPin {
        // The append's lock: what is kept now is kept as long as the pin is there.
        let locked = self.lock();
        let first = self.segments.get(locked.tail.first);
        self.pins
            .add(position.max(first.map_or(0, super::segment::Segment::first)))
    }
}

impl fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.0.lock();
        f.debug_struct("Snapshots")
            .field("count", &table.used.len())
            .field("max", &table.max)
            .finish()
    }
}

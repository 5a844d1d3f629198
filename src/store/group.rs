//! Groups that share the work on a log: every key is handled by one member at a time, in order.
//!
//! publish → **store** → worker → handler → outcome
//!
//! A group cuts the keys of the log into a fixed number of partitions, by the hash that picks workers too, and every
//! partition belongs to one member at a time. Members join and leave while events are appended; the partitions are dealt
//! out again, as evenly as can be and moving as few as possible. A partition changes hands only when its owner has acknowledged
//! all it was given of it, or has left: until then the new owner waits. So no two handle a key at once, and what an owner leaves behind
//! without acknowledging it is given again, from the partition's checkpoint on: at least once, and once for each life that ends
//! with an acknowledgement (SD4).
//!
//! A member walks along the log once for all its partitions; taking over one that is further back, it goes back for that
//! one and passes over what it was given of the others. What the group knows lies under one mutex, which no append takes: it is
//! locked twice for a batch, and the walk is outside of it. The log keeps a group until it is [forgotten](EventStore::forget_group),
//! members or none, as its checkpoints are wanted again.

use super::EventStore;
use super::deal::{Partition, State};
use super::error::ReadError;
use super::filter::RecordFilter;
use super::member::Member;
use super::signal::{SlowReader, Start};
use super::view::Record;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex};
use std::fmt;

/// The most partitions that a group can have.
const PARTITIONS_MAX: usize = 4_096;

/// The groups of a log.
#[derive(Debug, Default)]
pub(crate) struct Groups(Mutex<Vec<Arc<Shared>>>);

/// What all members of a group share.
pub(crate) struct Shared {
    name: String,
    filter: Option<RecordFilter>,
    pub(crate) slow: SlowReader,
    pub(crate) state: Mutex<State>,
    /// How often partitions were dealt out or changed hands; moved under the lock.
    deals: AtomicU64,
}

/// A group to be set up. Made by [`EventStore::group`].
#[derive(Debug, Clone)]
#[must_use = "nothing is set up before `open`"]
pub struct GroupBuilder {
    store: EventStore,
    name: String,
    partitions: usize,
    start: Start,
    checkpoints: Option<Vec<u64>>,
    filter: Option<RecordFilter>,
    slow: SlowReader,
}

impl EventStore {
    /// The group of this name, to be set up or found.
    ///
    /// ```
    /// use ringbolt::store::{EventStore, ExpectedVersion, Signal};
    /// use std::time::Duration;
    /// # use ringbolt::{Codec, Event};
    /// # struct Ordered;
    /// # impl Event for Ordered {
    /// #     const NAME: &'static str = "group.ordered";
    /// #     fn codec() -> Option<Codec<Self>> {
    /// #         Some(Codec::new(|_| Ok(String::new()), |_| Ok(Self)))
    /// #     }
    /// # }
    ///
    /// let store = EventStore::new();
    /// for order in 0..10 {
    ///     store.append(&format!("order-{order}"), ExpectedVersion::NoStream, &Ordered)?;
    /// }
    /// let group = store.group("billing").partitions(8).open()?;
    /// let (mut one, mut two) = (group.join()?, group.join()?);
    /// let mut billed = 0;
    /// for member in [&mut one, &mut two] {
    ///     while let Signal::Events(events) = member.next_batch(4, Duration::ZERO)? {
    ///         billed += events.len();
    ///         member.ack();
    ///     }
    /// }
    /// assert_eq!(billed, 10);
    /// assert_eq!(group.checkpoints(), [10; 8]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn group(&self, name: impl Into<String>) -> GroupBuilder {
        GroupBuilder {
            store: self.clone(),
            name: name.into(),
            partitions: 16,
            start: Start::Start,
            checkpoints: None,
            filter: None,
            slow: SlowReader::default(),
        }
    }

    /// Forgets a group and its checkpoints; `false` if there is none of this name, or it has members.
    pub fn forget_group(&self, name: &str) -> bool {
        let mut groups = self.log.groups.0.lock();
        let count = groups.len();
        groups.retain(|group| group.name != name || !group.state.lock().members.is_empty());
        groups.len() < count
    }
}

impl GroupBuilder {
    /// Into how many parts the keys are cut: the most members that can have work. 1 to 4,096; 16.
    pub fn partitions(mut self, partitions: usize) -> Self {
        self.partitions = partitions;
        self
    }

    /// Where the group begins, if there is none of this name yet. With the first append that is kept.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Where each partition begins, if there is no group of this name yet: what [`Group::checkpoints`] has said before.
    pub fn checkpoints(mut self, checkpoints: impl Into<Vec<u64>>) -> Self {
        let checkpoints = checkpoints.into();
        self.partitions = checkpoints.len();
        self.checkpoints = Some(checkpoints);
        self
    }

    /// Only events that pass; a second filter is added to the first. All.
    pub fn filter(mut self, filter: RecordFilter) -> Self {
        self.filter = Some(match self.filter.take() {
            Some(first) => first.and(filter),
            None => filter,
        });
        self
    }

    /// What happens when the log forgets what was not given yet; [`SlowReader::Block`] holds what was not acknowledged.
    /// A member is demoted.
    pub fn slow(mut self, slow: SlowReader) -> Self {
        self.slow = slow;
        self
    }

    /// The group: the one of this name, which stays as it was set up first, or a new one.
    ///
    /// # Errors
    /// [`ReadError::Invalid`] for a number of partitions that is outside of its range or not the group's, and for a start
    /// beyond the end of the log; [`ReadError::Truncated`] if what follows the start is not kept any more.
    pub fn open(self) -> Result<Group, ReadError> {
        let mut groups = self.store.log.groups.0.lock();
        if let Some(shared) = groups.iter().find(|group| group.name == self.name) {
            let found = shared.state.lock().partitions.len();
            if found != self.partitions {
                return Err(ReadError::Invalid(format!(
                    "group {:?} has {found} partitions, not {}",
                    self.name, self.partitions
                )));
            }
            return Ok(Group {
                shared: Arc::clone(shared),
                store: self.store.clone(),
            });
        }
        if !(1..=PARTITIONS_MAX).contains(&self.partitions) {
            return Err(ReadError::Invalid(format!(
                "group {:?}: {} partitions are outside 1 to {PARTITIONS_MAX}",
                self.name, self.partitions
            )));
        }
        let lowest = self.checkpoints.iter().flatten().min();
        let start = match lowest {
            // Behind nothing: from the first record on, or an error if that is gone.
            Some(0) if self.store.reader().first() > 0 => {
                return Err(ReadError::Truncated {
                    first: self.store.reader().first(),
                });
            }
            Some(&position) => position.checked_sub(1).map_or(Start::Start, Start::After),
            None => self.start,
        };
        let (scan, pin) = self.store.scan(start, self.slow == SlowReader::Block)?;
        let checkpoints = self
            .checkpoints
            .unwrap_or_else(|| vec![scan.position(); self.partitions]);
        let end = self.store.reader().end();
        if let Some(beyond) = checkpoints.iter().find(|&&checkpoint| checkpoint > end) {
            return Err(ReadError::Invalid(format!(
                "group {:?}: checkpoint {beyond} is above the end of the log, {end}",
                self.name
            )));
        }
        let partitions = checkpoints.into_iter().map(|checkpoint| Partition {
            owner: None,
            heir: None,
            checkpoint,
        });
        let shared = Arc::new(Shared {
            name: self.name,
            filter: self.filter,
            slow: self.slow,
            state: Mutex::new(State {
                members: Vec::new(),
                joined: 0,
                partitions: partitions.collect(),
                pin,
            }),
            deals: AtomicU64::new(0),
        });
        groups.push(Arc::clone(&shared));
        drop(groups);
        Ok(Group {
            shared,
            store: self.store,
        })
    }
}

/// A group of those who share the work on a log. Cheap to clone; all clones are the same group.
#[derive(Clone)]
pub struct Group {
    pub(crate) store: EventStore,
    pub(crate) shared: Arc<Shared>,
}

impl Group {
    /// A new member. It has its share of the partitions as soon as the others have acknowledged what they were given of them.
    ///
    /// # Errors
    /// None of its own; those of looking at the log's end.
    pub fn join(&self) -> Result<Member, ReadError> {
        let (scan, _) = self.store.scan(Start::End, false)?;
        let mut state = self.shared.state.lock();
        let id = state.joined;
        state.joined += 1;
        state.members.push(id);
        state.deal();
        let partitions = state.partitions.len();
        self.shared.dealt();
        drop(state);
        self.store.log.bell.disturb();
        Ok(Member::new(self.clone(), id, scan, partitions))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// How many members it has.
    #[must_use]
    pub fn members(&self) -> usize {
        self.shared.state.lock().members.len()
    }

    /// The position with which each partition would go on if all its members were gone now: everything before was
    /// acknowledged. [`GroupBuilder::checkpoints`] takes them.
    #[must_use]
    pub fn checkpoints(&self) -> Vec<u64> {
        let state = self.shared.state.lock();
        let checkpoints = state
            .partitions
            .iter()
            .map(|partition| partition.checkpoint);
        checkpoints.collect()
    }
}

impl Shared {
    /// Says that partitions were dealt out or changed hands. The lock's holder's, who rings the bell afterwards.
    pub(crate) fn dealt(&self) {
        // Relaxed: a sleeper looks under the bell's lock, which is taken after this; others look under the state's.
        self.deals.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was said.
    pub(crate) fn deals(&self) -> u64 {
        self.deals.load(Ordering::Relaxed)
    }

    /// The partition of a record: that of its key, or, if it has none, any.
    pub(crate) fn partition_of(&self, record: &Record<'_>, partitions: usize) -> usize {
        match record.key_hash() {
            // The upper bits of the hash, as they pick the worker.
            Some(hash) => ((u128::from(hash) * partitions as u128) >> 64) as usize,
            None => (record.position() % partitions as u64) as usize,
        }
    }

    pub(crate) fn passes(&self, record: &Record<'_>) -> bool {
        self.filter
            .as_ref()
            .is_none_or(|filter| filter.passes(record))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("name", &self.shared.name)
            .field("members", &self.members())
            .finish_non_exhaustive()
    }
}

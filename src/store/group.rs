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
use super::error::ReadError;
use super::filter::RecordFilter;
use super::follow::{Limit, Signal, SlowReader, Start, Stopper};
use super::retention::RetentionPin;
use super::scan::{Scan, Scanned};
use super::view::Record;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex};
use std::fmt;
use std::time::Duration;

/// The most partitions that a group can have.
const PARTITIONS_MAX: usize = 4_096;

/// The groups of a log.
#[derive(Debug, Default)]
pub(crate) struct Groups(Mutex<Vec<Arc<Shared>>>);

/// What all members of a group share.
struct Shared {
    name: String,
    filter: Option<RecordFilter>,
    slow: SlowReader,
    state: Mutex<State>,
    /// How often partitions were dealt out or changed hands; moved under the lock.
    deals: AtomicU64,
}

struct State {
    /// In the order in which they joined.
    members: Vec<u64>,
    joined: u64,
    partitions: Vec<Partition>,
    /// Where the one is that is furthest back, if the group holds retention.
    pin: Option<RetentionPin>,
}

#[derive(Debug, Clone, Copy)]
struct Partition {
    owner: Option<u64>,
    /// Who is to have it, as soon as its owner is done with what it was given.
    heir: Option<u64>,
    /// Everything of it before this position was acknowledged.
    checkpoint: u64,
}

impl State {
    /// Deals the partitions out among the members, as evenly as can be; who has one keeps it while that is fair.
    fn deal(&mut self) {
        let members = &self.members;
        let mut held: Vec<(u64, usize)> = members
            .iter()
            .map(|&member| {
                let is_its = |partition: &&Partition| partition.heir == Some(member);
                (member, self.partitions.iter().filter(is_its).count())
            })
            .collect();
        // Who has most gets one more, where they do not come out even.
        held.sort_by_key(|&(member, count)| (std::cmp::Reverse(count), member));
        let count = self.partitions.len();
        let mut left: Vec<(u64, usize)> = held
            .iter()
            .enumerate()
            .map(|(number, &(member, _))| {
                let share = count / held.len() + usize::from(number < count % held.len());
                (member, share)
            })
            .collect();
        for partition in &mut self.partitions {
            let heir = partition.heir.take();
            let kept = left
                .iter_mut()
                .find(|(member, left)| heir == Some(*member) && *left > 0);
            if let Some((_, left)) = kept {
                *left -= 1;
                partition.heir = heir;
            }
        }
        for partition in &mut self.partitions {
            if partition.heir.is_none()
                && let Some((member, left)) = left.iter_mut().find(|(_, left)| *left > 0)
            {
                *left -= 1;
                partition.heir = Some(*member);
            }
            if partition.owner.is_none() {
                partition.owner = partition.heir;
            }
        }
    }

    fn lowest(&self) -> u64 {
        let checkpoints = self.partitions.iter().map(|partition| partition.checkpoint);
        checkpoints.min().unwrap_or(0)
    }

    /// Lets retention have what all have acknowledged.
    fn move_pin(&self) {
        if let Some(pin) = &self.pin {
            pin.advance(self.lowest());
        }
    }
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
                    first: self.store.reader().first_whole(),
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
    store: EventStore,
    shared: Arc<Shared>,
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
        let lanes = vec![None; state.partitions.len()];
        self.shared.dealt();
        drop(state);
        self.store.log.bell.disturb();
        Ok(Member {
            group: self.clone(),
            id,
            scan,
            lanes,
            deals: 0,
            stopper: Stopper::new(&self.store.log),
        })
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
    fn dealt(&self) {
        // Relaxed: a sleeper looks under the bell's lock, which is taken after this; others look under the state's.
        self.deals.fetch_add(1, Ordering::Relaxed);
    }

    /// The partition of a record: that of its key, or, if it has none, any.
    fn partition_of(&self, record: &Record<'_>, partitions: usize) -> usize {
        match record.key_hash() {
            // The upper bits of the hash, as they pick the worker.
            Some(hash) => ((u128::from(hash) * partitions as u128) >> 64) as usize,
            None => (record.position() % partitions as u64) as usize,
        }
    }

    fn passes(&self, record: &Record<'_>) -> bool {
        self.filter
            .as_ref()
            .is_none_or(|filter| filter.passes(record))
    }
}

/// A partition that a member has.
#[derive(Debug, Clone, Copy)]
struct Lane {
    /// What was given, or passed over as another's or left out, ends before this position.
    next: u64,
    /// Something was given that is not acknowledged.
    is_unacked: bool,
    /// Whether more is to be given: it is not to be handed over.
    is_kept: bool,
}

/// A member of a group, for one thread at a time. Dropped, it leaves: what it has not acknowledged is given to others.
pub struct Member {
    group: Group,
    id: u64,
    scan: Scan,
    /// By partition: those it has.
    lanes: Vec<Option<Lane>>,
    /// The deals that the lanes follow.
    deals: u64,
    stopper: Stopper,
}

impl Member {
    /// Events of its partitions, up to `max` of them (0 counts as 1), or more if the last append has more; waits for them, for so long
    /// at most. Events that were given before are let go, and stay unacknowledged.
    ///
    /// What it is given is [`Signal::Events`], [`Signal::TimedOut`] or [`Signal::Stopped`], and, if the group is lossy,
    /// [`Signal::Gap`] for what its partitions have lost, or some of them.
    ///
    /// # Errors
    /// [`ReadError::Truncated`] if what comes next is not kept any more, unless the group is lossy.
    pub fn next_batch(&mut self, max: usize, timeout: Duration) -> Result<Signal<'_>, ReadError> {
        let signal = self.go_on(max, timeout)?;
        Ok(signal.unwrap_or_else(|| Signal::Events(self.scan.events())))
    }

    fn go_on(
        &mut self,
        max: usize,
        timeout: Duration,
    ) -> Result<Option<Signal<'static>>, ReadError> {
        let mut limit = Limit::new(timeout);
        self.scan.release();
        loop {
            if self.stopper.is_stopped() {
                return Ok(Some(Signal::Stopped));
            }
            let Some(next) = self.settle() else {
                if !self.sleep(&mut limit, false) {
                    return Ok(Some(Signal::TimedOut));
                }
                continue;
            };
            if next != self.scan.position() {
                match self.scan.seek(next) {
                    Err(ReadError::Truncated { first }) => return self.is_overtaken(first),
                    other => other?,
                }
            }
            let (lanes, shared) = (&self.lanes, &self.group.shared);
            let looked = self.scan.look(max, |record| {
                let lane = lanes[shared.partition_of(record, lanes.len())];
                lane.is_some_and(|lane| lane.is_kept && record.position() >= lane.next)
                    && shared.passes(record)
            });
            if let Scanned::Gone { first } = looked {
                return self.is_overtaken(first);
            }
            self.pass();
            match looked {
                Scanned::Found { .. } => return Ok(None),
                Scanned::Nothing if limit.is_over(&mut self.scan) => {
                    return Ok(Some(Signal::TimedOut));
                }
                Scanned::Nothing | Scanned::Gone { .. } => {}
                Scanned::End => {
                    self.scan.release();
                    // What was passed over is acknowledged by that, and there may be a new partition to go back for.
                    if self.settle() == Some(self.scan.position()) && !self.sleep(&mut limit, true)
                    {
                        return Ok(Some(Signal::TimedOut));
                    }
                }
            }
        }
    }

    /// Sleeps until partitions were dealt out again or it was stopped, and, if it has some, until something was appended.
    fn sleep(&self, limit: &mut Limit, has_some: bool) -> bool {
        let (log, seen) = (&self.group.store.log, self.scan.watermark());
        limit.wait(log, || {
            self.group.shared.deals.load(Ordering::Relaxed) != self.deals
                || self.stopper.is_stopped()
                || (has_some && log.watermark() != seen)
        })
    }

    /// Enters what the last look has found and passed.
    fn pass(&mut self) {
        for record in self.scan.events() {
            let partition = self.group.shared.partition_of(&record, self.lanes.len());
            if let Some(lane) = &mut self.lanes[partition] {
                lane.is_unacked = true;
            }
        }
        let position = self.scan.position();
        for lane in self.lanes.iter_mut().flatten().filter(|lane| lane.is_kept) {
            lane.next = lane.next.max(position);
        }
    }

    /// What comes next for some of its partitions is gone.
    fn is_overtaken(&mut self, first: u64) -> Result<Option<Signal<'static>>, ReadError> {
        if self.group.shared.slow != SlowReader::Lossy {
            return Err(ReadError::Truncated { first });
        }
        let behind = |lane: &&mut Lane| lane.is_kept && lane.next < first;
        let mut from = first;
        for lane in self.lanes.iter_mut().flatten().filter(behind) {
            from = from.min(lane.next);
            lane.next = first;
        }
        let lost = &self.group.store.log.counts.lost;
        lost.fetch_add(first - from, Ordering::Relaxed);
        Ok(Some(Signal::Gap { from, to: first }))
    }

    /// Hands over what is to be handed over and is acknowledged, takes what has come; the position from which there is
    /// something to look for, if it has a partition.
    fn settle(&mut self) -> Option<u64> {
        let shared = Arc::clone(&self.group.shared);
        let mut state = shared.state.lock();
        let has_handed_over = self.hand_over(&mut state);
        for (lane, partition) in self.lanes.iter_mut().zip(&state.partitions) {
            if partition.owner != Some(self.id) {
                continue;
            }
            let lane = lane.get_or_insert(Lane {
                next: partition.checkpoint,
                is_unacked: false,
                is_kept: true,
            });
            lane.is_kept = partition.heir == Some(self.id);
        }
        self.deals = shared.deals.load(Ordering::Relaxed);
        drop(state);
        if has_handed_over {
            self.group.store.log.bell.disturb();
        }
        let kept = self.lanes.iter().flatten().filter(|lane| lane.is_kept);
        kept.map(|lane| lane.next).min()
    }

    /// Moves checkpoints, and gives partitions to their heirs where nothing is unacknowledged; whether there were any.
    fn hand_over(&mut self, state: &mut State) -> bool {
        let mut has_handed_over = false;
        for (place, partition) in self.lanes.iter_mut().zip(&mut state.partitions) {
            let Some(lane) = place.filter(|lane| !lane.is_unacked) else {
                continue;
            };
            partition.checkpoint = partition.checkpoint.max(lane.next);
            if partition.heir != Some(self.id) {
                partition.owner = partition.heir;
                *place = None;
                has_handed_over = true;
            }
        }
        state.move_pin();
        if has_handed_over {
            self.group.shared.dealt();
        }
        has_handed_over
    }

    /// Acknowledges all that it was given so far: it will not be given again. Partitions that are to be another's are
    /// from now on.
    pub fn ack(&mut self) {
        for lane in self.lanes.iter_mut().flatten() {
            lane.is_unacked = false;
        }
        let shared = Arc::clone(&self.group.shared);
        let has_handed_over = self.hand_over(&mut shared.state.lock());
        if has_handed_over {
            self.group.store.log.bell.disturb();
        }
    }

    /// The partitions of which it may be given events now, by number.
    #[must_use]
    pub fn partitions(&mut self) -> Vec<usize> {
        self.settle();
        let lanes = self.lanes.iter().enumerate();
        let kept = lanes.filter(|(_, lane)| lane.is_some_and(|lane| lane.is_kept));
        kept.map(|(number, _)| number).collect()
    }

    /// What stops it from elsewhere. It is a member until it is dropped.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let shared = Arc::clone(&self.group.shared);
        let mut state = shared.state.lock();
        self.hand_over(&mut state);
        state.members.retain(|&member| member != self.id);
        for partition in &mut state.partitions {
            if partition.owner == Some(self.id) {
                partition.owner = None;
            }
        }
        state.deal();
        shared.dealt();
        drop(state);
        self.group.store.log.bell.disturb();
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

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("group", &self.group.shared.name)
            .field("id", &self.id)
            .field("position", &self.scan.position())
            .finish_non_exhaustive()
    }
}

//! A member of a group: a walk along the log for the partitions that it has.
//!
//! publish → **store** → worker → handler → outcome
//!
//! For each partition it knows how far it was given; the walk begins where the one is that is furthest back. What the group knows
//! is looked at before each batch, which is when partitions come and go.

use super::deal::State;
use super::error::ReadError;
use super::group::Group;
use super::scan::{Scan, Scanned};
use super::signal::{Limit, Signal, SlowReader, Stopper};
use crate::sync::Arc;
use crate::sync::atomic::Ordering;
use std::fmt;
use std::time::Duration;

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
    pub(crate) fn new(group: Group, id: u64, scan: Scan, partitions: usize) -> Self {
        Self {
            id,
            scan,
            lanes: vec![None; partitions],
            deals: 0,
            stopper: Stopper::new(&group.store.log),
            group,
        }
    }

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
            self.group.shared.deals() != self.deals
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
        self.deals = shared.deals();
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

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("group", &self.group.name())
            .field("id", &self.id)
            .field("position", &self.scan.position())
            .finish_non_exhaustive()
    }
}

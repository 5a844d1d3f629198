//! A walk through the log that applies what it meets: the loop that everything else is built around.
//!
//! store → **projection** → view
//!
//! One walk has one owner at a time. It loads the watermark once for each batch, finds the functions for a record by one
//! look at a table, and catches panics once for a batch and not for each record. The cursor moves behind a record when it
//! is applied and not before, so wherever a batch ends, by a failure too, the view and its checkpoint agree (PC1).

use super::at::At;
use super::builder::Plan;
use super::checkpoint::Partition;
use super::fold::{ApplyError, Body};
use super::policy::{ErrorPolicy, Skipped};
use super::types::{Row, Rows, other_version};
use super::view::View;
use crate::event::contain;
use crate::store::{Cursor, EventStore, ReadError, Reader, Record, Step, Watermark};
use crate::sync::{Arc, clock};
use std::time::Instant;

/// The walk.
pub(crate) struct Course<S> {
    pub(crate) plan: Arc<Plan<S>>,
    reader: Reader,
    cursor: Cursor,
    rows: Rows,
    partition: Partition,
    /// Records below were applied before, to this view or to the one that this one is to replace.
    replay_before: u64,
    trouble: Option<Trouble>,
}

/// A record that has failed and is to be tried again: the one at the cursor.
#[derive(Debug)]
struct Trouble {
    attempts: u32,
    /// How many of its functions have done their part.
    done: usize,
    /// Not before then.
    due: Option<Instant>,
}

/// How a batch ended.
#[derive(Debug)]
pub(crate) enum Turn {
    /// There may be more.
    Again,
    /// Everything that this watermark covers is applied, or everything up to the bound.
    Done(Watermark),
    /// A record is to be tried again then.
    Later(Instant),
    /// The record at the cursor cannot be applied, and the policy says to stop.
    Failed(String),
}

enum Ended {
    Full,
    Done,
    Gone,
    Failed(String),
}

impl<S: Send + Sync + 'static> Course<S> {
    /// A walk that begins with the record at `next`.
    pub(crate) fn new(
        store: &EventStore,
        plan: Arc<Plan<S>>,
        partition: Partition,
        next: u64,
    ) -> Result<Self, ReadError> {
        let mut reader = store.reader();
        let cursor = reader.cursor(next, reader.watermark())?;
        reader.release();
        Ok(Self {
            plan,
            reader,
            cursor,
            rows: Rows::default(),
            partition,
            replay_before: 0,
            trouble: None,
        })
    }

    /// The position of the first record that is not applied.
    pub(crate) fn next(&self) -> u64 {
        self.cursor.position
    }

    /// Marks what lies below as coming again.
    pub(crate) fn replays_before(&mut self, position: u64) {
        self.replay_before = self.replay_before.max(position);
    }

    /// The walk of another view takes this one's place: what came before comes again there.
    pub(crate) fn replay_before(&self) -> u64 {
        self.replay_before.max(self.next())
    }

    /// Has a record that failed for good tried anew.
    pub(crate) fn forgive(&mut self) {
        if let Some(trouble) = &mut self.trouble {
            trouble.attempts = 0;
            trouble.due = None;
        }
    }

    /// How the records of this plan that fail while it makes a new view are dealt with.
    pub(crate) fn rebuild_policy(&self) -> ErrorPolicy {
        self.plan.on_rebuild_error
    }

    /// Applies a batch of what lies before position `before`. Records that were appended together are applied together, if
    /// none fails.
    pub(crate) fn fold(&mut self, view: &mut View<S>, before: u64, policy: ErrorPolicy) -> Turn {
        if let Some(due) = self.trouble.as_ref().and_then(|trouble| trouble.due)
            && !clock::left(due).is_zero()
        {
            return Turn::Later(due);
        }
        let watermark = self.reader.log.watermark();
        let mut left = self.plan.batch;
        let turn = loop {
            let mut done = self.trouble.as_ref().map_or(0, |trouble| trouble.done);
            let start = self.cursor.position;
            let ended = contain(|| self.run(view, watermark, before, &mut left, &mut done));
            if self.cursor.position != start {
                self.trouble = None;
            }
            match ended {
                Ok(Ended::Full) => break Turn::Again,
                Ok(Ended::Done) => break Turn::Done(watermark),
                // Gone, or only the segment in which the walk stood, which had nothing more.
                Ok(Ended::Gone) => match self
                    .reader
                    .cursor(self.cursor.position, self.reader.watermark())
                {
                    Ok(cursor) => self.cursor = cursor,
                    Err(error) => break Turn::Failed(error.to_string()),
                },
                Ok(Ended::Failed(reason)) => {
                    if let Some(turn) = self.fail(view, watermark, policy, done, reason) {
                        break turn;
                    }
                }
                Err(panic) => {
                    let reason = format!("the function panicked: {panic}");
                    if let Some(turn) = self.fail(view, watermark, policy, done, reason) {
                        break turn;
                    }
                }
            }
        };
        view.next = self.cursor.position;
        self.reader.release();
        turn
    }

    fn run(
        &mut self,
        view: &mut View<S>,
        watermark: Watermark,
        before: u64,
        left: &mut usize,
        done: &mut usize,
    ) -> Ended {
        let Self {
            plan,
            reader,
            cursor,
            rows,
            partition,
            replay_before,
            trouble,
        } = self;
        let mut attempt = trouble.as_ref().map_or(1, |trouble| trouble.attempts + 1);
        while cursor.position < before {
            let mut walk = *cursor;
            let record = match reader.step(&mut walk, watermark) {
                Step::Record(found) => reader.record(found),
                Step::End => return Ended::Done,
                Step::Gone => return Ended::Gone,
            };
            let at = At {
                record,
                is_replay: record.position() < *replay_before,
                attempt,
            };
            if let Err(error) = apply(plan, rows, *partition, &mut view.state, &at, done) {
                return Ended::Failed(error.to_string());
            }
            *cursor = walk;
            *done = 0;
            attempt = 1;
            *left = left.saturating_sub(1);
            if *left == 0 && record.batch_left() == 0 {
                return Ended::Full;
            }
        }
        Ended::Done
    }

    /// What the policy says of the record at the cursor; `None` to go on at once.
    #[cold]
    fn fail(
        &mut self,
        view: &mut View<S>,
        watermark: Watermark,
        policy: ErrorPolicy,
        done: usize,
        reason: String,
    ) -> Option<Turn> {
        let attempts = 1 + self.trouble.as_ref().map_or(0, |trouble| trouble.attempts);
        let trouble = self.trouble.insert(Trouble {
            attempts,
            done,
            due: None,
        });
        if attempts < policy.attempts_max {
            if policy.delay.is_zero() {
                return None;
            }
            trouble.due = clock::deadline(policy.delay);
            // A delay too long to be told is one for ever: as good as a stop.
            return Some(trouble.due.map_or(Turn::Failed(reason), Turn::Later));
        }
        if !policy.is_skipping {
            return Some(Turn::Failed(reason));
        }
        self.trouble = None;
        if let Step::Record(found) = self.reader.step(&mut self.cursor, watermark) {
            let record = self.reader.record(found);
            view.skipped.push(Skipped::of(&record, attempts, reason));
        }
        None
    }
}

#[inline(always)]
fn apply<S>(
    plan: &Plan<S>,
    rows: &mut Rows,
    partition: Partition,
    state: &mut S,
    at: &At<'_>,
    done: &mut usize,
) -> Result<(), ApplyError>
where
    S: Send + Sync + 'static,
{
    let record = &at.record;
    if record.is_mark() || !owns(partition, record) {
        return Ok(());
    }
    let passes = || plan.filter.as_ref().is_none_or(|f| f.passes(record));
    match &plan.body {
        Body::Calls(calls) => match rows.of(calls.types(), record) {
            Row::Of(number) if passes() => calls.call(number, state, at, done),
            Row::OtherVersion if passes() => Err(other_version(record)),
            _ => Ok(()),
        },
        Body::Fold(fold) if passes() => fold.apply(state, record, at),
        Body::Fold(_) => Ok(()),
    }
}

/// Whether the partition has this record's key; the first has those without one.
#[inline(always)]
fn owns(partition: Partition, record: &Record<'_>) -> bool {
    partition.count == 1
        || record
            .key_hash()
            .map_or(0, |key| of_key(key, partition.count))
            == partition.index
}

/// Which of so many partitions has a key.
#[inline(always)]
pub(crate) fn of_key(hash: u64, partitions: usize) -> usize {
    (hash % partitions as u64) as usize
}

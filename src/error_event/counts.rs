//! How often what went wrong: a bounded table with exact counts.
//!
//! publish → route → lane → worker → handler → **outcome** → (retry | breaker | dead letter)

use super::{Category, SEVERITY_COUNT, Severity};
use crate::event::descriptor_at;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{CachePadded, Mutex};
use serde::Serialize;
use std::collections::HashMap;

/// Most rows of the table.
pub(super) const ROWS_MAX: usize = 1_024;
/// Locks that the rows are shared out to, so that failures of different things seldom meet.
const SHARD_COUNT: usize = 16;

/// How often something happened, by severity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SeverityCounts {
    /// For whoever looks for something.
    pub debug: u64,
    /// Worth knowing.
    pub info: u64,
    /// Went wrong and is being seen to.
    pub warning: u64,
    /// Somebody has to see to it.
    pub error: u64,
    /// A part of the engine no longer does its work.
    pub critical: u64,
}

impl SeverityCounts {
    /// The count of one severity.
    #[must_use]
    pub fn of(&self, severity: Severity) -> u64 {
        match severity {
            Severity::Debug => self.debug,
            Severity::Info => self.info,
            Severity::Warning => self.warning,
            Severity::Error => self.error,
            Severity::Critical => self.critical,
        }
    }

    /// All together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.debug + self.info + self.warning + self.error + self.critical
    }

    /// Adds `other` to these counts.
    pub fn add(&mut self, other: &Self) {
        self.debug += other.debug;
        self.info += other.info;
        self.warning += other.warning;
        self.error += other.error;
        self.critical += other.critical;
    }
}

impl From<[u64; SEVERITY_COUNT]> for SeverityCounts {
    fn from([debug, info, warning, error, critical]: [u64; SEVERITY_COUNT]) -> Self {
        Self {
            debug,
            info,
            warning,
            error,
            critical,
        }
    }
}

/// One row of [`ErrorCounts`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ErrorCount {
    /// The event type's name, if it was about an event.
    pub event: Option<&'static str>,
    /// The subscription's id, if it was about one.
    pub subscription: Option<u64>,
    /// The subscription's name.
    pub subscription_name: Option<String>,
    /// What sort of thing went wrong.
    pub category: Category,
    /// How often, by severity.
    pub counts: SeverityCounts,
}

/// What went wrong so far, by event type, subscription, category and severity.
///
/// A plain value, taken once and never changing. Every error is counted exactly once, in its row or in `other`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ErrorCounts {
    /// At most 1,024 rows, by event type's name, subscription and category.
    pub rows: Vec<ErrorCount>,
    /// What came when all rows were given away and has none.
    pub other: SeverityCounts,
    /// How often an escalation rule came to its count, cool-downs aside.
    pub escalations: u64,
    /// How often an error observer or an escalation's handler panicked; told to nobody else.
    pub observer_panics: u64,
}

impl ErrorCounts {
    /// Everything together, by severity.
    #[must_use]
    pub fn total(&self) -> SeverityCounts {
        let mut total = self.other;
        for row in &self.rows {
            total.add(&row.counts);
        }
        total
    }
}

/// What counts as the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Sort {
    pub(super) event_type: Option<u32>,
    pub(super) subscription: Option<u64>,
    pub(super) category: Category,
}

#[derive(Debug)]
struct Row {
    /// Names outlive their subscriptions here.
    name: Option<String>,
    counts: [u64; SEVERITY_COUNT],
}

type Shard = HashMap<Sort, Row, ahash::RandomState>;

/// The table while it is being filled.
///
/// Why by sort and not by worker: an observer that asks for the first occurrence, or for every hundredth, has to get
/// each number once. Two workers meet at a lock only when they fail in the same place at the same moment.
#[derive(Debug)]
pub(super) struct Table {
    shards: [CachePadded<Mutex<Shard>>; SHARD_COUNT],
    row_count: AtomicUsize,
    /// What has no row.
    other: Mutex<[u64; SEVERITY_COUNT]>,
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            shards: Default::default(),
            row_count: AtomicUsize::new(0),
            other: Mutex::default(),
        }
    }

    /// Counts one, and says how many of the sort that makes.
    pub(super) fn count(&self, sort: Sort, severity: Severity, name: Option<&str>) -> u64 {
        let mut shard = self.shards[shard_of(sort)].lock();
        if let Some(row) = shard.get_mut(&sort) {
            return add(&mut row.counts, severity);
        }
        // Relaxed: the places are only counted.
        let has_place = self.row_count.load(Ordering::Relaxed) < ROWS_MAX
            && self.row_count.fetch_add(1, Ordering::Relaxed) < ROWS_MAX;
        if !has_place {
            drop(shard);
            return add(&mut self.other.lock(), severity);
        }
        let row = shard.entry(sort).or_insert_with(|| Row {
            name: name.map(str::to_owned),
            counts: [0; SEVERITY_COUNT],
        });
        add(&mut row.counts, severity)
    }

    pub(super) fn read(&self) -> ErrorCounts {
        let mut rows = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            rows.extend(shard.iter().map(|(sort, row)| ErrorCount {
                event: sort.event_type.map(|index| descriptor_at(index).name),
                subscription: sort.subscription,
                subscription_name: row.name.clone(),
                category: sort.category,
                counts: row.counts.into(),
            }));
        }
        rows.sort_by_key(|row| (row.event, row.subscription, row.category));
        ErrorCounts {
            rows,
            other: (*self.other.lock()).into(),
            ..ErrorCounts::default()
        }
    }
}

fn add(counts: &mut [u64; SEVERITY_COUNT], severity: Severity) -> u64 {
    counts[severity as usize] += 1;
    counts.iter().sum()
}

/// The numbers of types and subscriptions are given out in a row, so a few bits tell them apart.
fn shard_of(sort: Sort) -> usize {
    let event_type = u64::from(sort.event_type.unwrap_or(0));
    let subscription = sort.subscription.unwrap_or(0);
    (event_type.wrapping_add(subscription.wrapping_mul(5)) % SHARD_COUNT as u64) as usize
}

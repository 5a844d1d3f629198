//! What the engine has done so far, as data, as text and as JSON.
//!
//! Callers may rely on: a report is a plain value, taken once and never changing; its text is
//! aligned, free of escape codes and control characters (names given by users included) and so right
//! for a pipe and a log; its JSON is one object with the fields of [`Report`], times in nanoseconds.
//! The text may change from version to version: programs read the JSON or the fields.

mod table;

use super::counts::{AttemptCounts, DeliveryCounts};
use super::latency::{Latency, LatencySummary};
use crate::event::Class;
use serde::Serialize;
use std::fmt;
pub(crate) use table::{Table, grouped, printable};

pub use table::readable_ns;

/// What the engine has done since it was built.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Time since the engine was built.
    pub elapsed_ns: u64,
    /// Events admitted.
    pub published: u64,
    /// Events refused by lossy admission, which were never admitted.
    pub dropped: u64,
    /// Events admitted that had no subscription.
    pub unhandled: u64,
    /// The counts of all subscriptions together.
    pub totals: DeliveryCounts,
    /// What became of each subscription's deliveries, those of withdrawn ones included.
    pub subscriptions: Vec<SubscriptionReport>,
    /// What waits where.
    pub lanes: Vec<LaneReport>,
    /// What each worker is at.
    pub workers: Vec<WorkerReport>,
    /// Latency by pool and class.
    pub classes: Vec<ClassReport>,
    /// How time was read.
    pub stamps: StampsKind,
    /// How parked workers are woken.
    pub wake: WakeKind,
    /// From publish until the handler starts, over all pools and classes.
    pub queue_wait: Latency,
    /// Time in handlers, over all subscriptions.
    pub handler: Latency,
    /// From publish, or from the intended time where one was given, until the last handler has
    /// returned; over all pools and classes.
    pub end_to_end: Latency,
}

/// One subscription in a [`Report`].
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct SubscriptionReport {
    /// Its number, unique within the engine.
    pub id: u64,
    /// The name it was given.
    pub name: String,
    /// The pool it runs on.
    pub pool: String,
    /// The names of the event types it is for.
    pub events: Vec<&'static str>,
    /// What became of its deliveries.
    pub counts: DeliveryCounts,
    /// How attempts went, and what is held.
    pub attempts: AttemptCounts,
    /// Time in its handler.
    pub handler: Latency,
}

/// One queue in a [`Report`].
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct LaneReport {
    /// The pool of the worker that takes from it.
    pub pool: String,
    /// The worker that takes from it; 0 for a queue that all workers of a pool share.
    pub worker: u16,
    /// The class of the events in it.
    pub class: Class,
    /// Who puts in.
    pub kind: LaneKind,
    /// Events waiting.
    pub depth: u64,
    /// Events that fit.
    pub capacity: u64,
    /// Events taken out.
    pub taken: u64,
    /// How often a publisher found it full.
    pub full_count: u64,
}

/// One worker in a [`Report`].
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct WorkerReport {
    /// The pool it belongs to.
    pub pool: String,
    /// Its number within the pool.
    pub worker: u16,
    /// What it is at.
    pub state: WorkerState,
    /// The call that it is in, if that is timed by itself: its subscription has a limit, or is on its way
    /// through a retry.
    pub call: Option<CallReport>,
    /// The subscription whose full shelf of held deliveries keeps it from taking anything from outside.
    pub held_back_by: Option<String>,
    /// How long ago it last recorded anything; its latencies in this report are that old. A large
    /// age is normal while parked, and a stuck handler's trace otherwise.
    pub age_ns: u64,
    /// Events it has taken.
    pub taken: u64,
}

/// A call of a handler that has not come back.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct CallReport {
    /// The subscription's number.
    pub subscription: u64,
    /// The subscription's name.
    pub name: String,
    /// How long it has been.
    pub since_ns: u64,
    /// Whether that is longer than the subscription's limit: the handler is stuck.
    pub is_over_limit: bool,
}

/// One class of a pool in a [`Report`].
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ClassReport {
    /// The pool.
    pub pool: String,
    /// The class.
    pub class: Class,
    /// From publish until the handler starts.
    pub queue_wait: Latency,
    /// From publish, or from the intended time where one was given, until the last handler has
    /// returned.
    pub end_to_end: Latency,
}

/// Who puts events into a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LaneKind {
    /// One publisher, from outside.
    Publisher,
    /// A worker, for what handlers publish.
    Worker,
    /// Anyone, through `&self`.
    Inbox,
    /// Anyone; all workers of the pool take from it.
    Shared,
}

impl LaneKind {
    /// The name in reports: `publisher`, `worker`, `inbox`, `shared`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
            Self::Worker => "worker",
            Self::Inbox => "inbox",
            Self::Shared => "shared",
        }
    }
}

/// What a worker is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Looking for events, or between two.
    Running,
    /// Asleep until there is something to do.
    Parked,
    /// In a handler.
    InHandler,
    /// Ended.
    Stopped,
}

impl WorkerState {
    /// The name in reports: `running`, `parked`, `in_handler`, `stopped`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Parked => "parked",
            Self::InHandler => "in_handler",
            Self::Stopped => "stopped",
        }
    }
}

/// How workers read the time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StampsKind {
    /// For every event.
    Each,
    /// Once for a group of at most 8 events while handlers are short: end-to-end times then run to
    /// the end of the group, an upper bound.
    #[default]
    Adaptive,
    /// For one event in 8, picked as by chance; the others have no times.
    Sampled,
}

impl StampsKind {
    /// The name in reports: `each`, `adaptive`, `sampled`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Each => "each",
            Self::Adaptive => "adaptive",
            Self::Sampled => "sampled",
        }
    }
}

/// How a publisher makes sure that it does not miss a worker that is about to park.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WakeKind {
    /// By a barrier on the worker's side alone.
    Asymmetric,
    /// By a fence on both sides.
    #[default]
    Fence,
    /// Not at all: workers never park.
    Spin,
}

impl WakeKind {
    /// The name in reports: `asymmetric`, `fence`, `spin`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Asymmetric => "asymmetric",
            Self::Fence => "fence",
            Self::Spin => "spin",
        }
    }
}

/// [`Report::to_text`].
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl Report {
    /// The report as aligned tables for people, lines of text that end in a line break.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = self.head();
        let sections = [
            ("latency", self.latency_table()),
            ("subscriptions", self.subscription_table()),
            ("handler time by subscription", self.handler_table()),
            ("lanes", self.lane_table()),
            ("workers", self.worker_table()),
        ];
        let attempts = ("attempts", self.attempt_table());
        let attempts = (!attempts.1.is_empty()).then_some(attempts);
        for (title, table) in sections.into_iter().chain(attempts) {
            text.push('\n');
            text.push_str(title);
            text.push('\n');
            text.push_str(&table.to_text());
        }
        text
    }

    /// The report as one JSON object on one line. Latencies are objects of `count`, `p50`, `p90`,
    /// `p99`, `p99_9`, `p99_99`, `max`, `min` and `mean`.
    #[cfg(feature = "json")]
    #[cfg_attr(docsrs, doc(cfg(feature = "json")))]
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a report has string keys and finite numbers only")
    }

    fn head(&self) -> String {
        let totals = &self.totals;
        let stamps = match self.stamps {
            StampsKind::Each => "each event",
            StampsKind::Sampled => "sampled (one event in 8, at random)",
            StampsKind::Adaptive => {
                "adaptive (short handlers: end to end runs to the end of a group of at most 8)"
            }
        };
        let admitted = grouped(totals.admitted);
        format!(
            "elapsed     {}\n\
             events      {} published, {} dropped, {} without a subscription\n\
             deliveries  {admitted} admitted = {} handled + {} failed + {} dead-lettered + {} skipped \
             + {} withdrawn + {} abandoned + {} in flight\n\
             stamps      {stamps}\n\
             wake        {}\n",
            readable_ns(self.elapsed_ns),
            grouped(self.published),
            grouped(self.dropped),
            grouped(self.unhandled),
            grouped(totals.handled),
            grouped(totals.failed),
            grouped(totals.dead_lettered),
            grouped(totals.skipped),
            grouped(totals.withdrawn),
            grouped(totals.abandoned),
            grouped(totals.in_flight()),
            self.wake.name(),
        )
    }

    fn latency_table(&self) -> Table {
        let mut table = Table::new(["pool", "class", "time"], LATENCY_COLUMNS);
        let mut row = |pool: &str, class: &str, time: &str, latency: &Latency| {
            table.row(
                [printable(pool), class.to_owned(), time.to_owned()],
                latency_cells(latency),
            );
        };
        for class in &self.classes {
            row(
                &class.pool,
                class.class.name(),
                "queue wait",
                &class.queue_wait,
            );
            row(
                &class.pool,
                class.class.name(),
                "end to end",
                &class.end_to_end,
            );
        }
        row("all", "all", "queue wait", &self.queue_wait);
        row("all", "all", "handler", &self.handler);
        row("all", "all", "end to end", &self.end_to_end);
        table
    }

    fn subscription_table(&self) -> Table {
        let mut table = Table::new(
            ["id", "name", "pool", "events"],
            [
                "admitted",
                "handled",
                "failed",
                "dead-lettered",
                "skipped",
                "withdrawn",
                "abandoned",
                "in flight",
            ],
        );
        for subscription in &self.subscriptions {
            let counts = &subscription.counts;
            table.row(
                [
                    subscription.id.to_string(),
                    printable(&subscription.name),
                    printable(&subscription.pool),
                    event_names(&subscription.events),
                ],
                [
                    counts.admitted,
                    counts.handled,
                    counts.failed,
                    counts.dead_lettered,
                    counts.skipped,
                    counts.withdrawn,
                    counts.abandoned,
                    counts.in_flight(),
                ]
                .map(grouped),
            );
        }
        table
    }

    fn handler_table(&self) -> Table {
        let mut table = Table::new(["id", "name", "pool"], LATENCY_COLUMNS);
        for subscription in &self.subscriptions {
            table.row(
                [
                    subscription.id.to_string(),
                    printable(&subscription.name),
                    printable(&subscription.pool),
                ],
                latency_cells(&subscription.handler),
            );
        }
        table
    }

    fn lane_table(&self) -> Table {
        let mut table = Table::new(
            ["pool", "worker", "class", "from"],
            ["depth", "capacity", "taken", "found full"],
        );
        for lane in &self.lanes {
            table.row(
                [
                    printable(&lane.pool),
                    match lane.kind {
                        LaneKind::Shared => "all".to_owned(),
                        _ => lane.worker.to_string(),
                    },
                    lane.class.name().to_owned(),
                    lane.kind.name().to_owned(),
                ],
                [lane.depth, lane.capacity, lane.taken, lane.full_count].map(grouped),
            );
        }
        table
    }

    /// Only for those of whose attempts anything is to be told.
    fn attempt_table(&self) -> Table {
        let mut table = Table::new(
            ["id", "name", "pool"],
            ["failed attempts", "retries", "timeouts", "held"],
        );
        for subscription in &self.subscriptions {
            let attempts = &subscription.attempts;
            if *attempts == AttemptCounts::default() {
                continue;
            }
            table.row(
                [
                    subscription.id.to_string(),
                    printable(&subscription.name),
                    printable(&subscription.pool),
                ],
                [
                    attempts.failed_attempts,
                    attempts.retries,
                    attempts.timeouts,
                    attempts.held,
                ]
                .map(grouped),
            );
        }
        table
    }

    fn worker_table(&self) -> Table {
        let mut table = Table::new(["pool", "worker", "state"], ["taken", "last recorded"]);
        for worker in &self.workers {
            table.row(
                [
                    printable(&worker.pool),
                    worker.worker.to_string(),
                    worker.state_text(),
                ],
                [
                    grouped(worker.taken),
                    format!("{} ago", readable_ns(worker.age_ns)),
                ],
            );
        }
        table
    }
}

const LATENCY_COLUMNS: [&str; 7] = ["count", "p50", "p90", "p99", "p99.9", "p99.99", "max"];

fn latency_cells(latency: &Latency) -> [String; 7] {
    let LatencySummary {
        count,
        p50,
        p90,
        p99,
        p99_9,
        p99_99,
        max,
        ..
    } = latency.summary();
    let times = [p50, p90, p99, p99_9, p99_99, max];
    // Of nothing there is no percentile; 0 would read as a very fast one.
    let [p50, p90, p99, p99_9, p99_99, max] = times.map(|ns| {
        if count == 0 {
            "-".to_owned()
        } else {
            readable_ns(ns)
        }
    });
    [grouped(count), p50, p90, p99, p99_9, p99_99, max]
}

impl WorkerReport {
    /// The state, and who is to blame for it.
    fn state_text(&self) -> String {
        let state = self.state.name().replace('_', " ");
        match (&self.call, &self.held_back_by) {
            (Some(call), _) if call.is_over_limit => format!(
                "stuck in {} for {}",
                printable(&call.name),
                readable_ns(call.since_ns)
            ),
            (_, Some(name)) => format!("{state}, held back by {}", printable(name)),
            _ => state,
        }
    }
}

/// The first few names; a subscription may be for hundreds of types.
fn event_names(names: &[&str]) -> String {
    const SHOWN_MAX: usize = 3;
    let shown = names
        .iter()
        .take(SHOWN_MAX)
        .map(|name| printable(name))
        .collect::<Vec<_>>();
    let mut text = shown.join(", ");
    if names.len() > SHOWN_MAX {
        text.push_str(&format!(" and {} more", names.len() - SHOWN_MAX));
    }
    text
}

#[cfg(test)]
mod tests;

//! Who asked for redeliveries sees here how each of them ended.
//!
//! publish → route → lane → worker → handler → outcome → (retry | breaker | **dead letter**)
//!
//! A redelivery of many goes on by itself: whoever ends one begins the next, so that a bounded number is under way and
//! no thread is needed to drive it.

#[cfg(feature = "json")]
use super::letter::Subscriber;
use super::letter::{Letter, LetterId};
use super::order::Order;
use super::query::Filter;
use super::queue::Queue;
use crate::error::Error;
use crate::sync::clock;
use crate::sync::{Arc, Condvar, Mutex};
use serde::Serialize;
use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Most orders of one redelivery of many that are under way at a time.
const OPEN_MAX: usize = 64;

/// Whoever brings an order to the worker that owns its key.
pub(crate) trait Redeliverer: Send + Sync {
    /// Sends the order off; it may be worked on before this returns. An error, with the order dropped, if nobody will:
    /// the engine stops, or the subscription is withdrawn.
    fn begin(&self, order: Order) -> Result<(), Error>;

    /// An error if waiting here would wait for this very thread.
    fn check_wait(&self) -> Result<(), Error>;

    /// The subscriptions of this name for this type of event.
    #[cfg(feature = "json")]
    fn subscribers_named(&self, name: &str, type_index: u32) -> Vec<Arc<Subscriber>>;
}

/// How the redelivery of one letter ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Redelivered {
    /// It was handled, and the letter is gone.
    Handled,
    /// It failed again; the letter stays, and has the failure.
    Failed {
        /// What the last attempt said.
        error: String,
    },
    /// It was not delivered; the letter is as it was.
    GivenUp {
        /// Why.
        why: String,
    },
}

/// One letter, and how its redelivery ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LetterOutcome {
    /// The letter.
    pub letter: LetterId,
    /// How it ended.
    pub ended: Redelivered,
}

/// How many redeliveries ended how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct RedeliveryReport {
    /// Letters that were handled and are gone.
    pub handled: u64,
    /// Letters that failed again.
    pub failed: u64,
    /// Letters that were not delivered.
    pub given_up: u64,
}

#[derive(Default)]
struct State {
    outcomes: VecDeque<LetterOutcome>,
    report: RedeliveryReport,
    open: usize,
    is_cancelled: bool,
    /// Of a redelivery of many: there may be letters that were not looked at.
    has_more: bool,
    is_pumping: bool,
    cursor: Option<LetterId>,
    /// Keys that had their turn.
    tried: HashSet<(u64, u64), ahash::RandomState>,
}

impl State {
    fn is_done(&self) -> bool {
        self.open == 0 && !self.is_pumping && (self.is_cancelled || !self.has_more)
    }
}

/// Which letters a redelivery of many takes.
pub(super) enum Which {
    Met(Filter),
    /// In ascending order.
    These(Vec<LetterId>),
}

struct Source {
    queue: Arc<Queue>,
    redeliverer: Arc<dyn Redeliverer>,
    which: Which,
    /// The last letter there was when it began: what comes meanwhile is left alone.
    last: LetterId,
}

/// What orders and ticket share.
pub(super) struct Flow {
    state: Mutex<State>,
    changed: Condvar,
    source: Option<Source>,
}

impl Flow {
    /// For one order.
    pub(super) fn single() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            source: None,
        })
    }

    /// For many; [`pump`](Self::pump) begins it.
    pub(super) fn many(
        queue: &Arc<Queue>,
        redeliverer: &Arc<dyn Redeliverer>,
        which: Which,
    ) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                has_more: true,
                ..State::default()
            }),
            changed: Condvar::new(),
            source: Some(Source {
                last: queue.last_id(),
                queue: Arc::clone(queue),
                redeliverer: Arc::clone(redeliverer),
                which,
            }),
        })
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.state.lock().is_cancelled
    }

    pub(super) fn opened(&self) {
        self.state.lock().open += 1;
    }

    pub(super) fn outcome(&self, outcome: LetterOutcome) {
        let mut state = self.state.lock();
        let count = match outcome.ended {
            Redelivered::Handled => &mut state.report.handled,
            Redelivered::Failed { .. } => &mut state.report.failed,
            Redelivered::GivenUp { .. } => &mut state.report.given_up,
        };
        *count += 1;
        state.outcomes.push_back(outcome);
        self.changed.notify_all();
    }

    /// An order has ended.
    pub(super) fn closed(self: &Arc<Self>) {
        self.state.lock().open -= 1;
        self.pump();
        self.changed.notify_all();
    }

    /// Begins orders until enough are under way. One thread at a time; where an order ends within its beginning, the
    /// one that began it goes on, so that nothing nests.
    pub(super) fn pump(self: &Arc<Self>) {
        let Some(source) = &self.source else {
            return;
        };
        if std::mem::replace(&mut self.state.lock().is_pumping, true) {
            return;
        }
        loop {
            let mut state = self.state.lock();
            if state.is_cancelled || !state.has_more || state.open >= OPEN_MAX {
                state.is_pumping = false;
                self.changed.notify_all();
                return;
            }
            let cursor = state.cursor;
            drop(state);
            let found = source.find_behind(cursor);
            let mut state = self.state.lock();
            let Some(Found { id, sequence }) = found else {
                state.has_more = false;
                continue;
            };
            state.cursor = Some(id);
            let is_new = match sequence {
                // A letter of a parked key stands for its key, which is tried once.
                Ok(Some(sequence)) => state.tried.insert(sequence),
                _ => true,
            };
            drop(state);
            if is_new {
                let order = sequence.and_then(|sequence| match sequence {
                    Some(sequence) => Order::of_key(&source.queue, sequence, self),
                    None => Order::of_letter(&source.queue, id, self),
                });
                match order {
                    Ok(order) => {
                        // An order that is not taken has said so when it was dropped.
                        let begun = source.redeliverer.begin(order);
                        if begun.is_err_and(|error| error.is_closed()) {
                            self.state.lock().is_cancelled = true;
                        }
                    }
                    Err(error) => self.outcome(LetterOutcome {
                        letter: id,
                        ended: Redelivered::GivenUp {
                            why: error.to_string(),
                        },
                    }),
                }
            }
        }
    }
}

/// The next letter that is meant.
struct Found {
    id: LetterId,
    /// The key it parks, if it does; an error if the letter is not there.
    sequence: Result<Option<(u64, u64)>, Error>,
}

impl Source {
    fn find_behind(&self, cursor: Option<LetterId>) -> Option<Found> {
        match &self.which {
            Which::These(ids) => {
                // They ascend.
                let id = *ids.get(ids.partition_point(|&id| Some(id) <= cursor))?;
                let sequence = self.queue.sequence_of(id);
                Some(Found { id, sequence })
            }
            Which::Met(filter) => {
                let mut found = None;
                self.queue.scan(cursor, false, |letter: &Letter| {
                    if letter.id > self.last {
                        return ControlFlow::Break(());
                    }
                    if filter.is_met(letter) {
                        found = Some(Found {
                            id: letter.id,
                            sequence: Ok(letter.sequence()),
                        });
                        return ControlFlow::Break(());
                    }
                    ControlFlow::Continue(())
                });
                found
            }
        }
    }
}

/// Redeliveries that were asked for. They go on without it; it tells how they end.
#[must_use = "the outcomes are told here; letters that fail again stay"]
pub struct RedeliveryTicket {
    pub(super) flow: Arc<Flow>,
    pub(super) redeliverer: Arc<dyn Redeliverer>,
}

impl RedeliveryTicket {
    /// The next outcome, as they come; waits for it. `None` when all have been told.
    ///
    /// # Errors
    ///
    /// `is_would_deadlock` on a worker's thread, which cannot wait for itself.
    pub fn next(&self) -> Result<Option<LetterOutcome>, Error> {
        self.redeliverer.check_wait()?;
        let mut state = self.flow.state.lock();
        loop {
            if let Some(outcome) = state.outcomes.pop_front() {
                return Ok(Some(outcome));
            }
            if state.is_done() {
                return Ok(None);
            }
            self.flow.changed.wait(&mut state);
        }
    }

    /// The next outcome, if it is there.
    #[must_use]
    pub fn try_next(&self) -> Option<LetterOutcome> {
        self.flow.state.lock().outcomes.pop_front()
    }

    /// Waits until all redeliveries have ended; those that were cancelled have.
    ///
    /// # Errors
    ///
    /// `is_would_deadlock` on a worker's thread.
    pub fn wait(&self) -> Result<RedeliveryReport, Error> {
        let ended = self.wait_until(None)?;
        Ok(ended.expect("a wait without a deadline ends with what it waits for"))
    }

    /// As [`wait`](Self::wait), for so long at most; `None` if some had not ended by then.
    ///
    /// # Errors
    ///
    /// `is_would_deadlock` on a worker's thread.
    pub fn wait_for(&self, timeout: Duration) -> Result<Option<RedeliveryReport>, Error> {
        self.wait_until(clock::deadline(timeout))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> Result<Option<RedeliveryReport>, Error> {
        self.redeliverer.check_wait()?;
        let mut state = self.flow.state.lock();
        while !state.is_done() {
            match deadline {
                None => self.flow.changed.wait(&mut state),
                Some(deadline) => {
                    let waited = self.flow.changed.wait_until(&mut state, deadline);
                    if waited.timed_out() && !state.is_done() {
                        return Ok(None);
                    }
                }
            }
        }
        Ok(Some(state.report))
    }

    /// How many have ended so far.
    #[must_use]
    pub fn report(&self) -> RedeliveryReport {
        self.flow.state.lock().report
    }

    /// Whether all have ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.flow.state.lock().is_done()
    }

    /// Begins no further letter. Those under way end as they end.
    pub fn cancel(&self) {
        self.flow.state.lock().is_cancelled = true;
        self.flow.changed.notify_all();
    }
}

impl fmt::Debug for RedeliveryTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedeliveryTicket")
            .field("report", &self.report())
            .field("is_done", &self.is_done())
            .finish_non_exhaustive()
    }
}

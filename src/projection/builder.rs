//! What a projection is, before it runs.

use super::at::At;
use super::checkpoint::{CheckpointStore, SaveEvery};
use super::fold::{ApplyError, Body, Calls, Fold};
use super::policy::ErrorPolicy;
use crate::event::Event;
use crate::store::RecordFilter;
use crate::sync::Arc;
use std::fmt;

/// What a walk through the log does with what it meets.
pub(crate) struct Plan<S> {
    pub(crate) body: Body<S>,
    initial: Option<Box<dyn Fn() -> S + Send + Sync>>,
    pub(crate) filter: Option<RecordFilter>,
    pub(crate) on_error: ErrorPolicy,
    pub(crate) on_rebuild_error: ErrorPolicy,
    pub(crate) batch: usize,
    pub(crate) skipped_max: usize,
    /// The position of the first record.
    pub(crate) origin: u64,
    pub(crate) is_pinning: bool,
}

impl<S: Send + Sync + 'static> Plan<S> {
    pub(crate) fn initial(&self) -> S {
        match (&self.body, &self.initial) {
            (Body::Fold(fold), None) => fold.initial(),
            (_, Some(initial)) => initial(),
            (Body::Calls(_), None) => unreachable!("functions come with an initial state"),
        }
    }
}

/// Where saved views go, and when.
pub(crate) type Saves<S> = (Arc<dyn CheckpointStore<S>>, SaveEvery);

/// A view that is derived from the log: a state, the functions that take events into it, and what holds for them. It runs
/// once it is given to a store, by [`project`](crate::store::EventStore::project) and its siblings.
///
/// Of the types with functions, only the version that is named is understood; a record of another version of such a type is
/// an error and not left out silently. Other types, and what the filter does not let through, only move the checkpoint.
#[must_use = "a projection runs once it is given to a store"]
pub struct Projection<S> {
    pub(crate) name: String,
    pub(crate) plan: Plan<S>,
    pub(crate) resume: Vec<(S, Option<u64>)>,
    pub(crate) saves: Option<Saves<S>>,
    pub(crate) faults: Vec<String>,
}

impl<S: Send + Sync + 'static> Projection<S> {
    /// A projection that begins with this state.
    pub fn new(name: impl Into<String>, initial: S) -> Self
    where
        S: Clone,
    {
        Self::with(name, move || initial.clone())
    }

    /// A projection that begins with what the function makes.
    pub fn with(name: impl Into<String>, initial: impl Fn() -> S + Send + Sync + 'static) -> Self {
        Self::made(name, Body::Calls(Calls::default()), Some(Box::new(initial)))
    }

    /// A projection that was written by hand.
    pub fn of(name: impl Into<String>, fold: impl Fold<State = S>) -> Self {
        Self::made(name, Body::Fold(Box::new(fold)), None)
    }

    fn made(
        name: impl Into<String>,
        body: Body<S>,
        initial: Option<Box<dyn Fn() -> S + Send + Sync>>,
    ) -> Self {
        Self {
            name: name.into(),
            plan: Plan {
                body,
                initial,
                filter: None,
                on_error: ErrorPolicy::stop(),
                on_rebuild_error: ErrorPolicy::stop(),
                batch: 1_024,
                skipped_max: 1_000,
                origin: 0,
                is_pinning: false,
            },
            resume: Vec::new(),
            saves: None,
            faults: Vec::new(),
        }
    }

    /// Takes events of a type into the state. What the function does must follow from its arguments alone.
    pub fn on<E: Event>(self, apply: impl Fn(&mut S, &E, &At<'_>) + Send + Sync + 'static) -> Self {
        self.add(false, move |state, event: &E, at| {
            apply(state, event, at);
            Ok(())
        })
    }

    /// As [`on`](Self::on), by a function that can fail. It should look first and change then: what it has changed when it
    /// fails stays changed.
    pub fn on_checked<E: Event>(
        self,
        apply: impl Fn(&mut S, &E, &At<'_>) -> Result<(), ApplyError> + Send + Sync + 'static,
    ) -> Self {
        self.add(false, apply)
    }

    /// Does something outside of the view for each event of a type, after the event was applied. Not called for events that
    /// come again, in a rebuild or after a reset (PC5); after a crash, those behind the checkpoint come again unmarked. The
    /// view is locked meanwhile: hand on what takes long.
    pub fn on_effect<E: Event>(
        self,
        effect: impl Fn(&S, &E, &At<'_>) -> Result<(), ApplyError> + Send + Sync + 'static,
    ) -> Self {
        self.add(true, move |state: &mut S, event: &E, at| {
            effect(state, event, at)
        })
    }

    fn add<E: Event>(
        mut self,
        is_effect: bool,
        apply: impl Fn(&mut S, &E, &At<'_>) -> Result<(), ApplyError> + Send + Sync + 'static,
    ) -> Self {
        match &mut self.plan.body {
            Body::Calls(calls) => calls.add(is_effect, apply),
            Body::Fold(_) => self.faults.push(format!(
                "projection {:?}: it is written by hand and takes no function for {:?}",
                self.name,
                E::NAME
            )),
        }
        self
    }

    /// Only records that pass; a second filter is added to the first.
    pub fn filter(mut self, filter: RecordFilter) -> Self {
        self.plan.filter = Some(match self.plan.filter.take() {
            Some(first) => first.and(filter),
            None => filter,
        });
        self
    }

    /// What happens with events that cannot be applied; [`ErrorPolicy::stop`].
    pub fn on_error(mut self, policy: ErrorPolicy) -> Self {
        self.plan.on_error = policy;
        self
    }

    /// The same for a rebuild, which fails and changes nothing where it stops; [`ErrorPolicy::stop`].
    pub fn on_rebuild_error(mut self, policy: ErrorPolicy) -> Self {
        self.plan.on_rebuild_error = policy;
        self
    }

    /// How many of the latest skipped events are kept to be read; 1,000. All are counted.
    pub fn skipped_max(mut self, events: usize) -> Self {
        self.plan.skipped_max = events;
        self
    }

    /// How many records are applied while readers of the view wait; 1,024. What was appended together is applied together,
    /// however much it is.
    pub fn batch(mut self, records: usize) -> Self {
        self.plan.batch = records;
        self
    }

    /// Begins behind this position instead of with the first record, also after a reset and in a rebuild.
    pub fn starts_after(mut self, position: u64) -> Self {
        self.plan.origin = position.saturating_add(1);
        self
    }

    /// Keeps the log's retention from freeing what is not applied yet. Without, a projection that has fallen behind what is
    /// kept fails, and says so.
    pub fn pins_log(mut self) -> Self {
        self.plan.is_pinning = true;
        self
    }

    /// Goes on with a state in which everything up to this position is applied. Of a partitioned projection, called once for
    /// each partition, in order.
    pub fn resume_from(mut self, state: S, checkpoint: Option<u64>) -> Self {
        self.resume.push((state, checkpoint));
        self
    }

    /// Goes on with what was saved last, and saves so often.
    pub fn checkpoints(mut self, store: Arc<dyn CheckpointStore<S>>, every: SaveEvery) -> Self {
        self.saves = Some((store, every));
        self
    }

    /// What is wrong with the settings.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = self.faults.clone();
        let mut fault = |text: String| faults.push(format!("projection {:?}: {text}", self.name));
        if self.name.is_empty() || self.name.contains('\0') {
            fault("its name is empty or has a zero byte, so no thread can have it".to_owned());
        }
        if let Body::Calls(calls) = &self.plan.body
            && calls.is_empty()
        {
            fault("no function takes any event (give it some by `on`)".to_owned());
        }
        if self.plan.batch == 0 {
            fault("batch: 0 is below 1".to_owned());
        }
        for policy in [self.plan.on_error, self.plan.on_rebuild_error] {
            if policy.attempts_max == 0 {
                fault("an error policy of 0 attempts (the first is one)".to_owned());
            }
        }
        faults
    }
}

impl<S> fmt::Debug for Projection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Projection")
            .field("name", &self.name)
            .field("body", &self.plan.body)
            .finish_non_exhaustive()
    }
}

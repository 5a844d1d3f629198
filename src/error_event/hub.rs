//! Where errors are raised: rules, counts, observers.
//!
//! publish → route → lane → worker → handler → **outcome** → (retry | breaker | dead letter)

use super::counts::{Sort, Table};
use super::escalation::{Escalation, Watch};
use super::{Category, ErrorCounts, ErrorEvent, Severity};
use crate::event::{EventId, Metadata, contain, descriptor_at};
use crate::outcome::Failure;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex};
use smallvec::SmallVec;
use std::fmt;
use std::time::Duration;

/// Is told of everything that goes wrong, on the thread where it does.
pub(crate) type ErrorObserver = Arc<dyn Fn(&ErrorEvent) + Send + Sync>;

/// An error as whoever meets it describes it, all borrowed: it costs nothing to make, and nothing is built of it
/// unless somebody listens.
#[derive(Clone, Copy)]
pub(crate) struct Draft<'a> {
    pub(crate) severity: Severity,
    pub(crate) category: Category,
    /// Where there is none, the subscription, or the worker, or the engine.
    pub(crate) component: Option<&'a str>,
    /// Id and name.
    pub(crate) subscription: Option<(u64, &'a str)>,
    /// The event type's number.
    pub(crate) event_type: Option<u32>,
    pub(crate) event_id: Option<EventId>,
    pub(crate) correlation_id: Option<EventId>,
    pub(crate) metadata: Option<&'a Metadata>,
    /// Pool, and number in the pool.
    pub(crate) worker: Option<(u16, u16)>,
    pub(crate) attempt: Option<u32>,
    pub(crate) will_retry_after: Option<Duration>,
    pub(crate) message: &'a str,
    /// Where the chain comes from.
    pub(crate) failure: Option<&'a Failure>,
    /// What else there is to know, by name.
    pub(crate) context: &'a [(&'a str, &'a dyn fmt::Display)],
    /// A time that only moves on, the same for all that raise here.
    pub(crate) now_ns: u64,
    pub(crate) wall_ms: u64,
}

impl<'a> Draft<'a> {
    /// Something that went wrong apart from any delivery.
    pub(crate) fn new(severity: Severity, category: Category, message: &'a str) -> Self {
        Self {
            severity,
            category,
            component: None,
            subscription: None,
            event_type: None,
            event_id: None,
            correlation_id: None,
            metadata: None,
            worker: None,
            attempt: None,
            will_retry_after: None,
            message,
            failure: None,
            context: &[],
            now_ns: 0,
            wall_ms: 0,
        }
    }

    /// A failure: an error, of the category of its kind, with its message and chain.
    pub(crate) fn of_failure(failure: &'a Failure) -> Self {
        Self {
            failure: Some(failure),
            ..Self::new(Severity::Error, failure.kind().into(), failure.message())
        }
    }

    fn component(&self) -> String {
        match (self.component, self.subscription, self.worker) {
            (Some(component), _, _) => component.to_owned(),
            (None, Some((_, name)), _) => format!("subscription {name}"),
            (None, None, Some((pool, index))) => format!("worker {pool}/{index}"),
            (None, None, None) => "engine".to_owned(),
        }
    }
}

#[derive(Debug)]
struct Rule {
    escalation: Escalation,
    watch: Mutex<Watch>,
}

/// Where an engine's errors meet.
pub(crate) struct ErrorHub {
    observers: Vec<ErrorObserver>,
    rules: Vec<Rule>,
    table: Table,
    escalations: AtomicU64,
    panics: AtomicU64,
}

impl ErrorHub {
    pub(crate) fn new(observers: Vec<ErrorObserver>, rules: Vec<Escalation>) -> Self {
        let rules = rules.into_iter().map(|escalation| Rule {
            watch: Mutex::new(escalation.watch()),
            escalation,
        });
        Self {
            observers,
            rules: rules.collect(),
            table: Table::new(),
            escalations: AtomicU64::new(0),
            panics: AtomicU64::new(0),
        }
    }

    /// Rules, counts, observers, escalations.
    #[cold]
    pub(crate) fn raise(&self, draft: Draft<'_>) {
        let mut severity = draft.severity;
        let mut due: SmallVec<[&Rule; 4]> = SmallVec::new();
        let name = draft.subscription.map(|(_, name)| name);
        for rule in &self.rules {
            if rule.escalation.matches(severity, draft.category, name)
                && rule.watch.lock().note(draft.now_ns)
            {
                severity = severity.max(rule.escalation.target());
                due.push(rule);
            }
        }
        let sort = Sort {
            event_type: draft.event_type,
            subscription: draft.subscription.map(|(id, _)| id),
            category: draft.category,
        };
        let occurrences = self.table.count(sort, severity, name);
        if self.observers.is_empty() && due.is_empty() {
            return;
        }
        let event = build(&draft, severity, occurrences);
        for observer in &self.observers {
            self.contained(|| observer(&event));
        }
        for rule in due {
            // Relaxed, here and in what follows: numbers that are read for themselves.
            self.escalations.fetch_add(1, Ordering::Relaxed);
            self.contained(|| rule.escalation.tell(&event));
        }
    }

    /// What went wrong so far.
    pub(crate) fn counts(&self) -> ErrorCounts {
        ErrorCounts {
            escalations: self.escalations.load(Ordering::Relaxed),
            observer_panics: self.panics.load(Ordering::Relaxed),
            ..self.table.read()
        }
    }

    /// Runs what the user wants to be told by. A panic there is counted and is nobody else's: raised here, it would
    /// come back to the observer that it came from.
    fn contained(&self, tell: impl FnOnce()) {
        if contain(tell).is_err() {
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for ErrorHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorHub")
            .field("observers", &self.observers.len())
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

fn build(draft: &Draft<'_>, severity: Severity, occurrences: u64) -> ErrorEvent {
    // The errors in a chain are the user's, and so is what puts them into words.
    let chain = draft.failure.map_or_else(Vec::new, |failure| {
        contain(|| failure.chain()).unwrap_or_else(|_| vec![draft.message.to_owned()])
    });
    let metadata = draft.metadata.into_iter().flat_map(Metadata::iter);
    let added = draft.context.iter();
    ErrorEvent {
        severity,
        category: draft.category,
        component: draft.component(),
        subscription: draft.subscription.map(|(id, _)| id),
        subscription_name: draft.subscription.map(|(_, name)| name.to_owned()),
        event: draft.event_type.map(|index| descriptor_at(index).name),
        event_id: draft.event_id,
        correlation_id: draft.correlation_id,
        pool: draft.worker.map(|(pool, _)| pool),
        worker: draft.worker.map(|(_, index)| index),
        attempt: draft.attempt,
        will_retry_after_ms: draft
            .will_retry_after
            .map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
        message: draft.message.to_owned(),
        chain,
        context: metadata
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .chain(added.map(|(name, value)| ((*name).to_owned(), value.to_string())))
            .collect(),
        occurrences,
        wall_ms: draft.wall_ms,
    }
}

//! What went wrong, as data: for observers, for counts, for rules that escalate.
//!
//! publish → route → lane → worker → handler → **outcome** → (retry | breaker | dead letter)
//!
//! Whoever sees something fail raises a [`Draft`] at the engine's [`ErrorHub`]. The hub asks its rules, counts, and
//! tells whoever listens, in that order and on the raiser's thread.
//!
//! Callers may rely on: a draft is borrowed, and becomes an [`ErrorEvent`], with its texts, only if somebody listens or
//! a rule has come to its count; without either, raising is one short lock and a look-up. No lock is held while an
//! observer or an escalation's handler runs. What panics in there is counted and goes no further: it raises nothing, so
//! that nothing can go in circles. Counts and occurrences are exact; the table has at most 1,024 rows, and what comes
//! later is counted without a row of its own.
//!
//! How severe things are:
//!
//! | what | severity | category |
//! | --- | --- | --- |
//! | an attempt failed and another follows | warning | handler, panic or timeout, by the failure |
//! | a delivery failed for good | error | the same |
//! | a worker can no longer serve a subscription: its handler's state was lost and its factory failed | critical | factory |
//!
//! Left to others: what follows from a failure (retries, breakers, dead letters), and when it is.

#![allow(
    dead_code,
    reason = "severities and categories that retries, breakers and dead letters will raise"
)]

mod counts;
mod escalation;
mod hub;
#[cfg(test)]
mod tests;

pub use counts::{ErrorCount, ErrorCounts, SeverityCounts};
pub use escalation::{Escalated, Escalation};
pub(crate) use hub::{Draft, ErrorHub, ErrorObserver};

use crate::event::EventId;
use crate::outcome::FailureKind;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// How bad it is; later ones are worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// For whoever looks for something.
    Debug,
    /// Nothing is wrong, and it is worth knowing.
    Info,
    /// It went wrong and is being seen to: an attempt failed, and another follows.
    Warning,
    /// Somebody has to see to it: a delivery failed for good.
    Error,
    /// A part of the engine no longer does its work.
    Critical,
}

/// Severities.
const SEVERITY_COUNT: usize = 5;

impl Severity {
    /// Its name, in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What sort of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Category {
    /// A handler said that it failed.
    Handler,
    /// A handler panicked.
    Panic,
    /// A handler took longer than its subscription allows.
    Timeout,
    /// A stored event could not be read.
    Decode,
    /// Attempts, or the time for them, are used up.
    Retry,
    /// A circuit breaker changed its state.
    Breaker,
    /// A dead-letter queue took, refused or gave up a letter.
    DeadLetter,
    /// A subscription holds as many deliveries as it may.
    HeldFull,
    /// A handler has not come back for longer than its limit.
    Stuck,
    /// An observer of something else than errors failed or panicked.
    Observer,
    /// A factory failed to make a handler's state anew.
    Factory,
    /// A fault of a worker itself.
    Worker,
}

impl Category {
    /// Its name, in snake case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Handler => "handler",
            Self::Panic => "panic",
            Self::Timeout => "timeout",
            Self::Decode => "decode",
            Self::Retry => "retry",
            Self::Breaker => "breaker",
            Self::DeadLetter => "dead_letter",
            Self::HeldFull => "held_full",
            Self::Stuck => "stuck",
            Self::Observer => "observer",
            Self::Factory => "factory",
            Self::Worker => "worker",
        }
    }
}

impl From<FailureKind> for Category {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::Error => Self::Handler,
            FailureKind::Decode => Self::Decode,
            FailureKind::Panic => Self::Panic,
            FailureKind::Timeout => Self::Timeout,
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Something that went wrong, as error observers see it; see [`Builder::on_error`](crate::Builder::on_error).
///
/// A plain value: it may be kept, sent, and written as JSON. Names and messages are told as users gave them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ErrorEvent {
    /// How bad it is, as raised by the rule that it brought to its count, if any.
    pub severity: Severity,
    /// What sort of thing it is.
    pub category: Category,
    /// Where it went wrong, for people: `subscription billing`.
    pub component: String,
    /// The subscription's id.
    pub subscription: Option<u64>,
    /// The subscription's name.
    pub subscription_name: Option<String>,
    /// The event type's name.
    pub event: Option<&'static str>,
    /// The event's id.
    pub event_id: Option<EventId>,
    /// The event's correlation id: its own, where it began a story.
    pub correlation_id: Option<EventId>,
    /// The worker's pool, in the order of declaration; 0 is `default`.
    pub pool: Option<u16>,
    /// The worker's number in its pool.
    pub worker: Option<u16>,
    /// Which attempt it was; the first call is 1.
    pub attempt: Option<u32>,
    /// When the next attempt is made, if there is to be one.
    pub will_retry_after_ms: Option<u64>,
    /// What happened, in one line.
    pub message: String,
    /// The messages of the failure and of every error it came from, the latest first; empty where there
    /// was no failure.
    pub chain: Vec<String>,
    /// What else is known: the event's metadata, and what the component adds.
    pub context: BTreeMap<String, String>,
    /// How often the same (category, subscription and event type) has happened so far, this time
    /// included. What came when the table of [`ErrorCounts`] was full counts together.
    pub occurrences: u64,
    /// When it happened, in milliseconds since 1970 by the engine's clock.
    pub wall_ms: u64,
}

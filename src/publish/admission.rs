//! What to do when there is no room, and what may be said about a single event.
//!
//! **publish** → route → lane → worker → handler → outcome

use crate::event::{Class, EventId, Metadata};
use std::time::Duration;

/// What to do when there is no room (PD4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Admission {
    /// Hand the event back at once: [`PublishError::Full`](crate::PublishError::Full).
    Fail,
    /// Wait until there is room or the engine closes.
    #[default]
    Block,
    /// Wait at most this long, then hand the event back.
    BlockFor(Duration),
    /// Drop the event and count it, if its class was declared lossy
    /// ([`Builder::lossy`](crate::Builder::lossy)); for any other class as [`Fail`](Self::Fail).
    Lossy,
}

/// What is said about one event beside its value; see
/// [`Publisher::publish_with`](crate::Publisher::publish_with).
///
/// An id, metadata or both cost one allocation.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub(crate) class: Option<Class>,
    pub(crate) admission: Option<Admission>,
    pub(crate) id: Option<EventId>,
    pub(crate) correlation: Option<EventId>,
    pub(crate) causation: Option<EventId>,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) intended: Option<u64>,
}

impl Options {
    /// Nothing special.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The priority class, in place of the publisher's.
    #[must_use]
    pub fn class(mut self, class: Class) -> Self {
        self.class = Some(class);
        self
    }

    /// What to do when there is no room, in place of the publisher's choice.
    #[must_use]
    pub fn admission(mut self, admission: Admission) -> Self {
        self.admission = Some(admission);
        self
    }

    /// An id from elsewhere, in place of one that the engine derives.
    #[must_use]
    pub fn id(mut self, id: EventId) -> Self {
        self.id = Some(id);
        self
    }

    /// The correlation id, in place of the one that is inherited (in a handler) or the event's own.
    #[must_use]
    pub fn correlation(mut self, id: EventId) -> Self {
        self.correlation = Some(id);
        self
    }

    /// The id of the event that caused this one, in place of the one that is inherited in a handler.
    #[must_use]
    pub fn causation(mut self, id: EventId) -> Self {
        self.causation = Some(id);
        self
    }

    /// Values that travel with the event.
    #[must_use]
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// Counts latency from this raw stamp of the engine's [`Clock`](crate::Clock) instead of now: the
    /// moment at which the event was due, so that a late publisher does not hide its delay.
    #[must_use]
    pub fn intended(mut self, raw: u64) -> Self {
        self.intended = Some(raw);
        self
    }
}

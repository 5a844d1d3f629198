//! What a handler learns about the event in its hands, and how it publishes.
//!
//! publish → route → lane → worker → **handler** → outcome

use crate::event::{Class, Event, EventId, Head, Metadata, Stored, id_of};
use crate::publish::{Admission, Options, PublishError, Receipt, WorkerOut};
use crate::sync::clock::Clock;
use serde::Serialize;
use std::fmt;
use std::rc::Rc;

/// A worker: its pool and its number in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct WorkerId {
    /// The pool, in the order of declaration; 0 is `default`.
    pub pool: u16,
    /// The worker in its pool, from 0.
    pub index: u16,
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pool, self.index)
    }
}

/// The worker that makes a call, with what its calls have in common.
pub(crate) struct Caller {
    pub(crate) worker: WorkerId,
    pub(crate) clock: Clock,
    pub(crate) out: Rc<WorkerOut>,
}

/// The surroundings of the calls of handlers with one event.
pub struct Context<'a> {
    pub(crate) head: &'a Head,
    pub(crate) caller: &'a Caller,
    pub(crate) class: Class,
    pub(crate) is_keyed: bool,
    pub(crate) end_of_batch: bool,
    pub(crate) attempt: u32,
    pub(crate) is_redelivery: bool,
}

impl Context<'_> {
    /// The event's id: derived from its stamp and sequence number, or the one it was published with.
    #[must_use]
    pub fn id(&self) -> EventId {
        id_of(self.head, &self.caller.clock)
    }

    /// The id that all events of one story share: inherited, or the event's own.
    #[must_use]
    pub fn correlation_id(&self) -> EventId {
        EventId::from_u128(self.head.correlation.get()).unwrap_or_else(|| self.id())
    }

    /// The id of the event whose handler published this one.
    #[must_use]
    pub fn causation_id(&self) -> Option<EventId> {
        EventId::from_u128(self.head.causation.get())
    }

    /// What was published along with the event.
    #[must_use]
    pub fn metadata(&self) -> Option<&Metadata> {
        self.head.extras.as_ref()?.metadata.as_ref()
    }

    /// The event's place in the log, if it is a stored one.
    #[must_use]
    pub fn position(&self) -> Option<u64> {
        Some(self.stored()?.position)
    }

    /// The event's place in its stream, if it is a stored one.
    #[must_use]
    pub fn version(&self) -> Option<u64> {
        Some(self.stored()?.version)
    }

    fn stored(&self) -> Option<Stored> {
        self.head.extras.as_ref()?.stored
    }

    /// The event's priority class.
    #[must_use]
    pub fn class(&self) -> Class {
        self.stored().map_or(self.class, |stored| stored.class)
    }

    /// The hash of the event's key, if it has one.
    #[must_use]
    pub fn key_hash(&self) -> Option<u64> {
        self.is_keyed.then_some(self.head.key_hash)
    }

    /// Whether this is the last event of what the worker took together from one source: the moment to
    /// flush what a handler collects. The last event may be of a type that the handler is not for, so a
    /// handler that collects bounds what it holds by count too.
    #[must_use]
    pub fn end_of_batch(&self) -> bool {
        self.end_of_batch
    }

    /// Which attempt at this delivery the call is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether a dead letter is being redelivered: the handler may have seen this event before.
    #[must_use]
    pub fn is_redelivery(&self) -> bool {
        self.is_redelivery
    }

    /// The worker that makes the call.
    #[must_use]
    pub fn worker(&self) -> WorkerId {
        self.caller.worker
    }

    /// Publishes an event that this one caused, in the class of this one; correlation and causation are
    /// inherited. Never waits.
    ///
    /// # Errors
    /// The event comes back: `WouldDeadlock` if the worker's spill is full, `Closed` after shutdown.
    pub fn publish<E: Event>(&mut self, event: E) -> Result<(), PublishError<E>> {
        self.publish_with(event, Options::new())
    }

    /// As [`publish`](Self::publish), with something special said about the event.
    ///
    /// # Errors
    /// As [`publish`](Self::publish); `Full` in place of `WouldDeadlock` with an admission that does
    /// not wait.
    pub fn publish_with<E: Event>(
        &mut self,
        event: E,
        options: Options,
    ) -> Result<(), PublishError<E>> {
        let class = options.class.unwrap_or_else(|| self.class());
        let admission = options.admission.unwrap_or(Admission::Block);
        self.caller
            .out
            .publish_options(event, class, admission, options)
    }

    /// As [`publish`](Self::publish), with a receipt. On this thread it can be peeked at, not waited for.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn publish_tracked<E: Event>(&mut self, event: E) -> Result<Receipt, PublishError<E>> {
        self.caller.out.publish_tracked(event, self.class())
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("id", &self.id())
            .field("class", &self.class())
            .field("worker", &self.caller.worker)
            .finish_non_exhaustive()
    }
}

//! Events that are published later, unless they are called back.
//!
//! **publish** → route → lane → worker → handler → outcome
//!
//! Such an event waits on a worker's timer wheel, in a case of its own that the caller has the other key to:
//! whoever opens it first, the timer or the caller, has the event. A lock is right: it is taken twice in the
//! life of one event, and by nobody else.

use super::parcel::Parcel;
use super::{Admission, PublishError, WorkerOut};
use crate::event::{Event, EventId, SequenceLease, contain};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::clock::Clock;
use crate::sync::{Arc, Mutex};
use std::fmt;

/// An event in its case, whatever its type.
pub(crate) trait Delayed: Send + Sync {
    /// Publishes it as the worker's own; `false` if there is no room for it now.
    fn fire(&self, out: &WorkerOut) -> bool;
    /// The engine has ended: the event's id, if it was there still. It is dropped.
    fn abandon(&self, clock: &Clock) -> Option<EventId>;
}

impl fmt::Debug for dyn Delayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Delayed")
    }
}

/// How many events of an engine wait for their time.
#[derive(Debug, Default)]
pub(crate) struct DelayedCount(AtomicUsize);

impl DelayedCount {
    /// One more, if that is not above the bound.
    pub(crate) fn enter(&self, max: usize) -> bool {
        // Relaxed, this and what follows: a number that nothing else is concluded from.
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < max).then_some(count + 1)
            })
            .is_ok()
    }

    fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

struct Case<E> {
    parcel: Mutex<Option<Parcel<E>>>,
    count: Arc<DelayedCount>,
}

impl<E: Event> Case<E> {
    fn open(&self) -> Option<Parcel<E>> {
        let parcel = self.parcel.lock().take();
        if parcel.is_some() {
            self.count.leave();
        }
        parcel
    }
}

impl<E: Event> Delayed for Case<E> {
    fn fire(&self, out: &WorkerOut) -> bool {
        // Open while it is published: whoever calls it back at this moment learns that it is too late.
        let Some(parcel) = self.parcel.lock().take() else {
            return true;
        };
        let label = parcel.label.clone();
        // An event that nobody wants is dropped in there, and its drop is the user's code.
        match contain(|| out.publish_parcel(parcel, Admission::Fail)) {
            Ok(Err(PublishError::Full(event) | PublishError::WouldDeadlock(event))) => {
                *self.parcel.lock() = Some(Parcel::again(label, event));
                false
            }
            // Published, or refused as nobody wants such events or the engine ends: the policy of that is the
            // same as for a publish by a handler.
            published => {
                let _ = contain(|| drop(published));
                self.count.leave();
                true
            }
        }
    }

    fn abandon(&self, clock: &Clock) -> Option<EventId> {
        let parcel = self.open()?;
        // Published by nobody, it has no number of its own yet: the next one of this process names it.
        let id = parcel
            .label
            .extras
            .as_ref()
            .and_then(|extras| extras.id)
            .unwrap_or_else(|| {
                EventId::derive(clock, parcel.label.stamp, SequenceLease::default().next())
            });
        // The event's drop is the user's code.
        let _ = contain(|| drop(parcel));
        Some(id)
    }
}

/// An event that will be published later.
///
/// Dropping this changes nothing: the event is published in its time.
pub struct Scheduled<E: Event>(Arc<Case<E>>);

impl<E: Event> Scheduled<E> {
    pub(crate) fn new(parcel: Parcel<E>, count: Arc<DelayedCount>) -> Self {
        Self(Arc::new(Case {
            parcel: Mutex::new(Some(parcel)),
            count,
        }))
    }

    pub(crate) fn erased(&self) -> Arc<dyn Delayed> {
        Arc::<Case<E>>::clone(&self.0)
    }

    /// Calls the event back: `None` if it has been published, or abandoned by a stopping engine.
    #[must_use = "the event comes back; drop it if it is not needed"]
    pub fn cancel(&self) -> Option<E> {
        self.0.open().and_then(Parcel::into_event)
    }

    /// Whether the event still waits for its time.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.0.parcel.lock().is_some()
    }
}

impl<E: Event> fmt::Debug for Scheduled<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduled")
            .field("event", &E::NAME)
            .field("is_waiting", &self.is_waiting())
            .finish()
    }
}

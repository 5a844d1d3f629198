//! The engine as users hold it.

use super::builder::Builder;
use super::engine::Engine;
use super::follow::Follow;
use super::poller::Poller;
use super::shutdown::{ShutdownReport, ShutdownTicket};
use super::subscribing::{Subscription, SubscriptionBuilder};
use crate::dead_letter::DeadLetters;
use crate::error::Error;
use crate::error_event::ErrorCounts;
use crate::event::Event;
use crate::handler::{Context, Policies, by_ref};
use crate::metrics::Report;
use crate::outcome::IntoOutcome;
use crate::publish::{
    Admission, Options, Parcel, PublishError, Publisher, Receipt, Scheduled, publish_shared,
};
use crate::sync::Arc;
use crate::sync::clock::Clock;
use std::fmt;
use std::ops::Deref;
use std::time::Duration;

/// A running engine: workers, lanes, subscriptions.
///
/// Dereferences to [`Handle`], which has all that can be done with it; handles are cloned and handed
/// around, the system is what ends it. Dropping the system without [`Handle::shutdown`] stops at once:
/// what waits is abandoned and told to the abandonment counter, threads are joined, nothing leaks.
#[derive(Debug)]
pub struct EventSystem {
    handle: Handle,
}

impl EventSystem {
    /// Begins to build an engine; every setting has a default.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self {
            handle: Handle { engine },
        }
    }

    /// Another way to reach the engine: to be cloned, sent, and captured by handlers.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Deref for EventSystem {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for EventSystem {
    fn drop(&mut self) {
        self.handle.engine.stop_now();
    }
}

/// A way to reach an engine from anywhere. Handles do not keep it running.
#[derive(Clone)]
pub struct Handle {
    pub(crate) engine: Arc<Engine>,
}

impl Handle {
    /// A publisher for one thread, with private lanes: the fast way in.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        Publisher::new(Arc::clone(&self.engine.fabric))
    }

    /// Publishes through the workers' shared inboxes, and waits for room. Dearer than a
    /// [`Publisher`], and in causal order across threads: if one publish returned before another began,
    /// events of one key and class are handled in that order.
    ///
    /// # Errors
    /// The event comes back inside if the engine is stopping.
    #[cfg_attr(rtsan, sanitize(realtime = "nonblocking"))]
    pub fn publish<E: Event>(&self, event: E) -> Result<(), PublishError<E>> {
        self.publish_with(event, Options::new())
    }

    /// As [`publish`](Self::publish), handing the event back at once if there is no room.
    ///
    /// # Errors
    /// The event comes back inside.
    #[cfg_attr(rtsan, sanitize(realtime = "nonblocking"))]
    pub fn try_publish<E: Event>(&self, event: E) -> Result<(), PublishError<E>> {
        self.publish_with(event, Options::new().admission(Admission::Fail))
    }

    /// As [`publish`](Self::publish), with something special said about the event.
    ///
    /// # Errors
    /// The event comes back inside.
    pub fn publish_with<E: Event>(
        &self,
        event: E,
        options: Options,
    ) -> Result<(), PublishError<E>> {
        let admission = options.admission.unwrap_or_default();
        let parcel = self.parcel(event, options);
        publish_shared(&self.engine.fabric, parcel, admission)
    }

    /// As [`publish`](Self::publish), with a receipt that tells how each delivery ended.
    ///
    /// # Errors
    /// The event comes back inside.
    pub fn publish_tracked<E: Event>(&self, event: E) -> Result<Receipt, PublishError<E>> {
        let mut parcel = self.parcel(event, Options::new());
        let receipt = parcel.track();
        publish_shared(&self.engine.fabric, parcel, Admission::Block)?;
        Ok(receipt)
    }

    /// Publishes an event after a delay, unless it is called back before. It waits on the timer wheel of a
    /// worker, is published by that worker in the engine's own name, and counts as published then; a stop that
    /// finds it waiting beyond its deadline abandons and lists it.
    ///
    /// # Errors
    /// The event comes back inside: `Full` if too many wait already ([`Builder::delayed_max`]
    /// (crate::Builder::delayed_max)), `Closed` if the engine is stopping.
    pub fn publish_after<E: Event>(
        &self,
        event: E,
        delay: Duration,
    ) -> Result<Scheduled<E>, PublishError<E>> {
        self.publish_after_with(event, delay, Options::new())
    }

    /// As [`publish_after`](Self::publish_after), with something special said about the event.
    ///
    /// # Errors
    /// As [`publish_after`](Self::publish_after).
    pub fn publish_after_with<E: Event>(
        &self,
        event: E,
        delay: Duration,
        options: Options,
    ) -> Result<Scheduled<E>, PublishError<E>> {
        let parcel = self.parcel(event, options);
        self.engine.publish_later(parcel, delay)
    }

    /// The dead letters; `None` if the engine keeps none ([`Builder::dead_letters`](crate::Builder::dead_letters)).
    #[must_use]
    pub fn dead_letters(&self) -> Option<DeadLetters> {
        self.engine.dead_letters()
    }

    /// How many events wait to be published later.
    #[must_use]
    pub fn delayed(&self) -> usize {
        self.engine.delayed.get()
    }

    fn parcel<E: Event>(&self, event: E, options: Options) -> Parcel<E> {
        let class = options.class.unwrap_or_default();
        let mut parcel = Parcel::new(event, class, self.clock().raw());
        parcel.set(options);
        parcel
    }

    /// Subscribes a closure to an event type, on the pool `default`. Every publish after this returned
    /// is seen by it.
    ///
    /// # Errors
    /// `is_conflict` if another subscription takes the type by value; `is_closed`;
    /// `is_would_deadlock` on a worker's thread.
    pub fn subscribe<E, F, R>(&self, handler: F) -> Result<Subscription, Error>
    where
        E: Event,
        F: Fn(&E, &mut Context<'_>) -> R + Send + Sync + 'static,
        R: IntoOutcome + 'static,
    {
        self.engine.subscribe(
            E::NAME.to_owned(),
            None,
            by_ref::<E, F, R>(handler),
            Policies::default(),
        )
    }

    /// Has the workers follow a store: each takes the records of its keys straight from the log, in the order of their
    /// positions (EV9), and appending is all it takes to have an event handled. To be called once the subscriptions are
    /// there: what is walked past without one is counted as unhandled.
    ///
    /// # Errors
    /// `is_setting` for a `lag_max` of 0; `is_conflict` if the engine follows a store already; `is_missing` if the
    /// place to begin at is no longer kept; `is_closed`.
    pub fn follow(&self, follow: &Follow) -> Result<(), Error> {
        self.engine.follow(follow)
    }

    /// Of a followed store: the position behind which records were not taken yet, and the checkpoint from which another
    /// engine goes on (`Start::After` the one before).
    #[must_use]
    pub fn followed_to(&self) -> Option<u64> {
        self.engine.followed_to()
    }

    /// Begins a subscription with a name, for more than the defaults.
    pub fn subscription(&self, name: impl Into<String>) -> SubscriptionBuilder {
        SubscriptionBuilder::new(Arc::clone(&self.engine), name.into())
    }

    /// Takes over a polled pool: the calling thread becomes its worker whenever it polls.
    ///
    /// # Errors
    /// `is_setting` if there is no such pool or it is not polled; `is_conflict` if it has a poller;
    /// `is_factory` if a handler's factory failed; `is_closed`.
    pub fn poller(&self, pool: &str) -> Result<Poller, Error> {
        Poller::new(&self.engine, pool)
    }

    /// Drains and stops: publishers from outside are refused at once, handlers may still publish, and
    /// when everything is quiet, or the deadline has come, all is refused and what is left is abandoned.
    /// Idempotent; every caller gets the same report, and the first one's deadline holds.
    ///
    /// # Errors
    /// `is_would_deadlock` on a worker's thread: use [`begin_shutdown`](Self::begin_shutdown) there.
    pub fn shutdown(&self, deadline: Duration) -> Result<Arc<ShutdownReport>, Error> {
        self.engine.shutdown(deadline)
    }

    /// Begins the same on a thread of its own and returns at once; to be called also by handlers.
    pub fn begin_shutdown(&self, deadline: Duration) -> ShutdownTicket {
        Engine::begin_shutdown(&self.engine, deadline)
    }

    /// What has happened so far; read while everything runs.
    #[must_use]
    pub fn report(&self) -> Report {
        self.engine.report()
    }

    /// What went wrong so far, by event type, subscription, category and severity; read while everything
    /// runs.
    #[must_use]
    pub fn error_counts(&self) -> ErrorCounts {
        self.engine.failing.errors.counts()
    }

    /// The clock that stamps this engine's events.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.engine.fabric.clock
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.engine.fmt(f)
    }
}

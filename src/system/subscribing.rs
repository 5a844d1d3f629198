//! Subscribing and unsubscribing while events flow.
//!
//! A change visits every worker of the pool as a letter, is made there at a batch boundary, and is
//! answered; only then does the call return, and only then do publishers see the type's new pools. So a
//! worker always knows a type before an event of it can arrive (PD7).

use super::engine::Engine;
use crate::breaker::Breaker;
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::handler::{
    Context, Handler, Installer, Policies, Recipe, SubscriptionShared, TimeLimit, WorkerId, by_ref,
    by_value, from_factory,
};
use crate::outcome::{Failure, IntoOutcome};
use crate::publish::is_worker_thread;
use crate::retry::{RetryPolicy, WhenHeldFull};
use crate::sync::{Arc, Weak, thread};
use crate::worker::{Answer, Letter};
use std::fmt;
use std::time::Duration;

impl Engine {
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        name: String,
        pool: Option<String>,
        recipe: Arc<dyn Recipe>,
        policies: Policies,
    ) -> Result<Subscription, Error> {
        if is_worker_thread() {
            return Err(Error::new(
                ErrorKind::WouldDeadlock,
                format!(
                    "subscription {name}: subscribing on a worker's thread would wait for itself (subscribe from another thread)"
                ),
            ));
        }
        let pool = match &pool {
            None => 0,
            Some(wanted) => self.pool_named(wanted).ok_or_else(|| {
                Error::new(
                    ErrorKind::Setting,
                    format!(
                        "subscription {name}: there is no pool {wanted} (declare it with Builder::pool; there are: {})",
                        self.pool_names()
                    ),
                )
            })?,
        };
        let events = recipe.events();
        if events.is_empty() {
            return Err(Error::new(
                ErrorKind::Setting,
                format!("subscription {name}: no event type (name one with on::<E>())"),
            ));
        }
        self.check_policies(&name, pool, &policies, &*recipe)?;
        let polls_here = self.audience(pool).is_some_and(|(_, waits)| !waits);
        if polls_here && recipe.can_fail() {
            return Err(Error::new(
                ErrorKind::WouldDeadlock,
                format!(
                    "subscription {name}: its factory would have to run inside the next poll of this thread (subscribe before the poller is made, or from another thread)"
                ),
            ));
        }
        for (nth, event) in events.iter().enumerate() {
            if events[..nth].iter().any(|other| other.index == event.index) {
                return Err(Error::new(
                    ErrorKind::Setting,
                    format!(
                        "subscription {name}: {} is named twice (name each event type once)",
                        event.name
                    ),
                ));
            }
        }
        let turn = self.changes.lock();
        if !self.fabric.gate.is_open() {
            return Err(Error::new(
                ErrorKind::Closed,
                format!("subscription {name}: the engine is stopping"),
            ));
        }
        self.collect_gone();
        let workers = self.fabric.pools[pool].workers();
        let shared = {
            let mut registry = self.registry.lock();
            for event in &events {
                let others = registry.of_type(event.index);
                let conflict = others
                    .iter()
                    .find(|other| recipe.takes_by_value() || other.takes_by_value);
                if let Some(other) = conflict {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        format!(
                            "subscription {name}: {} is subscribed to by {}, and an event can be taken by value only by a sole subscription (withdraw the other one, or take by reference)",
                            event.name, other.name
                        ),
                    ));
                }
            }
            let id = registry.take_id();
            let place = registry.take_place(pool);
            Arc::new(SubscriptionShared::new(
                id,
                name,
                pool,
                place,
                recipe,
                policies,
                workers.len(),
            ))
        };
        if let Some(failure) = self.install(&shared) {
            self.registry.lock().free_place(pool, shared.place);
            // What the user's closures hold is dropped when nobody waits for this any more.
            drop(turn);
            return Err(Error::new(
                ErrorKind::Factory,
                format!(
                    "subscription {}: its factory failed, and it was undone: {failure}",
                    shared.name
                ),
            ));
        }
        let mut registry = self.registry.lock();
        registry.add(&shared);
        for event in events {
            self.fabric
                .routes
                .set(event.index, registry.pools_of(event.index));
        }
        drop(registry);
        Ok(Subscription {
            engine: Arc::downgrade(self),
            shared,
        })
    }

    /// Everything about the policies that is out of range, in one text.
    fn check_policies(
        &self,
        name: &str,
        pool: usize,
        policies: &Policies,
        recipe: &dyn Recipe,
    ) -> Result<(), Error> {
        let mut faults = Vec::new();
        policies.check(&mut faults);
        if recipe.takes_by_value() && policies.retry.max_attempts > 1 {
            faults.push(format!(
                "retry.max_attempts: {} is above 1, and a handler that takes the event leaves nothing for another attempt (take it by reference, or give RetryPolicy::none())",
                policies.retry.max_attempts
            ));
        }
        if policies.is_sequential && (self.failing.letters.is_none() || !policies.keeps_letters) {
            faults.push(
                "sequential: a letter parks its key, and there is no dead-letter queue (give the engine one with Builder::dead_letters, and leave without_dead_letters out)"
                    .to_owned(),
            );
        }
        if policies.is_sequential && self.fabric.pools[pool].shared.is_some() {
            faults.push(format!(
                "sequential: the pool {} has no order that a letter could keep (use a pool that is not unordered)",
                self.fabric.pools[pool].name
            ));
        }
        if policies.is_sequential && policies.retry.when_held_full == WhenHeldFull::DeadLetter {
            faults.push(
                "retry.when_held_full: DeadLetter would make letters of events whose earlier ones of the key are held, and a sequential subscription keeps their order (use BackPressure or Skip)"
                    .to_owned(),
            );
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Setting,
            format!("subscription {name}: {}", faults.join("; ")),
        ))
    }

    /// Has every worker of the pool make the handlers; undoes all if one fails.
    fn install(&self, shared: &Arc<SubscriptionShared>) -> Option<Failure> {
        let (manned, waits) = self.audience(shared.pool)?;
        let answer = Answer::new(manned.len());
        for &worker in &manned {
            self.send(
                worker,
                Letter::Install(Arc::clone(shared), Arc::clone(&answer)),
            );
        }
        if !waits {
            return None;
        }
        let failure = answer.wait()?;
        let undone = Answer::new(manned.len());
        for &worker in &manned {
            self.send(worker, Letter::Remove(shared.id, Arc::clone(&undone)));
        }
        undone.wait();
        Some(failure)
    }

    /// The workers of a pool that read letters, and whether to wait for them: not if the calling thread
    /// is the pool's poller, which reads them before it takes another event. `None` for a polled pool
    /// that nobody polls yet: its poller will make what is subscribed by then.
    fn audience(&self, pool: usize) -> Option<(Vec<usize>, bool)> {
        let workers: Vec<usize> = self.fabric.pools[pool].workers().collect();
        if !self.pools[pool].is_polled {
            return Some((workers, true));
        }
        let poller = *self.pools[pool].poller.lock();
        poller.map(|poller| (workers, poller != thread::current()))
    }

    /// Withdraws a subscription; the answer is complete once no worker knows it any more.
    fn withdraw(&self, shared: &Arc<SubscriptionShared>) -> Arc<Answer> {
        let mut registry = self.registry.lock();
        if registry.remove(shared.id).is_none() {
            // Withdrawn before: whoever asks again waits for the same.
            let before = registry
                .leaving
                .iter()
                .find(|(other, _)| other.id == shared.id)
                .map(|(_, answer)| Arc::clone(answer));
            return before.unwrap_or_else(|| Answer::new(0));
        }
        shared.withdraw();
        for event in &shared.events {
            self.fabric
                .routes
                .set(event.index, registry.pools_of(event.index));
        }
        let manned = match self.audience(shared.pool) {
            // Also once the engine has stopped: a worker may be in this very handler yet, and one that
            // has ended is answered for.
            Some((workers, _)) => workers,
            None => Vec::new(),
        };
        let answer = Answer::new(manned.len());
        registry
            .leaving
            .push((Arc::clone(shared), Arc::clone(&answer)));
        drop(registry);
        // Workers have their own share of it until they answer.
        shared.forget_recipe();
        if manned.is_empty()
            && let Some(stash) = &mut *self.pools[shared.pool].stash.lock()
        {
            // What a poller that is gone held for it; the next one finds nothing.
            stash.withdraw(shared.id);
        }
        for worker in manned {
            self.send(worker, Letter::Remove(shared.id, Arc::clone(&answer)));
        }
        answer
    }

    fn pool_named(&self, name: &str) -> Option<usize> {
        self.fabric.pools.iter().position(|pool| pool.name == name)
    }

    fn pool_names(&self) -> String {
        let names: Vec<&str> = self
            .fabric
            .pools
            .iter()
            .map(|pool| pool.name.as_str())
            .collect();
        names.join(", ")
    }

    /// The pool of this name, if it is polled.
    pub(crate) fn polled_pool(&self, name: &str) -> Result<usize, Error> {
        let pool = self.pool_named(name).ok_or_else(|| {
            Error::new(
                ErrorKind::Setting,
                format!(
                    "poller: there is no pool {name} (declare it with Builder::pool; there are: {})",
                    self.pool_names()
                ),
            )
        })?;
        if self.pools[pool].is_polled {
            Ok(pool)
        } else {
            Err(Error::new(
                ErrorKind::Setting,
                format!(
                    "poller: the pool {name} has threads of its own (declare it with Pool::polled)"
                ),
            ))
        }
    }
}

/// A registered handler. Dropping it leaves the handler subscribed.
#[derive(Clone)]
pub struct Subscription {
    engine: Weak<Engine>,
    shared: Arc<SubscriptionShared>,
}

impl Subscription {
    /// The subscription's number: unique in its engine.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.shared.id
    }

    /// The name it was given, or its event type's.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What it has been delivered so far.
    #[must_use]
    pub fn counts(&self) -> crate::metrics::DeliveryCounts {
        self.shared.totals()
    }

    /// How its attempts went, and what of it is held at this moment.
    #[must_use]
    pub fn attempts(&self) -> crate::metrics::AttemptCounts {
        self.shared.attempts()
    }

    /// Withdraws the handler. Once this returns it is not called again, no call is in flight, and its
    /// per-worker state has been dropped on its workers; where the calling thread is the one that polls the
    /// pool, that is done at its next poll.
    ///
    /// # Errors
    /// `is_would_deadlock` on a worker's thread: use [`begin_unsubscribe`](Self::begin_unsubscribe).
    pub fn unsubscribe(&self) -> Result<(), Error> {
        if is_worker_thread() {
            return Err(Error::new(
                ErrorKind::WouldDeadlock,
                format!(
                    "subscription {}: unsubscribing on a worker's thread would wait for itself (use begin_unsubscribe)",
                    self.shared.name
                ),
            ));
        }
        self.begin_unsubscribe().wait_here();
        Ok(())
    }

    /// Withdraws the handler without waiting: no call begins any more on this worker, and none on any
    /// other once the ticket is complete.
    pub fn begin_unsubscribe(&self) -> UnsubscribeTicket {
        let Some(engine) = self.engine.upgrade() else {
            return UnsubscribeTicket {
                answer: Answer::new(0),
                waits: false,
            };
        };
        let answer = engine.withdraw(&self.shared);
        let waits = engine
            .audience(self.shared.pool)
            .is_some_and(|(_, waits)| waits);
        UnsubscribeTicket { answer, waits }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("id", &self.shared.id)
            .field("name", &self.shared.name)
            .finish_non_exhaustive()
    }
}

/// An unsubscription that has begun.
#[derive(Debug)]
#[must_use = "the ticket tells when the handler is gone; drop it if nobody needs to know"]
pub struct UnsubscribeTicket {
    answer: Arc<Answer>,
    waits: bool,
}

impl UnsubscribeTicket {
    /// Whether the handler is gone from every worker.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.answer.is_complete()
    }

    /// Waits until the handler is gone from every worker.
    ///
    /// # Errors
    /// `is_would_deadlock` on a worker's thread.
    pub fn wait(self) -> Result<(), Error> {
        if is_worker_thread() {
            return Err(Error::new(
                ErrorKind::WouldDeadlock,
                "waiting for an unsubscription on a worker's thread would wait for itself (ask is_complete)",
            ));
        }
        self.wait_here();
        Ok(())
    }

    fn wait_here(&self) {
        if self.waits {
            self.answer.wait();
        }
    }
}

/// A subscription in the making; see [`Handle::subscription`](crate::Handle::subscription).
#[must_use]
pub struct SubscriptionBuilder {
    engine: Arc<Engine>,
    name: String,
    pool: Option<String>,
    policies: Policies,
}

impl SubscriptionBuilder {
    pub(crate) fn new(engine: Arc<Engine>, name: String) -> Self {
        Self {
            engine,
            name,
            pool: None,
            policies: Policies::default(),
        }
    }

    /// When and how often a failed delivery is tried again; without it there is one attempt.
    ///
    /// Later events of the same key wait behind it on this subscription, so order is kept; other keys and
    /// other subscriptions go on.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.policies.retry = policy;
        self
    }

    /// Pauses the subscription while this breaker is not closed. Several subscriptions may share one.
    pub fn breaker(mut self, breaker: &Breaker) -> Self {
        self.policies.breaker = Some(breaker.clone());
        self
    }

    /// How long a call may take. A longer one is counted and reported once it returns, and named in the
    /// report while it lasts; each call is timed by itself then.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.policies.timeout = Some(TimeLimit {
            after: limit,
            fails: false,
        });
        self
    }

    /// As [`time_limit`](Self::time_limit), and a call that took longer is a failed attempt, whatever it
    /// answered.
    pub fn time_limit_fails(mut self, limit: Duration) -> Self {
        self.policies.timeout = Some(TimeLimit {
            after: limit,
            fails: true,
        });
        self
    }

    /// A dead letter parks its key: later events of the key join it, in order, until the key has been
    /// redelivered or its letters discarded.
    ///
    /// Does not go with [`WhenHeldFull::DeadLetter`], which would make letters out of order.
    pub fn sequential(mut self) -> Self {
        self.policies.is_sequential = true;
        self
    }

    /// What fails for good is counted as failed and not kept, also where the engine has a dead-letter queue.
    pub fn without_dead_letters(mut self) -> Self {
        self.policies.keeps_letters = false;
        self
    }

    /// The pool whose workers run the handler; `default` if nothing is said.
    pub fn pool(mut self, name: impl Into<String>) -> Self {
        self.pool = Some(name.into());
        self
    }

    /// Subscribes a closure that looks at the event; shared by all workers of the pool.
    ///
    /// # Errors
    /// As [`Handle::subscribe`](crate::Handle::subscribe), and `is_setting` if there is no such pool.
    pub fn handler<E, F, R>(self, handler: F) -> Result<Subscription, Error>
    where
        E: Event,
        F: Fn(&E, &mut Context<'_>) -> R + Send + Sync + 'static,
        R: IntoOutcome + 'static,
    {
        self.engine.subscribe(
            self.name,
            self.pool,
            by_ref::<E, F, R>(handler),
            self.policies,
        )
    }

    /// Subscribes a closure that takes the event; it must be the type's sole subscription.
    ///
    /// # Errors
    /// As [`handler`](Self::handler).
    pub fn by_value<E, F, R>(self, handler: F) -> Result<Subscription, Error>
    where
        E: Event,
        F: Fn(E, &mut Context<'_>) -> R + Send + Sync + 'static,
        R: IntoOutcome + 'static,
    {
        self.engine.subscribe(
            self.name,
            self.pool,
            by_value::<E, F, R>(handler),
            self.policies,
        )
    }

    /// Gives each worker a handler of its own, made there by `factory`; it need be neither `Send` nor
    /// `Sync`. Name the event types it serves with [`FactoryBuilder::on`].
    pub fn factory<H, F, X>(self, factory: F) -> FactoryBuilder<H>
    where
        H: 'static,
        F: Fn(WorkerId) -> Result<H, X> + Send + Sync + 'static,
        X: Into<Failure>,
    {
        FactoryBuilder {
            builder: self,
            factory: Arc::new(move |worker| factory(worker).map_err(Into::into)),
            installers: Vec::new(),
        }
    }
}

impl fmt::Debug for SubscriptionBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriptionBuilder")
            .field("name", &self.name)
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

/// A subscription whose handlers are made by a factory.
#[must_use]
pub struct FactoryBuilder<H> {
    builder: SubscriptionBuilder,
    factory: Arc<dyn Fn(WorkerId) -> Result<H, Failure> + Send + Sync>,
    installers: Vec<Installer<H>>,
}

impl<H: 'static> FactoryBuilder<H> {
    /// Serves this event type too, with the same state.
    pub fn on<E: Event>(mut self) -> Self
    where
        H: Handler<E>,
    {
        self.installers.push(Installer::of::<E>());
        self
    }

    /// Makes the handlers on every worker of the pool, and subscribes them.
    ///
    /// # Errors
    /// As [`SubscriptionBuilder::handler`], and `is_factory` if the factory failed or panicked on some
    /// worker; nothing is subscribed then.
    pub fn register(self) -> Result<Subscription, Error> {
        self.builder.engine.subscribe(
            self.builder.name,
            self.builder.pool,
            from_factory(self.factory, self.installers),
            self.builder.policies,
        )
    }
}

impl<H> fmt::Debug for FactoryBuilder<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FactoryBuilder")
            .field("builder", &self.builder)
            .finish_non_exhaustive()
    }
}

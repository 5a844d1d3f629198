//! Dead letters on their way back: from who asks to the worker that owns the key.
//!
//! publish → route → lane → worker → handler → outcome → (retry | breaker | **dead letter**)

use super::engine::Engine;
use crate::dead_letter::{
    Attempts, DeadLetters, Letter, Order, Queue, Reason, Redeliverer, Subscriber, Unpark,
};
use crate::error::{Error, ErrorKind};
use crate::event::Slot;
use crate::handler::SubscriptionShared;
use crate::publish::is_worker_thread;
use crate::route::{Keeper, pick};
use crate::sync::{Arc, Weak};
use crate::worker::{Letter as Told, Place};

/// The engine, as a redelivery reaches it; it does not keep it running.
struct Road(Weak<Engine>);

impl Redeliverer for Road {
    fn begin(&self, order: Order) -> Result<(), Error> {
        let closed = || {
            Error::new(
                ErrorKind::Closed,
                "redelivery: the engine has stopped (export the letters and import them into another)",
            )
        };
        let engine = self.0.upgrade().ok_or_else(closed)?;
        if !engine.fabric.gate.is_open() {
            return Err(closed());
        }
        let Some(shared) = engine.subscription_of(&order) else {
            return Err(Error::new(
                ErrorKind::Missing,
                format!(
                    "redelivery: the subscription {} is withdrawn (subscribe under that name, export the letter and import it)",
                    order.subscriber().name
                ),
            ));
        };
        let worker = engine.worker_of(&shared, order.key_hash());
        engine.send(worker, Told::Redeliver(shared, Box::new(order)));
        Ok(())
    }

    fn check_wait(&self) -> Result<(), Error> {
        let polls_here = self.0.upgrade().is_some_and(|engine| engine.polls_here());
        if is_worker_thread() || polls_here {
            return Err(Error::new(
                ErrorKind::WouldDeadlock,
                "waiting for a redelivery on a worker's thread, or on one that polls, would wait for itself (ask try_next)",
            ));
        }
        Ok(())
    }

    #[cfg(feature = "json")]
    fn subscribers_named(&self, name: &str, type_index: u32) -> Vec<Arc<Subscriber>> {
        let Some(engine) = self.0.upgrade() else {
            return Vec::new();
        };
        let registry = engine.registry.lock();
        registry
            .of_type(type_index)
            .iter()
            .filter(|shared| shared.name == name)
            .map(|shared| Arc::clone(&shared.subscriber))
            .collect()
    }
}

/// Events that nobody subscribes to, kept as letters (PD11).
pub(crate) struct NobodyWants {
    queue: Arc<Queue>,
    subscriber: Arc<Subscriber>,
}

impl NobodyWants {
    pub(crate) fn new(queue: Arc<Queue>) -> Self {
        Self {
            queue,
            subscriber: Arc::new(Subscriber::new(0, "(nobody)", false, false)),
        }
    }
}

impl Keeper for NobodyWants {
    fn has_room(&self) -> bool {
        self.queue.has_room()
    }

    fn keep(&self, mut slot: Slot) {
        let Some(share) = slot.share() else {
            unreachable!("nobody has taken the value of an event that nobody wants");
        };
        self.queue.keep_unwanted(Letter::new(
            share,
            Arc::clone(&self.subscriber),
            Reason::NoHandler,
            &[],
            Attempts::default(),
            self.queue.now_ms(),
        ));
    }
}

impl Engine {
    /// The queue, if the engine has one.
    pub(crate) fn dead_letters(self: &Arc<Self>) -> Option<DeadLetters> {
        let queue = self.failing.letters.as_ref()?;
        Some(DeadLetters::new(
            Arc::clone(queue),
            Arc::new(Road(Arc::downgrade(self))),
        ))
    }

    /// Has workers told when a parked key is free again by other ways than its redelivery.
    pub(crate) fn own_letters(self: &Arc<Self>) {
        let Some(queue) = &self.failing.letters else {
            return;
        };
        let engine = Arc::downgrade(self);
        queue.set_owner(move |unpark: Unpark| {
            let Some(engine) = engine.upgrade() else {
                return;
            };
            let alive = engine.registry.lock().alive.clone();
            if let Some(shared) = alive.iter().find(|other| other.id == unpark.subscription) {
                let worker = engine.worker_of(shared, Some(unpark.key_hash));
                let letter = Told::Unpark(Place::of(shared), unpark.key_hash);
                engine.send(worker, letter);
            }
        });
    }

    fn subscription_of(&self, order: &Order) -> Option<Arc<SubscriptionShared>> {
        let subscriber = order.subscriber();
        let type_index = order.type_index();
        let registry = self.registry.lock();
        let alive = &registry.alive;
        // One that was withdrawn may have been made again: then it is the name that counts, and the type.
        let is_meant = |shared: &&Arc<SubscriptionShared>| {
            let mut events = shared.events.iter();
            *shared.name == *subscriber.name && events.any(|event| Some(event.index) == type_index)
        };
        alive
            .iter()
            .find(|shared| shared.id == subscriber.id)
            .or_else(|| alive.iter().find(is_meant))
            .cloned()
    }

    /// The worker of a subscription's pool that has a key; the first, for no key.
    fn worker_of(&self, shared: &SubscriptionShared, key: Option<u64>) -> usize {
        let info = &self.fabric.pools[shared.pool];
        let offset = key.map_or(0, |hash| pick(hash, info.count));
        (info.first + offset) as usize
    }
}

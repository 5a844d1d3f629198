//! A worker's own table: which handlers an event type has here.
//!
//! publish → route → lane → worker → **handler** → outcome
//!
//! The table belongs to its worker alone and changes only by control messages, at batch boundaries, so
//! looking a type up is an index and no atomic. Why not one shared table behind a pointer swap:
//! per-worker state has to be made and dropped on its worker anyway, so every change has to visit every
//! worker in any case (docs/decisions/0004).

use super::{Context, Erased, SubscriptionShared, WorkerId};
use crate::event::{Descriptor, Payload, contain};
use crate::metrics::CountsCell;
use crate::outcome::{Failure, Outcome};
use crate::sync::Arc;

/// One handler of one event type on this worker.
pub(crate) struct BenchSub {
    pub(crate) shared: Arc<SubscriptionShared>,
    /// The subscription's counts on this worker, at hand.
    pub(crate) counts: Arc<CountsCell>,
    pub(crate) handler: Box<dyn Erased>,
    /// Calls in the group of events that is being stamped together.
    pub(crate) group_calls: u32,
}

/// Stands for handlers that are not to be called.
struct Nobody;

impl Erased for Nobody {
    fn call(&mut self, _: &mut Payload<'_>, _: &mut Context<'_>) -> Outcome {
        unreachable!("a worker without handlers abandons what it takes")
    }

    fn renew(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// The handlers of one worker.
#[derive(Default)]
pub(crate) struct Bench {
    types: Vec<TypeEntry>,
    subs: Subs,
    free: Vec<u32>,
}

/// The handlers by their indexes.
#[derive(Default)]
pub(crate) struct Subs(Vec<Option<BenchSub>>);

impl Subs {
    #[inline(always)]
    pub(crate) fn at(&mut self, index: u32) -> &mut BenchSub {
        match &mut self.0[index as usize] {
            Some(sub) => sub,
            None => unreachable!("a type's list names only subscriptions that are here"),
        }
    }
}

/// One event type on this worker.
#[derive(Debug, Default)]
struct TypeEntry {
    /// Indexes into the handlers, in the order of subscribing.
    subs: Vec<u32>,
    /// In place, a value of the type needs no drop.
    is_trivial: bool,
}

impl Bench {
    /// The subscriptions of an event type, to be called in the order of subscribing, and whether a value
    /// of the type needs no drop where it lies; nobody and `false` for types that are unknown here.
    #[inline(always)]
    pub(crate) fn of_type(&mut self, type_index: u32) -> (&[u32], bool, &mut Subs) {
        match self.types.get(type_index as usize) {
            Some(entry) => (&entry.subs, entry.is_trivial, &mut self.subs),
            None => (&[], false, &mut self.subs),
        }
    }

    #[inline(always)]
    pub(crate) fn sub(&mut self, index: u32) -> &mut BenchSub {
        self.subs.at(index)
    }

    /// Makes a subscription's handlers on this worker.
    pub(crate) fn install(
        &mut self,
        shared: &Arc<SubscriptionShared>,
        worker: WorkerId,
    ) -> Result<(), Failure> {
        let Some(recipe) = shared.recipe() else {
            // Withdrawn meanwhile, or the engine has stopped: nothing is to be made, and what still comes
            // for the subscription is to be counted.
            self.enlist(shared, worker);
            return Ok(());
        };
        for (descriptor, handler) in recipe.make(worker)? {
            self.add(shared, worker, descriptor, handler);
        }
        Ok(())
    }

    /// Makes a subscription known without handlers, where its deliveries are to be counted and not made.
    pub(crate) fn enlist(&mut self, shared: &Arc<SubscriptionShared>, worker: WorkerId) {
        for descriptor in &shared.events {
            self.add(shared, worker, descriptor, Box::new(Nobody));
        }
    }

    fn add(
        &mut self,
        shared: &Arc<SubscriptionShared>,
        worker: WorkerId,
        descriptor: &'static Descriptor,
        handler: Box<dyn Erased>,
    ) {
        let sub = BenchSub {
            shared: Arc::clone(shared),
            counts: Arc::clone(&shared.counts[usize::from(worker.index)]),
            handler,
            group_calls: 0,
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.subs.0[index as usize] = Some(sub);
                index
            }
            None => {
                self.subs.0.push(Some(sub));
                u32::try_from(self.subs.0.len() - 1).expect("fewer than 2^32 handlers")
            }
        };
        let type_index = descriptor.index as usize;
        if self.types.len() <= type_index {
            self.types.resize_with(type_index + 1, TypeEntry::default);
        }
        let entry = &mut self.types[type_index];
        entry.subs.push(index);
        entry.is_trivial = descriptor.drops.is_trivial();
    }

    /// Drops a subscription's handlers and state here.
    pub(crate) fn remove(&mut self, id: u64) {
        for index in 0..self.subs.0.len() {
            if self.subs.0[index]
                .as_ref()
                .is_some_and(|sub| sub.shared.id == id)
            {
                let index32 = index as u32;
                for entry in &mut self.types {
                    entry.subs.retain(|other| *other != index32);
                }
                let sub = self.subs.0[index].take();
                // The state's drop is the user's code.
                let _ = contain(|| drop(sub));
                self.free.push(index32);
            }
        }
    }

    /// Drops everything, each in its turn and contained.
    pub(crate) fn clear(&mut self) {
        self.types.clear();
        for sub in self.subs.0.drain(..) {
            let _ = contain(|| drop(sub));
        }
    }
}

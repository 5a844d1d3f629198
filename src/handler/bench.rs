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

/// One handler of one event type on this worker: what a call of it needs, in one cache line.
#[repr(align(64))]
pub(crate) struct BenchSub {
    pub(crate) handler: Box<dyn Erased>,
    /// The subscription's counts on this worker, at hand.
    pub(crate) counts: Arc<CountsCell>,
    pub(crate) shared: Arc<SubscriptionShared>,
    /// Calls in the group of events that is being stamped together.
    pub(crate) group_calls: u32,
    /// The subscription's place in tables by subscription.
    pub(crate) place: u32,
    /// The stamp at which its breaker's window wants to be told the time; never, for most.
    pub(crate) tick_at: u64,
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
}

/// One event type on this worker.
#[derive(Default)]
struct TypeEntry {
    /// In the order of subscribing.
    subs: Vec<BenchSub>,
    /// In place, a value of the type needs no drop.
    is_trivial: bool,
}

/// A handler by its type and its number among that type's: good until handlers come or go.
pub(crate) type BenchPlace = (u32, u32);

impl Bench {
    /// The subscriptions of an event type, to be called in the order of subscribing, and whether a value
    /// of the type needs no drop where it lies; nobody and `false` for types that are unknown here.
    #[inline(always)]
    pub(crate) fn of_type(&mut self, type_index: u32) -> (&mut [BenchSub], bool) {
        match self.types.get_mut(type_index as usize) {
            Some(entry) => (&mut entry.subs, entry.is_trivial),
            None => (&mut [], false),
        }
    }

    #[inline(always)]
    pub(crate) fn sub(&mut self, (type_index, number): BenchPlace) -> &mut BenchSub {
        &mut self.types[type_index as usize].subs[number as usize]
    }

    /// The handler of a subscription for an event type.
    pub(crate) fn find(&mut self, type_index: u32, id: u64) -> Option<&mut BenchSub> {
        let (subs, _) = self.of_type(type_index);
        subs.iter_mut().find(|sub| sub.shared.id == id)
    }

    /// Has a subscription's breaker told the time from this stamp on.
    pub(crate) fn set_tick(&mut self, id: u64, stamp: u64) {
        for sub in self.types.iter_mut().flat_map(|entry| &mut entry.subs) {
            if sub.shared.id == id {
                sub.tick_at = stamp;
            }
        }
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
        let type_index = descriptor.index as usize;
        if self.types.len() <= type_index {
            self.types.resize_with(type_index + 1, TypeEntry::default);
        }
        let entry = &mut self.types[type_index];
        entry.is_trivial = descriptor.payload_fns.is_trivial();
        entry.subs.push(BenchSub {
            handler,
            counts: Arc::clone(&shared.counts[usize::from(worker.index)]),
            shared: Arc::clone(shared),
            group_calls: 0,
            place: u32::try_from(shared.place).expect("fewer than 2^32 subscriptions"),
            tick_at: u64::MAX,
        });
    }

    /// Drops a subscription's handlers and state here.
    pub(crate) fn remove(&mut self, id: u64) {
        for entry in &mut self.types {
            while let Some(number) = entry.subs.iter().position(|sub| sub.shared.id == id) {
                let sub = entry.subs.remove(number);
                // The state's drop is the user's code.
                let _ = contain(|| drop(sub));
            }
        }
    }

    /// Drops everything, each in its turn and contained.
    pub(crate) fn clear(&mut self) {
        for sub in self.types.drain(..).flat_map(|entry| entry.subs) {
            let _ = contain(|| drop(sub));
        }
    }
}

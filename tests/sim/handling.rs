//! Handlers of the simulation: what they do with an event, and how they are subscribed.

use crate::action::{Doing, End, Sort, Stop, Subscribe};
use crate::delivery::{Call, Rules};
use crate::event::{Bomb, Job, KINDS, with_kind};
use crate::ledger::{Cause, FOR_NOW_NS};
use crate::seen::Thing;
use crate::world::{World, lock, pool_name, unman};
use ringbolt::{Context, Failure, Handler, Outcome, Polled, Subscription};
use std::panic::panic_any;
use std::sync::Arc;
use std::time::Duration;

/// The engine's default for the longest batch, which a handler is slow beyond.
const BATCH_NS: u32 = 20_000;

impl World {
    /// What a handler does with an event, whatever sort of handler it is.
    fn work(
        self: &Arc<Self>,
        sub: usize,
        pool: usize,
        serial: u32,
        context: &mut Context<'_>,
        drops_inside: bool,
    ) -> Outcome {
        use crate::action::Plant;
        let (class, is_keyed) = (context.class(), context.key_hash().is_some());
        if self.setup.plant == Some(Plant::Loses)
            && pool == 1
            && is_keyed
            && class == ringbolt::Class::Low
        {
            return Outcome::Handled;
        }
        let call = Call {
            attempt: context.attempt(),
            is_redelivery: context.is_redelivery(),
            now_ns: self.now_ns(),
            id: context.id(),
        };
        let (plan, calls) = self.ledger.call(sub, serial, (class, is_keyed), call);
        let simplest = Doing::default();
        let doing = match plan.doings.len() {
            0 => &simplest,
            length => &plan.doings[sub % length],
        };
        self.say(|| format!("    subscription {sub} handles {serial}, {call:?}"));
        if doing.takes_ns > 0 {
            self.hand
                .advance(Duration::from_nanos(u64::from(doing.takes_ns)));
            if doing.takes_ns > BATCH_NS {
                self.ledger.note(Thing::Slow);
            }
        }
        // What it does to the engine it does at its first attempt.
        if !self.setup.is_calm && calls == 0 {
            self.act(doing, pool, Some((serial, pool)), context);
        }
        let mut end = doing.end;
        if doing.fails > 0 && calls >= u32::from(doing.fails) {
            end = End::Handled;
        }
        if drops_inside && plan.traps_drop {
            // The event is going to be dropped by the handler, which is to panic once at most.
            end = End::Panics;
        }
        let now_ns = self.now_ns();
        self.ledger
            .ended(sub, serial, end, now_ns, doing.traps_observer);
        let bomb = |as_what| Bomb {
            ledger: Arc::clone(&self.ledger),
            as_what,
        };
        match end {
            End::Handled => Outcome::Handled,
            End::Skipped => Outcome::Skipped,
            End::Failed => Outcome::Failed(Failure::new("as drawn")),
            End::FailedForGood => Outcome::Failed(Failure::new("as drawn").permanent()),
            End::FailedForNow => {
                let after = Duration::from_nanos(FOR_NOW_NS);
                Outcome::Failed(Failure::new("as drawn").retry_after(after))
            }
            End::FailedBadly => Outcome::Failed(Failure::from(bomb(Thing::ErrorDrop))),
            End::Panics => panic!("as drawn"),
            End::PanicsBadly => panic_any(bomb(Thing::PanicValueDrop)),
        }
    }

    /// What a handler does to the engine.
    fn act(self: &Arc<Self>, doing: &Doing, pool: usize, cause: Cause, context: &mut Context<'_>) {
        for child in &doing.children {
            self.publish(child, Some(context), cause);
        }
        if let Some(item) = &doing.overflow {
            // A handler that runs other pools' workers in the middle of its own batch: before, it publishes more than
            // fits, and behind, when there is room again, one more of the same. What it spilled goes first (PD2, PD5).
            for _ in 0..=self.setup.lane_capacity {
                self.publish(item, Some(context), cause);
            }
            for other in (0..self.setup.pools).filter(|&other| other != pool) {
                if let Polled::Events(1..) = self.poll(other, 1) {
                    self.ledger.note(Thing::NestedPoll);
                }
            }
            self.publish(item, Some(context), cause);
        }
        let gone = doing.withdraws.iter();
        let gone = gone.filter(|&&place| self.withdraw(place, true)).count();
        if gone >= 4 {
            self.ledger.note(Thing::StormInside);
        }
        self.ledger.books().done_inside += gone as u64;
        if let Some(stop) = doing.stop
            && !self.is_stopping()
        {
            self.say(|| format!("    stops {stop:?}"));
            self.begin_stop(match stop {
                Stop::Gently => Stop::Gently,
                // The others are for outside.
                _ => Stop::AtOnce,
            });
            let mut books = self.ledger.books();
            books.seen.note(Thing::StopInside);
            books.done_inside += 1;
        }
    }
}

/// A handler with state, which may panic when it is dropped.
struct Stateful {
    world: Arc<World>,
    sub: usize,
    pool: usize,
}

impl Drop for Stateful {
    fn drop(&mut self) {
        let traps = {
            let mut books = self.world.ledger.books();
            let sub = &mut books.subs[self.sub];
            sub.states -= 1;
            let traps = sub.traps_state && !std::thread::panicking();
            if traps {
                books.seen.note(Thing::StateDrop);
            }
            traps
        };
        assert!(!traps, "the drop of a handler's state is a trap");
    }
}

impl<const K: u8, const N: usize> Handler<Job<K, N>> for Stateful {
    fn handle(&mut self, event: &Job<K, N>, context: &mut Context<'_>) -> Outcome {
        self.world
            .work(self.sub, self.pool, event.serial, context, false)
    }
}

/// Subscribes a handler of some sort.
pub(crate) fn subscribe(world: &Arc<World>, wanted: &Subscribe) {
    let kind = match wanted.sort {
        Sort::ByValue => 2,
        Sort::Factory => wanted.kind % 2,
        Sort::ByRef => wanted.kind % KINDS,
    };
    let pool = usize::from(wanted.pool) % world.setup.pools;
    if world.is_stopping() && wanted.sort == Sort::Factory {
        // It would need the pool's poller to go, and while the engine stops no other may come.
        return;
    }
    // A factory runs on the pool's worker before `subscribe` returns, which a poller of this very thread
    // could not do: it goes for the while.
    let had_poller = wanted.sort == Sort::Factory && unman(pool).is_some();
    with_kind!(kind, subscribe_kind(world, wanted, kind, pool));
    if had_poller {
        world.man(pool);
    }
}

fn subscribe_kind<const K: u8, const N: usize>(
    world: &Arc<World>,
    wanted: &Subscribe,
    kind: u8,
    pool: usize,
) {
    let Some(handle) = world.handle() else {
        return;
    };
    let by_value = wanted.sort == Sort::ByValue;
    let kinds = match wanted.sort {
        Sort::Factory => vec![0, 1],
        _ => vec![kind],
    };
    let conflicts = {
        let books = world.ledger.books();
        books.subs.iter().any(|other| {
            other.is_live
                && other.kinds.iter().any(|kind| kinds.contains(kind))
                && (other.by_value || by_value)
        })
    };
    let rules = Rules::of(&world.setup, wanted, by_value);
    let sub = world
        .ledger
        .add_sub(pool, kinds, by_value, wanted.traps_state, rules);
    let builder = handle
        .subscription(format!("sub-{sub}"))
        .pool(pool_name(&world.setup, pool));
    let builder = world.with_policies(builder, wanted, rules, sub);
    let inner = Arc::clone(world);
    let result = match wanted.sort {
        Sort::ByRef => builder.handler(move |event: &Job<K, N>, context: &mut Context<'_>| {
            inner.work(sub, pool, event.serial, context, false)
        }),
        Sort::ByValue => builder.by_value(move |event: Job<K, N>, context: &mut Context<'_>| {
            inner.work(sub, pool, event.serial, context, true)
        }),
        Sort::Factory => builder
            .factory(move |_| {
                inner.ledger.books().subs[sub].states += 1;
                Ok::<_, Failure>(Stateful {
                    world: Arc::clone(&inner),
                    sub,
                    pool,
                })
            })
            .on::<Job<0, 0>>()
            .on::<Job<1, 0>>()
            .register(),
    };
    world.say(|| format!("  subscribe {sub}, {wanted:?}: {result:?}"));
    let subscription: Option<Subscription> = match result {
        Ok(_) if conflicts => {
            world
                .ledger
                .violation("PD7: two subscriptions, one of them by value");
            None
        }
        Ok(subscription) => {
            world.ledger.books().subs[sub].is_live = true;
            Some(subscription)
        }
        Err(error) if conflicts && error.is_conflict() => None,
        Err(error) if error.is_closed() && world.is_stopping() => None,
        Err(error) => {
            world.ledger.violation(format!("PD7: subscribe: {error}"));
            None
        }
    };
    lock(&world.subs).push(subscription);
}

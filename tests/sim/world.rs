//! Events, handlers and publishes of the simulation, with traps in every place where user code runs.

use crate::ledger::{End, Fate, Ledger, Plan};
use crate::random::Random;
use ringbolt::{
    Admission, Class, Context, Event, Failure, Handle, Handler, Key, ManualClock, NoHandler,
    Options, Outcome, Polled, Poller, PublishError, Publisher, Receipt, Subscription,
};
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Generations of children that an event from outside may have.
const HOPS: u8 = 3;

/// Kinds of events; the last one does not fit a slot.
pub(crate) const KINDS: u8 = 5;

/// An event: a number in the ledger, and `N` words of weight.
pub(crate) struct Job<const K: u8, const N: usize> {
    serial: u32,
    ledger: Arc<Ledger>,
    _weight: [u64; N],
}

impl<const K: u8, const N: usize> Event for Job<K, N> {
    const NAME: &'static str = ["sim.a", "sim.b", "sim.c", "sim.d", "sim.e"][K as usize];

    fn key(&self) -> Key<'_> {
        self.ledger.key(self.serial).map_or(Key::None, Key::U64)
    }
}

impl<const K: u8, const N: usize> Drop for Job<K, N> {
    fn drop(&mut self) {
        let traps = self.ledger.dropped(self.serial);
        if traps && !std::thread::panicking() {
            panic!("the drop of {} is a trap", self.serial);
        }
    }
}

/// Calls a function that is generic over events with the types of a kind.
macro_rules! with_kind {
    ($kind:expr, $function:ident($($argument:expr),*)) => {
        match $kind {
            0 => $function::<0, 0>($($argument),*),
            1 => $function::<1, 0>($($argument),*),
            2 => $function::<2, 0>($($argument),*),
            3 => $function::<3, 0>($($argument),*),
            _ => $function::<4, 8>($($argument),*),
        }
    };
}

/// A value that panics when it is dropped.
#[derive(Debug)]
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("the drop of a panic's value, or of an error, is a trap");
        }
    }
}

impl fmt::Display for Bomb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an error that panics when it is dropped")
    }
}

impl std::error::Error for Bomb {}

/// What a run is like; drawn from its seed.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) pools: usize,
    pub(crate) lane_capacity: usize,
    pub(crate) inbox_capacity: usize,
    pub(crate) spill_max: usize,
    pub(crate) batch_max: usize,
    pub(crate) starvation_limit: usize,
    pub(crate) no_handler: NoHandler,
    pub(crate) lossy: Vec<Class>,
    pub(crate) stamps_each: bool,
    /// No subscription goes, no poller changes, no handler publishes: then the order of classes can be
    /// told from outside (PD3).
    pub(crate) is_calm: bool,
    /// Percent of calls, drops and keys that panic.
    pub(crate) traps: usize,
    pub(crate) steps: usize,
}

impl Setup {
    pub(crate) fn draw(random: &mut Random) -> Self {
        Self {
            pools: random.between(1, 4),
            lane_capacity: random.pick(&[1, 1, 2, 3, 8]),
            inbox_capacity: random.pick(&[1, 1, 2, 5]),
            spill_max: random.pick(&[1, 2, 5, 40]),
            batch_max: random.between(1, 9),
            starvation_limit: random.between(6, 24),
            no_handler: random.pick(&[NoHandler::Ignore, NoHandler::Error]),
            lossy: Class::ALL
                .into_iter()
                .filter(|_| random.percent(30))
                .collect(),
            stamps_each: random.percent(30),
            is_calm: random.percent(30),
            traps: random.pick(&[0, 5, 20]),
            steps: random.between(20, 200),
        }
    }
}

/// Everything that handlers reach.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) setup: Setup,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) hand: ManualClock,
    /// Taken out at the end, as it makes a circle with the handlers that hold the world.
    pub(crate) handle: Mutex<Option<Handle>>,
    pub(crate) publishers: Vec<Mutex<Option<(u32, Publisher)>>>,
    pub(crate) next_publisher: AtomicU64,
    pub(crate) subs: Mutex<Vec<Option<Subscription>>>,
    pub(crate) receipts: Mutex<Vec<(u32, Receipt)>>,
    pub(crate) is_stopping: AtomicBool,
    pub(crate) is_verbose: bool,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// The run's pollers, by pool; whichever polls is taken out meanwhile. With the thread, as a poller
    /// cannot go to another and handlers have to be able to.
    pub(crate) static POLLERS: RefCell<Vec<Option<Poller>>> = const { RefCell::new(Vec::new()) };
}

/// Polls a pool, if it has a poller that is not at work already.
pub(crate) fn poll(pool: usize, batches: usize) -> Polled {
    let poller = POLLERS.with_borrow_mut(|pollers| pollers[pool].take());
    let Some(mut poller) = poller else {
        return Polled::Events(0);
    };
    let polled = poller.poll(batches);
    POLLERS.with_borrow_mut(|pollers| pollers[pool] = Some(poller));
    polled
}

/// By which way an event goes in.
pub(crate) enum Way<'a, 'c> {
    Publisher(&'a mut Publisher),
    Handle(&'a Handle),
    Context(&'a mut Context<'c>),
}

/// The handle promises causal order among all who use it, so it counts as one publisher.
const HANDLE: u32 = 900;
/// A worker's context is a publisher too, whichever poller runs it.
const CONTEXT: u32 = 1_000;

impl World {
    pub(crate) fn say(&self, text: impl FnOnce() -> String) {
        if self.is_verbose {
            eprintln!("{}", text());
        }
    }

    fn plan(&self, random: &mut Random, publisher: u32, hops: u8) -> Plan {
        let kind = random.below(KINDS as usize) as u8;
        Plan {
            kind,
            key: (!random.percent(25)).then(|| random.below(3) as u64),
            class: random.pick(&Class::ALL),
            publisher,
            hops,
            traps_key: random.percent(self.setup.traps / 4),
            traps_drop: random.percent(self.setup.traps),
        }
    }

    /// Publishes one event from outside a handler.
    pub(crate) fn publish_one(self: &Arc<Self>, random: &mut Random) {
        if random.percent(35) {
            let handle = lock(&self.handle).clone();
            if let Some(handle) = handle {
                let plan = self.plan(random, HANDLE, HOPS);
                with_kind!(
                    plan.kind,
                    publish(self, &mut Way::Handle(&handle), random, plan)
                );
            }
            return;
        }
        let place = random.below(self.publishers.len());
        if let Some((id, publisher)) = &mut *lock(&self.publishers[place]) {
            let plan = self.plan(random, *id, HOPS);
            with_kind!(
                plan.kind,
                publish(self, &mut Way::Publisher(publisher), random, plan)
            );
        }
    }

    /// In a quiet engine there is room for an event of every kind by every way.
    pub(crate) fn publish_into_room(self: &Arc<Self>, random: &mut Random) {
        let handle = lock(&self.handle).clone();
        for kind in 0..KINDS {
            for place in 0..=self.publishers.len() {
                let mut publisher = self.publishers.get(place).map(lock);
                let (id, mut way) = match (&handle, publisher.as_deref_mut()) {
                    (_, Some(Some((id, publisher)))) => (*id, Way::Publisher(publisher)),
                    (Some(handle), None) => (HANDLE, Way::Handle(handle)),
                    _ => continue,
                };
                let mut plan = self.plan(random, id, HOPS);
                plan.kind = kind;
                (plan.traps_key, plan.traps_drop) = (false, false);
                let before = self.ledger.books().records.len();
                with_kind!(kind, publish(self, &mut way, random, plan));
                let (fate, has_pools) = {
                    let record = &self.ledger.books().records[before];
                    (record.fate, !record.pools.is_empty())
                };
                if has_pools && fate != Fate::Admitted {
                    self.ledger
                        .violation(format!("PD4: quiet, and no room for {before}: {fate:?}"));
                }
                // Handlers use the same publishers.
                drop(publisher);
                self.drain_one();
            }
        }
    }

    /// Lets what was just published be handled, so that the next finds room.
    fn drain_one(&self) {
        let mut idle_rounds = 0;
        while idle_rounds < 4 {
            let taken = (0..self.setup.pools).any(|pool| poll(pool, 4) != Polled::Events(0));
            idle_rounds = if taken { 0 } else { idle_rounds + 1 };
        }
    }

    /// Publishes one event from a handler, by whatever way.
    fn publish_child(
        self: &Arc<Self>,
        random: &mut Random,
        context: &mut Context<'_>,
        pool: usize,
        hops: u8,
    ) {
        match random.below(4) {
            0 => {
                let handle = lock(&self.handle).clone();
                if let Some(handle) = handle {
                    let plan = self.plan(random, HANDLE, hops);
                    with_kind!(
                        plan.kind,
                        publish(self, &mut Way::Handle(&handle), random, plan)
                    );
                }
            }
            1 => {
                let place = random.below(self.publishers.len());
                if let Some((id, publisher)) = &mut *lock(&self.publishers[place]) {
                    let plan = self.plan(random, *id, hops);
                    with_kind!(
                        plan.kind,
                        publish(self, &mut Way::Publisher(publisher), random, plan)
                    );
                }
            }
            _ => {
                let plan = self.plan(random, CONTEXT + pool as u32, hops);
                with_kind!(
                    plan.kind,
                    publish(self, &mut Way::Context(context), random, plan)
                );
            }
        }
    }

    /// A handler that runs another pool's worker in the middle of its own batch: before, it publishes more
    /// than fits, and behind, when there is room again, one more of the same. What it spilled goes first (PD2, PD5).
    fn overflow(self: &Arc<Self>, random: &mut Random, context: &mut Context<'_>, pool: usize) {
        let plan = self.plan(random, CONTEXT + pool as u32, 0);
        for _ in 0..self.setup.lane_capacity + 1 {
            let plan = plan.clone();
            with_kind!(
                plan.kind,
                publish(self, &mut Way::Context(context), random, plan)
            );
        }
        for other in 0..self.setup.pools {
            self.say(|| format!("    polls {other}"));
            poll(other, 1);
        }
        with_kind!(
            plan.kind,
            publish(self, &mut Way::Context(context), random, plan)
        );
    }

    /// A batch of one kind, from outside.
    pub(crate) fn publish_many(self: &Arc<Self>, random: &mut Random) {
        let place = random.below(self.publishers.len());
        if let Some((id, publisher)) = &mut *lock(&self.publishers[place]) {
            let mut plan = self.plan(random, *id, HOPS);
            // The batch itself is what is looked at here.
            plan.traps_key = false;
            plan.traps_drop = false;
            publisher.set_class(plan.class);
            with_kind!(plan.kind, publish_batch(self, publisher, random, plan));
        }
    }

    /// What a handler does with an event, whatever sort of handler it is.
    fn work(
        self: &Arc<Self>,
        sub: usize,
        pool: usize,
        serial: u32,
        context: &mut Context<'_>,
        drops_inside: bool,
    ) -> Outcome {
        let plan = self
            .ledger
            .call(sub, serial, context.class(), context.key_hash().is_some());
        let mut random = Random::of(self.seed, u64::from(serial) << 16 | sub as u64);
        self.say(|| format!("    subscription {sub} handles {serial} {plan:?}"));
        if random.percent(15) {
            self.hand
                .advance(Duration::from_nanos(random.next() % 40_000));
        }
        if !self.setup.is_calm {
            if plan.hops > 0 && random.percent(45) {
                for _ in 0..random.between(1, 2) {
                    self.publish_child(&mut random, context, pool, plan.hops - 1);
                }
            }
            if random.percent(4) {
                self.overflow(&mut random, context, pool);
            }
            if random.percent(1) {
                self.withdraw(&mut random, true);
            }
        }
        let mut end = if random.percent(self.setup.traps) {
            random.pick(&[End::Panics, End::PanicsBadly, End::FailedBadly])
        } else {
            random.pick(&[
                End::Handled,
                End::Handled,
                End::Handled,
                End::Failed,
                End::Skipped,
            ])
        };
        if drops_inside && plan.traps_drop {
            // The event is going to be dropped by the handler, which is to panic once at most.
            end = End::Panics;
        }
        self.ledger.ended(sub, end);
        match end {
            End::Handled => Outcome::Handled,
            End::Skipped => Outcome::Skipped,
            End::Failed => Outcome::Failed(Failure::new("as drawn")),
            End::FailedBadly => Outcome::Failed(Failure::from(Bomb)),
            End::Panics => panic!("as drawn"),
            End::PanicsBadly => panic_any(Bomb),
        }
    }

    /// Withdraws some subscription.
    pub(crate) fn withdraw(&self, random: &mut Random, in_handler: bool) {
        let (place, subscription) = {
            let subs = lock(&self.subs);
            if subs.is_empty() {
                return;
            }
            let place = random.below(subs.len());
            match &subs[place] {
                Some(subscription) => (place, subscription.clone()),
                None => return,
            }
        };
        self.say(|| format!("  withdraw {place}"));
        if in_handler {
            if !subscription
                .unsubscribe()
                .is_err_and(|error| error.is_would_deadlock())
            {
                self.ledger
                    .violation("PD5: unsubscribe waited in a handler");
            }
            drop(subscription.begin_unsubscribe());
        } else if let Err(error) = subscription.unsubscribe() {
            self.ledger.violation(format!("PD7: unsubscribe: {error}"));
        }
        self.ledger.books().subs[place].is_live = false;
    }
}

/// Publishes one event and notes what became of it (PD1).
fn publish<const K: u8, const N: usize>(
    world: &Arc<World>,
    way: &mut Way<'_, '_>,
    random: &mut Random,
    plan: Plan,
) {
    let ledger = &world.ledger;
    let serial = ledger.make(plan.clone());
    let in_handler = matches!(way, Way::Context(_)) || plan.hops < HOPS;
    let event = Job::<K, N> {
        serial,
        ledger: Arc::clone(ledger),
        _weight: [0; N],
    };
    let waits = in_handler && random.percent(30);
    let admission = match (waits, random.below(3)) {
        (true, _) => Admission::Block,
        (_, 0) => Admission::Lossy,
        (_, 1) => Admission::BlockFor(Duration::ZERO),
        _ => Admission::Fail,
    };
    let options = Options::new().class(plan.class).admission(admission);
    let style = random.below(4);
    let mut may_lose = admission == Admission::Lossy && world.setup.lossy.contains(&plan.class);
    let mut receipt = None;
    let result = catch_unwind(AssertUnwindSafe(|| match way {
        Way::Publisher(publisher) => {
            publisher.set_class(plan.class);
            match style {
                0 => {
                    may_lose = false;
                    publisher.try_publish(event)
                }
                1 => {
                    publisher.set_admission(admission);
                    let result = publisher.publish_tracked(event);
                    publisher.set_admission(Admission::Fail);
                    result.map(|given| receipt = Some(given))
                }
                _ => publisher.publish_with(event, options),
            }
        }
        Way::Handle(handle) => handle.publish_with(event, options),
        Way::Context(context) => context.publish_with(event, options),
    }));
    if let Way::Publisher(publisher) = way {
        // A trap may have kept it from being set back.
        publisher.set_admission(Admission::Fail);
    }
    let (drops, has_pools, traps_drop) = {
        let books = ledger.books();
        let record = &books.records[serial as usize];
        (
            record.drops,
            !record.pools.is_empty(),
            record.plan.traps_drop,
        )
    };
    let gone = if may_lose && has_pools {
        Fate::Lost
    } else {
        Fate::Unhandled
    };
    let fate = match result {
        Ok(Ok(())) if drops == 0 => Fate::Admitted,
        Ok(Ok(())) => gone,
        Ok(Err(error)) => {
            if drops != 0 {
                ledger.violation(format!("PD1: {serial} was dropped and came back"));
            }
            let allowed = match &error {
                PublishError::Full(_) => true,
                PublishError::Closed(_) => world.is_stopping.load(Ordering::SeqCst),
                PublishError::NoHandler(_) => {
                    !has_pools && world.setup.no_handler == NoHandler::Error
                }
                PublishError::WouldDeadlock(_) => in_handler,
                _ => false,
            };
            if !allowed {
                ledger.violation(format!("PD1: {serial} came back with {error:?}"));
            }
            ledger.disarm(serial);
            let event = error.into_event();
            if event.serial != serial {
                ledger.violation(format!("PD1: not {serial} came back but {}", event.serial));
            }
            Fate::Refused
        }
        Err(_) if plan.traps_key => Fate::Refused,
        Err(_) if traps_drop && drops == 1 => gone,
        Err(panic) => {
            ledger.violation(format!(
                "a publish of {serial} panicked: {:?}",
                panic.downcast_ref::<&str>()
            ));
            std::mem::forget(panic);
            Fate::Refused
        }
    };
    if fate == Fate::Unhandled && has_pools {
        ledger.violation(format!("PD1: {serial} was published and is gone"));
    }
    if fate == Fate::Admitted && !has_pools {
        ledger.violation(format!("PD11: {serial} was admitted for nobody"));
    }
    world.say(|| format!("  publish {serial} {plan:?} {admission:?}: {fate:?}"));
    ledger.settle(serial, fate);
    if let Some(receipt) = receipt {
        lock(&world.receipts).push((serial, receipt));
    }
}

/// Publishes a batch and notes what became of each of its events.
fn publish_batch<const K: u8, const N: usize>(
    world: &Arc<World>,
    publisher: &mut Publisher,
    random: &mut Random,
    plan: Plan,
) {
    let ledger = &world.ledger;
    let length = random.pick(&[0, 1, 3, 10, 70]);
    let mut keys = random.clone();
    let mut serials = Vec::new();
    let result = publisher.publish_batch((0..length).map(|_| {
        let mut plan = plan.clone();
        plan.key = (!keys.percent(10)).then(|| keys.below(3) as u64);
        let serial = ledger.make(plan);
        serials.push(serial);
        Job::<K, N> {
            serial,
            ledger: Arc::clone(ledger),
            _weight: [0; N],
        }
    }));
    let (published, back): (usize, Vec<u32>) = match result {
        Ok(published) => (published, Vec::new()),
        Err(error) => {
            let refused = error.refused.into_event();
            let back = std::iter::once(refused)
                .chain(error.pulled)
                .chain(error.rest)
                .map(|event| event.serial)
                .collect();
            (error.published, back)
        }
    };
    let (admitted, rest) = serials.split_at(published.min(serials.len()));
    if published + back.len() != length || rest != back {
        ledger.violation(format!(
            "PD1: of {length} events {published} were published and {back:?} came back"
        ));
    }
    for &serial in admitted {
        let (drops, has_pools) = {
            let record = &ledger.books().records[serial as usize];
            (record.drops, !record.pools.is_empty())
        };
        if has_pools != (drops == 0) {
            ledger.violation(format!(
                "PD1: {serial} of a batch was published and is gone"
            ));
        }
        let fate = if has_pools {
            Fate::Admitted
        } else {
            Fate::Unhandled
        };
        ledger.settle(serial, fate);
    }
    for &serial in rest {
        ledger.settle(serial, Fate::Refused);
    }
    world.say(|| format!("  batch of {length}: {admitted:?}, back {back:?}"));
}

/// The sorts of handlers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    ByRef,
    ByValue,
    /// With state of its own, for two kinds.
    Factory,
}

/// A handler with state, which may panic when it is dropped.
struct Stateful {
    world: Arc<World>,
    sub: usize,
    pool: usize,
    calls: u64,
}

impl Drop for Stateful {
    fn drop(&mut self) {
        self.world.ledger.books().subs[self.sub].states -= 1;
        let traps = Random::of(self.world.seed, self.calls << 8 | self.sub as u64)
            .percent(self.world.setup.traps);
        if traps && !std::thread::panicking() {
            panic!("the drop of a handler's state is a trap");
        }
    }
}

impl<const K: u8, const N: usize> Handler<Job<K, N>> for Stateful {
    fn handle(&mut self, event: &Job<K, N>, context: &mut Context<'_>) -> Outcome {
        self.calls += 1;
        let world = Arc::clone(&self.world);
        world.work(self.sub, self.pool, event.serial, context, false)
    }
}

/// Subscribes a handler of some sort.
pub(crate) fn subscribe(world: &Arc<World>, random: &mut Random) {
    let sort = random.pick(&[Sort::ByRef, Sort::ByRef, Sort::ByValue, Sort::Factory]);
    let kind = match sort {
        // Kind 2 is the one that may be taken by value; the others would hardly ever be free.
        Sort::ByValue => 2,
        Sort::Factory => random.pick(&[0, 1]),
        Sort::ByRef => random.below(KINDS as usize) as u8,
    };
    let pool = random.below(world.setup.pools);
    // A factory runs on the pool's worker before `subscribe` returns, which a poller of this very thread
    // could not do: it goes for the while.
    let had_poller = sort == Sort::Factory
        && POLLERS
            .with_borrow_mut(|pollers| pollers[pool].take())
            .is_some();
    with_kind!(kind, subscribe_kind(world, sort, kind, pool));
    if had_poller && let Some(handle) = lock(&world.handle).clone() {
        match handle.poller(&format!("p{pool}")) {
            Ok(poller) => POLLERS.with_borrow_mut(|pollers| pollers[pool] = Some(poller)),
            Err(error) if error.is_closed() => {}
            Err(error) => world.ledger.violation(format!("poller: {error}")),
        }
    }
}

fn subscribe_kind<const K: u8, const N: usize>(
    world: &Arc<World>,
    sort: Sort,
    kind: u8,
    pool: usize,
) {
    let Some(handle) = lock(&world.handle).clone() else {
        return;
    };
    let kinds = match sort {
        Sort::Factory => vec![0, 1],
        _ => vec![kind],
    };
    let conflicts = {
        let books = world.ledger.books();
        books.subs.iter().any(|other| {
            other.is_live
                && other.kinds.iter().any(|kind| kinds.contains(kind))
                && (other.by_value || sort == Sort::ByValue)
        })
    };
    let sub = world.ledger.add_sub(pool, kinds, sort == Sort::ByValue);
    let builder = handle
        .subscription(format!("sub-{sub}"))
        .pool(format!("p{pool}"));
    let inner = Arc::clone(world);
    let result = match sort {
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
                    calls: 0,
                })
            })
            .on::<Job<0, 0>>()
            .on::<Job<1, 0>>()
            .register(),
    };
    world.say(|| format!("  subscribe {sub} {sort:?} to {kind} on {pool}: {result:?}"));
    let subscription = match result {
        Ok(_) if conflicts => {
            world
                .ledger
                .violation("two subscriptions, one of them by value");
            None
        }
        Ok(subscription) => {
            world.ledger.books().subs[sub].is_live = true;
            Some(subscription)
        }
        Err(error) if conflicts && error.is_conflict() => None,
        Err(error) if error.is_closed() && world.is_stopping.load(Ordering::SeqCst) => None,
        Err(error) => {
            world.ledger.violation(format!("subscribe: {error}"));
            None
        }
    };
    lock(&world.subs).push(subscription);
}

//! Everything that handlers of a run reach: the engine, its pollers, publishers and subscriptions, and the stop.

use crate::action::{NoRoom, Setup, Stop};
use crate::failing::Later;
use crate::ledger::Ledger;
use crate::seen::Thing;
use ringbolt::{Breaker, Clock, Handle, ManualClock, Polled, Poller, Publisher, Receipt};
use ringbolt::{RedeliveryTicket, ShutdownTicket, Subscription, UnsubscribeTicket};
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

thread_local! {
    /// No stop takes this long unless it hangs; less where many runs that hang are tried.
    static PATIENCE: Cell<Duration> = const { Cell::new(Duration::from_secs(30)) };
}

/// How long a stop may take.
pub(crate) fn patience() -> Duration {
    PATIENCE.get()
}

/// Does something with another patience.
pub(crate) fn with_patience<R>(patience: Duration, f: impl FnOnce() -> R) -> R {
    let before = PATIENCE.replace(patience);
    let result = f();
    PATIENCE.set(before);
    result
}

/// The world of a run.
pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) hand: ManualClock,
    pub(crate) clock: Clock,
    /// Taken out at the end, as it makes a circle with the handlers that hold the world.
    pub(crate) handle: Mutex<Option<Handle>>,
    pub(crate) publishers: Vec<Mutex<Option<(u32, Publisher)>>>,
    pub(crate) next_publisher: AtomicU32,
    pub(crate) subs: Mutex<Vec<Option<Subscription>>>,
    pub(crate) receipts: Mutex<Vec<(u32, Receipt)>>,
    /// The breaker that subscriptions share, and those of single ones.
    pub(crate) breakers: Mutex<Vec<Breaker>>,
    /// Events that are to be published later.
    pub(crate) laters: Mutex<Vec<(u32, Box<dyn Later>)>>,
    pub(crate) redeliveries: Mutex<Vec<RedeliveryTicket>>,
    /// A stop that goes on beside the run.
    pub(crate) ticket: Mutex<Option<ShutdownTicket>>,
    pub(crate) is_verbose: bool,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The place of a pool's poller.
#[derive(Debug, Default)]
enum Seat {
    #[default]
    Empty,
    Taken(Box<Poller>),
    /// Its poller is in the middle of a turn.
    AtWork,
}

thread_local! {
    /// The run's pollers, by pool, and behind them the one of the watch. With the thread, as a poller cannot go to another
    /// and handlers have to be able to.
    static SEATS: RefCell<Vec<Seat>> = const { RefCell::new(Vec::new()) };
}

/// Makes places for so many pools.
pub(crate) fn set_seats(pools: usize) {
    SEATS.set((0..pools).map(|_| Seat::Empty).collect());
}

/// Lets go of pollers that may hang.
pub(crate) fn forget_seats() {
    std::mem::forget(SEATS.take());
}

/// The poller that sits at a place, taken away.
pub(crate) fn unman(place: usize) -> Option<Poller> {
    SEATS.with_borrow_mut(|seats| match std::mem::take(&mut seats[place]) {
        Seat::Taken(poller) => Some(*poller),
        other => {
            seats[place] = other;
            None
        }
    })
}

pub(crate) fn unman_all() {
    let places = SEATS.with_borrow(Vec::len);
    (0..places).for_each(|place| drop(unman(place)));
}

pub(crate) fn seat(place: usize, poller: Poller) {
    SEATS.with_borrow_mut(|seats| seats[place] = Seat::Taken(Box::new(poller)));
}

pub(crate) fn is_empty(place: usize) -> bool {
    SEATS.with_borrow(|seats| matches!(seats[place], Seat::Empty))
}

/// The name of the pool that nobody subscribes on, and whose worker the engine numbers last.
pub(crate) const WATCH: &str = "watch";

pub(crate) fn pool_name(setup: &Setup, place: usize) -> String {
    if place == setup.pools {
        WATCH.to_owned()
    } else {
        format!("p{place}")
    }
}

impl World {
    pub(crate) fn say(&self, text: impl FnOnce() -> String) {
        if self.is_verbose {
            eprintln!("{}", text());
        }
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.clock.delta_ns(0, self.clock.raw())
    }

    pub(crate) fn handle(&self) -> Option<Handle> {
        lock(&self.handle).clone()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.ledger.books().is_stopping
    }

    /// A worker's turn, if its pool has a poller that is not at work already.
    pub(crate) fn poll(&self, place: usize, batches: usize) -> Polled {
        let Some(mut poller) = unman(place) else {
            return Polled::Events(0);
        };
        SEATS.with_borrow_mut(|seats| seats[place] = Seat::AtWork);
        self.ledger.turn();
        self.say(|| format!("  turn of {place}"));
        let polled = poller.poll(batches);
        seat(place, poller);
        self.settle_laters();
        polled
    }

    /// A poller for a pool, unless it has one or nobody may come any more.
    pub(crate) fn man(&self, place: usize) {
        if !is_empty(place) || self.is_stopping() {
            return;
        }
        self.say(|| format!("  poller of {place} comes"));
        let Some(handle) = self.handle() else { return };
        match handle.poller(&pool_name(&self.setup, place)) {
            Ok(poller) => seat(place, poller),
            Err(error) => self.ledger.violation(format!("PD7: poller: {error}")),
        }
    }

    /// Has every pool manned; not those whose pollers are in the middle of their turns.
    pub(crate) fn man_all(&self) {
        (0..self.setup.pools).for_each(|place| self.man(place));
    }

    pub(crate) fn renew_publisher(&self, place: usize) {
        let Some(handle) = self.handle() else { return };
        let id = self.next_publisher.fetch_add(1, Ordering::Relaxed);
        let mut publisher = handle.publisher();
        publisher.set_admission(ringbolt::Admission::Fail);
        // The old one goes at the end, when the lock is free.
        let _old = lock(&self.publishers[place]).replace((id, publisher));
    }

    /// Withdraws a subscription, perhaps once more; whether it was there until now.
    pub(crate) fn withdraw(&self, place: u8, in_handler: bool) -> bool {
        let (place, subscription) = {
            let subs = lock(&self.subs);
            if subs.is_empty() {
                return false;
            }
            let place = usize::from(place) % subs.len();
            match &subs[place] {
                Some(subscription) => (place, subscription.clone()),
                None => return false,
            }
        };
        self.say(|| format!("  withdraw {place}"));
        // Who would have had them is known now.
        self.settle_laters();
        if subscription.attempts().held > 0 && self.ledger.books().subs[place].is_live {
            self.ledger.note(Thing::WithdrawnHeld);
        }
        if in_handler {
            let refused = subscription.unsubscribe();
            if !refused.is_err_and(|error| error.is_would_deadlock()) {
                self.ledger
                    .violation("PD5: unsubscribe waited in a handler");
            }
            let _: UnsubscribeTicket = subscription.begin_unsubscribe();
        } else if let Err(error) = subscription.unsubscribe() {
            self.ledger.violation(format!("PD7: unsubscribe: {error}"));
        }
        self.ledger.gone(place)
    }

    /// Begins a stop that another thread does, and waits until it has come so far that what follows here does not
    /// depend on that thread: with time to drain, until nobody comes in any more; at once, until every worker has been
    /// told to end. (How far a draining engine has come is not seen from here, and a worker ends a batch early to answer
    /// the stop's questions. So only then may a run differ from its last time.)
    pub(crate) fn begin_stop(&self, stop: Stop) {
        if self.is_stopping() {
            return;
        }
        let Some(handle) = self.handle() else { return };
        self.man_all();
        self.ledger.stop(stop == Stop::Gently);
        let limit = match stop {
            Stop::Gently => patience(),
            _ => Duration::ZERO,
        };
        *lock(&self.ticket) = Some(handle.begin_shutdown(limit));
        let waited = Waited::new();
        while !waited.too_long() {
            let has_come = match stop {
                // The last that is told, so all others have been.
                Stop::AtOnce => self.poll(self.setup.pools, 1) == Polled::Stopped,
                _ => handle
                    .poller("default")
                    .is_err_and(|error| error.is_closed()),
            };
            if has_come {
                return;
            }
            std::thread::yield_now();
        }
        self.ledger.violation("DR1: the stop does not begin");
    }

    /// What an event says to do when there is no room, as far as it can be done.
    pub(crate) fn admission(&self, no_room: NoRoom, in_handler: bool) -> ringbolt::Admission {
        match no_room {
            NoRoom::Lossy => ringbolt::Admission::Lossy,
            NoRoom::BlockFor => ringbolt::Admission::BlockFor(Duration::ZERO),
            NoRoom::Block if in_handler => ringbolt::Admission::Block,
            NoRoom::Fail | NoRoom::Block => ringbolt::Admission::Fail,
        }
    }
}

/// Bounds, in real time, how long the run waits for the stop, which is another thread's.
pub(crate) struct Waited {
    clock: Clock,
    start: u64,
}

impl Waited {
    pub(crate) fn new() -> Self {
        let clock = Clock::real();
        let start = clock.raw();
        Self { clock, start }
    }

    pub(crate) fn ns(&self) -> u64 {
        self.clock.delta_ns(self.start, self.clock.raw())
    }

    pub(crate) fn too_long(&self) -> bool {
        self.ns() > patience().as_nanos() as u64
    }
}

/// What went in through the handle counts as one publisher: causal order is promised among all who use it.
pub(crate) const HANDLE: u32 = 900;
/// A worker's context is a publisher too, whichever poller runs it.
pub(crate) const CONTEXT: u32 = 1_000;

/// From here on each event that is published later is its own publisher.
pub(crate) const LATER: u32 = 100_000;

/// Whether a class is among those declared lossy.
pub(crate) fn is_lossy(setup: &Setup, class: ringbolt::Class) -> bool {
    setup.lossy.contains(&(class as u8))
}

/// Notes that an outside publisher found no room.
pub(crate) fn full(world: &World, by_handle: bool) {
    world
        .ledger
        .note(match (by_handle, world.setup.lane_capacity) {
            (true, _) => Thing::InboxFull,
            (false, 1) => Thing::SlotFull,
            (false, _) => Thing::LaneFull,
        });
}

//! One run: a list of actions, done to an engine.

use crate::action::{Action, Plant, Script, Setup, Stop};
use crate::failing::{TENDED_MAX, with_letters};
use crate::handling::subscribe;
use crate::ledger::{Fate, Ledger, Mark};
use crate::publishing::no_handler;
use crate::seen::{Seen, Thing};
use crate::world::{
    WATCH, World, forget_seats, is_empty, lock, patience, pool_name, seat, set_seats, unman,
    unman_all,
};
use ringbolt::metrics::{DeliveryCounts, Report};
use ringbolt::{Category, Clock, ErrorEvent, EventSystem, Handle, Polled, Pool, Stamps};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Publishers that exist at a time.
const PUBLISHERS: usize = 3;

/// What a run shows to the outside.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// When the stop began.
    pub(crate) before_stop: Mark,
    /// At the end, unless the stop was one whose ways are another thread's (`World::begin_stop`).
    pub(crate) after_stop: Option<Mark>,
    pub(crate) seen: Seen,
    /// What was done to the engine: actions of the list that found something to act on, and what handlers did.
    pub(crate) steps: u64,
    pub(crate) steps_inside: u64,
    pub(crate) events: usize,
    pub(crate) calls: u64,
}

pub(crate) struct Run {
    pub(crate) world: Arc<World>,
    pub(crate) system: Option<EventSystem>,
    pub(crate) handle: Handle,
    last: DeliveryCounts,
    steps: u64,
    withdrawn: u32,
    /// It was quiet when it was stopped.
    pub(crate) was_quiet: bool,
}

/// Runs a list of actions; what is wrong, if anything is.
pub(crate) fn run(script: &Script, is_verbose: bool) -> Result<Shown, String> {
    let mut run = Run::new(&script.setup, is_verbose);
    let ledger = Arc::clone(&run.world.ledger);
    let result = catch_unwind(AssertUnwindSafe(|| run.go(&script.actions)))
        .unwrap_or_else(|panic| Err(format!("a panic: {}", text_of(&*panic))));
    let result = match result {
        Ok(shown) => {
            drop(run);
            ledger.check_gone().map(|()| shown)
        }
        Err(text) => {
            if script.setup.plant.is_some() {
                run.give_up();
            } else {
                // The engine may hang where it stands: what is left of it is left alone.
                std::mem::forget(run);
                forget_seats();
            }
            Err(text)
        }
    };
    ledger.close();
    result
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("of something that is no text")
}

impl Run {
    fn new(setup: &Setup, is_verbose: bool) -> Self {
        let mut setup = setup.clone();
        setup.pools = setup.pools.max(1);
        let (clock, hand) = Clock::manual();
        // What is held is taken and not called.
        let is_plain = setup.is_calm && !setup.has_policies;
        let limit = is_plain.then_some(setup.starvation_limit.max(6));
        let ledger = Ledger::new(setup.pools, setup.lane_capacity, limit);
        let mut builder = EventSystem::builder()
            .pool(Pool::new("default").polled())
            .clock(clock.clone())
            .lane_capacity(setup.lane_capacity.max(1))
            .inbox_capacity(setup.inbox_capacity.max(1))
            .spill_max(setup.spill_max.max(1))
            .batch_max(setup.batch_max.max(1))
            .starvation_limit(setup.starvation_limit.max(6))
            .no_handler(no_handler(setup.no_handler_is_error));
        for place in 0..=setup.pools {
            builder = builder.pool(Pool::new(pool_name(&setup, place)).polled());
        }
        for class in ringbolt::Class::ALL {
            if crate::world::is_lossy(&setup, class) {
                builder = builder.lossy(class);
            }
        }
        if setup.stamps_each {
            builder = builder.stamps(Stamps::Each);
        }
        let books = Arc::clone(&ledger);
        let builder = builder.on_error(move |error: &ErrorEvent| {
            if matches!(error.category, Category::DeadLetter | Category::HeldFull) {
                // Of the queue or the shelf, and not of an attempt.
                return;
            }
            let traps = {
                let mut books = books.books();
                books.observed += 1;
                books.observed_retries += u64::from(error.will_retry_after_ms.is_some());
                let traps = std::mem::take(&mut books.traps_observer);
                if traps {
                    books.seen.note(Thing::ObserverPanic);
                }
                traps
            };
            assert!(!traps, "an observer that panics");
        });
        let (books, traps) = (Arc::clone(&ledger), setup.traps_stopped);
        let builder = builder.on_stopped(move |_| {
            let mut books = books.books();
            books.stops_told += 1;
            if traps {
                books.seen.note(Thing::StoppedPanic);
            }
            drop(books);
            assert!(!traps, "an observer of the stop that panics");
        });
        let builder = with_letters(builder, &setup, &ledger);
        let system = builder.build().expect("the settings are in range");
        let handle = system.handle();
        let world = Arc::new(World {
            ledger,
            hand,
            clock,
            breakers: Mutex::default(),
            laters: Mutex::default(),
            redeliveries: Mutex::default(),
            handle: Mutex::new(Some(system.handle())),
            publishers: (0..PUBLISHERS).map(|_| Mutex::new(None)).collect(),
            next_publisher: 0.into(),
            subs: Mutex::default(),
            receipts: Mutex::default(),
            ticket: Mutex::default(),
            is_verbose,
            setup,
        });
        if world.setup.has_policies {
            world.add_breaker("shared", world.setup.fuse);
        }
        set_seats(world.setup.pools + 1);
        if let Ok(poller) = handle.poller(WATCH) {
            seat(world.setup.pools, poller);
        }
        (0..PUBLISHERS).for_each(|place| world.renew_publisher(place));
        Self {
            world,
            handle,
            system: Some(system),
            last: DeliveryCounts::default(),
            steps: 0,
            withdrawn: 0,
            was_quiet: false,
        }
    }

    /// Lets go of everything in the middle of a run, of an engine that is well.
    fn give_up(mut self) {
        self.world.ledger.stop(false);
        unman_all();
        lock(&self.world.handle).take();
        for publisher in &self.world.publishers {
            lock(publisher).take();
        }
        self.system = None;
    }

    fn go(&mut self, actions: &[Action]) -> Result<Shown, String> {
        self.world.say(|| format!("{:?}", self.world.setup));
        if self.world.setup.is_calm {
            self.world.man_all();
        }
        for (index, action) in actions.iter().enumerate() {
            self.world.say(|| format!("action {index}: {action:?}"));
            self.act(action)?;
            self.look()?;
        }
        self.finish()?;
        let books = self.world.ledger.books();
        let end = books.mark();
        Ok(Shown {
            before_stop: books.before_stop.unwrap_or(end),
            after_stop: (!books.is_gentle).then_some(end),
            seen: books.seen,
            steps: self.steps,
            steps_inside: books.done_inside,
            events: end.events,
            calls: end.calls,
        })
    }

    fn act(&mut self, action: &Action) -> Result<(), String> {
        let world = &self.world;
        let place_of = |pool: &u8| usize::from(*pool) % world.setup.pools;
        let is_calm = world.setup.is_calm;
        let is_stopping = world.is_stopping();
        let is_done = match action {
            Action::Publish(item) => world.publish(item, None, None),
            Action::Batch(batch) => world.publish_batch(batch),
            Action::Poll { pool, batches } => {
                let pool = place_of(pool);
                let is_manned = !is_empty(pool);
                self.poll(pool, usize::from((*batches).max(1)))?;
                is_manned
            }
            Action::Subscribe(wanted) => {
                subscribe(world, wanted);
                true
            }
            Action::Withdraw(place) if !is_calm => {
                let is_gone = world.withdraw(*place, false);
                self.withdrawn += u32::from(is_gone);
                is_gone
            }
            Action::Man(pool) if !is_calm && !is_stopping => {
                let was_empty = is_empty(place_of(pool));
                world.man(place_of(pool));
                was_empty
            }
            // An engine that is given time to drain needs its pollers, and gets none when one has gone.
            Action::Unman(pool) if !is_calm && !is_stopping => {
                if world.holds(place_of(pool)) && !is_empty(place_of(pool)) {
                    world.ledger.note(Thing::LeftHeld);
                }
                let poller = unman(place_of(pool));
                world.say(|| format!("  poller of {} goes", place_of(pool)));
                poller.is_some()
            }
            Action::Renew(place) => {
                world.renew_publisher(usize::from(*place) % PUBLISHERS);
                true
            }
            Action::Advance(ns) => {
                let is_broken = world.setup.plant == Some(Plant::Breaks) && self.withdrawn >= 2;
                assert!(!is_broken, "a run that breaks");
                world.hand.advance(Duration::from_nanos(u64::from(*ns)));
                true
            }
            Action::Later { item, after_ns } => world.publish_later(item, *after_ns),
            Action::Recall(place) => world.recall(*place),
            Action::Redeliver(place) => world.redeliver(*place),
            Action::RedeliverAll => world.redeliver_all(),
            Action::Cancel(place) => world.cancel(*place),
            Action::Discard(place) if !is_stopping => world.discard(*place),
            Action::DiscardAll if !is_stopping => world.discard_all(),
            Action::Fuse { place, hand } => world.set_breaker(*place, *hand),
            // A stop abandons what waits on a thread of its own.
            Action::Count if !is_stopping => {
                self.check_counts()?;
                true
            }
            Action::Report if !is_stopping => {
                self.check_live()?;
                true
            }
            Action::Stop(stop) if !is_stopping => {
                self.stop(*stop)?;
                true
            }
            _ => false,
        };
        self.steps += u64::from(is_done);
        Ok(())
    }

    /// Stops the engine, or begins to.
    pub(crate) fn stop(&mut self, stop: Stop) -> Result<(), String> {
        let waits = {
            let books = self.world.ledger.books();
            let mut records = books.records.iter();
            records.any(|record| record.fate == Fate::Admitted && record.drops == 0)
        };
        let mut seen = Seen::default();
        seen.add(Thing::StopWaiting, u64::from(waits));
        seen.note(match stop {
            Stop::Gently => Thing::StopGently,
            Stop::AtOnce => Thing::StopAtOnce,
            Stop::Unmanned => Thing::StopUnmanned,
            Stop::Dropped => Thing::StopDropped,
            Stop::DroppedUnmanned => Thing::StopDroppedUnmanned,
        });
        self.world.ledger.books().seen.merge(&seen);
        match stop {
            Stop::Gently | Stop::AtOnce => self.world.begin_stop(stop),
            Stop::Unmanned => {
                self.world.ledger.stop(false);
                unman_all();
                self.handle
                    .shutdown(patience())
                    .map_err(|error| format!("DR2: {error}"))?;
            }
            Stop::Dropped => {
                self.world.ledger.stop(false);
                self.system = None;
                unman_all();
                // Another thread's work, as this one had pollers.
                self.handle
                    .shutdown(patience())
                    .map_err(|error| format!("DR2: {error}"))?;
            }
            Stop::DroppedUnmanned => {
                self.world.ledger.stop(false);
                unman_all();
                self.system = None;
            }
        }
        Ok(())
    }

    /// Fails with the first things that are wrong, if any is.
    pub(crate) fn look(&self) -> Result<(), String> {
        let books = self.world.ledger.books();
        match books.violations.len() {
            0 => Ok(()),
            count => Err(format!(
                "{} ({count} in all)",
                books.violations[..count.min(4)].join("\n")
            )),
        }
    }

    pub(crate) fn poll(&self, pool: usize, batches: usize) -> Result<Polled, String> {
        let polled = self.world.poll(pool, batches);
        if let Polled::Events(taken) = polled
            && taken > batches * self.batch_max()
        {
            return Err(format!(
                "PD3: {taken} events in {batches} batches of at most {}",
                self.world.setup.batch_max
            ));
        }
        Ok(polled)
    }

    /// Most events of one batch, and attempts of what is held beside it.
    fn batch_max(&self) -> usize {
        let has_policies = self.world.setup.has_policies;
        self.world.setup.batch_max.max(1) + if has_policies { TENDED_MAX } else { 0 }
    }

    /// Every subscription's counts balance between polls, when nothing is in a handler (PD8): what has not ended is held,
    /// or a letter that is being redelivered.
    fn check_counts(&self) -> Result<(), String> {
        let replays = self.world.replays();
        for one in lock(&self.world.subs).iter().flatten() {
            let (counts, held) = (one.counts(), one.attempts().held);
            let replays = replays.get(&one.id()).copied().unwrap_or(0);
            let open = counts.ended() + held;
            if !(open..=open + replays).contains(&counts.admitted) {
                return Err(format!(
                    "PD8: subscription {}: {counts:?}, held {held}, replays {replays}",
                    one.name()
                ));
            }
        }
        Ok(())
    }

    /// A report in the middle, which is dear: it balances and never runs backwards (OB1, PD8).
    pub(crate) fn check_live(&mut self) -> Result<Report, String> {
        let report = self.handle.report();
        let now = report.totals;
        let last = self.last;
        let runs_on = [
            (last.admitted, now.admitted),
            (last.handled, now.handled),
            (last.failed, now.failed),
            (last.dead_lettered, now.dead_lettered),
            (last.skipped, now.skipped),
            (last.withdrawn, now.withdrawn),
            (last.abandoned, now.abandoned),
        ]
        .iter()
        .all(|(before, after)| before <= after);
        if !runs_on {
            return Err(format!("OB1: {now:?} after {last:?}"));
        }
        let held: u64 = {
            let subs = lock(&self.world.subs);
            let held = subs.iter().flatten().map(|one| one.attempts().held);
            held.sum()
        };
        let replays: u64 = self.world.replays().values().sum();
        let open = now.ended() + held;
        if !(open..=open + replays).contains(&now.admitted) {
            // Between polls nothing is in a handler.
            return Err(format!("PD8: {now:?}, held {held}, replays {replays}"));
        }
        self.last = now;
        Ok(report)
    }
}

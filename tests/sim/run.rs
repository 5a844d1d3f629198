//! One run: a seed's engine, its steps, its end, and the last look at the books.

use crate::ledger::{Fate, Ledger, Tally};
use crate::random::Random;
use crate::world::{POLLERS, Setup, World, lock, poll, subscribe};
use ringbolt::metrics::DeliveryCounts;
use ringbolt::{
    Clock, Ended, EventSystem, Handle, Polled, Poller, Pool, ShutdownReport, ShutdownTicket, Stamps,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// No stop takes this long unless it hangs.
const LONG: Duration = Duration::from_secs(60);
/// Publishers that exist at a time.
const PUBLISHERS: usize = 3;
/// Rounds of polling after which an engine that gets nothing new has to be quiet.
const QUIET_ROUNDS_MAX: usize = 20_000;

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Polled until quiet, then stopped.
    Drained,
    /// Stopped in the middle, with time to drain.
    Stopped,
    /// Stopped in the middle, at once.
    Cut,
    /// The pollers go first: what waits is abandoned.
    Unmanned,
    /// The system is dropped, before or after its pollers.
    Dropped { pollers_first: bool },
}

/// What a run shows to the outside.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Everything that was called before the end began, in order.
    pub(crate) digest: u64,
    pub(crate) events: usize,
    pub(crate) calls: u64,
}

struct Run {
    random: Random,
    world: Arc<World>,
    system: Option<EventSystem>,
    handle: Handle,
    last: DeliveryCounts,
}

/// Runs a seed; what is wrong, if anything is.
pub(crate) fn run(seed: u64, is_verbose: bool) -> Result<Shown, String> {
    let mut random = Random::new(seed);
    let setup = Setup::draw(&mut random);
    let mut run = Run::new(seed, setup, random, is_verbose);
    let ledger = Arc::clone(&run.world.ledger);
    let result = match run.go() {
        Ok(shown) => {
            drop(run);
            check_gone(&ledger).map(|()| shown)
        }
        Err(text) => {
            // It may hang where it stands: what is left of it is left alone.
            std::mem::forget(run);
            std::mem::forget(POLLERS.take());
            Err(text)
        }
    };
    result.map_err(|text| format!("{text}\n(replay: RINGBOLT_SIM_SEED={seed})"))
}

fn has_poller(pool: usize) -> bool {
    POLLERS.with_borrow(|pollers| pollers[pool].is_some())
}

fn take_poller(pool: usize) -> Option<Poller> {
    POLLERS.with_borrow_mut(|pollers| pollers[pool].take())
}

fn drop_pollers(pools: usize) {
    (0..pools).for_each(|pool| drop(take_poller(pool)));
}

impl Run {
    fn new(seed: u64, setup: Setup, random: Random, is_verbose: bool) -> Self {
        let (clock, hand) = Clock::manual();
        let limit = setup.is_calm.then_some(setup.starvation_limit);
        let ledger = Arc::new(Ledger::new(setup.pools, limit));
        let mut builder = EventSystem::builder()
            .pool(Pool::new("default").polled())
            .clock(clock)
            .lane_capacity(setup.lane_capacity)
            .inbox_capacity(setup.inbox_capacity)
            .spill_max(setup.spill_max)
            .batch_max(setup.batch_max)
            .starvation_limit(setup.starvation_limit)
            .no_handler(setup.no_handler);
        for pool in 0..setup.pools {
            builder = builder.pool(Pool::new(format!("p{pool}")).polled());
        }
        for &class in &setup.lossy {
            builder = builder.lossy(class);
        }
        if setup.stamps_each {
            builder = builder.stamps(Stamps::Each);
        }
        let (books, traps) = (Arc::clone(&ledger), setup.traps);
        let builder = builder.on_error(move |_| {
            let mut books = books.books();
            books.observed += 1;
            let number = books.observed;
            drop(books);
            assert!(
                !Random::of(seed, number).percent(traps),
                "an observer that panics"
            );
        });
        let system = builder.build().expect("the settings are in range");
        let handle = system.handle();
        let world = Arc::new(World {
            seed,
            ledger,
            hand,
            handle: Mutex::new(Some(system.handle())),
            publishers: (0..PUBLISHERS).map(|_| Mutex::new(None)).collect(),
            next_publisher: AtomicU64::new(0),
            subs: Mutex::default(),
            receipts: Mutex::default(),
            is_stopping: false.into(),
            is_verbose,
            setup: setup.clone(),
        });
        world.say(|| format!("seed {seed}: {setup:?}"));
        POLLERS.set((0..setup.pools).map(|_| None).collect());
        Self {
            random,
            world,
            handle,
            system: Some(system),
            last: DeliveryCounts::default(),
        }
    }

    fn go(&mut self) -> Result<Shown, String> {
        for pool in 0..self.world.setup.pools {
            if self.world.setup.is_calm || self.random.percent(80) {
                self.man(pool)?;
            }
        }
        for _ in 0..self.random.between(1, 6) {
            subscribe(&self.world, &mut self.random);
        }
        for step in 0..self.world.setup.steps {
            self.world.say(|| format!("step {step}"));
            self.step()?;
            self.look()?;
        }
        let ending = match self.random.below(6) {
            0 | 1 => Ending::Drained,
            2 => Ending::Stopped,
            3 => Ending::Cut,
            4 => Ending::Unmanned,
            _ => Ending::Dropped {
                pollers_first: self.random.percent(50),
            },
        };
        self.world.say(|| format!("ends {ending:?}"));
        if ending == Ending::Drained {
            self.drain()?;
            self.check_quiet()?;
            self.world.publish_into_room(&mut self.random);
            self.drain()?;
            self.check_quiet()?;
        }
        let shown = {
            let books = self.world.ledger.books();
            Shown {
                digest: books.digest,
                events: books.records.len(),
                calls: books.records.iter().map(|r| r.called.len() as u64).sum(),
            }
        };
        let report = self.end(ending)?;
        self.look()?;
        self.check_end(ending, &report)?;
        Ok(shown)
    }

    /// Fails with the first things that are wrong, if any is.
    fn look(&self) -> Result<(), String> {
        let books = self.world.ledger.books();
        if books.violations.is_empty() {
            return Ok(());
        }
        let shown: Vec<&str> = books
            .violations
            .iter()
            .take(5)
            .map(String::as_str)
            .collect();
        Err(format!(
            "{} violations; the first:\n{}",
            books.violations.len(),
            shown.join("\n")
        ))
    }

    fn man(&mut self, pool: usize) -> Result<(), String> {
        self.world.say(|| format!("  poller of {pool} comes"));
        let poller = self
            .handle
            .poller(&format!("p{pool}"))
            .map_err(|error| format!("poller: {error}"))?;
        POLLERS.with_borrow_mut(|pollers| pollers[pool] = Some(poller));
        Ok(())
    }

    fn poll(&self, pool: usize, batches: usize) -> Result<Polled, String> {
        self.world.say(|| format!("  poll {pool}"));
        let polled = poll(pool, batches);
        if let Polled::Events(taken) = polled
            && taken > batches * self.world.setup.batch_max
        {
            return Err(format!(
                "PD3: {taken} events in {batches} batches of at most {}",
                self.world.setup.batch_max
            ));
        }
        Ok(polled)
    }

    fn step(&mut self) -> Result<(), String> {
        let pool = self.random.below(self.world.setup.pools);
        let is_calm = self.world.setup.is_calm;
        match self.random.below(100) {
            0..40 => {
                for _ in 0..self.random.between(1, 6) {
                    self.world.publish_one(&mut self.random);
                }
            }
            40..45 => self.world.publish_many(&mut self.random),
            45..82 => {
                let batches = self.random.between(1, 3);
                self.poll(pool, batches)?;
            }
            82..85 => subscribe(&self.world, &mut self.random),
            85..88 if !is_calm => self.world.withdraw(&mut self.random, false),
            88..91 if !is_calm => match take_poller(pool) {
                Some(poller) => {
                    self.world.say(|| format!("  poller of {pool} goes"));
                    drop(poller);
                }
                None => self.man(pool)?,
            },
            91..95 => {
                let place = self.random.below(PUBLISHERS);
                let id = self.world.next_publisher.fetch_add(1, Ordering::Relaxed) as u32;
                let mut publisher = self.handle.publisher();
                publisher.set_admission(ringbolt::Admission::Fail);
                *lock(&self.world.publishers[place]) = Some((id, publisher));
            }
            95..98 => self.check_counts()?,
            98 if self.random.percent(20) => self.check_live()?,
            _ => self.world.hand.advance(Duration::from_micros(7)),
        }
        Ok(())
    }

    /// Every subscription's counts balance between polls, when nothing is in a handler (PD8).
    fn check_counts(&self) -> Result<(), String> {
        let subscriptions = lock(&self.world.subs);
        let counts = subscriptions
            .iter()
            .flatten()
            .map(|one| (one.id(), one.counts()));
        for (id, counts) in counts {
            if counts.ended() != counts.admitted {
                return Err(format!("PD8: subscription {id}: {counts:?}"));
            }
        }
        Ok(())
    }

    /// A report in the middle, which is dear: it balances and never runs backwards (OB1, PD8).
    fn check_live(&mut self) -> Result<(), String> {
        let now = self.handle.report().totals;
        let last = self.last;
        let runs_on = [
            (last.admitted, now.admitted),
            (last.handled, now.handled),
            (last.failed, now.failed),
            (last.skipped, now.skipped),
            (last.withdrawn, now.withdrawn),
            (last.abandoned, now.abandoned),
        ]
        .iter()
        .all(|(before, after)| before <= after);
        if !runs_on {
            return Err(format!("OB1: {now:?} after {last:?}"));
        }
        if now.ended() != now.admitted {
            // Between polls nothing is in a handler.
            return Err(format!("PD8: {now:?}"));
        }
        self.last = now;
        Ok(())
    }

    /// Mans every pool and polls until nothing comes any more.
    fn drain(&mut self) -> Result<(), String> {
        for pool in 0..self.world.setup.pools {
            if !has_poller(pool) {
                self.man(pool)?;
            }
        }
        let mut idle_rounds = 0;
        for _ in 0..QUIET_ROUNDS_MAX {
            let mut taken = 0;
            for pool in 0..self.world.setup.pools {
                if let Polled::Events(now) = self.poll(pool, 4)? {
                    taken += now;
                }
            }
            idle_rounds = if taken == 0 { idle_rounds + 1 } else { 0 };
            if idle_rounds == 4 {
                return self.look();
            }
        }
        Err("PD5: it does not become quiet".to_owned())
    }

    /// Everything that was admitted has been handled.
    fn check_quiet(&mut self) -> Result<(), String> {
        self.check_live()?;
        let report = self.handle.report();
        if let Some(lane) = report.lanes.iter().find(|lane| lane.depth != 0) {
            return Err(format!("PD8: quiet, and {lane:?}"));
        }
        let books = self.world.ledger.books();
        for (serial, record) in books.records.iter().enumerate() {
            if record.drops != 1 {
                return Err(format!("PD8: quiet, and {serial} is kept: {record:?}"));
            }
            if record.fate != Fate::Admitted {
                continue;
            }
            for &sub in &record.expects {
                let subscription = &books.subs[sub];
                // A value that another pool shares cannot be moved out, which is a failed delivery.
                let may_miss = subscription.by_value && record.pools.len() > 1;
                if subscription.is_live && !record.called.contains(&sub) && !may_miss {
                    return Err(format!(
                        "PD1: {sub} was not called with {serial}: {record:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Ends the engine.
    fn end(&mut self, ending: Ending) -> Result<Arc<ShutdownReport>, String> {
        if ending == Ending::Stopped {
            // What a worker spills for a pool without a poller would keep the engine busy until the deadline.
            for pool in 0..self.world.setup.pools {
                if !has_poller(pool) {
                    self.man(pool)?;
                }
            }
        }
        self.world.is_stopping.store(true, Ordering::SeqCst);
        let ticket = match ending {
            Ending::Drained | Ending::Stopped => Some(self.handle.begin_shutdown(LONG)),
            Ending::Cut => Some(self.handle.begin_shutdown(Duration::ZERO)),
            Ending::Unmanned => {
                drop_pollers(self.world.setup.pools);
                None
            }
            Ending::Dropped { pollers_first } => {
                if pollers_first {
                    drop_pollers(self.world.setup.pools);
                }
                self.system = None;
                drop_pollers(self.world.setup.pools);
                None
            }
        };
        if let Some(ticket) = ticket {
            self.poll_to_the_end(&ticket)?;
        }
        // Once more, or for the first time; and nobody comes in any more.
        let report = self
            .handle
            .shutdown(LONG)
            .map_err(|error| format!("DR2: {error}"))?;
        for _ in 0..5 {
            self.world.publish_one(&mut self.random);
        }
        Ok(report)
    }

    fn poll_to_the_end(&mut self, ticket: &ShutdownTicket) -> Result<(), String> {
        // The stop is another thread's work, so it is bounded by time and not by turns.
        let began = Clock::real();
        let start = began.raw();
        while began.delta_ns(start, began.raw()) < LONG.as_nanos() as u64 {
            let mut taken = 0;
            for pool in 0..self.world.setup.pools {
                if let Polled::Events(now) = self.poll(pool, 2)? {
                    taken += now;
                }
            }
            self.world.publish_one(&mut self.random);
            if ticket.peek().is_some() {
                drop_pollers(self.world.setup.pools);
                return Ok(());
            }
            if taken == 0 {
                // The stop is another thread's work: give it the processor.
                POLLERS.with_borrow_mut(|pollers| match pollers.iter_mut().flatten().next() {
                    Some(poller) => poller.wait(Duration::from_millis(1)),
                    None => std::thread::yield_now(),
                });
            }
        }
        Err("DR1: the stop does not come to its end".to_owned())
    }

    /// Drops everything, and then: every value was dropped once, every delivery has ended, and all
    /// sums agree (PD1, PD6, PD8).
    fn check_end(&mut self, ending: Ending, stop: &ShutdownReport) -> Result<(), String> {
        let report = self.handle.report();
        let counts: Vec<Option<DeliveryCounts>> = lock(&self.world.subs)
            .iter()
            .map(|subscription| subscription.as_ref().map(|s| s.counts()))
            .collect();
        lock(&self.world.handle).take();
        for publisher in &self.world.publishers {
            lock(publisher).take();
        }
        self.system = None;
        let receipts = std::mem::take(&mut *lock(&self.world.receipts));
        self.look()?;
        let books = self.world.ledger.books();

        let mut totals = DeliveryCounts::default();
        for (sub, counts) in counts.iter().enumerate() {
            let (Some(counts), subscription) = (counts, &books.subs[sub]) else {
                continue;
            };
            totals.add(counts);
            let told = subscription.tally;
            let mut counted = Tally {
                handled: counts.handled,
                failed: counts.failed,
                skipped: counts.skipped,
            };
            if subscription.by_value {
                // Deliveries that fail before the handler is called.
                counted.failed = counted.failed.min(told.failed);
            }
            if counts.ended() != counts.admitted || counted != told {
                return Err(format!("PD8: {sub}: {counts:?}, its handler says {told:?}"));
            }
        }
        if report.totals != totals
            || stop.completed != totals.handled
            || stop.failed != totals.failed
        {
            return Err(format!(
                "PD8: {totals:?}, reported {:?}, {stop:?}",
                report.totals
            ));
        }
        if books.observed != totals.failed {
            return Err(format!(
                "the observer was told of {} failures of {}",
                books.observed, totals.failed
            ));
        }

        let admitted = || books.records.iter().filter(|r| r.fate == Fate::Admitted);
        for (sub, counts) in counts.iter().enumerate() {
            let (Some(counts), subscription) = (counts, &books.subs[sub]) else {
                continue;
            };
            let due = admitted()
                .filter(|record| record.expects.contains(&sub))
                .count() as u64;
            // It may see what was published before it was there and still waits in its pool.
            let due_max = admitted()
                .filter(|record| subscription.kinds.contains(&record.plan.kind))
                .filter(|record| record.pools.contains(&subscription.pool))
                .count() as u64;
            if subscription.is_live && !(due..=due_max).contains(&counts.admitted) {
                return Err(format!(
                    "PD8: {due} to {due_max} events were for {sub}, and {counts:?}"
                ));
            }
        }
        let shares: usize = admitted().map(|record| record.pools.len()).sum();
        let taken: u64 = report.workers.iter().map(|worker| worker.taken).sum();
        if taken + stop.abandoned_events != shares as u64 {
            return Err(format!(
                "PD8: {shares} shares of events were admitted, {taken} taken, {} abandoned",
                stop.abandoned_events
            ));
        }
        let fates = |fate| books.records.iter().filter(|r| r.fate == fate).count() as u64;
        if (report.published, report.dropped) != (fates(Fate::Admitted), fates(Fate::Lost)) {
            return Err(format!(
                "PD11: {} admitted and {} lost, reported {} and {}",
                fates(Fate::Admitted),
                fates(Fate::Lost),
                report.published,
                report.dropped
            ));
        }
        if matches!(ending, Ending::Drained | Ending::Stopped)
            && (stop.abandoned_events != 0 || !stop.in_time)
        {
            return Err(format!("DR1: there was time enough: {stop:?}"));
        }

        for (serial, receipt) in receipts {
            let (ends, is_complete) = receipt.peek();
            let record = &books.records[serial as usize];
            let called = ends
                .iter()
                .filter(|(_, end)| matches!(end, Ended::Handled | Ended::Failed | Ended::Skipped))
                .count();
            let by_value = record.expects.iter().any(|&sub| books.subs[sub].by_value);
            if !is_complete || (called != record.called.len() && !by_value) {
                return Err(format!(
                    "PD1: the receipt of {serial} says {ends:?} (complete: {is_complete}): {record:?}"
                ));
            }
        }
        Ok(())
    }
}

/// After everything of a run is gone: every value was dropped exactly once, and so was every state.
fn check_gone(ledger: &Ledger) -> Result<(), String> {
    let books = ledger.books();
    if let Some((serial, record)) = books
        .records
        .iter()
        .enumerate()
        .find(|(_, record)| record.drops != 1)
    {
        return Err(format!("{serial} was not dropped once: {record:?}"));
    }
    match books.subs.iter().position(|sub| sub.states != 0) {
        Some(sub) => Err(format!(
            "PD7: states of {sub} that stay: {:?}",
            books.subs[sub]
        )),
        None => Ok(()),
    }
}

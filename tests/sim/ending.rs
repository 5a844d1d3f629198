//! How a run ends, and the last look at the books: every value dropped once, every delivery ended, all sums equal (PD1, PD6,
//! PD8, DR1, DR2).

use crate::action::{Aside, By, Hand, Item, Stop};
use crate::delivery::{Delivery, Stage, pauses};
use crate::ledger::{Books, Fate, Ledger, Tally};
use crate::run::Run;
use crate::seen::Thing;
use crate::world::{Waited, lock, patience, unman_all};
use ringbolt::metrics::{AttemptCounts, DeliveryCounts, Report};
use ringbolt::{Ended, Polled, Receipt, ShutdownReport};
use std::collections::HashSet;
use std::time::Duration;

/// Rounds of polling after which an engine that gets nothing new has to be quiet.
const QUIET_ROUNDS_MAX: usize = 20_000;

/// How far the clock moves for what is held, again and again...
const SETTLE_NS: u64 = 50_000;
/// ...and from here on, when breakers are reset and letters discarded to make room...
const SETTLE_HARD: usize = 40;
/// ...until nothing is held any more.
const SETTLE_ROUNDS_MAX: usize = 4_000;

/// What a subscription says of its deliveries and its attempts.
type Counts = (DeliveryCounts, AttemptCounts);

impl Run {
    /// Stops the engine, if nothing has, and looks at everything.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        if !self.world.is_stopping() {
            self.drain()?;
            self.check_quiet()?;
            self.settle()?;
            self.world.publish_into_room();
            self.settle()?;
        }
        // Handlers may have stopped it meanwhile.
        let was_quiet = !self.world.is_stopping();
        self.was_quiet = was_quiet;
        if was_quiet {
            self.world.ledger.note(Thing::Drained);
            self.world.begin_stop(Stop::Gently);
            self.world.ledger.books().is_gentle = false;
        }
        let has_time = was_quiet || self.world.ledger.books().is_gentle;
        self.poll_to_the_end()?;
        // Once more, or for the first time; and nobody comes in any more.
        let stop = self
            .handle
            .shutdown(patience())
            .map_err(|error| format!("DR2: {error}"))?;
        for by in [By::Handle, By::Publisher] {
            let item = Item {
                by,
                ..Item::default()
            };
            self.world.publish(&item, None, None);
        }
        self.look()?;
        self.check_end(&stop, has_time)
    }

    /// Lets time pass until nothing is held, and looks at everything in between: whatever waits goes on in its time, or
    /// when there is room for letters, and when nobody keeps the breakers open.
    fn settle(&mut self) -> Result<(), String> {
        for round in 0..SETTLE_ROUNDS_MAX {
            self.drain()?;
            if round % 16 == 0 {
                self.check_quiet()?;
            }
            if self.world.is_stopping() {
                return Ok(());
            }
            let holds = (0..self.world.setup.pools).any(|pool| self.world.holds(pool));
            let later = lock(&self.world.laters).len();
            let replays = self.world.redeliveries_open();
            if !holds && later == 0 && replays == 0 {
                let report = self.check_live()?;
                if is_pressed(&report) {
                    return Err(format!("PD12: nothing is held: {:?}", report.workers));
                }
                return self.check_quiet();
            }
            let mut passes_ns = SETTLE_NS;
            if round >= SETTLE_HARD {
                passes_ns *= 20;
                self.world.set_open_breakers(if round == SETTLE_HARD {
                    Hand::Reset
                } else {
                    Hand::Disable
                });
                if pauses(&self.world.setup) && round % 2 == 0 {
                    self.world.discard_all();
                }
            }
            self.world.hand.advance(Duration::from_nanos(passes_ns));
        }
        let held: Vec<_> = lock(&self.world.subs)
            .iter()
            .flatten()
            .map(|one| (one.name().to_owned(), one.attempts()))
            .filter(|(_, attempts)| attempts.held > 0)
            .collect();
        let later = lock(&self.world.laters).len();
        let replays = self.world.redeliveries_open();
        Err(format!(
            "PD12: it is held for good: {held:?}, {later} later, {replays} redeliveries"
        ))
    }

    /// Mans every pool and polls until nothing comes any more.
    fn drain(&mut self) -> Result<(), String> {
        self.world.man_all();
        let mut idle_rounds = 0;
        for _ in 0..QUIET_ROUNDS_MAX {
            let mut taken = 0;
            for pool in 0..self.world.setup.pools {
                if let Polled::Events(now) = self.poll(pool, 4)? {
                    taken += now;
                }
            }
            if self.world.is_stopping() {
                return self.look();
            }
            idle_rounds = if taken == 0 { idle_rounds + 1 } else { 0 };
            if idle_rounds == 8 {
                return self.look();
            }
        }
        Err("PD5: it does not become quiet".to_owned())
    }

    /// Everything that was admitted has been handled.
    fn check_quiet(&mut self) -> Result<(), String> {
        if self.world.is_stopping() {
            return Ok(());
        }
        let report = self.check_live()?;
        // A full shelf keeps its worker from taking more.
        let is_full = is_pressed(&report);
        if let Some(lane) = report.lanes.iter().find(|lane| lane.depth != 0)
            && !is_full
        {
            return Err(format!("PD8: quiet, and {lane:?}"));
        }
        for (sub, one) in lock(&self.world.subs).iter().enumerate() {
            let Some(one) = one else { continue };
            let (counts, attempts) = (one.counts(), one.attempts());
            self.world
                .ledger
                .check_held(sub, &counts, &attempts, is_full)?;
        }
        self.world.ledger.check_letters(&self.world.letters())?;
        if is_full {
            self.world.ledger.note(Thing::HeldFull);
        }
        let is_plain = !self.world.setup.has_policies;
        let books = self.world.ledger.books();
        for (serial, record) in books.records.iter().enumerate() {
            let is_kept = record.fate == Fate::Later
                || books.subs.iter().any(|sub| {
                    record.fate == Fate::Admitted
                        && sub.kinds.contains(&record.plan.kind)
                        && sub.keeps(serial as u32)
                });
            let may_keep = record.fate == Fate::Later || !is_plain && (is_kept || is_full);
            if record.drops != 1 && !(record.drops == 0 && may_keep) {
                return Err(format!("PD8: quiet, and {serial} is kept: {record:?}"));
            }
            if record.fate != Fate::Admitted {
                continue;
            }
            for &sub in &record.expects {
                let subscription = &books.subs[sub];
                // A value that another pool shares cannot be moved out, which is a failed delivery.
                let may_miss = subscription.by_value && record.pools.len() > 1;
                if is_plain && subscription.is_live && !record.called.contains(&sub) && !may_miss {
                    return Err(format!(
                        "PD1: {sub} was not called with {serial}: {record:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Lets a stop that another thread does come to its end.
    fn poll_to_the_end(&mut self) -> Result<(), String> {
        let Some(ticket) = lock(&self.world.ticket).take() else {
            return Ok(());
        };
        // The stop is another thread's work, so it is bounded by time and not by turns.
        let waited = Waited::new();
        while ticket.peek().is_none() {
            if waited.too_long() {
                return Err("DR1: the stop does not come to its end".to_owned());
            }
            let mut taken = 0;
            for place in 0..=self.world.setup.pools {
                if let Polled::Events(now) = self.poll(place, 2)? {
                    taken += now;
                }
            }
            if taken == 0 {
                std::thread::yield_now();
                // What is to be tried again before the deadline is waited for, and nobody else moves the clock.
                if self.world.ledger.books().is_gentle || self.was_quiet {
                    self.world.hand.advance(Duration::from_nanos(SETTLE_NS));
                }
            }
        }
        unman_all();
        Ok(())
    }

    fn check_end(&mut self, stop: &ShutdownReport, has_time: bool) -> Result<(), String> {
        let report = self.handle.report();
        let counts: Vec<Option<Counts>> = lock(&self.world.subs)
            .iter()
            .map(|one| one.as_ref().map(|one| (one.counts(), one.attempts())))
            .collect();
        self.world.settle_laters_of(true);
        let later = lock(&self.world.laters).len();
        if later > 0 {
            return Err(format!("DR1: {later} events wait for their time yet"));
        }
        if self.world.redeliveries_open() > 0 {
            return Err("DR1: a redelivery has no end".to_owned());
        }
        self.world.ledger.check_letters(&self.world.letters())?;
        lock(&self.world.handle).take();
        for publisher in &self.world.publishers {
            lock(publisher).take();
        }
        self.system = None;
        let receipts = std::mem::take(&mut *lock(&self.world.receipts));
        self.look()?;
        let ledger = &self.world.ledger;
        ledger.check_deliveries(&counts)?;
        ledger.check_sums(&counts, &report, stop)?;
        ledger.check_receipts(&receipts)?;
        // What waits for room, or for somebody to reset a breaker, is not waited for.
        let may_wait = !self.was_quiet && {
            let books = ledger.books();
            let has_breaker = books.subs.iter().any(|sub| sub.rules.has_breaker);
            pauses(&self.world.setup) || has_breaker
        };
        if has_time && !may_wait && (stop.abandoned_events != 0 || !stop.in_time) {
            return Err(format!("DR1: there was time enough: {stop:?}"));
        }
        // Whoever is told of the stop is told by the thread that does it, and last of all.
        let waited = Waited::new();
        while ledger.books().stops_told == 0 && !waited.too_long() {
            std::thread::yield_now();
        }
        match ledger.books().stops_told {
            1 => Ok(()),
            told => Err(format!("DR2: the stop was told {told} times")),
        }
    }
}

/// Whether a worker takes nothing, as a shelf is full.
fn is_pressed(report: &Report) -> bool {
    let mut workers = report.workers.iter();
    workers.any(|worker| worker.held_back_by.is_some())
}

impl Ledger {
    /// Every subscription's deliveries balance, are those that its handler tells of, and as many as were for it.
    fn check_deliveries(&self, counts: &[Option<Counts>]) -> Result<(), String> {
        let mut books = self.books();
        let Books {
            records,
            subs,
            seen,
            ..
        } = &mut *books;
        let admitted = || records.iter().filter(|r| r.fate == Fate::Admitted);
        for (sub, counts) in counts.iter().enumerate() {
            let (Some((counts, attempts)), subscription) = (counts, &subs[sub]) else {
                continue;
            };
            let (told, rules) = (subscription.tally, subscription.rules);
            let mut counted = Tally {
                handled: counts.handled,
                failed: counts.failed,
                skipped: counts.skipped,
                dead_lettered: counts.dead_lettered,
                failed_attempts: attempts.failed_attempts,
                retries: attempts.retries,
                redelivered: told.redelivered,
            };
            if subscription.by_value {
                // Deliveries that fail before the handler is called.
                counted.failed = counted.failed.min(told.failed);
                counted.failed_attempts = counted.failed_attempts.min(told.failed_attempts);
            }
            let skips = counts.skipped.saturating_sub(told.skipped);
            if rules.may_skip() {
                counted.skipped -= skips;
                seen.add(
                    if rules.on_open == Aside::Skip {
                        Thing::BreakerSkip
                    } else {
                        Thing::HeldFullSkip
                    },
                    skips,
                );
            }
            if rules.may_fail() {
                counted.failed = counted.failed.min(told.failed);
            }
            // A redelivery that an open breaker refuses fails without a call.
            let refused = counts.dead_lettered.saturating_sub(told.dead_lettered);
            if rules.on_open == Aside::Letter {
                counted.dead_lettered -= refused;
            }
            if counts.ended() != counts.admitted || counted != told || attempts.held != 0 {
                return Err(format!(
                    "PD8: {sub}: {counts:?}, {attempts:?}, its handler says {told:?}"
                ));
            }
            let was_held = |delivery: &Delivery| {
                matches!(delivery.stage, Stage::Retrying | Stage::Doomed) || delivery.is_replaying
            };
            if counts.abandoned > 0 && subscription.is_live {
                let held = subscription.deliveries.values().filter(|it| was_held(it));
                seen.add(Thing::AbandonedHeld, held.count() as u64);
            }
            if !subscription.is_live {
                continue;
            }
            let due = admitted()
                .filter(|record| record.expects.contains(&sub))
                .count() as u64;
            // It may see what was published before it was there and still waits in its pool.
            let due_max = records
                .iter()
                .filter(|record| subscription.kinds.contains(&record.plan.kind))
                .filter(|record| match record.fate {
                    Fate::Admitted => record.pools.contains(&subscription.pool),
                    // To be published later, and perhaps it was.
                    fate => fate == Fate::Stopped,
                })
                .count() as u64;
            // Redeliveries are deliveries of their own; those that were never called ended in some other way.
            let due = due + told.redelivered;
            let not_called = if rules.keeps_letters {
                counts.abandoned + skips + refused
            } else {
                0
            };
            let due_max = due_max + told.redelivered + not_called;
            if !(due..=due_max).contains(&counts.admitted) {
                return Err(format!(
                    "PD8: {due} to {due_max} events were for {sub}, and {counts:?}"
                ));
            }
        }
        Ok(())
    }

    /// What the engine reports is the sum of what its parts say, and what the books say.
    fn check_sums(
        &self,
        counts: &[Option<Counts>],
        report: &Report,
        stop: &ShutdownReport,
    ) -> Result<(), String> {
        let mut books = self.books();
        let mut totals = DeliveryCounts::default();
        let mut attempts = AttemptCounts::default();
        for (one, tried) in counts.iter().flatten() {
            totals.add(one);
            attempts.add(tried);
        }
        books.seen.add(Thing::Withdrawn, totals.withdrawn);
        books.seen.add(Thing::Abandoned, totals.abandoned);
        // A machine that gives this thread no time for so long makes its workers look stuck, and the report of the stop
        // is of another moment than the rest.
        let is_last_word = stop.stuck_workers.is_empty();
        let stopped = DeliveryCounts {
            admitted: totals.admitted,
            handled: stop.completed,
            failed: stop.failed,
            dead_lettered: stop.dead_lettered,
            skipped: stop.skipped,
            withdrawn: stop.withdrawn,
            abandoned: stop.abandoned,
        };
        if report.totals != totals || is_last_word && stopped != totals {
            return Err(format!(
                "PD8: {totals:?}, reported {:?}, {stop:?}",
                report.totals
            ));
        }
        let observed = (books.observed, books.observed_retries);
        if observed != (attempts.failed_attempts, attempts.retries) {
            return Err(format!(
                "OB1: the observer was told of {observed:?} failures and retries: {attempts:?}"
            ));
        }
        let fates = |fate| books.records.iter().filter(|r| r.fate == fate).count() as u64;
        let shares: u64 = books
            .records
            .iter()
            .filter(|record| record.fate == Fate::Admitted)
            .map(|record| record.pools.len() as u64)
            .sum();
        let taken: u64 = report.workers.iter().map(|worker| worker.taken).sum();
        // Of what is held, what was taken is abandoned, delivery by delivery; and so is what was to be published later.
        let stopped = fates(Fate::Stopped);
        let has_policies = books
            .subs
            .iter()
            .any(|sub| sub.rules.attempts > 1 || sub.rules.has_breaker || sub.rules.keeps_letters);
        let accounted = taken + stop.abandoned_events;
        let may_be_more =
            stopped + books.late_shares + if has_policies { totals.abandoned } else { 0 };
        let is_right = (shares..=shares + may_be_more).contains(&accounted);
        if is_last_word && !is_right {
            return Err(format!(
                "PD8: {shares} shares of events were admitted, {taken} taken, {} abandoned",
                stop.abandoned_events
            ));
        }
        let published = fates(Fate::Admitted)..=fates(Fate::Admitted) + stopped;
        if !published.contains(&report.published) || report.dropped != fates(Fate::Lost) {
            return Err(format!(
                "PD11: {} admitted and {} lost, reported {} and {}",
                fates(Fate::Admitted),
                fates(Fate::Lost),
                report.published,
                report.dropped
            ));
        }
        Ok(())
    }

    /// Every receipt is complete and tells of each call.
    fn check_receipts(&self, receipts: &[(u32, Receipt)]) -> Result<(), String> {
        let books = self.books();
        for (serial, receipt) in receipts {
            let (ends, is_complete) = receipt.peek();
            let record = &books.records[*serial as usize];
            let ids: HashSet<u64> = ends.iter().map(|(id, _)| *id).collect();
            if ids.len() != ends.len() {
                return Err(format!(
                    "PD1: the receipt of {serial} says {ends:?}: {record:?}"
                ));
            }
            // The handler said so, and not a letter's redelivery.
            let told = |end: Ended| ends.iter().filter(|(_, told)| *told == end).count();
            let called = told(Ended::Handled) + told(Ended::Failed) + told(Ended::Skipped);
            let has_policies = books.subs.iter().any(|sub| {
                sub.kinds.contains(&record.plan.kind)
                    && (sub.rules.attempts > 1 || sub.rules.keeps_letters || sub.rules.has_breaker)
            });
            let was_called = record.called.len();
            let is_told = if has_policies {
                // What was called may have become a letter, or been withdrawn or abandoned before its end.
                ends.len() >= was_called
            } else {
                called == was_called
            };
            // One that came behind the event may have had it in a shape that cannot be moved out.
            let by_value = books
                .subs
                .iter()
                .any(|sub| sub.by_value && sub.kinds.contains(&record.plan.kind));
            if !is_complete || (!is_told && !by_value) {
                return Err(format!(
                    "PD1: the receipt of {serial} says {ends:?} (complete: {is_complete}): {record:?}"
                ));
            }
        }
        Ok(())
    }

    /// After everything of a run is gone: every value was dropped exactly once, and so was every state.
    pub(crate) fn check_gone(&self) -> Result<(), String> {
        // The thread that stopped the engine may be its last owner, and lets go of it after it has told of the stop.
        let waited = Waited::new();
        while self.books().records.iter().any(|record| record.drops == 0) && !waited.too_long() {
            std::thread::yield_now();
        }
        let books = self.books();
        if let Some((serial, record)) = books
            .records
            .iter()
            .enumerate()
            .find(|(_, record)| record.drops != 1)
        {
            return Err(format!("PD1: {serial} was not dropped once: {record:?}"));
        }
        match books.subs.iter().position(|sub| sub.states != 0) {
            Some(sub) => Err(format!(
                "PD7: states of {sub} that stay: {:?}",
                books.subs[sub]
            )),
            None => Ok(()),
        }
    }
}

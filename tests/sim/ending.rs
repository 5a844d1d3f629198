//! How a run ends, and the last look at the books: every value dropped once, every delivery ended, all sums equal (PD1, PD6,
//! PD8, DR1, DR2).

use crate::action::{By, Item, Stop};
use crate::ledger::{Fate, Ledger, Tally};
use crate::run::Run;
use crate::seen::Thing;
use crate::world::{Waited, lock, patience, unman_all};
use ringbolt::metrics::{DeliveryCounts, Report};
use ringbolt::{Ended, Polled, Receipt, ShutdownReport};

/// Rounds of polling after which an engine that gets nothing new has to be quiet.
const QUIET_ROUNDS_MAX: usize = 20_000;

impl Run {
    /// Stops the engine, if nothing has, and looks at everything.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        if !self.world.is_stopping() {
            self.drain()?;
            self.check_quiet()?;
            self.world.publish_into_room();
            self.drain()?;
            self.check_quiet()?;
        }
        // Handlers may have stopped it meanwhile.
        let was_quiet = !self.world.is_stopping();
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
            if idle_rounds == 4 {
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
            }
        }
        unman_all();
        Ok(())
    }

    fn check_end(&mut self, stop: &ShutdownReport, has_time: bool) -> Result<(), String> {
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
        let ledger = &self.world.ledger;
        ledger.check_deliveries(&counts)?;
        ledger.check_sums(&counts, &report, stop)?;
        ledger.check_receipts(&receipts)?;
        if has_time && (stop.abandoned_events != 0 || !stop.in_time) {
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

impl Ledger {
    /// Every subscription's deliveries balance, are those that its handler tells of, and as many as were for it.
    fn check_deliveries(&self, counts: &[Option<DeliveryCounts>]) -> Result<(), String> {
        let books = self.books();
        let admitted = || books.records.iter().filter(|r| r.fate == Fate::Admitted);
        for (sub, counts) in counts.iter().enumerate() {
            let (Some(counts), subscription) = (counts, &books.subs[sub]) else {
                continue;
            };
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
            if !subscription.is_live {
                continue;
            }
            let due = admitted()
                .filter(|record| record.expects.contains(&sub))
                .count() as u64;
            // It may see what was published before it was there and still waits in its pool.
            let due_max = admitted()
                .filter(|record| subscription.kinds.contains(&record.plan.kind))
                .filter(|record| record.pools.contains(&subscription.pool))
                .count() as u64;
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
        counts: &[Option<DeliveryCounts>],
        report: &Report,
        stop: &ShutdownReport,
    ) -> Result<(), String> {
        let mut books = self.books();
        let mut totals = DeliveryCounts::default();
        counts
            .iter()
            .flatten()
            .for_each(|counts| totals.add(counts));
        books.seen.add(Thing::Withdrawn, totals.withdrawn);
        books.seen.add(Thing::Abandoned, totals.abandoned);
        // A machine that gives this thread no time for so long makes its workers look stuck, and the report of the stop
        // is of another moment than the rest.
        let is_last_word = stop.stuck_workers.is_empty();
        let stopped = DeliveryCounts {
            admitted: totals.admitted,
            handled: stop.completed,
            failed: stop.failed,
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
        if books.observed != totals.failed {
            return Err(format!(
                "OB1: the observer was told of {} failures of {}",
                books.observed, totals.failed
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
        if is_last_word && taken + stop.abandoned_events != shares {
            return Err(format!(
                "PD8: {shares} shares of events were admitted, {taken} taken, {} abandoned",
                stop.abandoned_events
            ));
        }
        if (report.published, report.dropped) != (fates(Fate::Admitted), fates(Fate::Lost)) {
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
            let called = ends
                .iter()
                .filter(|(_, end)| matches!(end, Ended::Handled | Ended::Failed | Ended::Skipped))
                .count();
            // One that came behind the event may have had it in a shape that cannot be moved out.
            let by_value = books
                .subs
                .iter()
                .any(|sub| sub.by_value && sub.kinds.contains(&record.plan.kind));
            if !is_complete || (called != record.called.len() && !by_value) {
                return Err(format!(
                    "PD1: the receipt of {serial} says {ends:?} (complete: {is_complete}): {record:?}"
                ));
            }
        }
        Ok(())
    }

    /// After everything of a run is gone: every value was dropped exactly once, and so was every state.
    pub(crate) fn check_gone(&self) -> Result<(), String> {
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

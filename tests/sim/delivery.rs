//! What the books know of one event for one subscription, from its first attempt to its end (PD8, RO1, RO3, DQ1 to DQ4).
//!
//! Everything in here is told by what can be seen from outside: the calls of handlers and how they end, what an observer
//! of letters is told, and what is done to letters by hand. What waits without having been called is known by what is
//! missing.

use crate::action::{Aside, Breaks, Full, Setup, Subscribe};
use crate::ledger::{Books, Fate, Ledger, Sub};
use crate::seen::Thing;
use ringbolt::metrics::{AttemptCounts, DeliveryCounts};
use ringbolt::{Class, EventId, LetterView, Reason};
use std::collections::HashMap;

/// What a subscription is to do about failures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) attempts: u32,
    pub(crate) delay_ns: u64,
    pub(crate) keeps_letters: bool,
    pub(crate) is_sequential: bool,
    /// Its breaker, while it is open, has events put aside like that.
    pub(crate) on_open: Aside,
    pub(crate) has_breaker: bool,
    /// A full shelf does.
    pub(crate) when_full: Aside,
}

impl Rules {
    pub(crate) fn of(setup: &Setup, wanted: &Subscribe, by_value: bool) -> Self {
        let has = setup.has_policies;
        let keeps_letters = has && setup.letters > 0 && !wanted.without_letters;
        let is_sequential = keeps_letters && wanted.is_sequential;
        let fuse = match wanted.breaks {
            Breaks::Never => None,
            Breaks::Shared => Some(setup.fuse),
            Breaks::Own => Some(wanted.fuse),
        };
        let fuse = fuse.filter(|_| has);
        Self {
            attempts: if has && !by_value {
                u32::from(wanted.attempts.max(1))
            } else {
                1
            },
            delay_ns: u64::from(wanted.delay_ns),
            keeps_letters,
            is_sequential,
            on_open: fuse.map_or(Aside::Wait, |fuse| fuse.on_open),
            has_breaker: fuse.is_some(),
            when_full: if has
                && wanted.held_max > 0
                // Which the engine refuses.
                && !(is_sequential && wanted.when_full == Aside::Letter)
            {
                wanted.when_full
            } else {
                Aside::Wait
            },
        }
    }

    /// Whether events may be skipped without their handler.
    pub(crate) fn may_skip(&self) -> bool {
        self.on_open == Aside::Skip || self.when_full == Aside::Skip
    }

    /// Whether events may fail without their handler: what is to be a letter where none are kept.
    pub(crate) fn may_fail(&self) -> bool {
        let is_letter = |aside| aside == Aside::Letter;
        !self.keeps_letters && (is_letter(self.on_open) || is_letter(self.when_full))
    }

    /// The wait behind the attempt of this number.
    pub(crate) fn delay_after(&self, attempt: u32) -> u64 {
        (self.delay_ns << (attempt - 1).min(8)).min(self.delay_max())
    }

    pub(crate) fn delay_max(&self) -> u64 {
        self.delay_ns * 4
    }
}

/// How far a delivery has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its handler has not been called.
    #[default]
    New,
    /// Its attempt failed, and another is to follow.
    Retrying,
    /// It failed for good, and is to be a letter.
    Doomed,
    Handled,
    Skipped,
    Failed,
    /// It is a letter.
    Letter,
    /// It was one.
    Gone,
}

impl Stage {
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::New | Self::Retrying | Self::Doomed)
    }
}

/// One event for one subscription.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Delivery {
    pub(crate) calls: u32,
    /// Attempts of the present budget.
    pub(crate) attempt: u32,
    pub(crate) stage: Stage,
    /// A letter whose redelivery has begun and is to be tried again.
    pub(crate) is_replaying: bool,
    not_before_ns: u64,
}

/// What a call is, for the books.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) attempt: u32,
    pub(crate) is_redelivery: bool,
    pub(crate) now_ns: u64,
    pub(crate) id: EventId,
}

/// How a call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Went {
    Handled,
    Skipped,
    Failed,
    ForGood,
    /// With the word when to try again.
    ForNow(u64),
}

impl Sub {
    /// A call begins: what is wrong with it.
    pub(crate) fn begin(
        &mut self,
        serial: u32,
        key: Option<u64>,
        call: Call,
        seen: &mut crate::seen::Seen,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let rules = self.rules;
        let delivery = self.deliveries.entry(serial).or_default();
        let is_expected = if call.is_redelivery {
            delivery.stage == Stage::Letter
        } else {
            matches!(delivery.stage, Stage::New | Stage::Retrying)
        };
        if !is_expected {
            wrong.push(format!(
                "PD6: it is called when it is {delivery:?}, {call:?}"
            ));
        }
        if call.is_redelivery && call.attempt == 1 && rules.on_open != Aside::Wait {
            // An open breaker may have given the one before up.
            delivery.attempt = 0;
            delivery.not_before_ns = 0;
        }
        if call.attempt != delivery.attempt + 1 || call.attempt > rules.attempts {
            wrong.push(format!("RO1: {call:?} of {rules:?} behind {delivery:?}"));
        }
        if call.now_ns < delivery.not_before_ns {
            wrong.push(format!("RO1: too early, {call:?} behind {delivery:?}"));
        }
        if call.is_redelivery && call.attempt == 1 {
            self.tally.redelivered += 1;
        }
        let Some(key) = key else { return wrong };
        // An open breaker may have put the other aside without a call.
        if let Some(other) = self.retrying.get(&key)
            && *other != serial
            && rules.on_open == Aside::Wait
        {
            wrong.push(format!("RO3: {other} of key {key} is in retry"));
        }
        if call.is_redelivery {
            self.replayed.insert(key);
        } else {
            self.replayed.remove(&key);
        }
        let letters = self.letters_of.get(&key).copied().unwrap_or(0);
        if rules.is_sequential && letters > 0 && !call.is_redelivery {
            wrong.push(format!("DQ3: {letters} letters of key {key} are parked"));
        }
        if rules.is_sequential && letters > 1 && call.is_redelivery {
            let first = self.letters_in_order(key);
            if first.is_some_and(|first| first != serial) {
                wrong.push(format!("DQ3: {first:?} of key {key} comes first"));
            }
        }
        if self.released == Some((key, true)) {
            seen.note(Thing::HeldBehind);
        }
        wrong
    }

    /// The first letter of a key.
    fn letters_in_order(&self, key: u64) -> Option<u32> {
        self.parked.get(&key)?.first().copied()
    }

    /// A call has ended.
    pub(crate) fn end(
        &mut self,
        serial: u32,
        key: Option<u64>,
        went: Went,
        now_ns: u64,
        is_panic: bool,
        seen: &mut crate::seen::Seen,
    ) {
        let rules = self.rules;
        let delivery = self.deliveries.entry(serial).or_default();
        delivery.calls += 1;
        delivery.attempt += 1;
        let attempt = delivery.attempt;
        let was_letter = delivery.stage == Stage::Letter;
        let mut goes_on = None;
        match went {
            Went::Handled | Went::Skipped => {
                if attempt > 1 && !was_letter {
                    seen.note(Thing::RetrySucceeded);
                }
                delivery.is_replaying = false;
                if went == Went::Handled {
                    self.tally.handled += 1;
                    delivery.stage = Stage::Handled;
                } else {
                    self.tally.skipped += 1;
                    delivery.stage = Stage::Skipped;
                }
            }
            Went::Failed | Went::ForGood | Went::ForNow(_) => {
                self.tally.failed_attempts += 1;
                let is_last = went == Went::ForGood || attempt >= rules.attempts;
                if is_last {
                    delivery.attempt = 0;
                    delivery.not_before_ns = 0;
                    delivery.is_replaying = false;
                    seen.note(if went == Went::ForGood {
                        Thing::RetryPermanent
                    } else if attempt > 1 {
                        Thing::RetryExhausted
                    } else {
                        Thing::HandlerFailed
                    });
                    if was_letter {
                        seen.note(Thing::RedeliveryFailed);
                        self.tally.dead_lettered += 1;
                    } else if rules.keeps_letters {
                        delivery.stage = Stage::Doomed;
                    } else {
                        delivery.stage = Stage::Failed;
                        self.tally.failed += 1;
                    }
                } else {
                    self.tally.retries += 1;
                    if is_panic {
                        seen.note(Thing::RetryPanic);
                    }
                    if was_letter {
                        delivery.is_replaying = true;
                    } else {
                        delivery.stage = Stage::Retrying;
                    }
                    let delay_ns = match went {
                        Went::ForNow(delay_ns) => delay_ns,
                        _ => rules.delay_after(attempt),
                    };
                    delivery.not_before_ns = now_ns + delay_ns;
                    goes_on = key;
                }
            }
        }
        let is_done = matches!(went, Went::Handled | Went::Skipped);
        if was_letter && is_done {
            seen.note(Thing::Redelivered);
            let left = self.letter_gone(serial, key);
            if rules.is_sequential && left > 0 {
                seen.note(Thing::RedeliveredInOrder);
            }
        }
        if let Some(key) = key {
            self.released = Some((key, false));
            if goes_on.is_some() {
                self.retrying.insert(key, serial);
            } else if self.retrying.get(&key) == Some(&serial) {
                self.retrying.remove(&key);
                self.released = Some((key, true));
            }
        } else {
            self.released = None;
        }
    }

    /// A letter of this event is kept; what is wrong with it.
    fn letter_kept(&mut self, serial: u32, key: Option<u64>, reason: Reason) -> Vec<String> {
        let mut wrong = Vec::new();
        let rules = self.rules;
        let delivery = self.deliveries.entry(serial).or_default();
        let letters = key.and_then(|key| self.letters_of.get(&key).copied());
        // Or its key is on its way through a redelivery, or the letter before has just made room for it.
        let is_parked = letters.unwrap_or(0) > 0
            || key.is_some_and(|key| self.replayed.contains(&key) || self.evicted == Some(key));
        let is_right = match reason {
            Reason::Exhausted | Reason::Permanent | Reason::Panic => {
                delivery.stage == Stage::Doomed
            }
            Reason::SequenceBlocked => {
                delivery.stage == Stage::New && rules.is_sequential && is_parked
            }
            Reason::HeldFull => delivery.stage == Stage::New && rules.when_full == Aside::Letter,
            Reason::BreakerPolicy => {
                matches!(delivery.stage, Stage::New | Stage::Retrying)
                    && rules.on_open == Aside::Letter
            }
            _ => false,
        };
        if !is_right || !rules.keeps_letters {
            wrong.push(format!(
                "DQ1: a letter, {reason}, of {delivery:?}, {rules:?}, with {letters:?} parked"
            ));
        }
        delivery.stage = Stage::Letter;
        delivery.attempt = 0;
        delivery.not_before_ns = 0;
        self.tally.dead_lettered += 1;
        if let Some(key) = key {
            *self.letters_of.entry(key).or_default() += 1;
            if rules.is_sequential {
                self.parked.entry(key).or_default().push(serial);
            }
            if self.retrying.get(&key) == Some(&serial) {
                self.retrying.remove(&key);
            }
        }
        wrong
    }

    /// A letter is there no more; how many of its key are left.
    fn letter_gone(&mut self, serial: u32, key: Option<u64>) -> u32 {
        let Some(key) = key else { return 0 };
        if let Some(parked) = self.parked.get_mut(&key) {
            parked.retain(|&other| other != serial);
        }
        let left = self.letters_of.entry(key).or_default();
        *left = left.saturating_sub(1);
        *left
    }
}

/// The subscription and the event of a letter.
pub(crate) fn letter_of(books: &Books, view: &LetterView) -> Option<(usize, u32)> {
    let sub = view.subscription.strip_prefix("sub-")?.parse().ok()?;
    let kind = crate::event::kind_named(view.event_name)?;
    let serial = crate::event::with_kind!(kind, serial_in(view));
    let serial = serial.or_else(|| books.ids.get(&view.event_id).copied())?;
    Some((sub, serial))
}

fn serial_in<const K: u8, const N: usize>(view: &LetterView) -> Option<u32> {
    let value = view.value::<crate::event::Job<K, N>>();
    value.map(|job| job.serial)
}

/// What an observer of letters is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Kept,
    Evicted,
    Refused,
    Paused,
}

impl Ledger {
    /// An observer is told of a letter.
    pub(crate) fn letter(&self, view: &LetterView, told: Told) {
        let mut books = self.books();
        let Some((sub, serial)) = letter_of(&books, view) else {
            let text = format!("DQ1: a letter of nobody: {view:?}");
            books.violations.push(text);
            return;
        };
        let books = &mut *books;
        let key = books.records[serial as usize].plan.key;
        let one = &mut books.subs[sub];
        let mut wrong = Vec::new();
        match told {
            Told::Kept => {
                books.seen.note(match view.reason {
                    Reason::SequenceBlocked => Thing::LetterParked,
                    Reason::BreakerPolicy => Thing::BreakerLetter,
                    Reason::HeldFull => Thing::HeldFullLetter,
                    _ => Thing::LetterKept,
                });
                wrong = one.letter_kept(serial, key, view.reason);
                one.evicted = None;
            }
            Told::Evicted => {
                books.seen.note(Thing::LetterEvicted);
                wrong = one.take_letter(serial, key);
                one.evicted = key;
            }
            Told::Refused => {
                books.seen.note(Thing::LetterRefused);
                one.deliveries.entry(serial).or_default().stage = Stage::Failed;
                one.tally.failed += 1;
                if let Some(key) = key
                    && one.retrying.get(&key) == Some(&serial)
                {
                    one.retrying.remove(&key);
                }
            }
            Told::Paused => books.seen.note(Thing::LetterPaused),
        }
        for text in wrong {
            books.violations.push(format!(
                "{text} (subscription {sub}, event {serial}, {told:?})"
            ));
        }
    }

    /// A letter was discarded.
    pub(crate) fn discarded(&self, sub: usize, serial: u32) {
        let mut books = self.books();
        let books = &mut *books;
        let key = books.records[serial as usize].plan.key;
        books.seen.note(Thing::LetterDiscarded);
        let wrong = books.subs[sub].take_letter(serial, key);
        books.violations.extend(wrong);
    }

    /// The letters of the queue are those of the books, each once.
    pub(crate) fn check_letters(&self, letters: &[LetterView]) -> Result<(), String> {
        let books = self.books();
        let mut found = HashMap::new();
        for view in letters {
            let Some(place) = letter_of(&books, view) else {
                return Err(format!("DQ1: a letter of nobody: {view:?}"));
            };
            if let Some(other) = found.insert(place, view.id) {
                return Err(format!(
                    "DQ1: letters {other} and {} are one: {view:?}",
                    view.id
                ));
            }
        }
        for (sub, one) in books.subs.iter().enumerate() {
            for (&serial, delivery) in &one.deliveries {
                let is_letter = delivery.stage == Stage::Letter;
                if is_letter != found.contains_key(&(sub, serial)) {
                    return Err(format!(
                        "DQ1: event {serial} of subscription {sub} is {delivery:?}, and a letter: {}",
                        !is_letter
                    ));
                }
            }
        }
        Ok(())
    }

    /// What is held of a subscription, in a quiet engine, is what nothing else has become of (PD8). `None` once it is
    /// withdrawn. While a worker is kept from taking more, some of that waits in its lane.
    pub(crate) fn check_held(
        &self,
        sub: usize,
        counts: &DeliveryCounts,
        attempts: &AttemptCounts,
        is_pressed: bool,
    ) -> Result<(), String> {
        let mut books = self.books();
        let books = &mut *books;
        let one = &books.subs[sub];
        if !one.is_live {
            return match attempts.held {
                0 => Ok(()),
                held => Err(format!("PD7: {held} are held of {sub}, which is withdrawn")),
            };
        }
        let mut open = Vec::new();
        let (mut missed, mut extra) = (0, 0);
        for (serial, record) in books.records.iter().enumerate() {
            let serial = serial as u32;
            let is_for = record.fate == Fate::Admitted && one.kinds.contains(&record.plan.kind);
            if !is_for {
                continue;
            }
            let delivery = one.deliveries.get(&serial).copied().unwrap_or_default();
            if !delivery.stage.is_open() {
                continue;
            }
            if record.expects.contains(&sub) || delivery.calls > 0 {
                open.push(serial);
                // A value that another pool shares cannot be moved out.
                let cannot = one.by_value && record.pools.len() > 1;
                missed += u64::from(cannot && delivery.calls == 0);
            } else if record.pools.contains(&one.pool) {
                extra += 1;
            }
        }
        let mut skips = counts.skipped.saturating_sub(one.tally.skipped);
        if skips > 0 && !one.rules.may_skip() {
            return Err(format!("PD8: {sub} skips by itself: {counts:?}"));
        }
        if one.rules.may_fail() {
            skips += counts.failed.saturating_sub(one.tally.failed);
        }
        let mut least = (open.len() as u64).saturating_sub(skips + missed);
        if is_pressed {
            let deliveries = one.deliveries.values();
            let tried = deliveries
                .filter(|it| it.stage.is_open() && it.calls > 0)
                .count();
            least = (tried as u64).saturating_sub(skips);
        }
        // Among those that were skipped may be redeliveries, which an open breaker gave up.
        let are_known = one.rules.on_open != Aside::Skip || !one.rules.keeps_letters;
        let ended = if are_known { skips } else { 0 };
        let most = (open.len() as u64 + extra).saturating_sub(ended);
        if !(least..=most).contains(&attempts.held) {
            open.truncate(20);
            return Err(format!(
                "PD8: {sub} holds {least} to {most}, among them {open:?}, and says {attempts:?}, {counts:?}"
            ));
        }
        if attempts.held > 0 {
            books.seen.note(Thing::Held);
        }
        Ok(())
    }
}

impl Sub {
    fn take_letter(&mut self, serial: u32, key: Option<u64>) -> Vec<String> {
        let delivery = self.deliveries.entry(serial).or_default();
        let was = delivery.stage;
        delivery.stage = Stage::Gone;
        // What goes with its subscription, or is refused by an open breaker, is not being redelivered any more.
        let may_be_over = !self.is_live || self.rules.on_open != Aside::Wait;
        let is_right = was == Stage::Letter && (!delivery.is_replaying || may_be_over);
        self.letter_gone(serial, key);
        if is_right {
            Vec::new()
        } else {
            vec![format!("DQ5: {serial} goes as a letter, and it is {was:?}")]
        }
    }

    /// Events of this subscription that may be in the engine for it.
    pub(crate) fn keeps(&self, serial: u32) -> bool {
        let delivery = self.deliveries.get(&serial);
        let stage = delivery.map_or(Stage::New, |delivery| delivery.stage);
        stage == Stage::Letter || self.is_live && stage.is_open()
    }

    /// Whether a call of this class goes before others of its key that came earlier.
    pub(crate) fn is_released(&self, key: u64) -> bool {
        self.released == Some((key, true))
    }
}

/// Whether the queue makes subscriptions wait.
pub(crate) fn pauses(setup: &Setup) -> bool {
    setup.letters > 0 && setup.overflow == Full::Pause
}

/// Whether one class is higher than another.
pub(crate) fn is_higher(class: Class, than: Class) -> bool {
    (class as usize) < than as usize
}

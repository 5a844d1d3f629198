//! What the simulation does with retries, breakers, letters and events that are published later (RO, CB, DQ).

use crate::action::Full;
use crate::action::{Aside, Breaks, Fuse, Hand, Item, Setup, Subscribe};
use crate::delivery::{Rules, Told, letter_of};
use crate::event::{Job, with_kind};
use crate::ledger::{Fate, Ledger};
use crate::publishing::plan_of;
use crate::seen::Thing;
use crate::world::{LATER, World, lock};
use ringbolt::{
    Breaker, BreakerPolicy, BreakerState, BreakerTransition, Builder, DeadLetterPolicy, Filter,
    LetterEvent, LetterId, LetterStatus, LetterView, OnOpen, Options, Overflow, Page, Redelivered,
    RetryPolicy, Scheduled, SubscriptionBuilder, WhenHeldFull, Window,
};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// Attempts of what is held that a worker makes between two batches.
pub(crate) const TENDED_MAX: usize = 512;

/// An event that is to be published later, whatever its type.
pub(crate) trait Later: Send {
    fn is_waiting(&self) -> bool;
    /// Calls it back; its number, if it was there still.
    fn cancel(&self, ledger: &Ledger) -> Option<u32>;
}

impl<const K: u8, const N: usize> Later for Scheduled<Job<K, N>> {
    fn is_waiting(&self) -> bool {
        Self::is_waiting(self)
    }

    fn cancel(&self, ledger: &Ledger) -> Option<u32> {
        let job = Self::cancel(self)?;
        ledger.disarm(job.serial);
        Some(job.serial)
    }
}

/// The engine's queue of letters, if it is to have one.
pub(crate) fn with_letters(builder: Builder, setup: &Setup, ledger: &Arc<Ledger>) -> Builder {
    if !setup.has_policies || setup.letters == 0 {
        return builder;
    }
    let (ledger, traps) = (Arc::clone(ledger), setup.traps_letters);
    let policy = DeadLetterPolicy::new()
        .capacity(setup.letters)
        .overflow(match setup.overflow {
            Full::Pause => Overflow::Pause,
            Full::Evict => Overflow::EvictOldest,
            Full::Refuse => Overflow::Refuse,
        })
        .observer(move |event: &LetterEvent<'_>| {
            match event {
                LetterEvent::Kept(view) => ledger.letter(view, Told::Kept),
                LetterEvent::Evicted(view) => ledger.letter(view, Told::Evicted),
                LetterEvent::Refused(view) => ledger.letter(view, Told::Refused),
                LetterEvent::Paused(view) => ledger.letter(view, Told::Paused),
                _ => ledger.violation("DQ1: an unknown word of a letter"),
            }
            if traps {
                ledger.note(Thing::LetterObserverPanic);
            }
            assert!(!traps, "an observer of letters that panics");
        });
    builder.dead_letters(policy)
}

fn policy_of(fuse: Fuse) -> BreakerPolicy {
    let window = fuse.window.max(1);
    let wait = Duration::from_nanos(u64::from(fuse.wait_ns.max(1)));
    BreakerPolicy::new()
        .window(Window::Count(u32::from(window)))
        .minimum_calls(u32::from(fuse.minimum.clamp(1, window)))
        .half_open_permits(u32::from(fuse.permits.max(1)))
        .open_wait(wait)
        .open_wait_max(wait * 4)
        .on_open(match fuse.on_open {
            Aside::Wait => OnOpen::Pause,
            Aside::Letter => OnOpen::DeadLetter,
            Aside::Skip => OnOpen::Skip,
        })
}

impl World {
    /// A breaker more; it tells of its transitions.
    pub(crate) fn add_breaker(self: &Arc<Self>, name: &str, fuse: Fuse) -> Breaker {
        let breaker = Breaker::new(name, policy_of(fuse)).expect("the settings are in range");
        let world = Arc::downgrade(self);
        breaker.on_transition(move |transition: &BreakerTransition| {
            let Some(world) = world.upgrade() else { return };
            world.say(|| format!("    breaker {transition:?}"));
            let thing = match (transition.from, transition.to) {
                (BreakerState::Closed, BreakerState::Open) => Thing::BreakerOpened,
                (_, BreakerState::HalfOpen) => Thing::BreakerHalfOpen,
                (BreakerState::HalfOpen, BreakerState::Open) => Thing::BreakerReopened,
                (BreakerState::HalfOpen, BreakerState::Closed)
                    if (0..world.setup.pools).any(|pool| world.holds(pool)) =>
                {
                    Thing::BreakerClosed
                }
                _ => return,
            };
            world.ledger.note(thing);
        });
        lock(&self.breakers).push(breaker.clone());
        breaker
    }

    /// A subscription's policies, as its rules say.
    pub(crate) fn with_policies(
        self: &Arc<Self>,
        mut builder: SubscriptionBuilder,
        wanted: &Subscribe,
        rules: Rules,
        sub: usize,
    ) -> SubscriptionBuilder {
        if !self.setup.has_policies {
            return builder;
        }
        let mut retry = RetryPolicy::none()
            .max_attempts(rules.attempts)
            .base(Duration::from_nanos(rules.delay_ns))
            .multiplier(2.0)
            .max_delay(Duration::from_nanos(rules.delay_max()))
            .when_held_full(match rules.when_full {
                Aside::Wait => WhenHeldFull::BackPressure,
                Aside::Letter => WhenHeldFull::DeadLetter,
                Aside::Skip => WhenHeldFull::Skip,
            });
        if wanted.held_max > 0 {
            retry = retry.held_max(usize::from(wanted.held_max));
        }
        builder = builder.retry(retry);
        let breaker = match wanted.breaks {
            Breaks::Never => None,
            Breaks::Shared => lock(&self.breakers).first().cloned(),
            Breaks::Own => Some(self.add_breaker(&format!("of-{sub}"), wanted.fuse)),
        };
        if let Some(breaker) = &breaker {
            builder = builder.breaker(breaker);
        }
        if rules.is_sequential {
            builder = builder.sequential();
        }
        if wanted.without_letters {
            builder = builder.without_dead_letters();
        }
        builder
    }

    /// Whether anything is held on a pool.
    pub(crate) fn holds(&self, pool: usize) -> bool {
        let on_pool: Vec<bool> = {
            let books = self.ledger.books();
            books.subs.iter().map(|sub| sub.pool == pool).collect()
        };
        let subs = lock(&self.subs);
        let mut pairs = subs.iter().zip(on_pool);
        pairs.any(|(one, is_on)| is_on && one.as_ref().is_some_and(|one| one.attempts().held > 0))
    }

    /// All letters, in their order.
    pub(crate) fn letters(&self) -> Vec<LetterView> {
        let Some(letters) = self.handle().and_then(|handle| handle.dead_letters()) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        let mut page = Page::new();
        loop {
            let mut some = letters.list(&Filter::new(), page);
            found.append(&mut some.letters);
            match some.next {
                Some(last) => page = Page::new().after(last),
                None => return found,
            }
        }
    }

    /// How many letters of each subscription are being redelivered.
    pub(crate) fn replays(&self) -> HashMap<u64, u64> {
        let mut replays = HashMap::new();
        for view in self.letters() {
            if view.status == LetterStatus::Redelivering {
                *replays.entry(view.subscription_id).or_default() += 1;
            }
        }
        replays
    }

    fn letter_at(&self, place: u8) -> Option<LetterView> {
        let mut letters = self.letters();
        let place = usize::from(place).checked_rem(letters.len())?;
        Some(letters.swap_remove(place))
    }

    /// Has a letter redelivered, and if it is parked all of its key; whether that began.
    pub(crate) fn redeliver(&self, place: u8) -> bool {
        let Some(view) = self.letter_at(place) else {
            return false;
        };
        let Some(letters) = self.handle().and_then(|handle| handle.dead_letters()) else {
            return false;
        };
        let key = self.key_of(&view);
        let ticket = match key {
            Some(key) if view.sequential => letters.redeliver_key(&view.subscription, key),
            _ => letters.redeliver(view.id),
        };
        self.say(|| format!("  redeliver {}: {ticket:?}", view.id));
        match ticket {
            Ok(ticket) => {
                lock(&self.redeliveries).push(ticket);
                true
            }
            Err(error) => {
                let is_right = error.is_conflict()
                    || error.is_closed() && self.is_stopping()
                    || error.is_missing();
                if !is_right {
                    self.ledger.violation(format!("DQ2: redeliver: {error}"));
                }
                false
            }
        }
    }

    fn key_of(&self, view: &LetterView) -> Option<u64> {
        let books = self.ledger.books();
        let (_, serial) = letter_of(&books, view)?;
        books.records[serial as usize].plan.key
    }

    pub(crate) fn redeliver_all(&self) -> bool {
        let Some(letters) = self.handle().and_then(|handle| handle.dead_letters()) else {
            return false;
        };
        lock(&self.redeliveries).push(letters.redeliver_all(Filter::new()));
        true
    }

    pub(crate) fn cancel(&self, place: u8) -> bool {
        let tickets = lock(&self.redeliveries);
        let Some(place) = usize::from(place).checked_rem(tickets.len()) else {
            return false;
        };
        tickets[place].cancel();
        true
    }

    pub(crate) fn discard(&self, place: u8) -> bool {
        self.letter_at(place)
            .is_some_and(|view| self.discard_one(view))
    }

    fn discard_one(&self, view: LetterView) -> bool {
        let Some(letters) = self.handle().and_then(|handle| handle.dead_letters()) else {
            return false;
        };
        let known = letter_of(&self.ledger.books(), &view);
        let (id, status) = (view.id, view.status);
        // The last share of the event may go with it, and its drop may be a trap.
        self.let_go(view);
        let result = self.contained(|| letters.discard(id, "the run", "as drawn"));
        match (result, known) {
            (Some(Ok(())), Some((sub, serial))) => {
                self.ledger.discarded(sub, serial);
                true
            }
            (Some(Err(error)), _)
                if error.is_conflict() && status == LetterStatus::Redelivering =>
            {
                false
            }
            (result, _) => {
                self.ledger
                    .violation(format!("DQ5: discard {id:?}, {status:?}: {result:?}"));
                false
            }
        }
    }

    /// Views hold shares of events.
    fn let_go<T>(&self, views: T) {
        let _ = catch_unwind(AssertUnwindSafe(|| drop(views)));
    }

    /// What a call of the engine's returns; it is not to panic for what a user's drop does.
    fn contained<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        match catch_unwind(AssertUnwindSafe(f)) {
            Ok(result) => Some(result),
            Err(_) => {
                self.ledger
                    .violation("PD6: a payload's drop goes through a discard");
                None
            }
        }
    }

    pub(crate) fn discard_all(&self) -> bool {
        let Some(letters) = self.handle().and_then(|handle| handle.dead_letters()) else {
            return false;
        };
        let waiting: Vec<(LetterId, Option<(usize, u32)>)> = {
            let views = self.letters();
            let found = {
                let books = self.ledger.books();
                let waits = |view: &&LetterView| view.status == LetterStatus::Waiting;
                let views = views.iter().filter(waits);
                views
                    .map(|view| (view.id, letter_of(&books, view)))
                    .collect()
            };
            self.let_go(views);
            found
        };
        let result = self.contained(|| letters.discard_all(&Filter::new(), "the run", "as drawn"));
        if !matches!(result, Some(Ok(count)) if count == waiting.len() as u64) {
            self.ledger.violation(format!(
                "DQ5: {} letters wait, and discarded {result:?}",
                waiting.len()
            ));
        }
        for (_, known) in &waiting {
            if let Some((sub, serial)) = known {
                self.ledger.discarded(*sub, *serial);
            }
        }
        !waiting.is_empty()
    }

    pub(crate) fn set_breaker(&self, place: u8, hand: Hand) -> bool {
        let breaker = {
            let breakers = lock(&self.breakers);
            let Some(place) = usize::from(place).checked_rem(breakers.len()) else {
                return false;
            };
            breakers[place].clone()
        };
        match hand {
            Hand::Reset => breaker.reset(),
            Hand::ForceOpen => breaker.force_open(),
            Hand::Disable => breaker.disable(),
        }
        true
    }

    /// Does something to the breakers that are not closed: those that are have to let everything go on by themselves.
    pub(crate) fn set_open_breakers(&self, hand: Hand) {
        let breakers = lock(&self.breakers).clone();
        for breaker in breakers {
            if breaker.state() != BreakerState::Closed {
                match hand {
                    Hand::Disable => breaker.disable(),
                    _ => breaker.reset(),
                }
            }
        }
    }

    /// An event that is to be published later; whether it is going to be.
    pub(crate) fn publish_later(self: &Arc<Self>, item: &Item, after_ns: u32) -> bool {
        let kind = plan_of(item, LATER).kind;
        let has_sub = {
            let books = self.ledger.books();
            let mut subs = books.subs.iter();
            subs.any(|sub| sub.is_live && sub.kinds.contains(&kind))
        };
        // It would wait on a worker of the first pool, which nobody polls.
        if !has_sub {
            return false;
        }
        with_kind!(kind, later_of_kind(self, item, after_ns))
    }

    pub(crate) fn recall(&self, place: u8) -> bool {
        let mut laters = lock(&self.laters);
        let Some(place) = usize::from(place).checked_rem(laters.len()) else {
            return false;
        };
        let Some(serial) = laters[place].1.cancel(&self.ledger) else {
            return false;
        };
        laters.remove(place);
        drop(laters);
        self.ledger.note(Thing::LaterRecalled);
        self.ledger.settle(serial, Fate::Refused);
        true
    }

    /// Learns which of the events that were to be published later have been by now; of an engine that stops, once it has,
    /// as another thread does that.
    pub(crate) fn settle_laters(&self) {
        if !self.is_stopping() {
            self.settle_laters_of(false);
        }
    }

    pub(crate) fn settle_laters_of(&self, is_stopping: bool) {
        let mut due = Vec::new();
        lock(&self.laters).retain(|(serial, later)| {
            let is_waiting = later.is_waiting();
            if !is_waiting {
                due.push(*serial);
            }
            is_waiting
        });
        for serial in due {
            self.ledger.later(serial, is_stopping);
        }
    }

    /// What redeliveries have come to, and forgets those that are over; how many are not.
    pub(crate) fn redeliveries_open(&self) -> usize {
        let mut tickets = lock(&self.redeliveries);
        tickets.retain(|ticket| {
            while let Some(outcome) = ticket.try_next() {
                if let Redelivered::GivenUp { .. } = outcome.ended {
                    self.ledger.note(Thing::RedeliveryGivenUp);
                }
            }
            !ticket.is_done()
        });
        tickets.len()
    }
}

fn later_of_kind<const K: u8, const N: usize>(
    world: &Arc<World>,
    item: &Item,
    after_ns: u32,
) -> bool {
    let Some(handle) = world.handle() else {
        return false;
    };
    let ledger = &world.ledger;
    // Each is a publisher of its own: nothing is said of the order among them.
    let mut plan = plan_of(item, LATER);
    plan.traps_key = false;
    let class = plan.class;
    let serial = ledger.make(plan, None);
    ledger.books().records[serial as usize].plan.publisher = LATER + serial;
    let event = Job::<K, N>::new(serial, ledger);
    let delay = Duration::from_nanos(u64::from(after_ns));
    match handle.publish_after_with(event, delay, Options::new().class(class)) {
        Ok(scheduled) => {
            world.say(|| format!("  later {serial}"));
            ledger.books().records[serial as usize].fate = Fate::Later;
            lock(&world.laters).push((serial, Box::new(scheduled)));
            true
        }
        Err(error) => {
            if !error.is_closed() || !world.is_stopping() {
                ledger.violation(format!("PD1: later {serial}: {error:?}"));
            }
            ledger.disarm(serial);
            drop(error.into_event());
            ledger.settle(serial, Fate::Refused);
            false
        }
    }
}

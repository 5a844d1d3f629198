//! What follows when an attempt does not simply succeed: retry, hold, pause, letter.
//!
//! publish → route → lane → **worker** → handler → outcome → (**retry** | breaker | dead letter)
//!
//! The good path does not come here: it looks at one word of marks before a call and at the outcome behind
//! it. A delivery that failed is moved into a slot of its own and put on its subscription's
//! [shelf](super::hold), a timer of the worker's wheel brings it back, and between two batches the worker
//! tends what is due: so many at a time, as events wait too.
//!
//! A worker with nothing on a shelf looks at one flag in each turn.

use super::attempt::{Of, drop_contained};
use super::hold::{Hold, Target, Waiting};
use super::letters::Letters;
use crate::breaker::{Admit, Member, Permit};
use crate::dead_letter::Order;
use crate::error_event::ErrorHub;
use crate::event::{EventId, Head, contain};
use crate::handler::{SubscriptionShared, id_of};
use crate::metrics::{MARK_BREAKER, MARK_TIMED, MARK_WITHDRAWN};
use crate::outcome::{Ended, Failure};
use crate::publish::Delayed;
use crate::retry::{GiveUp, Next, Wheel, decide};
use crate::sync::Arc;
use crate::sync::clock::Clock;
use std::collections::VecDeque;
use std::time::Duration;

/// What a timer of the wheel brings back.
pub(super) enum Timer {
    /// A delivery's next attempt.
    Attempt(Place, Target),
    /// The next look at a breaker.
    Breaker(Place),
    /// An event that is published later.
    Publish(Arc<dyn Delayed>),
}

/// A subscription on this worker: its place in tables by subscription, and its id, as places are given anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(super) index: u32,
    pub(super) id: u64,
}

impl Place {
    pub(crate) fn of(shared: &SubscriptionShared) -> Self {
        Self {
            index: u32::try_from(shared.place).expect("fewer than 2^32 subscriptions"),
            id: shared.id,
        }
    }
}

/// What a worker keeps of deliveries that have not ended, and what it asks on their way.
pub(crate) struct Tending {
    pub(super) clock: Clock,
    /// The worker's number among all.
    worker: usize,
    holds: Vec<Option<Box<Hold>>>,
    wheel: Wheel<Timer>,
    pub(super) ready: VecDeque<(Place, Target)>,
    /// Shelves that are full, for which nothing is taken from outside.
    pub(super) full_count: usize,
    pub(super) letters: Option<Letters>,
    pub(super) errors: Arc<ErrorHub>,
    /// Why a handler's state could not be made anew after its panic, until that is told.
    pub(super) renewal: Option<Failure>,
}

impl std::fmt::Debug for Tending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tending")
            .field("timers", &self.wheel.len())
            .field("ready", &self.ready.len())
            .finish_non_exhaustive()
    }
}

/// Whether a delivery may be attempted now.
pub(super) enum May {
    Call(Option<Permit>),
    /// The breaker is open.
    NotYet,
}

impl Tending {
    pub(crate) fn new(
        worker: usize,
        clock: Clock,
        errors: Arc<ErrorHub>,
        letters: Option<Letters>,
    ) -> Self {
        Self {
            worker,
            holds: Vec::new(),
            wheel: Wheel::new(clock.delta_ns(0, clock.raw())),
            ready: VecDeque::new(),
            full_count: 0,
            letters,
            errors,
            renewal: None,
            clock,
        }
    }

    /// Whether there is nothing to be tended, now or later.
    #[inline(always)]
    pub(super) fn is_idle(&self) -> bool {
        self.ready.is_empty() && self.wheel.is_empty()
    }

    /// Whether the worker is to take nothing from outside.
    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        self.full_count > 0
    }

    /// A stamp in nanoseconds, as all workers count them.
    fn ns(&self, raw: u64) -> u64 {
        self.clock.delta_ns(0, raw)
    }

    /// How long until something is due; `None` if nothing will be.
    pub(super) fn until_due(&self) -> Option<Duration> {
        if !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        let due = self.wheel.next_due()?;
        Some(Duration::from_nanos(
            due.saturating_sub(self.ns(self.clock.raw())),
        ))
    }

    /// Whether something is due within this time.
    pub(super) fn is_due_within(&self, time: Option<Duration>) -> bool {
        match (self.until_due(), time) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(due), Some(time)) => due <= time,
        }
    }

    pub(super) fn hold(&mut self, place: Place) -> Option<&mut Hold> {
        self.holds
            .get_mut(place.index as usize)?
            .as_deref_mut()
            .filter(|hold| hold.shared.id == place.id)
    }

    /// The subscription's shelf, made at its first use.
    pub(super) fn hold_of(&mut self, of: &Of) -> &mut Hold {
        let Of { shared, counts } = of;
        let worker = self.worker;
        let index = shared.place;
        if self.holds.len() <= index {
            self.holds.resize_with(index + 1, || None);
        }
        let hold = &mut self.holds[index];
        if hold
            .as_ref()
            .is_some_and(|hold| hold.shared.id != shared.id)
        {
            *hold = None;
        }
        hold.get_or_insert_with(|| {
            Box::new(Hold::new(Arc::clone(shared), Arc::clone(counts), worker))
        })
    }

    /// A shelf with its subscription's breaker, when its handlers are made here.
    pub(super) fn join(&mut self, of: &Of, member: Option<Member>) {
        if of.shared.policies.needs_timing() {
            of.counts.set_mark(MARK_TIMED);
        }
        if member.is_some() {
            self.hold_of(of).member = member;
            // On a polled pool's next poller, what was stopped before: nobody told it of the breaker meanwhile.
            self.kick(Place::of(&of.shared));
        }
    }

    /// Leaves the subscriptions' breakers, as their handlers go.
    pub(super) fn leave(&mut self) {
        for hold in self.holds.iter_mut().flatten() {
            leave(hold);
        }
    }

    /// When the subscription's window of time wants to be told again, as a stamp.
    pub(super) fn tick(&mut self, shared: &SubscriptionShared, now: u64) -> u64 {
        let now_ns = self.ns(now);
        let clock = self.clock.clone();
        let Some(member) = self
            .hold(Place::of(shared))
            .and_then(|hold| hold.member.as_ref())
        else {
            return u64::MAX;
        };
        member.tick(now_ns);
        clock.raw_after(0, Duration::from_nanos(member.next_tick_ns()))
    }

    /// Whether the subscription's breaker lets a delivery pass now.
    pub(super) fn ask_breaker(&mut self, of: &Of) -> May {
        if of.counts.marks() & MARK_BREAKER == 0 {
            return May::Call(None);
        }
        let now = self.ns(self.clock.raw());
        let place = Place::of(&of.shared);
        let Some(breaker) = &of.shared.policies.breaker else {
            return May::Call(None);
        };
        match breaker.admit(now) {
            Admit::Pass => May::Call(None),
            Admit::Probe(permit) => May::Call(Some(permit)),
            Admit::Refused { until } => {
                if let Some(until) = until {
                    self.look_again(of, place, until);
                }
                May::NotYet
            }
        }
    }

    /// Sets the timer for the next look at a breaker. One that is due later is of an episode that is over.
    fn look_again(&mut self, of: &Of, place: Place, until: u64) {
        let before = self.hold_of(of).breaker_timer;
        if before.is_some_and(|(_, due)| due <= until) {
            return;
        }
        if let Some((timer, _)) = before {
            self.wheel.cancel(timer);
        }
        let timer = self.wheel.insert(until, Timer::Breaker(place));
        self.hold_of(of).breaker_timer = Some((timer, until));
    }

    /// Has what the breaker stopped, or what waits in the backlog, served.
    pub(super) fn kick(&mut self, place: Place) {
        let Some(hold) = self.hold(place) else { return };
        // It is asked now; if it refuses, it says when to ask again.
        let timer = hold.breaker_timer.take();
        let blocked = hold.unblock();
        let backlog = hold.queue_backlog();
        self.ready
            .extend(blocked.into_iter().map(|target| (place, target)));
        if backlog {
            self.ready.push_back((place, Target::Backlog));
        }
        if let Some((timer, _)) = timer {
            self.wheel.cancel(timer);
        }
    }

    /// Whether there is something to be served now.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The parked letters of a key may be gone: then what waits behind them goes on. Whether the key is free
    /// of letters.
    pub(super) fn unpark(&mut self, place: Place, key: u64) -> bool {
        let Some(hold) = self.hold(place) else {
            return true;
        };
        let subscriber = Arc::clone(&hold.shared.subscriber);
        let is_parked = self
            .letters
            .as_ref()
            .is_some_and(|letters| letters.is_parked(&subscriber, key));
        if !is_parked
            && let Some(hold) = self.hold(place)
            && hold.unpark(key)
        {
            self.ready.push_back((place, Target::Key(key)));
        }
        !is_parked
    }

    /// Redelivers a letter once its key is free, or a parked key letter by letter.
    pub(super) fn redeliver(&mut self, of: &Of, order: Box<Order>) {
        if of.counts.marks() & MARK_WITHDRAWN != 0 {
            // Nobody looks at its counts any more. Dropped, an order gives up what it claimed.
            return;
        }
        let place = Place::of(&of.shared);
        if let Some(key) = order.parked_key() {
            self.hold_of(of).ask_replay(key, order);
            self.ready.push_back((place, Target::Key(key)));
        } else if let Some(key) = order.key_hash() {
            if self.hold_of(of).ask_letter(key, order) {
                self.ready.push_back((place, Target::Key(key)));
            }
        } else {
            let now = self.clock.raw();
            if let Some(waiting) = self.begin_order(of, order, now) {
                let target = self.hold_of(of).put_back(None, None, waiting);
                self.ready.push_back((place, target));
            }
        }
    }

    /// Ends everything on a subscription's shelf, in one way; `each` is told of every delivery.
    pub(super) fn purge(&mut self, id: u64, ended: Ended, mut each: impl FnMut(&Head)) {
        let Some(hold) = self
            .holds
            .iter_mut()
            .find(|hold| hold.as_ref().is_some_and(|hold| hold.shared.id == id))
            .and_then(Option::take)
        else {
            return;
        };
        let mut hold = *hold;
        if hold.is_full {
            self.full_count -= 1;
        }
        leave(&mut hold);
        let of = Of {
            shared: Arc::clone(&hold.shared),
            counts: Arc::clone(&hold.counts),
        };
        let cleared = hold.clear();
        for timer in cleared.timers {
            self.wheel.cancel(timer);
        }
        for mut waiting in cleared.waiting {
            if let Some(failure) = waiting.failure.take() {
                drop_contained(failure);
            }
            let Waiting { slot, order, .. } = waiting;
            match order {
                Some(mut order) => {
                    of.end_again(ended);
                    order.give_up(Some(slot), why_given_up(ended));
                }
                None => {
                    of.end(slot.head(), ended);
                    each(slot.head());
                }
            }
        }
        for slot in cleared.held {
            of.end(slot.head(), ended);
            each(slot.head());
        }
        // Dropped, an order gives up what it claimed.
        drop(cleared.orders);
    }

    /// As [`purge`](Self::purge), for all subscriptions, and what was to be published later.
    pub(super) fn abandon(&mut self, mut each: impl FnMut(EventId)) {
        let ids: Vec<u64> = self
            .holds
            .iter()
            .flatten()
            .map(|hold| hold.shared.id)
            .collect();
        let clock = self.clock.clone();
        for id in ids {
            self.purge(id, Ended::Abandoned, |head| each(id_of(head, &clock)));
        }
        let timers: Vec<Timer> = self.wheel.drain().collect();
        for timer in timers {
            if let Timer::Publish(delayed) = timer
                && let Some(id) = delayed.abandon(&clock)
            {
                each(id);
            }
        }
        self.ready.clear();
    }

    /// Takes everything whose time has come off the wheel.
    pub(super) fn collect_due(&mut self, mut publish: impl FnMut(&Arc<dyn Delayed>) -> bool) {
        if self.wheel.is_empty() {
            return;
        }
        let now = self.ns(self.clock.raw());
        let mut refused = Vec::new();
        while let Some(timer) = self.wheel.pop_due(now) {
            match timer {
                Timer::Attempt(place, target) => {
                    if let Some(hold) = self.hold(place) {
                        hold.is_due(target);
                        self.ready.push_back((place, target));
                    }
                }
                Timer::Breaker(place) => {
                    if let Some(hold) = self.hold(place) {
                        hold.breaker_timer = None;
                        self.kick(place);
                    }
                }
                Timer::Publish(scheduled) => {
                    if !publish(&scheduled) {
                        refused.push(scheduled);
                    }
                }
            }
        }
        // No room where they go: at the next turn again.
        for scheduled in refused {
            self.wheel.insert(now, Timer::Publish(scheduled));
        }
    }

    pub(super) fn schedule(&mut self, due: u64, delayed: Arc<dyn Delayed>) {
        let due = self.ns(due);
        self.wheel.insert(due, Timer::Publish(delayed));
    }

    /// What is next for a delivery that failed: pure decision, and the engine's own random numbers.
    pub(super) fn judge(
        &mut self,
        of: &Of,
        attempts: u32,
        began: u64,
        failure: &Failure,
        now: u64,
    ) -> Next {
        let elapsed = Duration::from_nanos(self.clock.delta_ns(began, now));
        let hold = self.hold_of(of);
        let random = &mut hold.random;
        let policy = &hold.shared.policies.retry;
        // A policy may ask the user's code what is retryable; what panics there is not.
        contain(|| decide(policy, attempts, failure, elapsed, random))
            .unwrap_or(Next::GiveUp(GiveUp::Declined))
    }

    /// The next attempt of a delivery that is on its shelf.
    pub(super) fn set_retry(&mut self, place: Place, target: Target, delay: Duration, now: u64) {
        if delay.is_zero() {
            self.ready.push_back((place, target));
            return;
        }
        let delay_ns = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        let due = self.ns(now).saturating_add(delay_ns);
        let timer = self.wheel.insert(due, Timer::Attempt(place, target));
        if let Some(hold) = self.hold(place) {
            hold.set_timer(target, timer);
        }
    }

    /// Tells the breaker how an attempt went. `now` is a stamp.
    pub(super) fn tell_breaker(
        &mut self,
        shared: &SubscriptionShared,
        permit: Option<Permit>,
        went: Went,
        now: u64,
    ) {
        let Some(breaker) = &shared.policies.breaker else {
            return;
        };
        let now = self.ns(now);
        let Some(member) = self
            .hold(Place::of(shared))
            .and_then(|hold| hold.member.as_ref())
        else {
            return;
        };
        match (went, permit) {
            (Went::Well | Went::Aside, None) => {}
            (Went::Well, Some(permit)) => breaker.on_success(permit, now),
            (Went::Slowly, permit) => breaker.on_slow(member, permit, now),
            (Went::Wrong { is_slow }, permit) => breaker.on_failure(member, permit, is_slow, now),
            (Went::Aside, Some(permit)) => breaker.on_ignored(permit),
        }
    }
}

/// Leaves a subscription's breaker on this worker.
fn leave(hold: &mut Hold) {
    if let (Some(member), Some(breaker)) = (hold.member.take(), &hold.shared.policies.breaker) {
        breaker.leave(&member);
    }
}

/// Why a redelivery was not made.
pub(super) const WITHDRAWN: &str = "the subscription was withdrawn";

fn why_given_up(ended: Ended) -> &'static str {
    match ended {
        Ended::Withdrawn => WITHDRAWN,
        _ => "the engine stopped",
    }
}

/// How an attempt went, for a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Went {
    Well,
    /// Well, but longer than the breaker allows.
    Slowly,
    Wrong {
        is_slow: bool,
    },
    /// The handler left it aside: it says nothing.
    Aside,
}

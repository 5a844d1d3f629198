//! Attempts at events in hand that something is special about, and what any attempt came to.
//!
//! publish → route → lane → **worker** → handler → outcome → (**retry** | breaker | dead letter)
//!
//! Everything here is reached by a mark before a call or by an outcome behind it, and may cost what it
//! costs; [`serve`](super::serve) makes the attempts from a shelf. Each of these calls has a guard of its own, so a panic does not reach the one around the chunk.

use super::bury::reason_of;
use super::hold::{From, Target, Waiting};
use super::shared::WorkerShared;
use super::tell::Told;
use super::tend::{May, Place, Tending, Went};
use crate::breaker::OnOpen;
use crate::dead_letter::Reason;
use crate::error_event::{Category, Severity};
use crate::event::{Head, Payload, Slot, contain, panic_message};
use crate::handler::{BenchSub, Caller, Context, SubscriptionShared};
use crate::metrics::{CountsCell, MARK_HELD, MARK_WITHDRAWN};
use crate::outcome::{Ended, Failure, Outcome};
use crate::retry::{Next, WhenHeldFull};
use crate::sync::{Arc, realtime};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Who makes an attempt.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) caller: &'a Caller,
    pub(super) shared: &'a WorkerShared,
}

/// An event in the worker's hands.
pub(super) struct Live<'a, 'p> {
    pub(super) head: &'a Head,
    pub(super) payload: &'a mut Payload<'p>,
}

impl Live<'_, '_> {
    fn key(&self) -> Option<u64> {
        self.payload.is_keyed().then_some(self.head.key_hash)
    }

    /// A slot of its own for what is to wait: with the value, unless that was taken.
    fn own_slot(&mut self) -> Slot {
        match self.payload.share(self.head) {
            Some(slot) => slot,
            None => self.payload.envelope(self.head),
        }
    }
}

/// A subscription on this worker, as everything here passes it around.
#[derive(Clone)]
pub(super) struct Of {
    pub(super) shared: Arc<SubscriptionShared>,
    pub(super) counts: Arc<CountsCell>,
}

impl Of {
    pub(super) fn sub(sub: &BenchSub) -> Self {
        Self {
            shared: Arc::clone(&sub.shared),
            counts: Arc::clone(&sub.counts),
        }
    }

    pub(super) fn place(&self) -> Place {
        Place::of(&self.shared)
    }

    /// A delivery has ended.
    pub(super) fn end(&self, head: &Head, ended: Ended) {
        self.counts.end(ended);
        settle(head, self.shared.id, ended);
    }

    /// A redelivery has ended. Whoever waits for the event has been told of the delivery that became the letter.
    pub(super) fn end_again(&self, ended: Ended) {
        self.counts.end(ended);
    }
}

/// Behind what an event waits.
enum Behind {
    /// Everything of its subscription.
    All,
    Key(u64),
}

/// An attempt that is over: what came of it, and the stamps on both sides.
pub(super) struct Made {
    pub(super) result: Result<Outcome, Box<dyn Any + Send>>,
    pub(super) began: u64,
    pub(super) ended: u64,
}

/// What became of a delivery of a subscription that is marked.
#[must_use]
pub(super) enum Special {
    /// The handler was called, and the delivery is seen to.
    Called,
    /// It is held, or has ended without a call.
    Aside,
    /// The mark is for others: it is to be called like any.
    Nothing,
}

impl Tending {
    /// A delivery of an event in hand of a subscription that is marked: held, refused, or called with care.
    #[cold]
    #[inline(never)]
    pub(super) fn special(
        &mut self,
        around: Around<'_>,
        sub: &mut BenchSub,
        live: &mut Live<'_, '_>,
        context: &mut Context<'_>,
    ) -> Special {
        let marks = sub.counts.marks();
        if marks == MARK_HELD && self.is_free(sub, live) {
            return Special::Nothing;
        }
        let _allowed = realtime::allow();
        let of = Of::sub(sub);
        if marks & MARK_WITHDRAWN != 0 {
            of.end(live.head, Ended::Withdrawn);
            return Special::Aside;
        }
        if marks & MARK_HELD != 0 && self.keep_behind(around, &of, live) {
            return Special::Aside;
        }
        let permit = match self.ask_breaker(&of) {
            May::Call(permit) => permit,
            May::NotYet => {
                match of.shared.policies.on_open() {
                    OnOpen::Pause => self.hold_live(around, &of, live, Behind::All),
                    OnOpen::DeadLetter => {
                        let waiting = Waiting::fresh(live.own_slot(), self.clock.raw());
                        self.bury(around, &of, waiting, Reason::BreakerPolicy, From::Hand);
                    }
                    OnOpen::Skip => of.end(live.head, Ended::Skipped),
                }
                return Special::Aside;
            }
        };
        let made = call(around, sub, live.payload, context);
        let times = (made.began, made.ended);
        let event = (live.head, live.payload.type_index());
        let (outcome, went) = self.weigh_up(around, sub, event, 1, made);
        if let Ok(ended) = &outcome {
            of.end(live.head, *ended);
        }
        self.tell_breaker(&of.shared, permit, went, times.1);
        if let Err(failure) = outcome {
            self.fail_live(around, &of, live, times, failure);
        }
        Special::Called
    }

    /// Whether an event need not wait for anything on its subscription's shelf: most of those that come while
    /// one of another key is being tried again.
    fn is_free(&mut self, sub: &BenchSub, live: &Live<'_, '_>) -> bool {
        let Some(hold) = self.hold(Place::of(&sub.shared)) else {
            return true;
        };
        let is_held = |key| hold.is_parked(key).is_some();
        !hold.has_backlog() && !live.key().is_some_and(is_held)
    }

    /// Every outcome at an event in hand but that of an ordinary event that was handled. `began` is near
    /// enough: the start of the group of events.
    #[cold]
    #[inline(never)]
    pub(super) fn end_otherwise(
        &mut self,
        around: Around<'_>,
        sub: &mut BenchSub,
        live: &mut Live<'_, '_>,
        began: u64,
        outcome: Outcome,
    ) {
        let of = Of::sub(sub);
        let failure = match outcome {
            Outcome::Failed(failure) => failure,
            Outcome::Handled => return of.end(live.head, Ended::Handled),
            Outcome::Skipped => return of.end(live.head, Ended::Skipped),
        };
        let _allowed = realtime::allow();
        let now = self.clock.raw();
        self.tell_breaker(&of.shared, None, Went::Wrong { is_slow: false }, now);
        self.fail_live(around, &of, live, (began, now), failure);
    }

    /// Puts an event behind what its subscription or its key waits for; `false` if it need not wait.
    fn keep_behind(&mut self, around: Around<'_>, of: &Of, live: &mut Live<'_, '_>) -> bool {
        let hold = self.hold_of(of);
        if hold.has_backlog() {
            self.hold_live(around, of, live, Behind::All);
            return true;
        }
        let Some(key) = live.key() else { return false };
        let Some(is_parked) = hold.is_parked(key) else {
            return false;
        };
        // The last letter may have gone in this very batch, to make room for another, and nobody was told yet.
        if is_parked && !self.unpark(of.place(), key) {
            let waiting = Waiting::fresh(live.own_slot(), self.clock.raw());
            self.bury(around, of, waiting, Reason::SequenceBlocked, From::Hand);
        } else {
            self.hold_live(around, of, live, Behind::Key(key));
        }
        true
    }

    /// Holds an event in hand, or does with it what the policy says if the shelf is full.
    fn hold_live(&mut self, around: Around<'_>, of: &Of, live: &mut Live<'_, '_>, behind: Behind) {
        let policy = &of.shared.policies.retry;
        let has_room = self.hold_of(of).count() < policy.held_max;
        match policy.when_held_full {
            WhenHeldFull::DeadLetter if !has_room => {
                let waiting = Waiting::fresh(live.own_slot(), self.clock.raw());
                self.bury(around, of, waiting, Reason::HeldFull, From::Hand);
            }
            WhenHeldFull::Skip if !has_room => of.end(live.head, Ended::Skipped),
            _ => {
                let slot = live.own_slot();
                let hold = self.hold_of(of);
                match behind {
                    Behind::All => hold.hold_back(slot),
                    Behind::Key(key) => hold.hold_behind(key, slot),
                }
                self.weigh(around, of);
            }
        }
    }

    /// An attempt's outcome with its time taken into account: how the delivery ended or what failed, and what
    /// the breaker is to be told, once an ending is counted.
    pub(super) fn weigh_up(
        &mut self,
        around: Around<'_>,
        sub: &mut BenchSub,
        (head, event): (&Head, u32),
        attempt: u32,
        made: Made,
    ) -> (Result<Ended, Failure>, Went) {
        let of = Of::sub(sub);
        let policies = &of.shared.policies;
        let took = Duration::from_nanos(self.clock.delta_ns(made.began, made.ended));
        let mut outcome = match made.result {
            Ok(outcome) => outcome,
            Err(panic) => Outcome::Failed(self.panicked(sub, panic)),
        };
        if let Some(limit) = policies.timeout
            && took > limit.after
        {
            of.counts.note_timeout();
            let late = Failure::timed_out(format!(
                "the handler took {took:?}, longer than the {:?} that it has",
                limit.after
            ));
            if limit.fails && !matches!(outcome, Outcome::Failed(_)) {
                outcome = Outcome::Failed(late);
            } else {
                let told = Told {
                    severity: Severity::Warning,
                    category: Category::Timeout,
                    attempt,
                    again_after: None,
                };
                self.raise(around, &of.shared, head, event, &late, told);
            }
        }
        let is_slow = policies.slow_call().is_some_and(|slow| took > slow);
        let went = match &outcome {
            Outcome::Failed(_) => Went::Wrong { is_slow },
            Outcome::Skipped => Went::Aside,
            Outcome::Handled if is_slow => Went::Slowly,
            Outcome::Handled => Went::Well,
        };
        let outcome = match outcome {
            Outcome::Handled => Ok(Ended::Handled),
            Outcome::Skipped => Ok(Ended::Skipped),
            Outcome::Failed(failure) => Err(failure),
        };
        (outcome, went)
    }

    /// A handler's panic as a failure; its state is made anew. If that fails too, it is told behind the panic.
    pub(super) fn panicked(&mut self, sub: &mut BenchSub, panic: Box<dyn Any + Send>) -> Failure {
        self.renewal = sub.handler.renew().err();
        Failure::panicked(panic_message(panic))
    }

    /// The first attempt at an event in hand has failed; the breaker knows.
    pub(super) fn fail_live(
        &mut self,
        around: Around<'_>,
        of: &Of,
        live: &mut Live<'_, '_>,
        (began, ended): (u64, u64),
        failure: Failure,
    ) {
        let next = self.judge(of, 1, began, &failure, ended);
        of.counts.note_failed_attempt();
        let event = live.payload.type_index();
        let has_value = live.payload.is_there();
        let again_after = match next {
            Next::After(delay) if has_value => Some(delay),
            _ => None,
        };
        self.tell_failed(
            around,
            &of.shared,
            (live.head, event),
            &failure,
            1,
            again_after,
        );
        if again_after.is_none() && !self.keeps_letters(&of.shared) {
            of.end(live.head, Ended::Failed);
            drop_contained(failure);
            return;
        }
        let mut waiting = Waiting::fresh(live.own_slot(), began);
        self.note_attempt(&mut waiting, (began, ended), failure);
        match again_after {
            Some(delay) => self.put_aside(around, of, waiting, delay, ended, From::Hand),
            None => {
                let reason = reason_of(&next, waiting.failure.as_ref());
                self.bury(around, of, waiting, reason, From::Hand);
            }
        }
    }

    pub(super) fn note_attempt(
        &self,
        waiting: &mut Waiting,
        (began, ended): (u64, u64),
        failure: Failure,
    ) {
        waiting.attempts += 1;
        let (began, ended) = (self.clock.wall_ms(began), self.clock.wall_ms(ended));
        waiting.trail.record(began, ended, failure.message());
        if let Some(before) = waiting.failure.replace(failure) {
            drop_contained(before);
        }
    }

    /// A delivery waits for its next attempt.
    pub(super) fn put_aside(
        &mut self,
        around: Around<'_>,
        of: &Of,
        waiting: Waiting,
        delay: Duration,
        now: u64,
        from: From,
    ) {
        of.counts.note_retry();
        let target = self.shelve(of, waiting, from);
        self.set_retry(of.place(), target, delay, now);
        self.weigh(around, of);
    }

    /// Puts a delivery on the shelf, or back there.
    fn shelve(&mut self, of: &Of, waiting: Waiting, from: From) -> Target {
        let hold = self.hold_of(of);
        let key = waiting.key();
        match from {
            From::Hand => hold.take_in(key, waiting),
            From::Shelf(loose) => hold.put_back(key, loose, waiting),
        }
    }

    pub(super) fn keeps_letters(&self, shared: &SubscriptionShared) -> bool {
        self.letters.is_some() && shared.policies.keeps_letters
    }

    /// Notes whether the shelf is full by now, or has room again.
    pub(super) fn weigh(&mut self, around: Around<'_>, of: &Of) {
        let policy = &of.shared.policies.retry;
        let limit = policy.held_max;
        let is_pressing = policy.when_held_full == WhenHeldFull::BackPressure;
        let hold = self.hold_of(of);
        let is_full = is_pressing && hold.count() >= limit;
        let was_full = std::mem::replace(&mut hold.is_full, is_full);
        match (was_full, is_full) {
            (false, true) => {
                self.full_count += 1;
                around.shared.set_held_back_by(of.shared.id);
                let text = "its shelf is full, and the worker takes nothing from outside until it has room";
                self.tell(around, of, Category::HeldFull, text);
                // Nothing more of this batch is taken; see `Worker::turn`.
                around.caller.out.cut_batch();
            }
            (true, false) => {
                self.full_count -= 1;
                if self.full_count == 0 {
                    around.shared.set_held_back_by(0);
                }
            }
            _ => {}
        }
    }
}

/// Calls a handler under a guard of its own, with a stamp on both sides, named in the status meanwhile if
/// there is a limit.
pub(super) fn call(
    around: Around<'_>,
    sub: &mut BenchSub,
    payload: &mut Payload<'_>,
    context: &mut Context<'_>,
) -> Made {
    let clock = &around.caller.clock;
    let began = clock.raw();
    around.shared.note_call(sub.shared.id, began);
    let result = catch_unwind(AssertUnwindSafe(|| sub.handler.call(payload, context)));
    around.shared.note_call(0, began);
    Made {
        result,
        began,
        ended: clock.raw(),
    }
}

/// The failure's error is the user's type, and so is its drop.
pub(super) fn drop_contained(failure: Failure) {
    let _ = contain(|| drop(failure));
}

/// Tells whoever waits for the event's outcome.
pub(super) fn settle(head: &Head, subscription: u64, ended: Ended) {
    if let Some(extras) = &head.extras
        && let Some(receipt) = &extras.receipt
    {
        receipt.ended(subscription, ended);
    }
}

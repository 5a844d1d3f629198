//! Attempts beside the good path: the live ones that something is special about, and those from a shelf.
//!
//! publish → route → lane → **worker** → handler → outcome → (**retry** | breaker | dead letter)
//!
//! Everything here is reached by a mark before a call or by an outcome behind it, and may cost what it
//! costs. Each of these calls has a guard of its own, so a panic does not reach the one around the chunk.

use super::desk::Desk;
use super::hold::{From, NextOfBacklog, NextOfKey, Target, Waiting};
use super::letters::{Buried, failed};
use super::shared::WorkerShared;
use super::tend::{May, Place, Tending, WITHDRAWN, Went};
use crate::breaker::{OnOpen, Permit};
use crate::dead_letter::{Next as NextLetter, Notify, Order, Reason};
use crate::error_event::{Category, Draft, Severity};
use crate::event::{EventId, Head, Payload, Slot, contain, panic_message};
use crate::handler::{BenchSub, Caller, Context, SubscriptionShared, id_of};
use crate::metrics::{CountsCell, MARK_HELD, MARK_WITHDRAWN};
use crate::outcome::{Ended, Failure, FailureKind, Outcome};
use crate::retry::{GiveUp, Next, WhenHeldFull};
use crate::sync::{Arc, realtime};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Why a redelivery was not made.
const OPEN: &str = "the subscription's breaker is open, and skips";

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

    fn place(&self) -> Place {
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

/// What is told of a failure beside the failure.
struct Told {
    severity: Severity,
    category: Category,
    attempt: u32,
    again_after: Option<Duration>,
}

/// An attempt that is over: what came of it, and the stamps on both sides.
pub(super) struct Made {
    result: Result<Outcome, Box<dyn Any + Send>>,
    began: u64,
    ended: u64,
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
        let (outcome, went) = self.weigh_up(around, sub, event, made);
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
    fn weigh_up(
        &mut self,
        around: Around<'_>,
        sub: &mut BenchSub,
        (head, event): (&Head, u32),
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
                    attempt: 1,
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

    /// An attempt from a shelf has failed; the breaker knows.
    fn fail_shelved(
        &mut self,
        around: Around<'_>,
        of: &Of,
        mut waiting: Waiting,
        (began, ended): (u64, u64),
        failure: Failure,
        from: From,
    ) {
        let attempt = waiting.attempts + 1;
        let next = self.judge(of, attempt, waiting.began, &failure, ended);
        of.counts.note_failed_attempt();
        let again_after = match next {
            Next::After(delay) if !waiting.slot.is_empty() => Some(delay),
            _ => None,
        };
        let event = waiting.slot.type_index();
        self.tell_failed(
            around,
            &of.shared,
            (waiting.slot.head(), event),
            &failure,
            attempt,
            again_after,
        );
        self.note_attempt(&mut waiting, (began, ended), failure);
        match again_after {
            Some(delay) => self.put_aside(around, of, waiting, delay, ended, from),
            None => {
                let reason = reason_of(&next, waiting.failure.as_ref());
                self.bury(around, of, waiting, reason, from);
            }
        }
    }

    fn note_attempt(&self, waiting: &mut Waiting, (began, ended): (u64, u64), failure: Failure) {
        waiting.attempts += 1;
        let (began, ended) = (self.clock.wall_ms(began), self.clock.wall_ms(ended));
        waiting.trail.record(began, ended, failure.message());
        if let Some(before) = waiting.failure.replace(failure) {
            drop_contained(before);
        }
    }

    /// A delivery waits for its next attempt.
    fn put_aside(
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

    fn keeps_letters(&self, shared: &SubscriptionShared) -> bool {
        self.letters.is_some() && shared.policies.keeps_letters
    }

    /// A delivery has failed for good: it becomes a letter, or its letter is brought up to date, or there is
    /// no queue and it ends as failed. Where the queue is full and that pauses the subscription, it waits.
    /// Then its key goes on, or is parked.
    fn bury(&mut self, around: Around<'_>, of: &Of, waiting: Waiting, reason: Reason, from: From) {
        let key = waiting.key();
        let joins = reason == Reason::SequenceBlocked;
        let Some(ended) = self.bury_one(around, of, waiting, reason, from) else {
            // It waits for room, which letters of its key may make.
            if let Some(key) = key.filter(|key| self.hold_of(of).has_letters(*key)) {
                self.ready.push_back((of.place(), Target::Key(key)));
            }
            return;
        };
        let Some(key) = key else { return };
        if ended == Ended::DeadLettered && of.shared.policies.is_sequential {
            // What joins others finds its key parked, or on its way through a redelivery.
            if !joins {
                self.hold_of(of).park(key);
            }
            if self.hold_of(of).is_parked(key) == Some(true) {
                self.join_letters(around, of, key);
            }
        } else if let From::Shelf(_) = from {
            self.ready.push_back((of.place(), Target::Key(key)));
        }
    }

    /// How the delivery ended; `None` if it waits for room.
    fn bury_one(
        &mut self,
        around: Around<'_>,
        of: &Of,
        mut waiting: Waiting,
        reason: Reason,
        from: From,
    ) -> Option<Ended> {
        if let Some(mut order) = waiting.order.take() {
            // Its letter is there, and is brought up to date.
            of.end_again(Ended::DeadLettered);
            let failed = failed(&mut waiting, reason, &self.clock);
            if let Some(failure) = waiting.failure.take() {
                drop_contained(failure);
            }
            order.fail(failed, Some(waiting.slot));
            return Some(Ended::DeadLettered);
        }
        let room = self.room(of);
        let buried = match (&self.letters, room) {
            (Some(letters), Some(room)) => letters.bury(of, waiting, reason, &self.clock, &room),
            _ => Buried::Refused(waiting),
        };
        let ended = match buried {
            Buried::Kept(head, evicted) => {
                of.end(&head, Ended::DeadLettered);
                if let Some(evicted) = evicted {
                    let text = format!("letter {evicted} had to make room for another");
                    self.tell(around, of, Category::DeadLetter, &text);
                }
                Ended::DeadLettered
            }
            Buried::Refused(mut waiting) => {
                of.end(waiting.slot.head(), Ended::Failed);
                if self.keeps_letters(&of.shared) {
                    self.tell(
                        around,
                        of,
                        Category::DeadLetter,
                        "a delivery that failed for good was not kept",
                    );
                }
                if let Some(failure) = waiting.failure.take() {
                    drop_contained(failure);
                }
                Ended::Failed
            }
            Buried::Full(waiting) => {
                if !self.hold_of(of).is_waiting_for_room() {
                    let text = "the dead-letter queue is full, and the subscription waits";
                    self.tell(around, of, Category::DeadLetter, text);
                }
                self.hold_of(of).bury_later(from, waiting);
                self.weigh(around, of);
                return None;
            }
        };
        if let From::Shelf(_) = from {
            self.hold_of(of).note_out();
            self.weigh(around, of);
        }
        Some(ended)
    }

    /// How the subscription's shelf here is told of room in the queue; `None` if it keeps no letters.
    fn room(&mut self, of: &Of) -> Option<Notify> {
        if !self.keeps_letters(&of.shared) {
            return None;
        }
        if self.hold_of(of).room.is_none() {
            let room = self
                .letters
                .as_ref()
                .map(|letters| letters.room(of.place()));
            self.hold_of(of).room = room;
        }
        self.hold_of(of).room.clone()
    }

    fn tell(&self, around: Around<'_>, of: &Of, category: Category, text: &str) {
        let clock = &around.caller.clock;
        let now = clock.raw();
        self.errors.raise(Draft {
            subscription: Some((of.shared.id, &of.shared.name)),
            worker: Some((around.caller.worker.pool, around.caller.worker.index)),
            now_ns: clock.delta_ns(0, now),
            wall_ms: clock.wall_ms(now),
            ..Draft::new(Severity::Warning, category, text)
        });
    }

    /// What was held behind a key that is parked now joins it, in order.
    fn join_letters(&mut self, around: Around<'_>, of: &Of, key: u64) {
        while !self.hold_of(of).is_waiting_for_room()
            && let Some(slot) = self.hold_of(of).pop_behind(key)
        {
            let waiting = Waiting::fresh(slot, self.clock.raw());
            let reason = Reason::SequenceBlocked;
            if self
                .bury_one(around, of, waiting, reason, From::Shelf(None))
                .is_none()
            {
                break;
            }
        }
    }

    /// There is room in the dead-letter queue again: what waits for it goes there, and then what was stopped
    /// behind it goes on.
    fn bury_waiting(&mut self, around: Around<'_>, place: Place) {
        loop {
            let Some(hold) = self.hold(place) else { return };
            let of = Of {
                shared: Arc::clone(&hold.shared),
                counts: Arc::clone(&hold.counts),
            };
            let Some(waiting) = hold.next_unburied() else {
                break;
            };
            let reason = waiting
                .letter
                .as_ref()
                .map_or(Reason::Exhausted, |letter| letter.reason());
            if reason == Reason::SequenceBlocked
                && let Some(key) = waiting.key()
                && self.unpark(place, key)
            {
                // What it was to join is gone: it goes on as if it had not been parked.
                let waiting = Waiting {
                    letter: None,
                    ..waiting
                };
                let target = self.hold_of(&of).put_back(Some(key), None, waiting);
                self.ready.push_back((place, target));
                continue;
            }
            let before = self.hold_of(&of).unburied_count();
            self.bury(around, &of, waiting, reason, From::Shelf(None));
            if self.hold_of(&of).unburied_count() > before {
                // Full again: whoever makes room tells again.
                self.hold_of(&of).bury_first();
                return;
            }
        }
        if let Some(hold) = self.hold(place) {
            hold.mark();
        }
        self.kick(place);
    }

    /// Notes whether the shelf is full by now, or has room again.
    fn weigh(&mut self, around: Around<'_>, of: &Of) {
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

    /// Tells whoever listens that an attempt failed.
    fn tell_failed(
        &mut self,
        around: Around<'_>,
        shared: &SubscriptionShared,
        (head, event): (&Head, u32),
        failure: &Failure,
        attempt: u32,
        again_after: Option<Duration>,
    ) {
        let told = Told {
            severity: if again_after.is_some() {
                Severity::Warning
            } else {
                Severity::Error
            },
            category: match failure.kind() {
                FailureKind::Panic => Category::Panic,
                FailureKind::Timeout => Category::Timeout,
                FailureKind::Error => Category::Handler,
            },
            attempt,
            again_after,
        };
        self.raise(around, shared, head, event, failure, told);
        if let Some(renewal) = self.renewal.take() {
            let told = Told {
                severity: Severity::Critical,
                category: Category::Factory,
                attempt,
                again_after: None,
            };
            self.raise(around, shared, head, event, &renewal, told);
            drop_contained(renewal);
        }
    }

    fn raise(
        &self,
        around: Around<'_>,
        shared: &SubscriptionShared,
        head: &Head,
        event: u32,
        failure: &Failure,
        told: Told,
    ) {
        let clock = &around.caller.clock;
        let now = clock.raw();
        let event_id = id_of(head, clock);
        self.errors.raise(Draft {
            severity: told.severity,
            category: told.category,
            subscription: Some((shared.id, &shared.name)),
            event_type: Some(event),
            event_id: Some(event_id),
            correlation_id: EventId::from_u128(head.correlation.get()).or(Some(event_id)),
            metadata: (head.extras.as_ref()).and_then(|extras| extras.metadata.as_ref()),
            worker: Some((around.caller.worker.pool, around.caller.worker.index)),
            attempt: Some(told.attempt).filter(|attempt| *attempt > 0),
            will_retry_after: told.again_after,
            now_ns: clock.delta_ns(0, now),
            wall_ms: clock.wall_ms(now),
            ..Draft::of_failure(failure)
        });
    }
}

impl Desk {
    /// A subscription as it is on this worker.
    pub(super) fn of(&self, shared: &Arc<SubscriptionShared>) -> Of {
        Of {
            shared: Arc::clone(shared),
            counts: Arc::clone(&shared.counts[usize::from(self.shared.id.index)]),
        }
    }

    /// There is room in the dead-letter queue again.
    pub(super) fn bury_waiting(&mut self, place: Place) {
        let around = Around {
            caller: &self.caller,
            shared: &self.shared,
        };
        self.tending.bury_waiting(around, place);
    }

    /// Ends what is held for a subscription that is withdrawn.
    pub(super) fn withdraw(&mut self, id: u64) {
        self.tending.purge(id, Ended::Withdrawn, |_| {});
        if self.tending.full_count == 0 {
            self.shared.set_held_back_by(0);
        }
    }

    /// Ends everything that is held, as the engine has stopped.
    pub(super) fn abandon_held(&mut self) {
        let abandoned = &self.shared.abandoned;
        self.tending.abandon(|id| abandoned.lock().add(id));
        self.shared.set_held_back_by(0);
    }

    /// Serves what is due: at most so many attempts, fewer if something urgent comes; how many.
    #[cold]
    #[inline(never)]
    pub(super) fn tend(&mut self, limit: usize, is_urgent: impl Fn() -> bool) -> usize {
        let _allowed = realtime::allow();
        let out = std::rc::Rc::clone(&self.caller.out);
        let mut published = 0;
        self.tending.collect_due(|scheduled| {
            let is_done = scheduled.fire(&out);
            published += usize::from(is_done);
            is_done
        });
        let mut made = 0;
        // What is put back is served in a later turn, or one key could keep the worker here.
        let mut left = self.tending.ready.len().min(limit);
        while left > 0
            && let Some((place, target)) = self.tending.ready.pop_front()
        {
            left -= 1;
            made += usize::from(self.serve(place, target));
            if is_urgent() {
                break;
            }
        }
        made + published
    }

    /// One target's turn; whether a handler was called or anything ended.
    fn serve(&mut self, place: Place, target: Target) -> bool {
        let Self {
            bench,
            caller,
            shared: worker,
            tending,
            ..
        } = self;
        let around = Around {
            caller,
            shared: worker,
        };
        let Some(hold) = tending.hold(place) else {
            return false;
        };
        let of = Of {
            shared: Arc::clone(&hold.shared),
            counts: Arc::clone(&hold.counts),
        };
        if target == Target::Backlog {
            hold.unqueue_backlog();
        }
        if hold.is_waiting_for_room() && !hold.is_redelivery(target) {
            hold.block(target);
            return false;
        }
        if hold.is_done(target) {
            return false;
        }
        let permit = match tending.ask_breaker(&of) {
            May::Call(permit) => Ok(permit),
            May::NotYet if of.shared.policies.on_open() == OnOpen::Pause => {
                tending.hold_of(&of).block(target);
                return false;
            }
            May::NotYet => Err(of.shared.policies.on_open()),
        };
        let now = tending.clock.raw();
        let hold = tending.hold_of(&of);
        let (waiting, from) = match target {
            Target::Loose(number) => match hold.take_loose(number) {
                Some(waiting) => (Some(waiting), From::Shelf(Some(number))),
                None => (None, From::Shelf(None)),
            },
            Target::Backlog => {
                let next = hold.next_of_backlog();
                if hold.queue_backlog() {
                    tending.ready.push_back((place, Target::Backlog));
                }
                match next {
                    Some(NextOfBacklog::Free(slot)) => {
                        (Some(Waiting::fresh(slot, now)), From::Shelf(None))
                    }
                    Some(NextOfBacklog::Behind(key)) => {
                        if tending.hold_of(&of).is_parked(key) == Some(true) {
                            tending.join_letters(around, &of, key);
                        }
                        (None, From::Shelf(None))
                    }
                    None => (None, From::Shelf(None)),
                }
            }
            Target::Key(key) => match hold.next_of_key(key, now) {
                NextOfKey::Delivery(waiting) => (Some(waiting), From::Shelf(None)),
                NextOfKey::Letter(order) => {
                    let waiting = tending.begin_order(&of, order, now);
                    if waiting.is_none() {
                        tending.ready.push_back((place, target));
                    }
                    (waiting, From::Shelf(None))
                }
                NextOfKey::Replay(order) => {
                    let waiting = tending.go_on(around, &of, key, order, now);
                    (waiting, From::Shelf(None))
                }
                NextOfKey::Done => (None, From::Shelf(None)),
            },
        };
        let give_back = |tending: &mut Tending, permit: Result<Option<Permit>, OnOpen>| {
            if let Ok(Some(permit)) = permit {
                tending.tell_breaker(&of.shared, Some(permit), Went::Aside, now);
            }
        };
        let Some(mut waiting) = waiting else {
            give_back(tending, permit);
            return false;
        };
        let permit = match permit {
            Ok(permit) => permit,
            Err(on_open) => {
                if on_open == OnOpen::DeadLetter {
                    tending.bury(around, &of, waiting, Reason::BreakerPolicy, from);
                } else {
                    tending.finish(around, &of, waiting, Ended::Skipped, Some(OPEN));
                }
                return true;
            }
        };
        let row = bench.find(waiting.slot.type_index(), of.shared.id);
        let Some(sub) = row.filter(|_| of.counts.marks() & MARK_WITHDRAWN == 0) else {
            give_back(tending, Ok(permit));
            tending.finish(around, &of, waiting, Ended::Withdrawn, Some(WITHDRAWN));
            return true;
        };
        worker.set_phase(super::Phase::InBatch);
        let class = waiting.slot.class();
        let is_keyed = waiting.slot.is_keyed();
        let (attempt, is_redelivery) = (waiting.attempts + 1, waiting.order.is_some());
        let (head, mut payload) = waiting.slot.split();
        caller.out.set_cause(head);
        let mut context = Context {
            head,
            caller,
            class,
            is_keyed,
            end_of_batch: true,
            attempt,
            is_redelivery,
        };
        let made = call(around, sub, &mut payload, &mut context);
        caller.out.clear_cause();
        let times = (made.began, made.ended);
        if waiting.attempts == 0 {
            waiting.began = made.began;
        }
        let took_ns = tending.clock.delta_ns(made.began, made.ended);
        worker.recorder.write(|recorder| {
            recorder.handler(of.shared.place, took_ns, 1);
        });
        worker.note_recorded(made.ended);
        let event = (waiting.slot.head(), waiting.slot.type_index());
        let (outcome, went) = tending.weigh_up(around, sub, event, made);
        worker.set_phase(super::Phase::Polling);
        match outcome {
            Ok(ended) => {
                tending.finish(around, &of, waiting, ended, None);
                tending.tell_breaker(&of.shared, permit, went, times.1);
            }
            Err(failure) => {
                tending.tell_breaker(&of.shared, permit, went, times.1);
                tending.fail_shelved(around, &of, waiting, times, failure, from);
            }
        }
        true
    }
}

impl Tending {
    /// A letter that is to be redelivered, as a delivery of its own; `None` if nothing is left to do.
    pub(super) fn begin_order(
        &mut self,
        of: &Of,
        mut order: Box<Order>,
        now: u64,
    ) -> Option<Waiting> {
        match order.next() {
            NextLetter::Deliver(redelivery) => Some(redelivered(of, redelivery.slot, order, now)),
            NextLetter::Done | NextLetter::Unparked => None,
        }
    }

    /// The next letter of a parked key that is being redelivered. `None` once that is over: the key is free,
    /// or stays parked.
    fn go_on(
        &mut self,
        around: Around<'_>,
        of: &Of,
        key: u64,
        mut order: Box<Order>,
        now: u64,
    ) -> Option<Waiting> {
        match order.next() {
            NextLetter::Deliver(redelivery) => {
                return Some(redelivered(of, redelivery.slot, order, now));
            }
            NextLetter::Unparked => {
                self.hold_of(of).revive(key);
                self.ready.push_back((of.place(), Target::Key(key)));
            }
            NextLetter::Done => {
                self.hold_of(of).park(key);
                self.join_letters(around, of, key);
            }
        }
        None
    }

    /// A delivery from a shelf has ended, other than by failing: its key goes on. What was a redelivery is
    /// given up, and its letter stays, where `unmade` says why its handler was not called.
    fn finish(
        &mut self,
        around: Around<'_>,
        of: &Of,
        mut waiting: Waiting,
        ended: Ended,
        unmade: Option<&str>,
    ) {
        match &waiting.order {
            Some(_) => of.end_again(ended),
            None => of.end(waiting.slot.head(), ended),
        }
        if let Some(failure) = waiting.failure.take() {
            drop_contained(failure);
        }
        let key = waiting.key();
        match (waiting.order.take(), unmade) {
            (Some(mut order), Some(why)) => {
                let parked = order.parked_key();
                order.give_up(Some(waiting.slot), why);
                if let Some(key) = parked {
                    self.hold_of(of).park(key);
                    self.join_letters(around, of, key);
                }
            }
            (Some(mut order), None) => {
                order.succeed();
                if let Some(key) = order.parked_key() {
                    self.hold_of(of).ask_replay(key, order);
                }
            }
            (None, _) => self.hold_of(of).note_out(),
        }
        self.weigh(around, of);
        if let Some(key) = key {
            self.ready.push_back((of.place(), Target::Key(key)));
        }
    }
}

/// A delivery of its own for a letter.
fn redelivered(of: &Of, slot: Slot, order: Box<Order>, now: u64) -> Waiting {
    of.counts.admit();
    let mut waiting = Waiting::fresh(slot, now);
    waiting.order = Some(order);
    waiting
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

/// Why a delivery failed for good.
fn reason_of(next: &Next, failure: Option<&Failure>) -> Reason {
    match (next, failure) {
        (Next::GiveUp(GiveUp::Permanent | GiveUp::Declined), _) | (_, None) => Reason::Permanent,
        (_, Some(failure)) => Reason::of(failure),
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

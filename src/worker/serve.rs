//! Attempts from a shelf: what is due is taken from there, called, and ended or put back.
//!
//! publish → route → lane → **worker** → handler → outcome → (**retry** | breaker | dead letter)
//!
//! Between two batches the worker serves so many targets: a key's next, a delivery without a key, the first of
//! a backlog, a letter that is redelivered. Each attempt has a guard of its own.

use super::attempt::{Around, Of, call, drop_contained};
use super::bury::reason_of;
use super::desk::Desk;
use super::hold::{From, NextOfBacklog, NextOfKey, Target, Waiting};
use super::tend::{May, Place, Tending, WITHDRAWN, Went};
use crate::breaker::{OnOpen, Permit};
use crate::dead_letter::{Next as NextLetter, Order, Reason};
use crate::event::Slot;
use crate::handler::{Context, SubscriptionShared};
use crate::metrics::MARK_WITHDRAWN;
use crate::outcome::{Ended, Failure};
use crate::retry::Next;
use crate::sync::{Arc, realtime};

/// Why a redelivery was not made.
const OPEN: &str = "the subscription's breaker is open";

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
                match on_open {
                    // Nothing has been learnt of a letter: it stays as it is.
                    OnOpen::DeadLetter if waiting.order.is_some() => {
                        tending.finish(around, &of, waiting, Ended::DeadLettered, Some(OPEN));
                    }
                    OnOpen::DeadLetter => {
                        tending.bury(around, &of, waiting, Reason::BreakerPolicy, from);
                    }
                    _ => tending.finish(around, &of, waiting, Ended::Skipped, Some(OPEN)),
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
        let (outcome, went) = tending.weigh_up(around, sub, event, attempt, made);
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
    /// An attempt from a shelf has failed; the breaker knows.
    pub(super) fn fail_shelved(
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
    pub(super) fn finish(
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

//! One event at a time: its subscriptions, their outcomes, and the stamps around them.
//!
//! publish → route → lane → worker → **handler → outcome**

use super::Stamps;
use super::attempt::{Around, Live, Of, Special, settle};
use super::shared::WorkerShared;
use super::tend::{Tending, Went};
use crate::event::{Class, Head, Slot, is_sampled};
use crate::handler::{Bench, BenchPlace, BenchSub, Caller, Context, SubscriptionShared, id_of};
use crate::outcome::{Ended, Failure, Outcome};
use crate::publish::WorkerOut;
use crate::sync::Arc;
use crate::sync::clock::Clock;
use crate::sync::realtime;
use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

/// Most events that share a stamp.
const GROUP_MAX: usize = 8;
/// Mean time per event above which a group is given up for a stamp per event...
const GROUP_MEAN_NS_MAX: u64 = 200;
/// ...and how many short events in a row bring it back.
const SHORT_RUN: u32 = 64;

/// The part of a worker that deals with single events.
pub(crate) struct Desk {
    pub(crate) bench: Bench,
    pub(crate) caller: Caller,
    pub(crate) shared: Arc<WorkerShared>,
    pub(super) tending: Tending,
    group: Group,
    /// The number of the handler that is called, among those of the event's type...
    calling: usize,
    /// ...and the panic with which that call ended, until the event is taken up again.
    interrupted: Option<Box<dyn Any + Send>>,
}

/// What became of one event.
pub(super) struct Handled {
    /// The stamp of the group's end, if a group ended with it.
    pub(super) ended: Option<u64>,
    /// Nothing is left in the slot that a drop would do anything about.
    pub(super) is_clean: bool,
}

/// Events that share their stamps.
struct Group {
    stamps_each: bool,
    is_sampled: bool,
    /// Events since the last that was noted as taken, where only some are timed.
    untimed: u64,
    /// Events until the next stamp: 1 where each is stamped, or for now, as handlers are long.
    size: usize,
    short_run: u32,
    class: Class,
    start: u64,
    published: [u64; GROUP_MAX],
    count: usize,
    calls: u32,
    /// Subscriptions that were called in this group.
    touched: Vec<BenchPlace>,
}

impl Group {
    #[inline(always)]
    fn note_call(&mut self, sub: &mut BenchSub, place: BenchPlace) {
        if sub.group_calls == 0 {
            // Grows to the most subscriptions that a group of events has called.
            let _allowed = realtime::allow();
            self.touched.push(place);
        }
        sub.group_calls += 1;
        self.calls += 1;
    }
}

impl Desk {
    pub(crate) fn new(
        out: Rc<WorkerOut>,
        shared: Arc<WorkerShared>,
        clock: Clock,
        tending: Tending,
        stamps: Stamps,
    ) -> Self {
        Self {
            bench: Bench::default(),
            caller: Caller {
                worker: shared.id,
                clock,
                out,
            },
            shared,
            tending,
            calling: 0,
            interrupted: None,
            group: Group {
                stamps_each: stamps == Stamps::Each,
                is_sampled: stamps == Stamps::Sampled,
                untimed: 0,
                size: if stamps == Stamps::Each { 1 } else { GROUP_MAX },
                short_run: 0,
                class: Class::Normal,
                start: 0,
                published: [0; GROUP_MAX],
                count: 0,
                calls: 0,
                touched: Vec::new(),
            },
        }
    }

    /// Opens a batch of one class; returns the stamp at its start.
    #[inline(always)]
    pub(crate) fn begin(&mut self, class: Class) -> u64 {
        self.group.class = class;
        self.group.start = self.caller.clock.raw();
        self.group.start
    }

    /// Notes the panic that a call in [`handle`](Self::handle) ended with. The event is not done with:
    /// it is to be handed in again, and goes on behind that call.
    ///
    /// So one guard does for a whole batch, and a call that returns costs nothing extra.
    #[cold]
    pub(crate) fn interrupt(&mut self, panic: Box<dyn Any + Send>) {
        if !self.caller.out.has_cause() {
            // Outside of any call: a fault of the engine, and this worker is at its end.
            resume_unwind(panic);
        }
        self.interrupted = Some(panic);
    }

    /// As [`handle`](Self::handle), with a guard of its own.
    pub(crate) fn handle_guarded(&mut self, slot: &mut Slot, is_last: bool) -> Handled {
        loop {
            match catch_unwind(AssertUnwindSafe(|| self.handle(slot, is_last))) {
                Ok(handled) => return handled,
                Err(panic) => self.interrupt(panic),
            }
        }
    }

    /// Handles one event. Unwinds if a handler panics; see [`interrupt`](Self::interrupt).
    #[inline(always)]
    pub(crate) fn handle(&mut self, slot: &mut Slot, is_last: bool) -> Handled {
        if self.group.is_sampled {
            return self.handle_sampled(slot, is_last);
        }
        let is_clean = self.dispatch(slot, is_last);
        let group = &mut self.group;
        group.published[group.count] = slot.head().stamp;
        group.count += 1;
        let ended = if group.count >= group.size {
            Some(self.end_group())
        } else {
            None
        };
        Handled { ended, is_clean }
    }

    /// Only an event that was picked is timed, from a stamp of its own on both sides of it.
    #[inline(always)]
    fn handle_sampled(&mut self, slot: &mut Slot, is_last: bool) -> Handled {
        let is_picked = is_sampled(slot.head().sequence);
        if is_picked {
            self.drop_group();
            self.group.start = self.caller.clock.raw();
        }
        self.group.published[0] = slot.head().stamp;
        let is_clean = self.dispatch(slot, is_last);
        self.group.untimed += 1;
        let ended = if is_picked {
            self.group.count = 1;
            Some(self.end_group())
        } else {
            None
        };
        Handled { ended, is_clean }
    }

    /// Forgets calls that were not timed.
    fn drop_group(&mut self) {
        let Self { bench, group, .. } = self;
        for place in group.touched.drain(..) {
            bench.sub(place).group_calls = 0;
        }
        group.calls = 0;
        if group.untimed > 0 {
            self.shared.note_taken(group.untimed);
            group.untimed = 0;
        }
    }

    #[inline(always)]
    fn dispatch(&mut self, slot: &mut Slot, is_last: bool) -> bool {
        if self.interrupted.is_some() {
            self.resume(slot, is_last)
        } else {
            self.call_from(slot, is_last, 0)
        }
    }

    /// Ends the call that panicked, and goes on behind it.
    #[cold]
    #[inline(never)]
    fn resume(&mut self, slot: &mut Slot, is_last: bool) -> bool {
        let Some(panic) = self.interrupted.take() else {
            unreachable!("an event is taken up again because of a panic");
        };
        let number = self.calling;
        let place = (slot.type_index(), number as u32);
        let sub = self.bench.sub(place);
        self.group.note_call(sub, place);
        let Self {
            bench,
            caller,
            shared,
            tending,
            group,
            ..
        } = self;
        let around = Around { caller, shared };
        let sub = bench.sub(place);
        let (head, mut payload) = slot.split();
        let times = (group.start, caller.clock.raw());
        let failure = tending.panicked(sub, panic);
        tending.tell_breaker(&sub.shared, None, Went::Wrong { is_slow: false }, times.1);
        let of = Of::sub(sub);
        let mut live = Live {
            head,
            payload: &mut payload,
        };
        tending.fail_live(around, &of, &mut live, times, failure);
        self.call_from(slot, is_last, number + 1)
    }

    /// Calls the handlers of an event's type from this one on, and drops what is left of the value;
    /// whether there was nothing to drop in the whole slot.
    #[inline(always)]
    fn call_from(&mut self, slot: &mut Slot, is_last: bool, first: usize) -> bool {
        let type_index = slot.type_index();
        let is_keyed = slot.is_keyed();
        let Self {
            bench,
            caller,
            shared,
            tending,
            group,
            calling,
            ..
        } = self;
        let (subs, is_trivial) = bench.of_type(type_index);
        let (head, mut payload) = slot.split();
        if head.extras.is_some() && first == 0 {
            taken(head, subs.len());
        }
        if subs.is_empty() {
            shared.note_unhandled();
        }
        caller.out.set_cause(head);
        let mut context = Context {
            head,
            caller,
            class: group.class,
            is_keyed,
            end_of_batch: is_last,
            attempt: 1,
            is_redelivery: false,
        };
        for (number, sub) in subs.iter_mut().enumerate().skip(first) {
            sub.counts.admit();
            *calling = number;
            if sub.counts.marks() != 0 {
                let mut live = Live {
                    head,
                    payload: &mut payload,
                };
                let around = Around { caller, shared };
                match tending.special(around, sub, &mut live, &mut context) {
                    Special::Called => {
                        group.note_call(sub, (type_index, number as u32));
                        continue;
                    }
                    Special::Aside => continue,
                    Special::Nothing => {}
                }
            }
            let outcome = sub.handler.call(&mut payload, &mut context);
            group.note_call(sub, (type_index, number as u32));
            if matches!(outcome, Outcome::Handled) && head.extras.is_none() {
                sub.counts.end(Ended::Handled);
            } else {
                let mut live = Live {
                    head,
                    payload: &mut payload,
                };
                let around = Around { caller, shared };
                tending.end_otherwise(around, sub, &mut live, group.start, outcome);
            }
        }
        caller.out.clear_cause();
        if is_trivial && payload.is_in_place() && head.extras.is_none() {
            return true;
        }
        payload.discard_contained();
        false
    }

    /// Ends the group, if one is open: stamps, records, and decides how the next is stamped.
    pub(crate) fn end_group(&mut self) -> u64 {
        if self.group.is_sampled && self.group.count == 0 {
            self.drop_group();
            return self.group.start;
        }
        let group = &mut self.group;
        let now = self.caller.clock.raw();
        if group.count == 0 {
            return now;
        }
        let count = group.count as u64;
        let elapsed_ns = self.caller.clock.delta_ns(group.start, now);
        let Self {
            bench,
            caller,
            tending,
            ..
        } = self;
        let clock = &caller.clock;
        self.shared.recorder.write(|recorder| {
            let class = recorder.class(group.class);
            // Events of one batch share the stamp of their publishing.
            let mut alike = 0;
            for nth in 0..group.count {
                alike += 1;
                let published = group.published[nth];
                if nth + 1 < group.count && group.published[nth + 1] == published {
                    continue;
                }
                class.record(
                    clock.delta_ns(published, group.start),
                    clock.delta_ns(published, now),
                    std::mem::take(&mut alike),
                );
            }
            let per_call_ns = elapsed_ns / u64::from(group.calls.max(1));
            for place in group.touched.drain(..) {
                let sub = bench.sub(place);
                recorder.handler(sub.place as usize, per_call_ns, u64::from(sub.group_calls));
                sub.group_calls = 0;
                if now >= sub.tick_at {
                    sub.tick_at = tending.tick(&sub.shared, now);
                }
            }
        });
        self.shared.note_recorded(now);
        self.shared.note_taken(if group.is_sampled {
            std::mem::take(&mut group.untimed)
        } else {
            count
        });
        let mean_ns = elapsed_ns / count;
        if group.is_sampled {
            // One by one, whatever the handlers take.
        } else if mean_ns > GROUP_MEAN_NS_MAX {
            group.size = 1;
            group.short_run = 0;
        } else if group.size == 1 && !group.stamps_each {
            group.short_run += 1;
            if group.short_run >= SHORT_RUN {
                group.size = GROUP_MAX;
                group.short_run = 0;
            }
        }
        group.count = 0;
        group.calls = 0;
        group.start = now;
        now
    }

    /// An event that could not be read: each delivery fails for good, before its handler is called.
    #[cold]
    pub(crate) fn unreadable(&mut self, mut slot: Slot, reason: &str) {
        let now = self.caller.clock.raw();
        let Self {
            bench,
            caller,
            shared,
            tending,
            ..
        } = self;
        let (subs, _) = bench.of_type(slot.type_index());
        let (head, mut payload) = slot.split();
        for sub in subs.iter_mut() {
            sub.counts.admit();
            let around = Around { caller, shared };
            let mut live = Live {
                head,
                payload: &mut payload,
            };
            let failure = Failure::unreadable(format!("it cannot be read: {reason}"));
            tending.fail_live(around, &Of::sub(sub), &mut live, (now, now), failure);
        }
        shared.note_taken(1);
    }

    /// Ends an event that nobody will handle any more; a slot whose event has been handled is passed over.
    pub(crate) fn abandon(&mut self, slot: &mut Slot) {
        if !slot.is_empty() {
            self.abandon_whole(slot);
        }
    }

    /// The same, whether or not its value could be read.
    pub(super) fn abandon_whole(&mut self, slot: &mut Slot) {
        let (subs, _) = self.bench.of_type(slot.type_index());
        let subs: Vec<_> = subs.iter().map(|sub| Arc::clone(&sub.shared)).collect();
        let place = usize::from(self.shared.id.index);
        abandon(&self.shared, &self.caller.clock, &subs, place, slot);
    }
}

/// Ends an event for subscriptions that will not handle it any more, counted in their cells of this
/// place by the one thread that may write there.
pub(crate) fn abandon(
    shared: &WorkerShared,
    clock: &Clock,
    subs: &[Arc<SubscriptionShared>],
    place: usize,
    slot: &mut Slot,
) {
    let (head, mut payload) = slot.split();
    taken(head, subs.len());
    for sub in subs {
        let counts = &sub.counts[place];
        counts.admit();
        counts.end(Ended::Abandoned);
        settle(head, sub.id, Ended::Abandoned);
    }
    shared.abandoned.lock().add(id_of(head, clock));
    payload.discard_contained();
}

/// Tells whoever waits for the event's outcome that its deliveries are known here.
#[cold]
fn taken(head: &Head, deliveries: usize) {
    if let Some(extras) = &head.extras
        && let Some(receipt) = &extras.receipt
    {
        receipt.taken(deliveries);
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk")
            .field("worker", &self.shared.id)
            .finish_non_exhaustive()
    }
}

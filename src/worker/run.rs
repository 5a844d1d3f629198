//! The loop: poll from the highest class down, handle, spin, park.
//!
//! publish → route → lane → **worker** → handler → outcome

use super::Stamps;
use super::attempt::Of;
use super::desk::Desk;
use super::idle::{Idle, Step, Wait};
use super::letter::{Activity, Letter, Round};
use super::letters::Letters;
use super::phase::Phase;
use super::shared::{LaneEntry, WorkerShared};
use super::stored::{StoredLane, Walk};
use super::tend::{Place, Tending};
use crate::breaker::Seat;
use crate::dead_letter::Queue;
use crate::error_event::ErrorHub;
use crate::event::{Class, Slot};
use crate::handler::{Caller, SubscriptionShared};
use crate::lane::{CLASS_COUNT, Done, Flow, Inbox, LaneRx};
use crate::metrics::{CountsCell, MARK_BREAKER};
use crate::outcome::{Ended, Failure};
use crate::publish::{OnThread, WorkerOut};
use crate::route::{Attached, Control, Fabric, WorkerPort};
use crate::sync::clock::Clock;
use crate::sync::{Arc, Barrier, spin_loop, thread};
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

/// A batch smaller than this, right after another, is followed by a pause: a worker that polls faster
/// than events come steals the index line for every event.
const FEW: usize = 32;
/// Turns between two looks for lanes whose publisher is gone.
const TURNS_PER_SWEEP: u32 = 4_096;
/// Turns of a worker with a spill that finds nothing to take, until it gives its processor away...
const SPILL_TURNS_MAX: u32 = 256;
/// ...for so long.
const DOZE: Duration = Duration::from_millis(1);
/// The pause, in spins.
const FEW_PAUSE_SPINS: u32 = 16;
/// Attempts from shelves in one turn, between two batches of events.
const TENDED_MAX: usize = 512;

/// What a worker is set to.
#[derive(Debug, Clone)]
pub(crate) struct WorkerSettings {
    pub(crate) batch_max: usize,
    pub(crate) batch_time: Duration,
    pub(crate) starvation_limit: usize,
    pub(crate) wait: Wait,
    pub(crate) stamps: Stamps,
    pub(crate) pool: usize,
    pub(crate) is_crowded: bool,
}

struct InLane {
    rx: LaneRx<Slot>,
    from_worker: bool,
}

/// What outlives the worker of a polled pool: events and lanes, no handlers.
pub(crate) struct Stash {
    lanes: [Vec<InLane>; CLASS_COUNT],
    out: WorkerOut,
    /// Who has waited for how long goes on (PD3).
    passed: [usize; CLASS_COUNT],
    /// What is held, and the timers.
    tending: Tending,
    /// The walk through the log, if the engine follows one.
    stored: Option<Box<StoredLane>>,
}

/// A subscription on this worker, as its breaker knows it.
struct SeatHere {
    counts: Arc<CountsCell>,
    place: Place,
    port: Arc<WorkerPort>,
    barrier: Barrier,
    clock: Clock,
}

impl Seat for SeatHere {
    fn handled(&self) -> u64 {
        self.counts.handled()
    }

    fn mark(&self, asks: bool) {
        if asks {
            self.counts.set_mark(MARK_BREAKER);
        } else {
            self.counts.clear_mark(MARK_BREAKER);
        }
    }

    fn notify(&self) {
        let letter = Letter::Breaker(self.place);
        self.port
            .send(Control::Letter(Box::new(letter)), self.barrier);
    }

    fn now_ns(&self) -> u64 {
        self.clock.delta_ns(0, self.clock.raw())
    }
}

/// What a worker needs for what fails.
#[derive(Clone)]
pub(crate) struct Failing {
    pub(crate) errors: Arc<ErrorHub>,
    /// The engine's dead-letter queue, if it has one.
    pub(crate) letters: Option<Arc<Queue>>,
}

impl fmt::Debug for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failing").finish_non_exhaustive()
    }
}

impl Stash {
    /// A subscription was withdrawn while nobody polls: what is held for it ends.
    pub(crate) fn withdraw(&mut self, id: u64) {
        self.tending.purge(id, Ended::Withdrawn, |_| {});
    }
}

impl fmt::Debug for Stash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stash").finish_non_exhaustive()
    }
}

/// Where the events of a class come from, in turn.
#[derive(Debug, Clone, Copy)]
enum Source {
    Own,
    Lanes,
    Inbox,
    Shared,
    Stored,
}

const SOURCES: [Source; 5] = [
    Source::Lanes,
    Source::Inbox,
    Source::Own,
    Source::Shared,
    Source::Stored,
];

/// One worker: lanes in, handlers out.
pub(crate) struct Worker {
    fabric: Arc<Fabric>,
    port: Arc<WorkerPort>,
    settings: WorkerSettings,
    batch_ticks: u64,
    lanes: [Vec<InLane>; CLASS_COUNT],
    /// The log as one more lane, of class normal.
    stored: Option<Box<StoredLane>>,
    desk: Desk,
    idle: Idle,
    /// Events taken since each class was last looked at when it was due.
    passed: [usize; CLASS_COUNT],
    turn: usize,
    turns: u32,
    /// The pool's workers share queues.
    is_unordered: bool,
    /// Something was handled since the last shutdown round.
    was_active: bool,
    /// Rounds to be answered after the next full look that finds nothing or after a turn.
    rounds: Vec<Arc<Round>>,
    stop: Option<Arc<super::Answer>>,
}

impl Worker {
    pub(crate) fn new(
        fabric: Arc<Fabric>,
        shared: Arc<WorkerShared>,
        settings: WorkerSettings,
        failing: Failing,
    ) -> Self {
        Self::resume(fabric, shared, settings, failing, None)
    }

    /// As [`new`](Self::new), with what an earlier worker of this place has left.
    pub(crate) fn resume(
        fabric: Arc<Fabric>,
        shared: Arc<WorkerShared>,
        settings: WorkerSettings,
        failing: Failing,
        stash: Option<Stash>,
    ) -> Self {
        let Stash {
            lanes,
            out,
            passed,
            tending,
            stored,
        } = stash.unwrap_or_else(|| {
            let port = Arc::clone(&fabric.ports[shared.index]);
            let barrier = fabric.barrier;
            let letters = failing
                .letters
                .map(|queue| Letters::new(queue, port, barrier));
            Stash {
                lanes: Default::default(),
                out: WorkerOut::new(Arc::clone(&fabric), shared.index),
                passed: [0; CLASS_COUNT],
                tending: Tending::new(shared.index, fabric.clock.clone(), failing.errors, letters),
                stored: None,
            }
        });
        let out = Rc::new(out);
        let clock = fabric.clock.clone();
        let batch_ticks = clock.raw_after(0, settings.batch_time);
        shared.set_phase(Phase::Polling);
        if !tending.is_full() {
            // The subscription that filled its shelf may have gone since.
            shared.set_held_back_by(0);
        }
        Self {
            port: Arc::clone(&fabric.ports[shared.index]),
            batch_ticks,
            lanes,
            stored,
            desk: Desk::new(out, shared, clock, tending, settings.stamps),
            idle: Idle::new(settings.wait, settings.is_crowded),
            passed,
            turn: 0,
            turns: 0,
            is_unordered: fabric.pools[settings.pool].shared.is_some(),
            was_active: false,
            rounds: Vec::new(),
            stop: None,
            settings,
            fabric,
        }
    }

    /// Installs subscriptions that were made before the worker: for polled pools.
    pub(crate) fn install(&mut self, shared: &Arc<SubscriptionShared>) -> Result<(), Failure> {
        // Factories are the user's code, and what they would wait for waits for this.
        let _on_thread = OnThread::enter(&self.desk.caller.out);
        self.install_here(shared)
    }

    fn install_here(&mut self, shared: &Arc<SubscriptionShared>) -> Result<(), Failure> {
        let desk = &mut self.desk;
        desk.bench.install(shared, desk.shared.id)?;
        let of = Of {
            counts: Arc::clone(&shared.counts[usize::from(desk.shared.id.index)]),
            shared: Arc::clone(shared),
        };
        let member = shared.policies.breaker.as_ref().map(|breaker| {
            breaker.join(Arc::new(SeatHere {
                counts: Arc::clone(&of.counts),
                place: Place::of(shared),
                port: Arc::clone(&self.port),
                barrier: self.fabric.barrier,
                clock: self.fabric.clock.clone(),
            }))
        });
        if let Some(member) = &member
            && member.next_tick_ns() != u64::MAX
        {
            desk.bench.set_tick(shared.id, 0);
        }
        desk.tending.join(&of, member);
        Ok(())
    }

    /// Makes subscriptions known whose deliveries this worker is only to abandon.
    pub(crate) fn enlist(&mut self, shared: &Arc<SubscriptionShared>) {
        self.desk.bench.enlist(shared, self.desk.shared.id);
    }

    /// Works until told to stop.
    pub(crate) fn run(mut self) {
        let _on_thread = OnThread::enter(&self.desk.caller.out);
        let mut was_busy = false;
        let mut spill_turns = 0_u32;
        loop {
            let taken = self.turn();
            if self.stop.is_some() {
                break;
            }
            if taken > 0 {
                spill_turns = 0;
                self.idle.found();
                if was_busy && taken < FEW {
                    for _ in 0..FEW_PAUSE_SPINS {
                        spin_loop();
                    }
                }
                was_busy = true;
                continue;
            }
            was_busy = false;
            if self.desk.tending.is_ready() {
                // More to be tended than fitted into a turn.
                continue;
            }
            if self.desk.caller.out.is_spilling() {
                // What waits to leave needs another worker to go on, perhaps for long.
                spill_turns += 1;
                if spill_turns < SPILL_TURNS_MAX {
                    thread::yield_now();
                } else {
                    self.doze();
                }
                continue;
            }
            if self.idle.step() == Step::Park {
                self.park(None);
            }
        }
        self.end();
    }

    /// One pass for a poller's thread: up to `limit` batches; events taken.
    pub(crate) fn poll(&mut self, batches: usize) -> usize {
        let _on_thread = OnThread::enter(&self.desk.caller.out);
        let mut taken = 0;
        for _ in 0..batches.max(1) {
            let now = self.turn();
            taken += now;
            if now == 0 || self.stop.is_some() {
                break;
            }
        }
        taken
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_some()
    }

    /// Sleeps for a moment while what was spilled has nowhere to go: nobody rings when there is room. Busy
    /// workers of the other strategies do not sleep.
    fn doze(&self) {
        if self.settings.wait != Wait::Adaptive || !self.port.wake.announce(self.fabric.barrier) {
            thread::yield_now();
        } else if self.port.has_control() {
            self.port.wake.cancel();
        } else {
            self.port.wake.sleep(Some(DOZE));
        }
    }

    /// Sleeps until there may be something, after the last look (W1), or until a timer is due.
    pub(crate) fn park(&mut self, timeout: Option<Duration>) {
        let due = self.desk.tending.until_due();
        if due == Some(Duration::ZERO) {
            return;
        }
        // Whoever moves a manual clock wakes its sleepers; by real time nothing is ever due there.
        let due = due.filter(|_| self.fabric.clock.is_real());
        let timeout = match (timeout, due) {
            (Some(timeout), Some(due)) => Some(timeout.min(due)),
            (timeout, due) => timeout.or(due),
        };
        if !self.port.wake.announce(self.fabric.barrier) {
            thread::yield_now();
            return;
        }
        if self.has_anything() {
            self.port.wake.cancel();
            return;
        }
        self.desk.shared.set_phase(Phase::Parked);
        self.port.wake.sleep(timeout);
        self.desk.shared.set_phase(Phase::Polling);
    }

    /// Whether anything at all waits for this worker.
    fn has_anything(&mut self) -> bool {
        if self.port.has_control() || self.desk.caller.out.is_spilling() {
            return true;
        }
        if self.desk.tending.until_due() == Some(Duration::ZERO) {
            return true;
        }
        if self.desk.tending.is_full() {
            // Whatever waits outside is not taken; what is to come is a timer's or a letter's affair.
            return false;
        }
        if self.stored.as_ref().is_some_and(|lane| lane.has_waiting()) {
            return true;
        }
        for class in Class::ALL {
            let index = class.index();
            if self.desk.caller.out.own_waiting(index) > 0
                || self.port.used_inbox(index).is_some_and(has_any)
                || self.shared_waits(class)
            {
                return true;
            }
            if self.sweep(index) {
                return true;
            }
        }
        false
    }

    /// Lets go of a class's lanes whose publisher is gone; whether any of the others has something.
    fn sweep(&mut self, class: usize) -> bool {
        let shared = &self.desk.shared;
        let mut found = false;
        self.lanes[class].retain(|lane| {
            // Abandoned is read before the look for emptiness (L8).
            let is_abandoned = lane.rx.is_abandoned();
            let is_waiting = lane.rx.has_waiting();
            found |= is_waiting;
            let is_over = is_abandoned && !is_waiting;
            if is_over {
                shared
                    .lanes
                    .lock()
                    .retain(|entry| !Arc::ptr_eq(&entry.stats, lane.rx.stats()));
            }
            !is_over
        });
        found
    }

    fn shared_waits(&self, class: Class) -> bool {
        self.fabric.pools[self.settings.pool]
            .shared
            .as_ref()
            .and_then(|queues| queues[class.index()].get())
            .is_some_and(has_any)
    }

    /// Letters, spill, then one batch of the most urgent class that has events; events taken.
    fn turn(&mut self) -> usize {
        if self.port.has_control() {
            self.read_letters();
            if self.stop.is_some() {
                return 0;
            }
        }
        // A worker that never parks has to look for lanes without a publisher at other times.
        self.turns = self.turns.wrapping_add(1);
        if self.turns.is_multiple_of(TURNS_PER_SWEEP) {
            (0..CLASS_COUNT).for_each(|class| {
                self.sweep(class);
            });
        }
        if self.desk.caller.out.flush() {
            self.was_active = true;
        }
        let mut taken = 0;
        if !self.desk.tending.is_idle() {
            let port = &self.port;
            if self.desk.tending.is_full() {
                // Nothing is taken, so nothing out there is urgent.
                port.clear_urgent();
            }
            taken = self.desk.tend(TENDED_MAX, || port.is_urgent());
        }
        if !self.desk.tending.is_full() {
            taken += self.take_batch();
        }
        if taken > 0 {
            self.was_active = true;
        }
        if !self.rounds.is_empty() {
            self.answer_rounds(taken);
        }
        taken
    }

    /// A worker is active if it did anything since the last round, or has anything left to do.
    #[cold]
    fn answer_rounds(&mut self, taken: usize) {
        let is_active = self.was_active || taken > 0 || self.has_anything();
        self.was_active = false;
        for round in self.rounds.drain(..) {
            // What is due before the deadline is waited for; what is not, or has no timer, is not.
            let waits = || self.desk.tending.is_due_within(round.left());
            round.give(match is_active {
                true => Activity::Busy,
                false if waits() => Activity::Waiting,
                false => Activity::None,
            });
        }
    }

    /// PD3: the highest class first, and each lower class at least once in every so many events.
    #[cfg_attr(rtsan, sanitize(realtime = "nonblocking"))]
    fn take_batch(&mut self) -> usize {
        self.port.clear_urgent();
        let due = self.due();
        for class in [Class::Low, Class::Normal, Class::High] {
            if self.passed[class.index()] >= due {
                self.passed[class.index()] = 0;
                let taken = self.take_class(class, 1);
                if taken > 0 {
                    self.note_passed(class, taken);
                    return taken;
                }
            }
        }
        for class in Class::ALL {
            if !self.is_used(class) {
                continue;
            }
            let taken = self.take_class(class, self.limit(class));
            if taken > 0 {
                self.passed[class.index()] = 0;
                self.note_passed(class, taken);
                return taken;
            }
        }
        0
    }

    /// Events after which a lower class is due. Three may fall due together, each for one event.
    #[inline(always)]
    fn due(&self) -> usize {
        self.settings
            .starvation_limit
            .saturating_sub(CLASS_COUNT - 1)
            .max(1)
    }

    /// How many events of a class may be taken until a lower one is due.
    #[inline(always)]
    fn limit(&self, class: Class) -> usize {
        let due = self.due();
        self.passed[class.index() + 1..]
            .iter()
            .map(|passed| due - passed.min(&(due - 1)))
            .fold(self.settings.batch_max, usize::min)
    }

    fn note_passed(&mut self, served: Class, taken: usize) {
        for class in 1..CLASS_COUNT {
            if class != served.index() {
                self.passed[class] += taken;
            }
        }
    }

    /// Whether events of a class may come from anywhere: most programs use one class or two, and a turn
    /// looks at four.
    #[inline(always)]
    fn is_used(&self, class: Class) -> bool {
        !self.lanes[class.index()].is_empty() || self.has_queues(class)
    }

    /// Whether events of a class may come from anywhere but lanes.
    #[inline(always)]
    fn has_queues(&self, class: Class) -> bool {
        self.is_unordered
            || (self.stored.is_some() && class == Class::Normal)
            || self.port.used_inbox(class.index()).is_some()
            || self.desk.caller.out.has_own()
    }

    /// Up to `limit` events of one class from all its sources, beginning with another each time.
    fn take_class(&mut self, class: Class, limit: usize) -> usize {
        self.turn = self.turn.wrapping_add(1);
        if !self.has_queues(class) {
            return self.take_lanes(class, limit).0;
        }
        let mut taken = 0;
        for step in 0..SOURCES.len() {
            if taken >= limit {
                break;
            }
            let source = SOURCES[(self.turn + step) % SOURCES.len()];
            let (now, goes_on) = match source {
                Source::Lanes => self.take_lanes(class, limit - taken),
                Source::Inbox => self.take_inbox(class, limit - taken),
                Source::Own => self.take_own(class, limit - taken),
                Source::Shared => self.take_shared(class, limit - taken),
                Source::Stored => self.take_stored(class, limit - taken),
            };
            taken += now;
            if !goes_on {
                break;
            }
        }
        taken
    }

    fn take_lanes(&mut self, class: Class, limit: usize) -> (usize, bool) {
        let lanes = &mut self.lanes[class.index()];
        let count = lanes.len();
        if count == 0 {
            return (0, true);
        }
        let is_spilling = self.desk.caller.out.is_spilling();
        let batch = Batch::new(&self.port, class, self.batch_ticks);
        // No division for the one lane that most workers have, nor in the loop.
        let mut index = if count == 1 { 0 } else { self.turn % count };
        let mut taken = 0;
        let mut is_ending = false;
        for _ in 0..count {
            let lane = &mut lanes[index];
            index = if index + 1 == count { 0 } else { index + 1 };
            // PD5: a worker that spills takes nothing new from outside, but must take what another
            // spill waits for, or two workers could wait for each other.
            if is_spilling && !lane.from_worker && !lane.rx.stats().is_wanted() {
                continue;
            }
            if !lane.rx.has_waiting() {
                continue;
            }
            lane.rx.prefetch();
            let start = open(&mut self.desk, class);
            let first = lane.rx.position();
            loop {
                let left = limit - taken - (lane.rx.position() - first) as usize;
                let (rx, desk) = (&mut lane.rx, &mut self.desk);
                let chunk = catch_unwind(AssertUnwindSafe(|| {
                    take_chunk(rx, desk, &batch, (start, left), self.fabric.barrier)
                }));
                match chunk {
                    Ok(was_cut) => {
                        is_ending = was_cut;
                        break;
                    }
                    // A handler's panic: its event is still the first in the lane.
                    Err(panic) => self.desk.interrupt(panic),
                }
            }
            taken += (lane.rx.position() - first) as usize;
            close(&mut self.desk);
            if taken >= limit || is_ending {
                break;
            }
        }
        (taken, !is_ending)
    }

    #[inline(never)]
    fn take_inbox(&mut self, class: Class, limit: usize) -> (usize, bool) {
        // A look before the port's count of owners is touched: that is dear, and most looks find nothing.
        if !self.port.used_inbox(class.index()).is_some_and(has_any) {
            return (0, true);
        }
        let port = Arc::clone(&self.port);
        let Some(inbox) = port.used_inbox(class.index()) else {
            return (0, true);
        };
        if self.desk.caller.out.is_spilling() && !inbox.is_deferred() {
            return (0, true);
        }
        self.take_queue(class, limit, inbox)
    }

    #[inline(never)]
    fn take_shared(&mut self, class: Class, limit: usize) -> (usize, bool) {
        // As in `take_inbox`.
        if !self.shared_waits(class) {
            return (0, true);
        }
        let fabric = Arc::clone(&self.fabric);
        let Some(queue) = fabric.pools[self.settings.pool]
            .shared
            .as_ref()
            .and_then(|queues| queues[class.index()].get())
        else {
            return (0, true);
        };
        if self.desk.caller.out.is_spilling() && !queue.is_deferred() {
            return (0, true);
        }
        self.take_queue(class, limit, queue)
    }

    /// From a queue that is no ring: each event is moved out and its place given back before it is
    /// handled, so that a slow handler holds no place.
    fn take_queue(&mut self, class: Class, limit: usize, queue: &Inbox<Slot>) -> (usize, bool) {
        let barrier = self.fabric.barrier;
        if queue.is_deferred() {
            // Whoever spilled may be in a handler for long; there is room now.
            queue.flush(barrier);
        }
        if !queue.has_waiting() {
            return (0, true);
        }
        let pop = |_: &mut Desk| {
            let slot = queue.pop()?;
            queue.give_back(1, barrier);
            Some(slot)
        };
        let (taken, goes_on) = self.take_moved(class, limit, pop, || !queue.has_waiting());
        queue.note_taken(taken as u64);
        (taken, goes_on)
    }

    #[inline(never)]
    fn take_own(&mut self, class: Class, limit: usize) -> (usize, bool) {
        let index = class.index();
        if self.desk.caller.out.own_waiting(index) == 0 {
            return (0, true);
        }
        let out = Rc::clone(&self.desk.caller.out);
        self.take_moved(
            class,
            limit,
            |desk| desk.caller.out.take_own(index),
            || out.own_waiting(index) == 0,
        )
    }

    /// From the log. While the worker spills it takes nothing from there, as from anywhere outside.
    #[inline(never)]
    fn take_stored(&mut self, class: Class, limit: usize) -> (usize, bool) {
        if class != Class::Normal || self.desk.caller.out.is_spilling() {
            return (0, true);
        }
        let Some(lane) = self.stored.take_if(|lane| lane.has_waiting()) else {
            return (0, true);
        };
        // Others look at the lane while an event of it is handled: whether it is the last.
        let lane = RefCell::new(lane);
        let mut walk = Walk::new(&lane.borrow(), &self.desk);
        let (taken, goes_on) = self.take_moved(
            class,
            limit,
            |desk| lane.borrow_mut().next(desk, &mut walk),
            || lane.borrow().is_last(),
        );
        let mut lane = lane.into_inner();
        lane.settle();
        self.stored = Some(lane);
        (taken, goes_on)
    }

    fn take_moved(
        &mut self,
        class: Class,
        limit: usize,
        mut pop: impl FnMut(&mut Desk) -> Option<Slot>,
        is_empty: impl Fn() -> bool,
    ) -> (usize, bool) {
        let port = Arc::clone(&self.port);
        let batch = Batch::new(&port, class, self.batch_ticks);
        let start = open(&mut self.desk, class);
        let mut taken = 0;
        let mut is_ending = false;
        while taken < limit
            && let Some(mut slot) = pop(&mut self.desk)
        {
            taken += 1;
            let ends_here = is_ending;
            let is_last = ends_here || taken == limit || is_empty();
            let handled = self.desk.handle_guarded(&mut slot, is_last);
            if handled.is_clean {
                std::mem::forget(slot);
            }
            is_ending = ends_here || batch.is_over(start, handled.ended);
            if ends_here {
                break;
            }
        }
        close(&mut self.desk);
        (taken, !is_ending)
    }

    #[cold]
    fn read_letters(&mut self) {
        while let Some(control) = self.port.take_control() {
            match control {
                Control::Attach(attached) => self.attach(attached),
                Control::Nudge => {}
                Control::Letter(letter) => match letter.downcast::<Letter>() {
                    Ok(letter) => self.read(*letter),
                    Err(_) => unreachable!("a worker is sent letters only"),
                },
            }
        }
    }

    fn attach(&mut self, attached: Attached) {
        self.desk.shared.lanes.lock().push(LaneEntry {
            class: attached.class,
            from_worker: attached.from_worker,
            stats: Arc::clone(attached.lane.stats()),
        });
        self.lanes[attached.class.index()].push(InLane {
            rx: attached.lane,
            from_worker: attached.from_worker,
        });
    }

    fn read(&mut self, letter: Letter) {
        let desk = &mut self.desk;
        match letter {
            Letter::Install(shared, answer) => answer.give(self.install_here(&shared)),
            Letter::Remove(id, answer) => {
                desk.withdraw(id);
                desk.bench.remove(id);
                answer.give(Ok(()));
            }
            Letter::Round(round) => self.rounds.push(round),
            Letter::Stop(answer) => self.stop = Some(answer),
            Letter::Breaker(place) => desk.tending.kick(place),
            Letter::Room(place) => desk.bury_waiting(place),
            Letter::Unpark(place, key) => {
                desk.tending.unpark(place, key);
            }
            Letter::Redeliver(shared, order) => {
                let of = desk.of(&shared);
                desk.tending.redeliver(&of, order);
            }
            Letter::Publish(due, delayed) => desk.tending.schedule(due, delayed),
            Letter::Follow(lane) => self.stored = Some(lane),
        }
    }

    /// Leaves lanes and unsent events for the next worker of this place; drops handlers and state, on
    /// the thread that made them. The answer, if there is one, is to be given once the place is free.
    pub(crate) fn put_down(mut self) -> (Stash, Option<Arc<super::Answer>>) {
        self.read_letters();
        for round in self.rounds.drain(..) {
            round.give(Activity::Busy);
        }
        self.desk.bench.clear();
        self.desk.tending.leave();
        let Self {
            lanes,
            stored,
            desk,
            passed,
            stop,
            ..
        } = self;
        let Desk {
            caller: Caller { out, .. },
            tending,
            ..
        } = desk;
        let stash = Stash {
            lanes,
            out: Rc::into_inner(out).expect("outside a poll nobody else holds the worker's side"),
            passed,
            tending,
            stored,
        };
        (stash, stop)
    }

    /// Abandons what is left and drops all state, on the worker's own thread.
    pub(crate) fn end(mut self) {
        let _on_thread = OnThread::enter(&self.desk.caller.out);
        self.read_letters();
        for round in self.rounds.drain(..) {
            round.give(Activity::Busy);
        }
        let barrier = self.fabric.barrier;
        let desk = &mut self.desk;
        desk.shared.set_phase(Phase::Ending);
        desk.abandon_held();
        for class in Class::ALL {
            for lane in &mut self.lanes[class.index()] {
                while lane.rx.has_waiting() {
                    lane.rx.take(usize::MAX, barrier, |slot, _| {
                        desk.abandon(slot);
                        Flow::Next
                    });
                }
            }
            let inbox = self.port.used_inbox(class.index());
            let shared = self.fabric.pools[self.settings.pool]
                .shared
                .as_ref()
                .and_then(|queues| queues[class.index()].get());
            for queue in inbox.into_iter().chain(shared) {
                // What was spilled first: from then on nothing moves from there into the queue.
                for mut slot in queue.take_spilled(barrier) {
                    desk.abandon(&mut slot);
                }
                while let Some(mut slot) = queue.pop() {
                    queue.give_back(1, barrier);
                    desk.abandon(&mut slot);
                }
            }
        }
        if let Some(mut lane) = self.stored.take() {
            lane.abandon(desk);
        }
        let out = Rc::clone(&desk.caller.out);
        let workers = self.fabric.pools[self.settings.pool].workers();
        out.drain(|worker, mut slot| {
            if workers.contains(&worker) {
                desk.abandon(&mut slot);
            } else {
                // For subscriptions that are unknown here; whoever stops the engine knows them.
                desk.shared.orphans.lock().push((worker, slot));
            }
        });
        desk.bench.clear();
        out.retire();
        desk.shared.lanes.lock().clear();
        desk.shared.set_phase(Phase::Stopped);
        // A letter sent at this moment is found by this last reading, or by its sender, who looks at the
        // phase after sending.
        barrier.heavy();
        while let Some(control) = self.port.take_control() {
            if let Control::Letter(letter) = control
                && let Ok(letter) = letter.downcast::<Letter>()
            {
                // What has no answer is dropped: whoever sent it looks whether the engine has ended.
                drop(letter.answer_for_ended());
            }
        }
        if let Some(answer) = self.stop.take() {
            answer.give(Ok(()));
        }
    }
}

/// Whether anything waits in a queue, or behind it.
#[inline(always)]
fn has_any(queue: &Inbox<Slot>) -> bool {
    queue.has_waiting() || queue.is_deferred()
}

/// Handles up to `limit` events of a lane where they lie; whether something ended the batch that began at
/// `start`. A function of its own, so that nothing but this loop asks for registers.
#[inline(never)]
fn take_chunk(
    rx: &mut LaneRx<Slot>,
    desk: &mut Desk,
    batch: &Batch<'_>,
    (start, limit): (u64, usize),
    barrier: Barrier,
) -> bool {
    let mut is_ending = false;
    rx.take(limit, barrier, |slot, is_last| {
        let handled = desk.handle(slot, is_last);
        let flow = if batch.is_over(start, handled.ended) {
            is_ending = true;
            Flow::OneMore
        } else {
            Flow::Next
        };
        Done {
            flow,
            is_clean: handled.is_clean,
        }
    });
    is_ending
}

/// What ends a batch early: with the event behind the one in hand, as that one is told that it is the last.
struct Batch<'a> {
    port: &'a WorkerPort,
    ticks: u64,
    is_critical: bool,
}

impl<'a> Batch<'a> {
    fn new(port: &'a WorkerPort, class: Class, ticks: u64) -> Self {
        Self {
            port,
            ticks,
            is_critical: class == Class::Critical,
        }
    }

    /// The time is up (seen at stamps), or something critical or a letter waits.
    #[inline(always)]
    fn is_over(&self, start: u64, ended: Option<u64>) -> bool {
        if self.is_critical {
            return self.port.has_control();
        }
        self.port.is_urgent() || ended.is_some_and(|ended| self.is_late(start, ended))
    }

    /// Out of line, or it is worked out for every event.
    #[inline(never)]
    fn is_late(&self, start: u64, ended: u64) -> bool {
        ended.saturating_sub(start) > self.ticks
    }
}

#[inline(always)]
fn open(desk: &mut Desk, class: Class) -> u64 {
    desk.shared.set_phase(Phase::InBatch);
    desk.begin(class)
}

#[inline(always)]
fn close(desk: &mut Desk) {
    desk.end_group();
    desk.shared.set_phase(Phase::Polling);
}

/// The barrier of an engine whose workers never sleep is used for closing only.
pub(crate) fn needs_bell(waits: impl IntoIterator<Item = Wait>) -> bool {
    waits.into_iter().any(|wait| wait == Wait::Adaptive)
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("desk", &self.desk)
            .finish_non_exhaustive()
    }
}

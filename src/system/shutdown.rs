//! Stopping: refuse, drain until quiet or the deadline, refuse all, abandon, report (DR1).

use super::engine::Engine;
use crate::error::{Error, ErrorKind};
use crate::event::{EventId, contain};
use crate::handler::WorkerId;
use crate::lane::GateState;
use crate::publish::is_worker_thread;
use crate::sync::{Arc, Condvar, Mutex, clock, thread};
use crate::worker::{Abandoned, Activity, Answer, Following, Letter, Phase, Round, abandon};
use serde::Serialize;
use std::time::{Duration, Instant};

/// What a shutdown found and left; the numbers are deliveries unless they say otherwise.
#[derive(Clone, Default, Serialize)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Handled, in the engine's whole life.
    pub completed: u64,
    /// Failed for good, and no dead-letter queue took the event.
    pub failed: u64,
    /// Failed for good, and kept as letters.
    pub dead_lettered: u64,
    /// Left aside by their handlers.
    pub skipped: u64,
    /// Withdrawn by unsubscribing.
    pub withdrawn: u64,
    /// Never handled: the engine stopped first.
    pub abandoned: u64,
    /// The same as a number of events: one event may be several deliveries, or none.
    pub abandoned_events: u64,
    /// Events that were never handled, by id; at most 1,000.
    pub abandoned_ids: Vec<EventId>,
    /// Events in the lanes of workers that are stuck in a handler. They are abandoned when it returns.
    pub waiting: u64,
    /// Workers that had not come back from a handler at the deadline.
    pub stuck_workers: Vec<WorkerId>,
    /// Of an engine that followed a store: everything before this position was taken by the workers, so that another
    /// engine can go on from here. What was abandoned lies behind it, and is in the log still.
    pub followed_to: Option<u64>,
    /// Whether everything was quiet before the deadline, and nothing was abandoned.
    pub in_time: bool,
}

impl std::fmt::Debug for ShutdownReport {
    /// Everything but the ids, of which there may be a thousand.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShutdownReport")
            .field("completed", &self.completed)
            .field("failed", &self.failed)
            .field("dead_lettered", &self.dead_lettered)
            .field("skipped", &self.skipped)
            .field("withdrawn", &self.withdrawn)
            .field("abandoned", &self.abandoned)
            .field("abandoned_events", &self.abandoned_events)
            .field("waiting", &self.waiting)
            .field("stuck_workers", &self.stuck_workers)
            .field("in_time", &self.in_time)
            .finish_non_exhaustive()
    }
}

/// Is told once how the stop went, by whoever stopped the engine.
pub(crate) type StopObserver = Arc<dyn Fn(&ShutdownReport) + Send + Sync>;

/// How far the stop has come. A lock is right: it is taken a few times in the engine's life.
#[derive(Debug)]
pub(crate) struct Stopping {
    state: Mutex<StopState>,
    changed: Condvar,
}

#[derive(Debug)]
enum StopState {
    Running,
    Begun,
    Done(Arc<ShutdownReport>),
}

impl Stopping {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(StopState::Running),
            changed: Condvar::new(),
        }
    }

    /// Whether the caller is the one to do it.
    fn begin(&self) -> bool {
        let mut state = self.state.lock();
        let is_first = matches!(*state, StopState::Running);
        if is_first {
            *state = StopState::Begun;
        }
        is_first
    }

    fn finish(&self, report: ShutdownReport) {
        *self.state.lock() = StopState::Done(Arc::new(report));
        self.changed.notify_all();
    }

    fn wait(&self) -> Arc<ShutdownReport> {
        let mut state = self.state.lock();
        loop {
            match &*state {
                StopState::Done(report) => return Arc::clone(report),
                _ => self.changed.wait(&mut state),
            }
        }
    }

    fn peek(&self) -> Option<Arc<ShutdownReport>> {
        match &*self.state.lock() {
            StopState::Done(report) => Some(Arc::clone(report)),
            _ => None,
        }
    }
}

/// A shutdown that has begun.
#[derive(Debug, Clone)]
#[must_use = "the ticket has the report; drop it if nobody needs to know"]
pub struct ShutdownTicket {
    engine: Arc<Engine>,
}

impl ShutdownTicket {
    /// The report, if the engine has stopped.
    #[must_use]
    pub fn peek(&self) -> Option<Arc<ShutdownReport>> {
        self.engine.stopping.peek()
    }

    /// Waits for the report.
    ///
    /// # Errors
    /// `is_would_deadlock` on a worker's thread.
    pub fn wait(&self) -> Result<Arc<ShutdownReport>, Error> {
        refuse_on_worker()?;
        Ok(self.engine.stopping.wait())
    }
}

fn refuse_on_worker() -> Result<(), Error> {
    if is_worker_thread() {
        return Err(Error::new(
            ErrorKind::WouldDeadlock,
            "waiting for the shutdown on a worker's thread would wait for itself (use begin_shutdown and peek)",
        ));
    }
    Ok(())
}

/// A worker that has done nothing for so long past the deadline is taken for stuck.
const STUCK_AFTER: Duration = Duration::from_millis(100);

/// How long nobody is asked whether all is quiet while some worker waits for a timer.
const TIMER_PAUSE: Duration = Duration::from_millis(1);

/// What a worker is at, how many events it has taken, and how many abandoned.
type Progress = (Phase, u64, u64);

impl Engine {
    pub(crate) fn shutdown(&self, limit: Duration) -> Result<Arc<ShutdownReport>, Error> {
        refuse_on_worker()?;
        if self.polls_here() {
            return Err(Error::new(
                ErrorKind::WouldDeadlock,
                "waiting for the shutdown on a poller's thread would wait for itself (use begin_shutdown, and poll until it says Stopped)",
            ));
        }
        if self.stopping.begin() {
            self.stop(clock::deadline(limit));
        }
        Ok(self.stopping.wait())
    }

    pub(crate) fn begin_shutdown(engine: &Arc<Self>, limit: Duration) -> ShutdownTicket {
        if engine.stopping.begin() {
            let deadline = clock::deadline(limit);
            let stopper = Arc::clone(engine);
            let started = thread::start("ringbolt-shutdown".to_owned(), move || {
                stopper.stop(deadline);
            });
            if started.is_err() {
                // No thread to be had: the gate closes at least, and dropping the system does the rest.
                engine.fabric.gate.advance(GateState::Draining);
                *engine.stopping.state.lock() = StopState::Running;
            }
        }
        ShutdownTicket {
            engine: Arc::clone(engine),
        }
    }

    /// For the drop of the system: stop at once, abandon what waits, join. On a worker's own thread the
    /// threads are let go instead, as one cannot join itself.
    pub(crate) fn stop_now(self: &Arc<Self>) {
        if is_worker_thread() || self.polls_here() {
            let _ = Self::begin_shutdown(self, Duration::ZERO);
            return;
        }
        if self.stopping.begin() {
            self.stop(clock::deadline(Duration::ZERO));
        } else {
            self.stopping.wait();
        }
        // A worker in a handler ends when that returns.
        let threads = std::mem::take(&mut *self.threads.lock());
        for started in threads {
            let _ = started.thread.join();
        }
        self.settle_orphans();
        self.end_following();
    }

    /// Gives the followed store back, once no worker takes anything from it any more.
    fn end_following(&self) {
        if let Some(following) = &*self.following.lock() {
            Following::end(following);
        }
    }

    /// Abandons what workers had spilled for workers of other pools, in the name of the subscriptions
    /// there.
    fn settle_orphans(&self) {
        let mut orphans = Vec::new();
        for worker in &self.workers {
            orphans.append(&mut worker.orphans.lock());
        }
        for (target, mut slot) in orphans {
            let pool = usize::from(self.workers[target].id.pool);
            // Let go before the payload is dropped, which is the user's code.
            let subs: Vec<_> = self
                .registry
                .lock()
                .of_type(slot.type_index())
                .iter()
                .filter(|shared| shared.pool == pool)
                .cloned()
                .collect();
            let place = self.fabric.pools[pool].count as usize;
            abandon(
                &self.workers[target],
                &self.fabric.clock,
                &subs,
                place,
                &mut slot,
            );
        }
    }

    pub(crate) fn polls_here(&self) -> bool {
        let here = thread::current();
        self.pools
            .iter()
            .any(|pool| *pool.poller.lock() == Some(here))
    }

    fn stop(&self, deadline: Option<Instant>) {
        self.close(GateState::Draining);
        let in_time = self.wait_quiet(deadline);
        // Whoever subscribes at this moment is waited for; with a stuck worker, only until the deadline.
        let turn = match deadline {
            None => Some(self.changes.lock()),
            Some(deadline) => self.changes.try_lock_until(deadline),
        };
        self.close(GateState::Shut);
        drop(turn);
        let manned: Vec<usize> = (0..self.workers.len())
            .filter(|&worker| self.is_manned(worker))
            .collect();
        let answer = Answer::new(manned.len());
        for &worker in &manned {
            self.send(worker, Letter::Stop(Arc::clone(&answer)));
        }
        // A worker that is not in a handler answers soon; one that is had its time, and is waited for only
        // while it moves on. Without a deadline it is waited for in any case.
        while !answer.wait_until(deadline) {
            let before = self.progress(&manned);
            if answer.wait_until(clock::deadline(STUCK_AFTER)) {
                break;
            }
            let is_moving = |(&worker, before): (&usize, &Progress)| {
                let (phase, ..) = before;
                let has_letter_to_read = matches!(phase, Phase::Polling | Phase::Parked)
                    && !self.pools[usize::from(self.workers[worker].id.pool)].is_polled;
                *phase != Phase::Stopped
                    && (has_letter_to_read || self.progress(&[worker])[0] != *before)
            };
            if !manned.iter().zip(&before).any(is_moving) {
                break;
            }
        }
        for pool in 0..self.pools.len() {
            if self.pools[pool].is_polled && self.pools[pool].poller.lock().is_none() {
                self.abandon_unmanned(pool);
            }
        }
        self.settle_orphans();
        let stuck: Vec<usize> = if answer.is_complete() {
            Vec::new()
        } else {
            manned
                .into_iter()
                .filter(|&worker| self.workers[worker].phase() != Phase::Stopped)
                .collect()
        };
        if stuck.is_empty() {
            let threads = std::mem::take(&mut *self.threads.lock());
            for started in threads {
                // A worker's own panic would be a fault of ours; there is nothing left to stop.
                let _ = started.thread.join();
            }
        }
        let alive = self.registry.lock().alive.clone();
        for shared in alive {
            shared.forget_recipe();
        }
        // A stuck worker may move on while its numbers are read: then they are read again.
        if stuck.is_empty() {
            self.end_following();
        }
        let report = loop {
            let before = self.progress(&stuck);
            let report = self.final_report(&stuck, in_time);
            if self.progress(&stuck) == before {
                break report;
            }
        };
        self.stopping.finish(report);
        if let Some(observer) = &self.stop_observer {
            // An observer's panic is its own; nothing follows from it.
            let _ = contain(|| observer(&self.stopping.wait()));
        }
    }

    /// Moves the gate and waits until nobody is between looking at it and having pushed (L5).
    fn close(&self, to: GateState) {
        self.fabric.gate.advance(to);
        if let Some(following) = &*self.following.lock() {
            following.note_closing();
        }
        self.fabric.barrier.heavy();
        for publisher in self.fabric.publishers() {
            publisher.busy.wait_clear();
            publisher.room.wake();
        }
        for queue in self.fabric.queues() {
            queue.wake_waiters();
            queue.wait_settled(|| true);
        }
    }

    /// Asks rounds until two in a row found every worker inactive; `false` if the deadline came first.
    fn wait_quiet(&self, deadline: Option<Instant>) -> bool {
        let mut quiet_rounds = 0;
        while quiet_rounds < 2 {
            let manned: Vec<usize> = (0..self.workers.len())
                .filter(|&worker| self.is_manned(worker))
                .collect();
            let round = Round::new(manned.len(), deadline);
            for &worker in &manned {
                self.send(worker, Letter::Round(Arc::clone(&round)));
            }
            match round.wait_until(deadline) {
                None => return false,
                Some(Activity::None) => quiet_rounds += 1,
                Some(activity) => {
                    quiet_rounds = 0;
                    if deadline.is_some_and(|deadline| clock::left(deadline).is_zero()) {
                        return false;
                    }
                    if activity == Activity::Waiting {
                        // For a timer, perhaps for long: asking all the time would keep everybody awake.
                        let nobody = Answer::new(1);
                        nobody.wait_until(clock::deadline(TIMER_PAUSE));
                    } else {
                        thread::yield_now();
                    }
                }
            }
        }
        true
    }

    fn progress(&self, workers: &[usize]) -> Vec<Progress> {
        workers
            .iter()
            .map(|&worker| {
                let worker = &self.workers[worker];
                let abandoned = worker.abandoned.lock().count;
                (worker.phase(), worker.taken(), abandoned)
            })
            .collect()
    }

    fn final_report(&self, stuck: &[usize], in_time: bool) -> ShutdownReport {
        let totals = self.delivery_totals();
        let mut abandoned = Abandoned::default();
        for worker in &self.workers {
            abandoned.merge(&worker.abandoned.lock());
        }
        let waiting = stuck
            .iter()
            .map(|&worker| {
                let lanes: u64 = self.workers[worker]
                    .lanes
                    .lock()
                    .iter()
                    .map(|lane| lane.stats.depth())
                    .sum();
                let inboxes: u64 = (0..crate::lane::CLASS_COUNT)
                    .filter_map(|class| self.fabric.ports[worker].used_inbox(class))
                    .map(crate::lane::Inbox::depth)
                    .sum();
                lanes + inboxes
            })
            .sum();
        ShutdownReport {
            completed: totals.handled,
            failed: totals.failed,
            dead_lettered: totals.dead_lettered,
            skipped: totals.skipped,
            withdrawn: totals.withdrawn,
            abandoned: totals.abandoned,
            abandoned_events: abandoned.count,
            abandoned_ids: abandoned.ids,
            waiting,
            stuck_workers: stuck
                .iter()
                .map(|&worker| self.workers[worker].id)
                .collect(),
            followed_to: self.followed_to(),
            in_time: in_time && stuck.is_empty() && abandoned.count == 0,
        }
    }
}

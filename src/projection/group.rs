//! A running projection: its parts, the threads that move them, and what can be asked of all of them.

use super::builder::{Plan, Projection};
use super::checkpoint::Partition;
use super::course::Course;
use super::inside::{Inside, is_inside};
use super::part::{Next, Part};
use super::rebuild::Run;
use super::status::{Phase, Status};
use super::view::View;
use crate::error::{Error, ErrorKind};
use crate::event::contain;
use crate::store::{EventStore, Listener, ReadError};
use crate::sync::{Arc, Mutex, MutexGuard, clock, thread};
use std::time::{Duration, Instant};

/// The projection, to all who have a part in it.
pub(crate) struct Group<S> {
    pub(crate) name: String,
    pub(crate) store: EventStore,
    pub(crate) is_inline: bool,
    pub(crate) parts: Vec<Part<S>>,
    /// The rebuild that runs, or ran last. Nobody who holds this lock waits for a seat.
    pub(crate) rebuild: Mutex<Option<Arc<Run>>>,
}

impl<S: Send + Sync + 'static> Group<S> {
    pub(crate) fn new(
        store: &EventStore,
        projection: Projection<S>,
        count: usize,
        is_inline: bool,
    ) -> Result<Self, Error> {
        let mut faults = projection.faults();
        let name = projection.name;
        let mut resume = projection.resume;
        if !resume.is_empty() && resume.len() != count {
            faults.push(format!(
                "projection {name:?}: {} states to go on with for {count} partitions",
                resume.len()
            ));
        }
        let has_delay = !projection.plan.on_error.delay.is_zero();
        if is_inline && has_delay {
            faults.push(format!(
                "projection {name:?}: a retry with a delay would hold up appends (let it be zero, or run the projection on a thread of its own)"
            ));
        }
        if is_inline
            && projection
                .saves
                .as_ref()
                .is_some_and(|(_, every)| every.time.is_some())
        {
            faults.push(format!(
                "projection {name:?}: applied in the append, it has nobody to save it after a time (save it every so many events)"
            ));
        }
        if count == 0 {
            faults.push(format!("projection {name:?}: 0 partitions are below 1"));
        }
        if !faults.is_empty() {
            return Err(Error::new(ErrorKind::Setting, faults.join("; ")));
        }
        let plan = Arc::new(projection.plan);
        let mut parts = Vec::new();
        for index in 0..count {
            let partition = Partition { index, count };
            let begin = if !resume.is_empty() {
                let (state, checkpoint) = resume.remove(0);
                (
                    state,
                    checkpoint.map_or(plan.origin, |position| position.saturating_add(1)),
                )
            } else if let Some((state, position)) = load(&name, partition, &projection.saves)? {
                (state, position.saturating_add(1))
            } else {
                (initial(&name, &plan)?, plan.origin)
            };
            let saves = projection.saves.clone();
            let part = Part::new(store, &plan, partition, begin, saves);
            parts.push(part.map_err(|error| unreadable(&name, &error))?);
        }
        Ok(Self {
            name,
            store: store.clone(),
            is_inline,
            parts,
            rebuild: Mutex::new(None),
        })
    }

    /// By which a thread knows whether it is inside.
    pub(crate) fn identity(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    pub(crate) fn enter(&self) -> Inside {
        Inside::enter(self.identity(), self.is_inline)
    }

    /// A call that takes the locks, from within a function of the projection or a look at its view, would wait for itself.
    pub(crate) fn outside(&self) -> Result<(), Error> {
        if is_inside(self.identity()) {
            return Err(Error::new(
                ErrorKind::WouldDeadlock,
                format!(
                    "projection {:?}: called from one of its own functions or from a look at its view (call from elsewhere)",
                    self.name
                ),
            ));
        }
        Ok(())
    }

    /// As [`outside`](Self::outside), where there is no error to answer.
    ///
    /// # Panics
    /// If it is inside.
    #[track_caller]
    pub(crate) fn assert_outside(&self) {
        if let Err(error) = self.outside() {
            panic!("{error}");
        }
    }

    /// One batch of a part.
    pub(crate) fn advance(&self, part: &Part<S>) -> Next {
        let mut seat = part.seat.lock();
        let _inside = self.enter();
        part.advance(&self.name, &mut seat)
    }

    /// Applies, on this thread, all that is committed.
    pub(crate) fn catch_up(&self, part: &Part<S>) {
        loop {
            match self.advance(part) {
                Next::Again => {}
                // What a function of the projection has marked, or another thread appended, meanwhile.
                Next::Append(watermark, _) if self.store.log.watermark() > watermark => {}
                Next::Append(..) | Next::Order(_) => return,
            }
        }
    }

    /// What the worker of a part does until it is told to stop.
    fn work(&self, index: usize) {
        let part = &self.parts[index];
        let bell = &self.store.log.bell;
        loop {
            let orders = {
                let told = part.told.lock();
                if told.is_stopping {
                    break;
                }
                told.orders
            };
            match self.advance(part) {
                Next::Again => {}
                Next::Append(watermark, due) => {
                    let log = &self.store.log;
                    let is_told = || part.told.lock().orders != orders;
                    bell.wait(|| log.watermark() > watermark || is_told(), due);
                }
                Next::Order(until) => wait_for_orders(part, orders, until),
            }
        }
        self.end(part);
    }

    /// Saves and ends a part.
    fn end(&self, part: &Part<S>) {
        let mut seat = part.seat.lock();
        part.save(&self.name, &mut seat);
        seat.phase = Phase::Stopped;
        part.tell(&seat);
    }

    /// Has all workers look again.
    pub(crate) fn order(&self, is_stopping: bool) {
        for part in &self.parts {
            part.order(is_stopping);
        }
        self.store.log.bell.disturb();
    }

    /// Changes how all parts go; none applies anything between.
    pub(crate) fn turn(
        &self,
        f: impl Fn(&mut Course<S>, &Phase) -> Option<Phase>,
    ) -> Result<(), Error> {
        self.outside()?;
        {
            let mut seats: Vec<_> = self.parts.iter().map(|part| part.seat.lock()).collect();
            if seats.iter().any(|seat| seat.phase == Phase::Stopped) {
                return Err(self.stopped());
            }
            for (part, seat) in self.parts.iter().zip(&mut seats) {
                let seat = &mut **seat;
                if let Some(phase) = f(&mut seat.course, &seat.phase) {
                    seat.phase = phase;
                    part.tell(seat);
                }
            }
        }
        self.order(false);
        if self.is_inline {
            self.parts.iter().for_each(|part| self.catch_up(part));
        }
        Ok(())
    }

    /// Puts other states in the place of all views at once.
    pub(crate) fn put(&self, states: Vec<(S, u64)>, is_reset: bool) -> Result<(), Error> {
        self.outside()?;
        let mut old = Vec::new();
        {
            let mut seats: Vec<_> = self.parts.iter().map(|part| part.seat.lock()).collect();
            if seats.iter().any(|seat| seat.phase == Phase::Stopped) {
                return Err(self.stopped());
            }
            let _held_off = self.no_rebuild()?;
            let mut made = Vec::new();
            for ((part, seat), (state, next)) in self.parts.iter().zip(&seats).zip(states) {
                let plan = Arc::clone(&seat.course.plan);
                let pin = plan.is_pinning.then(|| self.store.pin(next)).transpose();
                let pin = pin.map_err(|error| unreadable(&self.name, &error))?;
                let view = View::new(state, next, plan.skipped_max);
                let course = Course::new(&self.store, plan, part.partition, next);
                let course = course.map_err(|error| unreadable(&self.name, &error))?;
                made.push((course, view, pin));
            }
            for ((part, seat), (course, view, pin)) in self.parts.iter().zip(&mut seats).zip(made) {
                old.push(part.replace(&self.name, seat, course, view, pin, is_reset));
            }
        }
        drop(old);
        self.order(false);
        if self.is_inline {
            self.parts.iter().for_each(|part| self.catch_up(part));
        }
        Ok(())
    }

    /// The position with which it begins.
    pub(crate) fn origin(&self) -> Result<u64, Error> {
        self.outside()?;
        let first = self.parts.first();
        Ok(first.map_or(0, |part| part.seat.lock().course.plan.origin))
    }

    pub(crate) fn reset(&self) -> Result<(), Error> {
        self.outside()?;
        let mut states = Vec::new();
        for part in &self.parts {
            let plan = Arc::clone(&part.seat.lock().course.plan);
            states.push((initial(&self.name, &plan)?, plan.origin));
        }
        self.put(states, true)
    }

    /// Holds off rebuilds, if none runs.
    pub(crate) fn no_rebuild(&self) -> Result<MutexGuard<'_, Option<Arc<Run>>>, Error> {
        let rebuild = self.rebuild.lock();
        if rebuild.as_ref().is_some_and(|run| !run.is_finished()) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "projection {:?}: a rebuild runs (wait for it, or cancel it)",
                    self.name
                ),
            ));
        }
        Ok(rebuild)
    }

    pub(crate) fn stopped(&self) -> Error {
        Error::new(
            ErrorKind::Closed,
            format!("projection {:?} has ended", self.name),
        )
    }

    pub(crate) fn status(&self) -> Status {
        let rebuild = self.rebuild.lock().clone();
        if let Some(run) = rebuild.filter(|run| !run.is_finished()) {
            return Status::Rebuilding(run.progress());
        }
        self.phase()
    }

    /// The status but for a rebuild: the worst of the parts.
    pub(crate) fn phase(&self) -> Status {
        let mut status = Status::Running;
        for part in &self.parts {
            match part.told.lock().phase.clone() {
                Phase::Failed { position, reason } => {
                    let reason = reason.to_string();
                    return Status::Failed { position, reason };
                }
                Phase::Stopped => status = Status::Stopped,
                Phase::Paused if status == Status::Running => status = Status::Paused,
                Phase::Running | Phase::Paused => {}
            }
        }
        status
    }

    /// Where the part that is furthest behind goes on.
    pub(crate) fn next(&self) -> u64 {
        let nexts = self.parts.iter().map(|part| part.told.lock().next);
        nexts.min().unwrap_or(0)
    }

    pub(crate) fn lag(&self) -> u64 {
        // The parts first: what is appended between counts as lag.
        let next = self.next();
        self.store.reader().end().saturating_sub(next)
    }

    pub(crate) fn wait_for(&self, position: u64, timeout: Duration) -> bool {
        self.assert_outside();
        let deadline = clock::deadline(timeout);
        self.parts.iter().all(|part| {
            if self.is_inline {
                self.catch_up(part);
            }
            wait_for_position(part, position, deadline)
        })
    }
}

fn wait_for_orders<S>(part: &Part<S>, orders: u64, until: Option<Instant>) {
    let mut told = part.told.lock();
    while told.orders == orders && !told.is_stopping {
        match until {
            None => part.changed.wait(&mut told),
            Some(until) => {
                if part.changed.wait_until(&mut told, until).timed_out() {
                    break;
                }
            }
        }
    }
}

fn wait_for_position<S>(part: &Part<S>, position: u64, deadline: Option<Instant>) -> bool {
    let mut told = part.told.lock();
    let mut is_late = false;
    loop {
        if told.next > position {
            return true;
        }
        if is_late || matches!(told.phase, Phase::Failed { .. } | Phase::Stopped) {
            return false;
        }
        match deadline {
            None => part.changed.wait(&mut told),
            Some(deadline) => is_late = part.changed.wait_until(&mut told, deadline).timed_out(),
        }
    }
}

pub(crate) fn initial<S: Send + Sync + 'static>(name: &str, plan: &Plan<S>) -> Result<S, Error> {
    contain(|| plan.initial()).map_err(|panic| {
        Error::new(
            ErrorKind::Factory,
            format!("projection {name:?}: its initial state panicked: {panic}"),
        )
    })
}

fn load<S: 'static>(
    name: &str,
    partition: Partition,
    saves: &Option<super::builder::Saves<S>>,
) -> Result<Option<(S, u64)>, Error> {
    let Some((store, _)) = saves else {
        return Ok(None);
    };
    let loaded = contain(|| store.load(name, partition)).unwrap_or_else(Err);
    loaded.map_err(|fault| {
        Error::new(
            ErrorKind::Missing,
            format!("projection {name:?}: its checkpoint cannot be read: {fault}"),
        )
    })
}

/// A walk that cannot begin.
pub(crate) fn unreadable(name: &str, error: &ReadError) -> Error {
    let kind = match error {
        ReadError::Truncated { .. } => ErrorKind::Missing,
        _ => ErrorKind::Setting,
    };
    Error::new(kind, format!("projection {name:?}: {error}"))
}

/// Ends the projection when nobody has a handle any more.
pub(crate) struct Owner<S: Send + Sync + 'static> {
    pub(crate) group: Arc<Group<S>>,
    threads: Vec<thread::JoinHandle<()>>,
    pub(crate) listener: Option<Arc<dyn Listener>>,
}

impl<S: Send + Sync + 'static> Owner<S> {
    /// With a thread for each part, unless it is inline.
    pub(crate) fn start(group: Group<S>) -> Result<Self, Error> {
        let group = Arc::new(group);
        let mut owner = Self {
            group: Arc::clone(&group),
            threads: Vec::new(),
            listener: None,
        };
        let parts = if group.is_inline {
            0
        } else {
            group.parts.len()
        };
        for index in 0..parts {
            let own = Arc::clone(&group);
            let name = format!("project-{}-{index}", group.name);
            // Dropped, the owner stops those that have started.
            let started = thread::start(name, move || own.work(index));
            owner.threads.push(started.map_err(|error| {
                Error::new(
                    ErrorKind::Thread,
                    format!("projection {:?}: no thread: {error}", group.name),
                )
            })?);
        }
        Ok(owner)
    }
}

impl<S: Send + Sync + 'static> Drop for Owner<S> {
    fn drop(&mut self) {
        let group = &self.group;
        if let Some(listener) = self.listener.take() {
            group.store.log.bell.leave(&listener);
        }
        let rebuild = group.rebuild.lock().take();
        if let Some(run) = &rebuild {
            run.cancel(&group.store.log.bell);
        }
        group.order(true);
        // From a function of its own it cannot be waited for: it ends behind it.
        if is_inside(group.identity()) {
            return;
        }
        if let Some(run) = rebuild {
            run.join();
        }
        for thread in self.threads.drain(..) {
            // A worker contains every panic but its own.
            let _ = thread.join();
        }
        if group.is_inline {
            group.parts.iter().for_each(|part| group.end(part));
        }
    }
}

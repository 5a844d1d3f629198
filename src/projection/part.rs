//! One part of a running projection: its walk, its view, and what is told of both.
//!
//! Three locks, taken in this order: the *seat*, which whoever moves the walk or changes how it goes holds; the *view*,
//! which readers share and the walk takes for a batch; the *told*, from which status, lag and waiting are answered, so that
//! nobody has to wait for a batch to hear of it. Mutexes are right here: all of them are taken once for a batch.

use super::builder::{Plan, Saves};
use super::checkpoint::Partition;
use super::course::{Course, Turn};
use super::status::Phase;
use super::view::View;
use crate::event::contain;
use crate::store::{EventStore, ReadError, RetentionPin, Watermark};
use crate::sync::{Arc, Condvar, Mutex, RwLock, clock};
use std::time::Instant;

/// The part.
pub(crate) struct Part<S> {
    pub(crate) partition: Partition,
    pub(crate) seat: Mutex<Seat<S>>,
    pub(crate) view: RwLock<View<S>>,
    pub(crate) told: Mutex<Told>,
    pub(crate) changed: Condvar,
}

/// What moves the view.
pub(crate) struct Seat<S> {
    pub(crate) course: Course<S>,
    pub(crate) phase: Phase,
    saving: Option<Saving<S>>,
    pin: Option<RetentionPin>,
}

struct Saving<S> {
    saves: Saves<S>,
    saved: u64,
    due: Option<Instant>,
}

/// What is known outside of the seat; as far as the view is, but for the batch that runs.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) next: u64,
    pub(crate) phase: Phase,
    /// Moves whenever somebody has changed how it goes.
    pub(crate) orders: u64,
    pub(crate) is_stopping: bool,
    pub(crate) save_faults: u64,
    pub(crate) save_fault: Option<String>,
}

/// What a worker does next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Another batch.
    Again,
    /// Wait for an append above the watermark, or until the time.
    Append(Watermark, Option<Instant>),
    /// Wait for an order, or until the time.
    Order(Option<Instant>),
}

impl<S: Send + Sync + 'static> Part<S> {
    pub(crate) fn new(
        store: &EventStore,
        plan: &Arc<Plan<S>>,
        partition: Partition,
        (state, next): (S, u64),
        saves: Option<Saves<S>>,
    ) -> Result<Self, ReadError> {
        let pin = plan.is_pinning.then(|| store.pin(next)).transpose()?;
        let course = Course::new(store, Arc::clone(plan), partition, next)?;
        Ok(Self {
            partition,
            view: RwLock::new(View::new(state, next, plan.skipped_max)),
            seat: Mutex::new(Seat {
                course,
                phase: Phase::Running,
                saving: saves.map(|saves| Saving {
                    saves,
                    saved: next,
                    due: None,
                }),
                pin,
            }),
            told: Mutex::new(Told {
                next,
                phase: Phase::Running,
                orders: 0,
                is_stopping: false,
                save_faults: 0,
                save_fault: None,
            }),
            changed: Condvar::new(),
        })
    }

    /// Applies a batch, and says what is next.
    pub(crate) fn advance(&self, name: &str, seat: &mut Seat<S>) -> Next {
        if seat.phase != Phase::Running {
            return Next::Order(self.save_if_due(name, seat));
        }
        let policy = seat.course.plan.on_error;
        let turn = {
            let mut view = self.view.write();
            let turn = seat.course.fold(&mut view, u64::MAX, policy);
            // Before readers come in: what is told is never behind what was read.
            self.told.lock().next = view.next;
            turn
        };
        if let Turn::Failed(reason) = &turn {
            seat.phase = Phase::Failed {
                position: seat.course.next(),
                reason: reason.as_str().into(),
            };
        }
        if let Some(pin) = &seat.pin {
            pin.advance(seat.course.next());
        }
        self.tell(seat);
        let due = self.save_if_due(name, seat);
        match turn {
            Turn::Again => Next::Again,
            Turn::Done(watermark) => Next::Append(watermark, due),
            Turn::Later(time) => Next::Order(Some(due.map_or(time, |due| due.min(time)))),
            Turn::Failed(_) => {
                self.save(name, seat);
                Next::Order(None)
            }
        }
    }

    /// Lets everybody know how far the view is and how it goes.
    pub(crate) fn tell(&self, seat: &Seat<S>) {
        let mut told = self.told.lock();
        told.next = seat.course.next();
        if told.phase != seat.phase {
            told.phase = seat.phase.clone();
        }
        drop(told);
        self.changed.notify_all();
    }

    /// Has the worker look again. The bell is rung by the caller, outside of all locks.
    pub(crate) fn order(&self, is_stopping: bool) {
        let mut told = self.told.lock();
        told.orders += 1;
        told.is_stopping |= is_stopping;
        drop(told);
        self.changed.notify_all();
    }

    /// Saves if it is time to; when it will be.
    fn save_if_due(&self, name: &str, seat: &mut Seat<S>) -> Option<Instant> {
        let next = seat.course.next();
        let saving = seat.saving.as_mut()?;
        if next == saving.saved {
            return None;
        }
        let every = saving.saves.1;
        if saving.due.is_none() {
            saving.due = every.time.and_then(clock::deadline);
        }
        let is_due = every
            .events
            .is_some_and(|events| next.abs_diff(saving.saved) >= events)
            || saving.due.is_some_and(|due| clock::left(due).is_zero());
        if is_due {
            self.save(name, seat);
            return None;
        }
        saving.due
    }

    /// Saves the view if it has changed.
    pub(crate) fn save(&self, name: &str, seat: &mut Seat<S>) {
        let Some(saving) = &mut seat.saving else {
            return;
        };
        let view = self.view.read();
        saving.due = None;
        let Some(position) = view.checkpoint().filter(|_| view.next != saving.saved) else {
            return;
        };
        // Tried again when the next one is due, not at once.
        saving.saved = view.next;
        let (store, _) = &saving.saves;
        let saved = contain(|| store.save(name, self.partition, &view.state, position));
        drop(view);
        self.note(saved);
    }

    fn forget(&self, name: &str, seat: &mut Seat<S>) {
        if let Some(saving) = &mut seat.saving {
            saving.due = None;
            saving.saved = seat.course.next();
            let (store, _) = &saving.saves;
            let forgotten = contain(|| store.forget(name, self.partition));
            self.note(forgotten);
        }
    }

    fn note(&self, done: Result<Result<(), String>, String>) {
        let done =
            done.unwrap_or_else(|panic| Err(format!("the checkpoint store panicked: {panic}")));
        if let Err(fault) = done {
            let mut told = self.told.lock();
            told.save_faults += 1;
            told.save_fault = Some(fault);
        }
    }

    /// Puts another state in the view's place, with a walk that goes on behind it. The old state is handed back, to be
    /// dropped outside of the locks.
    pub(crate) fn replace(
        &self,
        name: &str,
        seat: &mut Seat<S>,
        mut course: Course<S>,
        view: View<S>,
        pin: Option<RetentionPin>,
        is_reset: bool,
    ) -> View<S> {
        course.replays_before(seat.course.replay_before());
        seat.course = course;
        seat.pin = pin;
        if matches!(seat.phase, Phase::Failed { .. }) {
            seat.phase = Phase::Running;
        }
        let is_reset = is_reset || view.next == 0;
        let old = {
            let mut place = self.view.write();
            self.told.lock().next = view.next;
            std::mem::replace(&mut *place, view)
        };
        if is_reset {
            self.forget(name, seat);
        } else if let Some(saving) = &mut seat.saving {
            // What was saved came from another view: due with the next batch, or at the end.
            saving.saved = u64::MAX;
        }
        self.tell(seat);
        old
    }
}

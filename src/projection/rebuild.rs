//! Making a view anew while the old one is read and appends go on (PC4).
//!
//! log → **shadow** → swap → view
//!
//! A thread of its own folds the log into a *shadow*, a walk and a view that nobody sees, as far as the live view is. Then
//! it takes the seats of the live parts, folds what they have done meanwhile, and puts the shadow in their place: the
//! checkpoint is the same before and after, only the state came about in another way. So the checkpoint never moves back
//! (PC1), the shadow never meets an event before the live view has, and all that it meets is marked as coming again (PC5).

use super::builder::Plan;
use super::course::{Course, Turn};
use super::group::{Group, unreadable};
use super::view::View;
use crate::error::{Error, ErrorKind};
use crate::event::contain;
use crate::store::{Bell, EventStore, RetentionPin};
use crate::sync::{Arc, Condvar, Mutex, clock, thread};
use std::fmt;
use std::time::{Duration, Instant};

/// How far a rebuild is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RebuildProgress {
    /// The position of the next record that goes into the new view.
    pub next: u64,
    /// The position up to which the old view is: where the new one takes its place.
    pub target: u64,
}

impl RebuildProgress {
    /// The same as a part of 1.
    #[must_use]
    pub fn fraction(&self) -> f64 {
        if self.target == 0 {
            return 1.0;
        }
        self.next as f64 / self.target as f64
    }
}

/// How a rebuild ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rebuilt {
    /// The new view is in the place of the old one.
    Swapped,
    /// It was cancelled, or the projection has ended: the old view is as it was.
    Cancelled,
    /// An event could not be applied: the old view is as it was.
    Failed {
        /// The position of the event.
        position: u64,
        /// What was wrong.
        reason: String,
    },
}

/// A rebuild that was begun. Dropped, it goes on; the projection's end cancels it.
pub struct Rebuild {
    run: Arc<Run>,
    store: EventStore,
}

/// What the rebuild's thread and those who ask share.
pub(crate) struct Run {
    state: Mutex<RunState>,
    changed: Condvar,
}

struct RunState {
    progress: RebuildProgress,
    is_cancelled: bool,
    ended: Option<Rebuilt>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Rebuild {
    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> RebuildProgress {
        self.run.progress()
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.run.is_finished()
    }

    /// Cancels it. Once this returns the view is not swapped any more; `false` if it has ended before.
    pub fn cancel(&self) -> bool {
        self.run.cancel(&self.store.log.bell)
    }

    /// Waits until it has ended. Not to be called from a function of its own projection.
    #[must_use]
    pub fn wait(&self) -> Rebuilt {
        self.run.wait(None).unwrap_or(Rebuilt::Cancelled)
    }

    /// Waits so long at most; `None` if it still runs.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Rebuilt> {
        self.run.wait(clock::deadline(timeout))
    }
}

impl fmt::Debug for Rebuild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rebuild")
            .field("progress", &self.progress())
            .field("is_finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

impl Run {
    pub(crate) fn progress(&self) -> RebuildProgress {
        self.state.lock().progress
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.state.lock().ended.is_some()
    }

    pub(crate) fn cancel(&self, bell: &Bell) -> bool {
        {
            let mut state = self.state.lock();
            if state.ended.is_some() {
                return false;
            }
            state.is_cancelled = true;
        }
        bell.disturb();
        true
    }

    /// Waits for the thread, unless it is this one.
    pub(crate) fn join(&self) {
        let thread = self.state.lock().thread.take();
        if let Some(thread) = thread
            && thread.thread().id() != thread::current()
        {
            let _ = thread.join();
        }
    }

    fn wait(&self, deadline: Option<Instant>) -> Option<Rebuilt> {
        let mut state = self.state.lock();
        let mut is_late = false;
        loop {
            if state.ended.is_some() || is_late {
                return state.ended.clone();
            }
            match deadline {
                None => self.changed.wait(&mut state),
                Some(deadline) => {
                    is_late = self.changed.wait_until(&mut state, deadline).timed_out();
                }
            }
        }
    }

    fn end(&self, ended: Rebuilt) {
        self.state.lock().ended.get_or_insert(ended);
        self.changed.notify_all();
    }

    fn is_cancelled(&self) -> bool {
        self.state.lock().is_cancelled
    }
}

/// A part of the view to come.
struct Shadow<S> {
    course: Course<S>,
    view: View<S>,
    pin: RetentionPin,
}

/// Begins a rebuild, with another plan if one is given, and from other states than the initial ones.
pub(crate) fn begin<S: Send + Sync + 'static>(
    group: &Arc<Group<S>>,
    plan: Option<Plan<S>>,
    from: Option<Vec<(S, Option<u64>)>>,
) -> Result<Rebuild, Error> {
    group.outside()?;
    let setting = |text: String| {
        Error::new(
            ErrorKind::Setting,
            format!("projection {:?}: {text}", group.name),
        )
    };
    let plan = plan.map(Arc::new);
    let mut from = from.map(Vec::into_iter);
    let mut shadows = Vec::new();
    for part in &group.parts {
        let plan = match &plan {
            Some(plan) => Arc::clone(plan),
            None => Arc::clone(&part.seat.lock().course.plan),
        };
        let (state, next) = match &mut from {
            Some(from) => {
                let (state, checkpoint) = from.next().ok_or_else(|| {
                    setting("fewer states to rebuild from than it has partitions".to_owned())
                })?;
                let next = checkpoint.map_or(plan.origin, |position| position.saturating_add(1));
                (state, next)
            }
            None => (super::group::initial(&group.name, &plan)?, plan.origin),
        };
        let unreadable = |error| unreadable(&group.name, &error);
        let pin = group.store.pin(next).map_err(unreadable)?;
        let skipped_max = plan.skipped_max;
        let course = Course::new(&group.store, plan, part.partition, next).map_err(unreadable)?;
        let view = View::new(state, next, skipped_max);
        shadows.push(Shadow { course, view, pin });
    }
    let mut slot = group.no_rebuild()?;
    let mut progress = RebuildProgress {
        next: u64::MAX,
        target: 0,
    };
    for (part, shadow) in group.parts.iter().zip(&shadows) {
        let told = part.told.lock();
        if told.is_stopping {
            return Err(group.stopped());
        }
        if shadow.course.next() > told.next {
            return Err(setting(format!(
                "a rebuild from position {} would begin before the view, which is at {}",
                shadow.course.next(),
                told.next
            )));
        }
        progress.next = progress.next.min(shadow.course.next());
        progress.target = progress.target.max(told.next);
    }
    let run = Arc::new(Run {
        state: Mutex::new(RunState {
            progress,
            is_cancelled: false,
            ended: None,
            thread: None,
        }),
        changed: Condvar::new(),
    });
    let (own_group, own_run) = (Arc::clone(group), Arc::clone(&run));
    let thread = thread::start(format!("rebuild-{}", group.name), move || {
        // Functions are contained where they are called; what is left is the old state's `Drop`.
        let ended = contain(|| work(&own_group, &own_run, shadows));
        own_run.end(ended.unwrap_or_else(|panic| Rebuilt::Failed {
            position: 0,
            reason: panic,
        }));
        // A projection that had failed goes on.
        own_group.order(false);
        if own_group.is_inline {
            own_group
                .parts
                .iter()
                .for_each(|part| own_group.catch_up(part));
        }
    });
    run.state.lock().thread = Some(thread.map_err(|error| {
        let text = format!("projection {:?}: no thread: {error}", group.name);
        Error::new(ErrorKind::Thread, text)
    })?);
    *slot = Some(Arc::clone(&run));
    Ok(Rebuild {
        run,
        store: group.store.clone(),
    })
}

fn work<S: Send + Sync + 'static>(
    group: &Group<S>,
    run: &Run,
    mut shadows: Vec<Shadow<S>>,
) -> Rebuilt {
    loop {
        if run.is_cancelled() {
            return Rebuilt::Cancelled;
        }
        let mut progress = RebuildProgress {
            next: u64::MAX,
            target: 0,
        };
        let mut later: Option<Instant> = None;
        for (part, shadow) in group.parts.iter().zip(&mut shadows) {
            let target = part.told.lock().next;
            match fold(group, shadow, target) {
                Turn::Failed(reason) => return failed(shadow, reason),
                Turn::Later(due) => later = Some(later.map_or(due, |found| found.min(due))),
                Turn::Again | Turn::Done(_) => {}
            }
            shadow.pin.advance(shadow.course.next());
            progress.next = progress.next.min(shadow.course.next());
            progress.target = progress.target.max(target);
        }
        run.state.lock().progress = progress;
        if let Some(due) = later {
            let bell = &group.store.log.bell;
            bell.wait(|| run.is_cancelled(), Some(due));
        } else {
            match swap(group, run, shadows) {
                Ok(rebuilt) => return rebuilt,
                Err(left) => shadows = left,
            }
        }
    }
}

/// One batch. All that lies before the target was applied by the live view.
fn fold<S: Send + Sync + 'static>(group: &Group<S>, shadow: &mut Shadow<S>, target: u64) -> Turn {
    let _inside = group.enter();
    shadow.course.replays_before(target);
    let policy = shadow.course.rebuild_policy();
    shadow.course.fold(&mut shadow.view, target, policy)
}

fn failed<S: Send + Sync + 'static>(shadow: &Shadow<S>, reason: String) -> Rebuilt {
    Rebuilt::Failed {
        position: shadow.course.next(),
        reason,
    }
}

/// Puts the shadows in the place of the live views, if they are near enough; else hands them back.
fn swap<S: Send + Sync + 'static>(
    group: &Group<S>,
    run: &Run,
    mut shadows: Vec<Shadow<S>>,
) -> Result<Rebuilt, Vec<Shadow<S>>> {
    let is_near = |shadow: &Shadow<S>, live: u64| {
        live.saturating_sub(shadow.course.next()) <= 2 * shadow.course.plan.batch as u64
    };
    let told = |(part, shadow): (&super::part::Part<S>, &Shadow<S>)| {
        is_near(shadow, part.told.lock().next)
    };
    if !group.parts.iter().zip(&shadows).all(told) {
        return Err(shadows);
    }
    let mut seats: Vec<_> = group.parts.iter().map(|part| part.seat.lock()).collect();
    // From here on nothing else is applied.
    let mut is_there = true;
    for (seat, shadow) in seats.iter().zip(&mut shadows) {
        let live = seat.course.next();
        is_there &= is_near(shadow, live);
        while is_there && shadow.course.next() < live {
            match fold(group, shadow, live) {
                Turn::Failed(reason) => return Ok(failed(shadow, reason)),
                Turn::Later(_) => is_there = false,
                Turn::Again | Turn::Done(_) => {}
            }
        }
    }
    if !is_there {
        return Err(shadows);
    }
    let mut old = Vec::new();
    {
        // Held, so that a cancel comes either before all of it or too late.
        let mut state = run.state.lock();
        if state.is_cancelled {
            return Ok(Rebuilt::Cancelled);
        }
        for ((part, seat), shadow) in group.parts.iter().zip(&mut seats).zip(shadows) {
            let Shadow { course, view, pin } = shadow;
            let pin = course.plan.is_pinning.then_some(pin);
            old.push(part.replace(&group.name, seat, course, view, pin, false));
        }
        state.progress.next = state.progress.target;
        state.ended = Some(Rebuilt::Swapped);
    }
    drop(seats);
    drop(old);
    Ok(Rebuilt::Swapped)
}

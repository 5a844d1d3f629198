//! What can be done with a running projection, and how one is started.

use super::builder::Projection;
use super::course::of_key;
use super::group::{Group, Owner};
use super::policy::Skipped;
use super::rebuild::{Rebuild, begin};
use super::status::{Health, Phase, Status};
use crate::error::{Error, ErrorKind};
use crate::event::AsKey;
use crate::store::{AppendError, EventStore, Listener};
use crate::sync::Arc;
use std::fmt;
use std::time::Duration;

/// A running projection. Cheap to clone; when the last clone is dropped, the projection saves, ends, and its threads are
/// waited for.
pub struct ProjectionHandle<S: Send + Sync + 'static> {
    owner: Arc<Owner<S>>,
}

impl EventStore {
    /// Runs a projection on a thread of its own, which applies what is appended in batches, and sleeps while there is
    /// nothing.
    ///
    /// # Errors
    /// A setting makes no sense; what it begins with is no longer kept; its checkpoint cannot be read; no thread.
    pub fn project<S: Send + Sync + 'static>(
        &self,
        projection: Projection<S>,
    ) -> Result<ProjectionHandle<S>, Error> {
        self.project_partitioned(projection, 1)
    }

    /// Runs a projection on several threads, each with a view of its own for the keys whose hash, modulo their number, is
    /// its index. What it keeps must be apart by key; one key's events are applied in the log's order.
    ///
    /// # Errors
    /// As [`project`](Self::project).
    pub fn project_partitioned<S: Send + Sync + 'static>(
        &self,
        projection: Projection<S>,
        partitions: usize,
    ) -> Result<ProjectionHandle<S>, Error> {
        let group = Group::new(self, projection, partitions, false)?;
        let owner = Arc::new(Owner::start(group)?);
        Ok(ProjectionHandle { owner })
    }

    /// Runs a projection in the appends: when an append returns, its events are in the view. For small views, as appenders
    /// wait for it and for each other. An event that it cannot apply stops it and not the append. Its functions, and looks at
    /// its view, must not append to a store with inline projections: that is refused as
    /// [`AppendError::WouldDeadlock`].
    ///
    /// # Errors
    /// As [`project`](Self::project); also for what needs a thread: a retry with a delay, saving after a time.
    pub fn project_inline<S: Send + Sync + 'static>(
        &self,
        projection: Projection<S>,
    ) -> Result<ProjectionHandle<S>, Error> {
        let mut owner = Owner::start(Group::new(self, projection, 1, true)?)?;
        let listener: Arc<dyn Listener> = Arc::new(Inline(Arc::clone(&owner.group)));
        owner.listener = Some(Arc::clone(&listener));
        self.log.bell.listen(listener);
        // An append that has not seen the listener has given this lock back, so what it committed is seen below; one that
        // takes the lock later sees the listener.
        drop(self.log.lock());
        owner
            .group
            .parts
            .iter()
            .for_each(|part| owner.group.catch_up(part));
        Ok(ProjectionHandle {
            owner: Arc::new(owner),
        })
    }
}

/// The appends' way to an inline projection.
struct Inline<S>(Arc<Group<S>>);

impl<S: Send + Sync + 'static> Listener for Inline<S> {
    fn admit(&self, _: Option<u64>) -> Result<(), AppendError> {
        if super::inside::is_inside_inline() {
            return Err(AppendError::WouldDeadlock);
        }
        Ok(())
    }

    fn appended(&self, _: Option<u64>) {
        // A mark is not asked for admission: whoever is inside goes on to it, or the next append does.
        if !super::inside::is_inside_inline() {
            self.0.parts.iter().for_each(|part| self.0.catch_up(part));
        }
    }

    fn is_closed(&self) -> bool {
        false
    }

    fn rolled(&self) {}
}

impl<S: Send + Sync + 'static> ProjectionHandle<S> {
    fn group(&self) -> &Arc<Group<S>> {
        &self.owner.group
    }

    /// The projection's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.group().name
    }

    /// How many partitions it has.
    #[must_use]
    pub fn partitions(&self) -> usize {
        self.group().parts.len()
    }

    /// Looks at the view and its checkpoint, the position of the last event that is in it, together. Batches wait
    /// meanwhile.
    ///
    /// # Panics
    /// If the projection is partitioned, or from inside one of its functions or another look at it.
    #[track_caller]
    pub fn read<R>(&self, look: impl FnOnce(&S, Option<u64>) -> R) -> R {
        assert_eq!(
            self.partitions(),
            1,
            "projection {:?} has no view of its own but those of its partitions (use `read_key` or `read_partitions`)",
            self.name()
        );
        self.look(0, look)
    }

    /// Looks at the view of the partition that has a key.
    ///
    /// # Panics
    /// From inside one of its functions or another look at it.
    #[track_caller]
    pub fn read_key<R>(
        &self,
        key: &(impl AsKey + ?Sized),
        look: impl FnOnce(&S, Option<u64>) -> R,
    ) -> R {
        let hash = key.as_key().hash();
        self.look(hash.map_or(0, |hash| of_key(hash, self.partitions())), look)
    }

    #[track_caller]
    fn look<R>(&self, part: usize, look: impl FnOnce(&S, Option<u64>) -> R) -> R {
        let group = self.group();
        group.assert_outside();
        let view = group.parts[part].view.read();
        let _inside = group.enter();
        look(&view.state, view.checkpoint())
    }

    /// Looks at the views of all partitions at one time, in order, each with its checkpoint, which may differ.
    ///
    /// # Panics
    /// From inside one of its functions or another look at it.
    #[track_caller]
    pub fn read_partitions<R>(&self, look: impl FnOnce(&[(&S, Option<u64>)]) -> R) -> R {
        let group = self.group();
        group.assert_outside();
        let views: Vec<_> = group.parts.iter().map(|part| part.view.read()).collect();
        let _inside = group.enter();
        let pairs: Vec<_> = views
            .iter()
            .map(|view| (&view.state, view.checkpoint()))
            .collect();
        look(&pairs)
    }

    /// Copies of all views with their checkpoints, one for each partition, for
    /// [`resume_from`](Projection::resume_from) or [`import`](Self::import).
    #[must_use]
    pub fn export(&self) -> Vec<(S, Option<u64>)>
    where
        S: Clone,
    {
        self.read_partitions(|views| {
            let copy = |&(state, checkpoint): &(&S, Option<u64>)| (S::clone(state), checkpoint);
            views.iter().map(copy).collect()
        })
    }

    /// Puts other states in the place of the views, all at once, and goes on behind their checkpoints. What was applied
    /// before and comes again is marked as a replay.
    ///
    /// # Errors
    /// There is not one state for each partition; a checkpoint is beyond the log, or no longer kept; a rebuild runs; the
    /// projection has ended, or the call comes from inside it.
    pub fn import(&self, states: Vec<(S, Option<u64>)>) -> Result<(), Error> {
        if states.len() != self.partitions() {
            return Err(Error::new(
                ErrorKind::Setting,
                format!(
                    "projection {:?}: {} states for {} partitions",
                    self.name(),
                    states.len(),
                    self.partitions()
                ),
            ));
        }
        let group = self.group();
        let origin = group.origin()?;
        let behind = |position: u64| position.saturating_add(1);
        let states = states.into_iter();
        let states = states.map(|(state, checkpoint)| (state, checkpoint.map_or(origin, behind)));
        group.put(states.collect(), false)
    }

    /// The position of the last event that is in the view; of partitions, in all of their views.
    #[must_use]
    pub fn checkpoint(&self) -> Option<u64> {
        self.group().next().checked_sub(1)
    }

    /// How many records of the log are not in the view.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.group().lag()
    }

    /// What it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        self.group().status()
    }

    /// Whether it is doing well: it has not failed or ended, and has no more than so many records before it.
    #[must_use]
    pub fn health(&self, lag_max: u64) -> Health {
        let lag = self.lag();
        match self.group().phase() {
            Status::Failed { position, reason } => Health::Failed { position, reason },
            Status::Stopped => Health::Stopped,
            _ if lag > lag_max => Health::Lagging { lag, lag_max },
            _ => Health::Healthy { lag },
        }
    }

    /// Waits until the record at a position is in the view (PC7), or was left out of it; `false` if the time is up before,
    /// or if the projection has failed or ended.
    ///
    /// # Panics
    /// From inside one of its functions or a look at it.
    #[must_use]
    #[track_caller]
    pub fn wait_for(&self, position: u64, timeout: Duration) -> bool {
        self.group().wait_for(position, timeout)
    }

    /// Applies nothing more until [`resume`](Self::resume); once it returns, no function runs.
    ///
    /// # Errors
    /// The projection has ended, or the call comes from inside it.
    pub fn pause(&self) -> Result<(), Error> {
        self.group()
            .turn(|_, phase| (*phase == Phase::Running).then_some(Phase::Paused))
    }

    /// Goes on after a pause, or after a failure, with the event that had failed.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub fn resume(&self) -> Result<(), Error> {
        self.group().turn(|course, phase| {
            course.forgive();
            (*phase != Phase::Running).then_some(Phase::Running)
        })
    }

    /// Begins anew: the initial state, with all events to come again, marked as a replay. The one call besides
    /// [`import`](Self::import) that moves the checkpoint back; readers see how the view comes to be, which a
    /// [`rebuild`](Self::rebuild) spares them.
    ///
    /// # Errors
    /// The first events are no longer kept; a rebuild runs; the projection has ended, or the call comes from inside it.
    pub fn reset(&self) -> Result<(), Error> {
        self.group().reset()
    }

    /// Makes the view anew while the old one is read and appends go on, and puts it in the old one's place at the same
    /// checkpoint. A projection that had failed goes on then.
    ///
    /// # Errors
    /// As [`reset`](Self::reset).
    pub fn rebuild(&self) -> Result<Rebuild, Error> {
        begin(self.group(), None, None)
    }

    /// The same from states in which everything up to their checkpoints is applied, one for each partition.
    ///
    /// # Errors
    /// As [`reset`](Self::reset); also if a checkpoint is beyond the view's.
    pub fn rebuild_from(&self, states: Vec<(S, Option<u64>)>) -> Result<Rebuild, Error> {
        begin(self.group(), None, Some(states))
    }

    /// The same with other functions, filters and policies, which are the projection's from the swap on. Name, partitions
    /// and saving stay.
    ///
    /// # Errors
    /// As [`reset`](Self::reset); also if a setting makes no sense.
    pub fn rebuild_with(&self, projection: Projection<S>) -> Result<Rebuild, Error> {
        let mut faults = projection.faults();
        if self.group().is_inline && !projection.plan.on_error.delay.is_zero() {
            faults.push("a retry with a delay would hold up appends".to_owned());
        }
        if !faults.is_empty() {
            return Err(Error::new(ErrorKind::Setting, faults.join("; ")));
        }
        let from = (!projection.resume.is_empty()).then_some(projection.resume);
        begin(self.group(), Some(projection.plan), from)
    }

    /// The latest events that were left out of the view, by partition and in the log's order.
    ///
    /// # Panics
    /// From inside one of its functions or a look at it.
    #[must_use]
    #[track_caller]
    pub fn skipped(&self) -> Vec<Skipped> {
        let group = self.group();
        group.assert_outside();
        let of_part = |part: &super::part::Part<S>| -> Vec<Skipped> {
            part.view.read().skipped.latest().cloned().collect()
        };
        group.parts.iter().flat_map(of_part).collect()
    }

    /// How many events were left out of the view.
    ///
    /// # Panics
    /// From inside one of its functions or a look at it.
    #[must_use]
    #[track_caller]
    pub fn skipped_count(&self) -> u64 {
        let group = self.group();
        group.assert_outside();
        let counts = group
            .parts
            .iter()
            .map(|part| part.view.read().skipped.count());
        counts.sum()
    }

    /// How often the view could not be saved, and why the last time.
    #[must_use]
    pub fn save_faults(&self) -> (u64, Option<String>) {
        let mut found = (0, None);
        for part in &self.group().parts {
            let told = part.told.lock();
            found.0 += told.save_faults;
            found.1 = told.save_fault.clone().or(found.1);
        }
        found
    }
}

impl<S: Send + Sync + 'static> Clone for ProjectionHandle<S> {
    fn clone(&self) -> Self {
        Self {
            owner: Arc::clone(&self.owner),
        }
    }
}

impl<S: Send + Sync + 'static> fmt::Debug for ProjectionHandle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectionHandle")
            .field("name", &self.name())
            .field("partitions", &self.partitions())
            .field("checkpoint", &self.checkpoint())
            .finish_non_exhaustive()
    }
}

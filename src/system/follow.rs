//! Having an engine's workers follow a log.

use super::engine::Engine;
use crate::error::{Error, ErrorKind};
use crate::lane::GateState;
use crate::store::{EventStore, Start};
use crate::sync::Arc;
use crate::worker::{Following, Letter, WhenBehind};

/// How an engine follows a store; see [`Handle::follow`](crate::Handle::follow).
#[derive(Debug, Clone)]
#[must_use = "nothing is followed before it is handed to `follow`"]
pub struct Follow {
    store: EventStore,
    start: Start,
    lag_max: u64,
    when_behind: WhenBehind,
}

impl Follow {
    /// Follows this store from its end on.
    pub fn new(store: &EventStore) -> Self {
        Self {
            store: store.clone(),
            start: Start::End,
            lag_max: 1 << 20,
            when_behind: WhenBehind::default(),
        }
    }

    /// Where to begin: with what is appended from now on, if nothing is said.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// How many records a worker may be behind before an append for it waits or is refused; 1,048,576.
    pub fn lag_max(mut self, records: u64) -> Self {
        self.lag_max = records;
        self
    }

    /// What is done with an append then; it waits.
    pub fn when_behind(mut self, when_behind: WhenBehind) -> Self {
        self.when_behind = when_behind;
        self
    }
}

impl Engine {
    pub(crate) fn follow(&self, follow: &Follow) -> Result<(), Error> {
        if follow.lag_max == 0 {
            return Err(Error::new(
                ErrorKind::Setting,
                "lag_max: 0 is below 1 (no event could be appended)",
            ));
        }
        let mut place = self.following.lock();
        if place.is_some() {
            return Err(Error::new(
                ErrorKind::Conflict,
                "the engine follows a store already (one engine follows one store)",
            ));
        }
        if self.fabric.gate.state() != GateState::Open {
            return Err(Error::new(ErrorKind::Closed, "the engine is stopping"));
        }
        let following = Following::new(
            &self.fabric,
            &follow.store,
            follow.start,
            follow.lag_max,
            follow.when_behind,
        )
        .map_err(|error| Error::new(ErrorKind::Missing, error.to_string()))?;
        let following = Arc::new(following);
        Following::begin(&following);
        for worker in 0..self.workers.len() {
            if let Some(lane) = Following::lane(&following, worker) {
                self.send(worker, Letter::Follow(Box::new(lane)));
            }
        }
        *place = Some(following);
        Ok(())
    }

    /// The position behind which the store's records were taken by no worker; `None` without a store.
    pub(crate) fn followed_to(&self) -> Option<u64> {
        self.following
            .lock()
            .as_ref()
            .map(|following| following.position())
    }
}

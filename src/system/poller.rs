//! A worker that runs on a thread of the user's.

use super::engine::Engine;
use crate::error::{Error, ErrorKind};
use crate::publish::Polling;
use crate::sync::{Arc, thread};
use crate::worker::Worker;
use std::fmt;
use std::time::Duration;

/// What a [`Poller`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// So many events were handled; 0 if nothing waited.
    Events(usize),
    /// The engine has stopped: nothing will come any more.
    Stopped,
}

/// The worker of a polled pool, in the hands of the thread that made it.
///
/// Handlers run inside [`poll`](Self::poll). Dropping the poller leaves the pool without a worker; what
/// waits or comes is kept for the next poller, and abandoned at shutdown: once that has begun there is no
/// next one.
pub struct Poller {
    engine: Arc<Engine>,
    pool: usize,
    /// `None` once the engine has stopped it.
    worker: Option<Worker>,
    _polling: Polling,
}

impl Poller {
    pub(crate) fn new(engine: &Arc<Engine>, name: &str) -> Result<Self, Error> {
        let pool = engine.polled_pool(name)?;
        let _turn = engine.changes.lock();
        if !engine.fabric.gate.is_open() {
            return Err(Error::new(
                ErrorKind::Closed,
                format!("poller: the engine of pool {name} is stopping"),
            ));
        }
        {
            let mut poller = engine.pools[pool].poller.lock();
            if poller.is_some() {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("poller: the pool {name} has a poller (drop it first)"),
                ));
            }
            // From here on letters are sent: what is withdrawn while handlers are made is found in one.
            *poller = Some(thread::current());
        }
        let mut worker = engine.make_worker(pool);
        let subscriptions: Vec<_> = engine
            .registry
            .lock()
            .alive
            .iter()
            .filter(|shared| shared.pool == pool)
            .cloned()
            .collect();
        for shared in subscriptions {
            if let Err(failure) = worker.install(&shared) {
                let text = format!(
                    "subscription {}: its factory failed: {failure}",
                    shared.name
                );
                engine.put_down(pool, worker);
                return Err(Error::new(ErrorKind::Factory, text));
            }
        }
        let polling = Polling::new(&engine.fabric, pool);
        Ok(Self {
            engine: Arc::clone(engine),
            pool,
            worker: Some(worker),
            _polling: polling,
        })
    }

    /// Handles what waits, up to `batches` batches, and returns; never waits.
    pub fn poll(&mut self, batches: usize) -> Polled {
        let Some(worker) = &mut self.worker else {
            return Polled::Stopped;
        };
        let taken = worker.poll(batches);
        if worker.is_stopped() {
            if let Some(worker) = self.worker.take() {
                // Ended first: until the place is free nobody else abandons what is left.
                worker.end();
                *self.engine.pools[self.pool].poller.lock() = None;
            }
            if taken == 0 {
                return Polled::Stopped;
            }
        }
        Polled::Events(taken)
    }

    /// Sleeps until something may wait, or until the time is up.
    pub fn wait(&mut self, timeout: Duration) {
        if let Some(worker) = &mut self.worker {
            worker.park(Some(timeout));
        }
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            self.engine.put_down(self.pool, worker);
        }
    }
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller")
            .field("pool", &self.engine.fabric.pools[self.pool].name)
            .field("is_stopped", &self.worker.is_none())
            .finish_non_exhaustive()
    }
}

//! A receipt: somebody who waits for the outcome of one event.
//!
//! **publish** → route → lane → worker → handler → **outcome**

use crate::error::{Error, ErrorKind};
use crate::event::Settle;
use crate::outcome::Ended;
use crate::sync::{Arc, Condvar, Mutex, clock};
use smallvec::SmallVec;
use std::time::Duration;

use super::is_worker_thread;

/// How each delivery of a tracked event ended: (subscription id, ending), in the order of ending.
pub type Deliveries = Vec<(u64, Ended)>;

#[derive(Debug, Default)]
struct State {
    /// Pools that have not taken the event yet.
    pools: usize,
    /// Deliveries that have begun or are to begin, and have not ended.
    open: usize,
    ended: SmallVec<[(u64, Ended); 4]>,
}

/// The shared part, in the event's extras. A lock is right here: it is taken a few times per tracked
/// event, and by nobody else.
#[derive(Debug)]
pub(crate) struct Tracker {
    state: Mutex<State>,
    changed: Condvar,
}

impl Tracker {
    pub(crate) fn new(pools: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                pools,
                ..State::default()
            }),
            changed: Condvar::new(),
        })
    }

    /// The number of pools is known only when the event is admitted.
    pub(crate) fn expect_pools(&self, pools: usize) {
        self.state.lock().pools = pools;
    }
}

impl Settle for Tracker {
    fn taken(&self, deliveries: usize) {
        let mut state = self.state.lock();
        state.pools -= 1;
        state.open += deliveries;
        if state.pools == 0 && state.open == 0 {
            self.changed.notify_all();
        }
    }

    fn ended(&self, subscription: u64, ended: Ended) {
        let mut state = self.state.lock();
        state.open -= 1;
        state.ended.push((subscription, ended));
        if state.pools == 0 && state.open == 0 {
            self.changed.notify_all();
        }
    }
}

/// Tells how every delivery of a tracked event ended, once all have.
#[derive(Debug, Clone)]
#[must_use = "a receipt that nobody asks is a plain publish with an allocation"]
pub struct Receipt(pub(crate) Arc<Tracker>);

impl Receipt {
    /// The endings so far, and whether these are all.
    #[must_use]
    pub fn peek(&self) -> (Deliveries, bool) {
        let state = self.0.state.lock();
        (state.ended.to_vec(), state.pools == 0 && state.open == 0)
    }

    /// Waits for all deliveries; an event without a subscription has none and is done at once.
    ///
    /// # Errors
    /// `is_would_deadlock` on a worker's thread, which may be the one that has to handle the event: ask
    /// [`peek`](Self::peek) instead.
    pub fn wait(&self) -> Result<Deliveries, Error> {
        match self.wait_until(None)? {
            Some(deliveries) => Ok(deliveries),
            None => unreachable!("only a deadline ends the wait without an answer"),
        }
    }

    /// Waits at most this long; `None` if some delivery was still open then.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_for(&self, timeout: Duration) -> Result<Option<Deliveries>, Error> {
        self.wait_until(clock::deadline(timeout))
    }

    fn wait_until(
        &self,
        deadline: Option<std::time::Instant>,
    ) -> Result<Option<Deliveries>, Error> {
        if is_worker_thread() {
            return Err(Error::new(
                ErrorKind::WouldDeadlock,
                "waiting for a receipt on a worker's thread would wait for itself (use peek)",
            ));
        }
        let mut state = self.0.state.lock();
        while state.pools != 0 || state.open != 0 {
            match deadline {
                None => self.0.changed.wait(&mut state),
                Some(deadline) => {
                    if self.0.changed.wait_until(&mut state, deadline).timed_out()
                        && (state.pools != 0 || state.open != 0)
                    {
                        return Ok(None);
                    }
                }
            }
        }
        Ok(Some(state.ended.to_vec()))
    }
}

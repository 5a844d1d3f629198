//! Who waits for the outcome of one event is told here how each of its deliveries ended.
//!
//! event → publish → route → lane → worker → handler → **outcome**

use crate::outcome::Ended;
use crate::sync::{Condvar, Mutex};
use smallvec::SmallVec;
use std::time::Instant;

/// Part of the event's extras, so that tracking costs one allocation with everything else that is rare.
/// A lock is right: it is taken a few times per tracked event, and by nobody else.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Pools that have not taken the event yet; known only when the event is admitted.
    pools: usize,
    /// Deliveries that have begun or are to begin, and have not ended.
    open: usize,
    ended: SmallVec<[(u64, Ended); 4]>,
}

impl State {
    fn is_complete(&self) -> bool {
        self.pools == 0 && self.open == 0
    }
}

impl Tracker {
    /// The event goes to so many pools.
    pub(crate) fn expect_pools(&self, pools: usize) {
        self.state.lock().pools = pools;
    }

    /// A pool has taken the event: that many deliveries follow from it.
    pub(crate) fn taken(&self, deliveries: usize) {
        let mut state = self.state.lock();
        state.pools -= 1;
        state.open += deliveries;
        if state.is_complete() {
            self.changed.notify_all();
        }
    }

    /// One delivery has ended.
    pub(crate) fn ended(&self, subscription: u64, ended: Ended) {
        let mut state = self.state.lock();
        state.open -= 1;
        state.ended.push((subscription, ended));
        if state.is_complete() {
            self.changed.notify_all();
        }
    }

    /// The endings so far, and whether these are all.
    pub(crate) fn peek(&self) -> (Vec<(u64, Ended)>, bool) {
        let state = self.state.lock();
        (state.ended.to_vec(), state.is_complete())
    }

    /// Waits for all deliveries, or until then; `None` if some were open at that time.
    pub(crate) fn wait_until(&self, deadline: Option<Instant>) -> Option<Vec<(u64, Ended)>> {
        let mut state = self.state.lock();
        while !state.is_complete() {
            match deadline {
                None => self.changed.wait(&mut state),
                Some(deadline) => {
                    if self.changed.wait_until(&mut state, deadline).timed_out()
                        && !state.is_complete()
                    {
                        return None;
                    }
                }
            }
        }
        Some(state.ended.to_vec())
    }
}

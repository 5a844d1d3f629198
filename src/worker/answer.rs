//! What somebody waits for who has told workers something.
//!
//! publish → route → lane → **worker** → handler → outcome

use crate::outcome::Failure;
use crate::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

/// Counts workers down and keeps what failed. A lock is right: one letter, one answer, somebody waits.
#[derive(Debug)]
pub(crate) struct Answer {
    state: Mutex<AnswerState>,
    changed: Condvar,
}

#[derive(Debug)]
struct AnswerState {
    left: usize,
    failure: Option<Failure>,
}

impl Answer {
    pub(crate) fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(AnswerState {
                left: workers,
                failure: None,
            }),
            changed: Condvar::new(),
        })
    }

    pub(crate) fn give(&self, result: Result<(), Failure>) {
        // Lock [answer]: what the worker did before is there for whoever finds the answer complete (W3).
        let mut state = self.state.lock();
        state.left -= 1;
        if let Err(failure) = result {
            state.failure.get_or_insert(failure);
        }
        if state.left == 0 {
            self.changed.notify_all();
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        // Lock [answer]: as in `wait`.
        self.state.lock().left == 0
    }

    /// Waits for every worker; the first failure, if there was one.
    pub(crate) fn wait(&self) -> Option<Failure> {
        // Lock [answer]: pairs with `give`.
        let mut state = self.state.lock();
        while state.left != 0 {
            self.changed.wait(&mut state);
        }
        state.failure.take()
    }

    /// Waits until then; whether every worker has answered.
    pub(crate) fn wait_until(&self, deadline: Option<Instant>) -> bool {
        // Lock [answer]: as in `wait`.
        let mut state = self.state.lock();
        while state.left != 0 {
            match deadline {
                None => self.changed.wait(&mut state),
                Some(deadline) => {
                    if self.changed.wait_until(&mut state, deadline).timed_out() {
                        return state.left == 0;
                    }
                }
            }
        }
        true
    }
}

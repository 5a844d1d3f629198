//! A receipt: somebody who waits for the outcome of one event.
//!
//! publish → route → lane → worker → handler → **outcome**

use super::may_wait_for_itself;
use crate::error::{Error, ErrorKind};
use crate::event::{Extras, Tracker};
use crate::outcome::Ended;
use crate::sync::{Arc, clock};
use std::time::{Duration, Instant};

/// How each delivery of a tracked event ended: (subscription id, ending), in the order of ending.
pub type Deliveries = Vec<(u64, Ended)>;

/// Tells how every delivery of a tracked event ended, once all have.
#[derive(Debug, Clone)]
#[must_use = "a receipt that nobody asks is a plain publish with an allocation"]
pub struct Receipt(pub(crate) Arc<Extras>);

impl Receipt {
    fn tracker(&self) -> &Tracker {
        match &self.0.receipt {
            Some(tracker) => tracker,
            None => unreachable!("a receipt is made for a tracked event"),
        }
    }

    /// The endings so far, and whether these are all.
    #[must_use]
    pub fn peek(&self) -> (Deliveries, bool) {
        self.tracker().peek()
    }

    /// Waits for all deliveries; an event without a subscription has none and is done at once.
    ///
    /// # Errors
    /// `is_would_deadlock` on a worker's or a poller's thread, which may be the one that has to handle the
    /// event: ask [`peek`](Self::peek) instead.
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

    fn wait_until(&self, deadline: Option<Instant>) -> Result<Option<Deliveries>, Error> {
        if may_wait_for_itself() && !self.peek().1 {
            return Err(Error::new(
                ErrorKind::WouldDeadlock,
                "waiting for a receipt on a worker's or a poller's thread would wait for itself (use peek, and poll)",
            ));
        }
        Ok(self.tracker().wait_until(deadline))
    }
}

//! Events that are published later: from the caller to the wheel of a worker.
//!
//! **publish** → route → lane → worker → handler → outcome

use super::engine::Engine;
use crate::event::Event;
use crate::lane::GateState;
use crate::publish::{Parcel, PublishError, Scheduled};
use crate::route::pick;
use crate::sync::Arc;
use crate::worker::Letter;
use std::time::Duration;

impl Engine {
    /// Hands an event to the worker that its key would go to, for its wheel.
    pub(crate) fn publish_later<E: Event>(
        &self,
        parcel: Parcel<E>,
        delay: Duration,
    ) -> Result<Scheduled<E>, PublishError<E>> {
        let refuse = |parcel: Parcel<E>| match parcel.into_event() {
            Some(event) => event,
            None => unreachable!("the event has gone nowhere yet"),
        };
        if !self.fabric.gate.is_open() {
            return Err(PublishError::Closed(refuse(parcel)));
        }
        if !self.delayed.enter(self.delayed_max) {
            return Err(PublishError::Full(refuse(parcel)));
        }
        let clock = &self.fabric.clock;
        let due = clock.raw_after(clock.raw(), delay);
        let worker = self.worker_for(&parcel);
        let scheduled = Scheduled::new(parcel, Arc::clone(&self.delayed));
        self.send(worker, Letter::Publish(due, scheduled.erased()));
        // A worker that was told to stop reads its letters once more, and abandons what they bring; one that
        // had ended does not. The gate is shut before any is told, so a letter that was too late is found
        // here: either this has the event, or the worker had it.
        if self.fabric.gate.state() == GateState::Shut
            && let Some(event) = scheduled.cancel()
        {
            return Err(PublishError::Closed(event));
        }
        Ok(scheduled)
    }

    /// A worker of the first pool that wants the event; any, if none does yet.
    fn worker_for<E: Event>(&self, parcel: &Parcel<E>) -> usize {
        let pools = self.fabric.routes.pools(parcel.label.type_index);
        let pool = if pools == 0 {
            0
        } else {
            pools.trailing_zeros() as usize
        };
        let info = &self.fabric.pools[pool];
        let offset = parcel.label.key.map_or(0, |hash| pick(hash, info.count));
        (info.first + offset) as usize
    }
}

//! How a worker gives the dead-letter queue what has failed for good.
//!
//! publish → route → lane → **worker** → handler → outcome → (retry | breaker | **dead letter**)

use super::attempt::Of;
use super::hold::Waiting;
use super::letter::Letter as Told;
use super::tend::Place;
use crate::dead_letter::{Failed, Letter, LetterId, Notify, Offered, Queue, Reason, Subscriber};
use crate::event::{Head, Slot, contain};
use crate::outcome::Failure;
use crate::route::{Control, WorkerPort};
use crate::sync::clock::Clock;
use crate::sync::{Arc, Barrier};

/// What the queue did with a delivery that failed for good.
pub(super) enum Buried {
    /// It is a letter; another may have had to go for it.
    Kept(Head, Option<LetterId>),
    /// It is not kept.
    Refused(Waiting),
    /// There is no room, and the delivery is to wait for it, with the letter that was made of it.
    Full(Waiting),
}

/// The engine's queue, as one worker uses it.
pub(crate) struct Letters {
    queue: Arc<Queue>,
    port: Arc<WorkerPort>,
    barrier: Barrier,
}

impl Letters {
    pub(super) fn new(queue: Arc<Queue>, port: Arc<WorkerPort>, barrier: Barrier) -> Self {
        Self {
            queue,
            port,
            barrier,
        }
    }

    /// What is to be called when there may be room for a subscription's letters.
    pub(super) fn room(&self, place: Place) -> Notify {
        let (port, barrier) = (Arc::clone(&self.port), self.barrier);
        Arc::new(move || {
            port.send(Control::Letter(Box::new(Told::Room(place))), barrier);
        })
    }

    /// Makes a letter of a delivery, unless that was done before, and offers it.
    pub(super) fn bury(
        &self,
        of: &Of,
        mut waiting: Waiting,
        reason: Reason,
        clock: &Clock,
        room: &Notify,
    ) -> Buried {
        let letter = match waiting.letter.take() {
            Some(letter) => *letter,
            None => {
                let errors = chain_of(waiting.failure.as_ref());
                Letter::new(
                    shared(&mut waiting.slot),
                    Arc::clone(&of.shared.subscriber),
                    reason,
                    &errors,
                    std::mem::take(&mut waiting.trail),
                    clock.wall_ms(clock.raw()),
                )
            }
        };
        let (kept, evicted) = match self.queue.offer(letter, Some(room)) {
            Offered::Kept(_) => (true, None),
            Offered::Evicted { evicted, .. } => (true, Some(evicted)),
            Offered::Full(letter) => {
                waiting.letter = Some(letter);
                return Buried::Full(waiting);
            }
            Offered::Refused(letter) => {
                // The event's drop is the user's code.
                let _ = contain(|| drop(letter));
                (false, None)
            }
        };
        if !kept {
            return Buried::Refused(waiting);
        }
        let head = waiting.slot.head().clone();
        if let Some(failure) = waiting.failure.take() {
            super::attempt::drop_contained(failure);
        }
        Buried::Kept(head, evicted)
    }

    pub(super) fn is_parked(&self, subscriber: &Subscriber, key: u64) -> bool {
        subscriber.has_parked() && self.queue.is_parked(subscriber.id, key)
    }
}

/// What a redelivery that failed leaves in its letter.
pub(super) fn failed(waiting: &mut Waiting, reason: Reason, clock: &Clock) -> Failed {
    Failed {
        reason,
        errors: chain_of(waiting.failure.as_ref()),
        attempts: std::mem::take(&mut waiting.trail),
        at_ms: clock.wall_ms(clock.raw()),
    }
}

/// The errors in a chain are the user's, and so is what puts them into words.
fn chain_of(failure: Option<&Failure>) -> Vec<String> {
    failure.map_or_else(Vec::new, |failure| {
        contain(|| failure.chain()).unwrap_or_else(|_| vec![failure.message().to_owned()])
    })
}

/// A share of the event, or its envelope where the value was taken.
fn shared(slot: &mut Slot) -> Slot {
    if let Some(share) = slot.share() {
        return share;
    }
    let (head, payload) = slot.split();
    payload.envelope(head)
}

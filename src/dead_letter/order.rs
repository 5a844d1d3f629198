//! A redelivery on its way: the claim of a letter or a key, in the hands of the worker that makes the attempts.
//!
//! publish → route → lane → worker → handler → outcome → (retry | breaker | **dead letter**)
//!
//! An order that is dropped gives up what it claimed, so that a letter is never lost on the way, whoever stops.

pub(crate) use super::queue::Failed;

use super::letter::{LetterId, Subscriber};
use super::queue::Queue;
use super::ticket::{Flow, LetterOutcome, Redelivered};
use crate::error::Error;
use crate::event::Slot;
use crate::sync::Arc;
use std::fmt;

/// One letter's event, for a delivery to its subscription alone (DQ2): the same id and correlation, a fresh budget of
/// attempts.
#[derive(Debug)]
pub(crate) struct Redelivery {
    #[cfg(test)]
    pub(crate) letter: LetterId,
    /// A share of the value, or the value where the subscription takes it.
    pub(crate) slot: Slot,
    /// How many redeliveries failed before.
    #[cfg(test)]
    pub(crate) replays: u32,
}

/// What an order asks for next.
#[derive(Debug)]
#[must_use]
#[allow(
    clippy::large_enum_variant,
    reason = "it is taken apart where it is returned, and rarely made"
)]
pub(crate) enum Next {
    /// Attempts with this one; then [`Order::succeed`], [`Order::fail`] or [`Order::give_up`].
    Deliver(Redelivery),
    /// The order is over, and no key was held, or its letters stay parked.
    Done,
    /// The order is over and its key is free: live delivery goes on from here.
    Unparked,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Letter(LetterId),
    Key((u64, u64)),
}

/// The claim of a letter, or of a key with all its letters.
pub(crate) struct Order {
    queue: Arc<Queue>,
    subscriber: Arc<Subscriber>,
    what: What,
    flow: Arc<Flow>,
    /// The letter it begins with.
    first: LetterId,
    /// The letter that is being delivered.
    current: Option<LetterId>,
    has_begun: bool,
    /// Nothing is claimed any more.
    is_over: bool,
}

impl Order {
    /// Claims a letter; an error if it is claimed, gone, or parked behind others.
    pub(super) fn of_letter(
        queue: &Arc<Queue>,
        id: LetterId,
        flow: &Arc<Flow>,
    ) -> Result<Self, Error> {
        let subscriber = queue.claim_letter(id)?;
        Ok(Self::claimed(
            queue,
            (subscriber, id),
            What::Letter(id),
            flow,
        ))
    }

    /// Claims a key; an error if it is claimed, or not parked.
    pub(super) fn of_key(
        queue: &Arc<Queue>,
        sequence: (u64, u64),
        flow: &Arc<Flow>,
    ) -> Result<Self, Error> {
        let claimed = queue.claim_key(sequence)?;
        Ok(Self::claimed(queue, claimed, What::Key(sequence), flow))
    }

    fn claimed(
        queue: &Arc<Queue>,
        (subscriber, first): (Arc<Subscriber>, LetterId),
        what: What,
        flow: &Arc<Flow>,
    ) -> Self {
        flow.opened();
        Self {
            queue: Arc::clone(queue),
            subscriber,
            what,
            flow: Arc::clone(flow),
            first,
            current: None,
            has_begun: false,
            is_over: false,
        }
    }

    /// Whose letters these are.
    pub(crate) fn subscriber(&self) -> &Arc<Subscriber> {
        &self.subscriber
    }

    /// The key that is parked, by its hash; `None` for a single letter.
    pub(crate) fn parked_key(&self) -> Option<u64> {
        match self.what {
            What::Letter(_) => None,
            What::Key((_, key_hash)) => Some(key_hash),
        }
    }

    /// The hash of the key by which a worker is picked, if the event has one.
    pub(crate) fn key_hash(&self) -> Option<u64> {
        match self.what {
            What::Letter(id) => self.queue.key_hash_of(id),
            What::Key((_, key_hash)) => Some(key_hash),
        }
    }

    /// The type of the event that it begins with, by its number.
    pub(crate) fn type_index(&self) -> Option<u32> {
        self.queue.type_index_of(self.first)
    }

    /// The next letter in order. To be asked on the thread that owns the subscription's key, with nothing of the
    /// order under way: after [`Next::Unparked`] the key is free at once.
    pub(crate) fn next(&mut self) -> Next {
        assert!(
            self.current.is_none(),
            "a letter's redelivery ends before the next begins"
        );
        if self.is_over {
            return Next::Done;
        }
        if self.flow.is_cancelled() {
            self.end("it was cancelled");
            return Next::Done;
        }
        let id = match self.what {
            What::Letter(id) => id,
            What::Key(sequence) => match self.queue.first_of(sequence) {
                Some(id) => id,
                None => {
                    self.is_over = true;
                    return Next::Unparked;
                }
            },
        };
        self.has_begun = true;
        self.current = Some(id);
        match self.queue.take(id) {
            Some((slot, _replays)) if !slot.is_empty() => Next::Deliver(Redelivery {
                #[cfg(test)]
                letter: id,
                slot,
                #[cfg(test)]
                replays: _replays,
            }),
            _ => {
                self.end("its event was taken by value and is gone: discard the letter");
                Next::Done
            }
        }
    }

    /// The letter was handled: it goes.
    pub(crate) fn succeed(&mut self) {
        let Some(id) = self.current.take() else {
            return;
        };
        if let What::Letter(_) = self.what {
            self.is_over = true;
        }
        self.queue.succeed(id);
        self.flow.outcome(LetterOutcome {
            letter: id,
            ended: Redelivered::Handled,
        });
    }

    /// The letter failed again: it stays, and with it what is behind it. The slot comes back, in which a subscription
    /// that takes by value may have left it.
    pub(crate) fn fail(&mut self, failed: Failed, slot: Option<Slot>) {
        let Some(id) = self.current.take() else {
            return;
        };
        let error = failed.errors.first().cloned().unwrap_or_default();
        let slot = slot.filter(|_| self.subscriber.takes_by_value);
        self.queue.fail(id, failed, slot);
        self.flow.outcome(LetterOutcome {
            letter: id,
            ended: Redelivered::Failed { error },
        });
        self.settled();
    }

    /// The letter was not delivered (the engine stops, the subscription was withdrawn): it is as it was.
    pub(crate) fn give_up(&mut self, slot: Option<Slot>, why: &str) {
        let Some(id) = self.current.take() else {
            return;
        };
        let slot = slot.filter(|_| self.subscriber.takes_by_value);
        self.queue.give_up(id, slot);
        self.tell_given_up(id, why);
        self.settled();
    }

    fn tell_given_up(&self, letter: LetterId, why: &str) {
        let why = why.to_owned();
        self.flow.outcome(LetterOutcome {
            letter,
            ended: Redelivered::GivenUp { why },
        });
    }

    /// A letter's claim has ended with its delivery; a key's ends here.
    fn settled(&mut self) {
        self.is_over = true;
        if let What::Key(sequence) = self.what {
            self.queue.release_key(sequence);
        }
    }

    /// Lets go of what is still claimed, and says so of the letter that was or would have been delivered.
    fn end(&mut self, why: &str) {
        if self.is_over {
            return;
        }
        let letter = self.current.take();
        if let Some(id) = letter.or_else(|| (!self.has_begun).then_some(self.first)) {
            if letter.is_some() || matches!(self.what, What::Letter(_)) {
                self.queue.give_up(id, None);
            }
            self.tell_given_up(id, why);
        }
        self.settled();
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        self.end("the redelivery ended before it was made");
        self.flow.closed();
    }
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Order")
            .field("what", &self.what)
            .field("subscriber", &self.subscriber)
            .field("current", &self.current)
            .finish_non_exhaustive()
    }
}

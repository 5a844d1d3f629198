//! Refused events, handed back.
//!
//! **publish** → route → lane → worker → handler → outcome

use std::error::Error;
use std::fmt;

/// Why an event was not admitted; the event is inside.
#[derive(PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError<E> {
    /// There was no room, and the admission did not allow to wait (any longer).
    Full(E),
    /// The engine is stopping or has stopped.
    Closed(E),
    /// Nobody subscribes to the type, and the engine was built with `NoHandler::Error`.
    NoHandler(E),
    /// A blocking publish on a worker's thread found the worker's spill full, or the event is for another
    /// engine, or for a pool that this thread polls: it might have waited for itself.
    WouldDeadlock(E),
}

impl<E> PublishError<E> {
    /// The event back.
    pub fn into_event(self) -> E {
        match self {
            Self::Full(event)
            | Self::Closed(event)
            | Self::NoHandler(event)
            | Self::WouldDeadlock(event) => event,
        }
    }

    /// There was no room.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }

    /// The engine is stopping or has stopped.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }

    fn text(&self) -> &'static str {
        match self {
            Self::Full(_) => {
                "no room for the event (wait with Admission::Block, or enlarge lane_capacity or inbox_capacity)"
            }
            Self::Closed(_) => "the engine is stopping and admits no more events",
            Self::NoHandler(_) => {
                "nobody subscribes to the event's type (subscribe first, or build with NoHandler::Ignore)"
            }
            Self::WouldDeadlock(_) => {
                "there is no room, and a worker's or a poller's thread does not wait, as it may wait for itself (enlarge spill_max, lane_capacity or inbox_capacity, or publish less per event)"
            }
        }
    }
}

impl<E> fmt::Display for PublishError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl<E> fmt::Debug for PublishError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Full(_) => "Full",
            Self::Closed(_) => "Closed",
            Self::NoHandler(_) => "NoHandler",
            Self::WouldDeadlock(_) => "WouldDeadlock",
        };
        f.write_str(name)
    }
}

impl<E> Error for PublishError<E> {}

/// A batch that was not admitted to its end. Nothing is lost: what was not published is inside, in
/// order: `refused`, then `pulled`, then `rest`.
pub struct BatchError<E, I> {
    /// How many events were admitted before.
    pub published: usize,
    /// The first event that was not, and why.
    pub refused: PublishError<E>,
    /// Events that had been pulled from the iterator behind it.
    pub pulled: Vec<E>,
    /// The iterator with what nobody has pulled yet.
    pub rest: I,
}

impl<E, I> fmt::Display for BatchError<E, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "after {} events of a batch: {}",
            self.published, self.refused
        )
    }
}

impl<E, I> fmt::Debug for BatchError<E, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchError")
            .field("published", &self.published)
            .field("refused", &self.refused)
            .field("pulled", &self.pulled.len())
            .finish_non_exhaustive()
    }
}

impl<E, I> Error for BatchError<E, I> {}

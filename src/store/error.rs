//! Why the store refused something. The text names the thing and the remedy.

use super::expected::{ExpectedVersion, StreamState};
use crate::event::EventId;
use std::fmt;

/// An expectation that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The stream's name.
    pub stream: String,
    /// What was expected of it.
    pub expected: ExpectedVersion,
    /// What it is.
    pub actual: StreamState,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "stream {:?}: expected {}, but {}",
            self.stream, self.expected, self.actual
        )
    }
}

/// Why an append was refused. Nothing of it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppendError {
    /// Expectations that do not hold, all of them; also where the stream was deleted, or an append that is tried again
    /// is found in part only.
    Conflict(Vec<Conflict>),
    /// An event of this id is where the expectation says, with another type or payload.
    IdReused {
        /// The stream's name.
        stream: String,
        /// The id that was given twice.
        id: EventId,
        /// The version of the event that has it.
        version: u64,
    },
    /// The codec of an event failed or panicked.
    Encode {
        /// The event's type.
        event: String,
        /// What the codec said.
        reason: String,
    },
    /// The event's type has no codec.
    NoCodec {
        /// The event's type.
        event: String,
    },
    /// A record would be larger than a segment allows.
    TooLarge {
        /// What it would need.
        bytes: usize,
        /// What a segment has room for.
        bytes_max: usize,
    },
    /// What was asked for makes no sense: the text says what.
    Invalid(String),
    /// The store holds as much as it may, or whoever handles what it holds is too far behind.
    Full(String),
    /// There is no memory for another segment.
    NoMemory {
        /// What a segment needs.
        bytes: usize,
    },
    /// The engine that handles what the store holds is stopping.
    Closed,
    /// The call would have waited, on a worker's thread, for that worker.
    WouldDeadlock,
}

impl AppendError {
    /// Expectations did not hold: read again, decide again.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict(_))
    }

    /// There is no room now: later there may be.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }

    /// The first expectation that did not hold.
    #[must_use]
    pub fn conflict(&self) -> Option<&Conflict> {
        match self {
            Self::Conflict(conflicts) => conflicts.first(),
            _ => None,
        }
    }
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict(conflicts) => {
                for (number, conflict) in conflicts.iter().enumerate() {
                    let gap = if number == 0 { "" } else { "; " };
                    write!(f, "{gap}{conflict}")?;
                }
                Ok(())
            }
            Self::IdReused { stream, id, version } => write!(
                f,
                "stream {stream:?}: the event at version {version} has the id {id} and is another one (give every event an id of its own)"
            ),
            Self::Encode { event, reason } => write!(f, "event {event:?} cannot be encoded: {reason}"),
            Self::NoCodec { event } => write!(
                f,
                "event {event:?} has no codec, so it cannot be stored (say #[event(codec = \"postcard\")], or answer one in `Event::codec`)"
            ),
            Self::TooLarge { bytes, bytes_max } => write!(
                f,
                "a record of {bytes} bytes does not fit: at most {bytes_max} (raise `segment_bytes`)"
            ),
            Self::Invalid(what) | Self::Full(what) => f.write_str(what),
            Self::NoMemory { bytes } => {
                write!(f, "there is no memory for another segment of {bytes} bytes")
            }
            Self::Closed => f.write_str("the engine that handles stored events is stopping"),
            Self::WouldDeadlock => f.write_str(
                "the append would wait for the worker on whose thread it is made (raise `lag_max`, or append from elsewhere)",
            ),
        }
    }
}

impl std::error::Error for AppendError {}

/// Why records could not be read, or not as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// What was asked for begins below the first record that is kept.
    Truncated {
        /// The position of the first record that is kept.
        first: u64,
    },
    /// There is no stream of this name.
    NoStream {
        /// The name.
        stream: String,
    },
    /// The stream was deleted.
    Deleted {
        /// The name.
        stream: String,
        /// The version of its last event.
        version: u64,
    },
    /// The range makes no sense: the text says what.
    Invalid(String),
    /// A record's payload is not what its type's codec can read.
    Decode {
        /// Where the record is in the log.
        position: u64,
        /// The record's type.
        event: String,
        /// What the codec said.
        reason: String,
    },
    /// A record is of another type than was asked for.
    OtherType {
        /// Where the record is in the log.
        position: u64,
        /// The record's type and version.
        found: (String, u16),
        /// The type and version that was asked for.
        wanted: (String, u16),
    },
}

impl ReadError {
    /// The records asked for are gone; `first` is the position of the first that is kept.
    #[must_use]
    pub fn truncated(&self) -> Option<u64> {
        match self {
            Self::Truncated { first } => Some(*first),
            _ => None,
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { first } => write!(
                f,
                "what was asked for is no longer kept: the first record is at position {first} (start there, or keep more by `retention` or a checkpoint that pins it)"
            ),
            Self::NoStream { stream } => write!(f, "there is no stream {stream:?}"),
            Self::Deleted { stream, version } => {
                write!(f, "stream {stream:?} was deleted at version {version}")
            }
            Self::Invalid(what) => f.write_str(what),
            Self::Decode {
                position,
                event,
                reason,
            } => {
                write!(f, "record {position} cannot be read as {event:?}: {reason}")
            }
            Self::OtherType {
                position,
                found,
                wanted,
            } => write!(
                f,
                "record {position} is a {:?} of version {}, not a {:?} of version {}",
                found.0, found.1, wanted.0, wanted.1
            ),
        }
    }
}

impl std::error::Error for ReadError {}

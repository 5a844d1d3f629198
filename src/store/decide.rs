//! Decisions on aggregates, appended with the version that they were made on.
//!
//! publish → **store** → worker → handler → outcome
//!
//! Nothing is locked between a look at the state and the append (EV2): if another was faster, the new events are applied and it is
//! decided again, so many times at most.

use super::aggregate::Aggregate;
use super::error::{AppendError, ReadError};
use super::{Batch, EventStore, IntoDraft};
use std::fmt;

/// What a decision appends.
#[derive(Debug)]
pub struct Changes<'s> {
    batch: Batch<'s>,
    stream: &'s str,
    fault: Option<AppendError>,
}

impl Changes<'_> {
    /// Adds an event, of any type, or a [`Draft`](super::Draft) of one. If it cannot be encoded, nothing is appended, and
    /// [`EventStore::execute`] says why.
    pub fn push<'e>(&mut self, draft: impl IntoDraft<'e>) -> &mut Self {
        if self.fault.is_none()
            && let Err(fault) = self.batch.push(self.stream, draft)
        {
            self.fault = Some(fault);
        }
        self
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a decision has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Executed {
    /// The version of the stream's last event; `None` if there is still no such stream.
    pub version: Option<u64>,
    /// The position of its last event; of a decision for nothing, that of the event to come.
    pub last_position: u64,
    /// How many events were appended.
    pub events: usize,
    /// How often it was decided: once, and once more for each time that another was faster.
    pub attempts: u32,
}

/// Why nothing was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExecuteError<D> {
    /// The decision was against it.
    Refused(D),
    /// Others were faster each time.
    Conflict {
        /// The stream's name.
        stream: String,
        /// How often it was decided.
        attempts: u32,
        /// What the last append found.
        last: AppendError,
    },
    /// The append was refused for another reason.
    Append {
        /// The stream's name.
        stream: String,
        /// The reason.
        error: AppendError,
    },
    /// The state could not be loaded.
    Load {
        /// The stream's name.
        stream: String,
        /// The reason.
        error: ReadError,
    },
}

impl<D> ExecuteError<D> {
    /// Others were faster each time.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }

    /// What the decision said against it.
    #[must_use]
    pub fn refusal(&self) -> Option<&D> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

impl<D: fmt::Display> fmt::Display for ExecuteError<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Conflict {
                stream,
                attempts,
                last,
            } => write!(
                f,
                "stream {stream:?}: others were faster, {attempts} times in a row (allow more retries, or try later): {last}"
            ),
            Self::Append { stream, error } => {
                write!(f, "stream {stream:?} cannot be appended to: {error}")
            }
            Self::Load { stream, error } => {
                write!(f, "stream {stream:?} cannot be loaded: {error}")
            }
        }
    }
}

impl<D: fmt::Debug + fmt::Display> std::error::Error for ExecuteError<D> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(_) => None,
            Self::Conflict { last: error, .. } | Self::Append { error, .. } => Some(error),
            Self::Load { error, .. } => Some(error),
        }
    }
}

impl EventStore {
    /// Decides on the aggregate's state and appends what was decided, all or nothing, unless the stream has gone on since: then it
    /// is decided again on what it has become, `retries` times at most. A decision for nothing is checked in the
    /// same way. Takes a snapshot if one is due.
    ///
    /// # Errors
    /// [`ExecuteError`]: nothing was appended.
    pub fn execute<A: Aggregate, D>(
        &self,
        stream: &str,
        retries: u32,
        mut decide: impl FnMut(&A, &mut Changes<'_>) -> Result<(), D>,
    ) -> Result<Executed, ExecuteError<D>> {
        let load = |error| ExecuteError::Load {
            stream: stream.to_owned(),
            error,
        };
        let refused = |error| ExecuteError::Append {
            stream: stream.to_owned(),
            error,
        };
        let mut loaded = self.load::<A>(stream).map_err(load)?;
        let mut attempts = 0_u32;
        loop {
            attempts = attempts.saturating_add(1);
            let mut changes = Changes {
                batch: self.batch(),
                stream,
                fault: None,
            };
            decide(&loaded.state, &mut changes).map_err(ExecuteError::Refused)?;
            if let Some(fault) = changes.fault {
                return Err(refused(fault));
            }
            let mut batch = changes.batch;
            batch.expect(stream, loaded.expected()).map_err(refused)?;
            let events = batch.len();
            match batch.commit() {
                Ok(appended) => {
                    let appended = appended.single();
                    let count = loaded.next() + events as u64;
                    if A::snapshots().is_due(count, loaded.in_snapshot)
                        && self.catch_up(stream, &mut loaded).is_ok()
                    {
                        // If it cannot be read, there is no snapshot; what was appended is.
                        self.keep_if_due(stream, &mut loaded);
                    }
                    return Ok(Executed {
                        version: appended.version,
                        last_position: appended.last_position,
                        events,
                        attempts,
                    });
                }
                Err(last) if last.is_conflict() => {
                    if attempts > retries {
                        return Err(ExecuteError::Conflict {
                            stream: stream.to_owned(),
                            attempts,
                            last,
                        });
                    }
                    self.catch_up(stream, &mut loaded).map_err(load)?;
                }
                Err(error) => return Err(refused(error)),
            }
        }
    }
}

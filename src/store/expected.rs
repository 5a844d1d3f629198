//! Expected versions: what an append demands of a stream, and the decision, which is a pure function.

use std::fmt;

/// What an append expects of its stream; the first event of a stream has version 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ExpectedVersion {
    /// Nothing.
    #[default]
    Any,
    /// That the stream has no event yet.
    NoStream,
    /// That the stream has an event, or had one.
    StreamExists,
    /// That the stream's last event has this version.
    Exact(u64),
}

impl fmt::Display for ExpectedVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any version"),
            Self::NoStream => f.write_str("no stream"),
            Self::StreamExists => f.write_str("a stream"),
            Self::Exact(version) => write!(f, "version {version}"),
        }
    }
}

/// What a stream is found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamState {
    /// It has never had an event.
    Missing,
    /// Its last event has this version; also if retention or truncation has taken its events.
    At(u64),
    /// It was deleted when its last event had this version, and takes no more.
    Deleted(u64),
}

impl StreamState {
    /// The version of the last event that the stream ever had.
    #[must_use]
    pub fn version(self) -> Option<u64> {
        match self {
            Self::Missing => None,
            Self::At(version) | Self::Deleted(version) => Some(version),
        }
    }
}

impl fmt::Display for StreamState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no such stream"),
            Self::At(version) => write!(f, "it is at version {version}"),
            Self::Deleted(version) => write!(f, "it was deleted at version {version}"),
        }
    }
}

/// What follows from expectation and state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The events go to the head of the stream.
    Append,
    /// They may, unless the stream's latest events are these very ones.
    AppendUnlessRecent,
    /// The stream has gone on: fine only if the events from this version on are these very ones.
    CompareFrom(u64),
    /// The expectation does not hold.
    Conflict,
}

/// Decides on an append of events (`is_check`: of none) to a stream.
pub(crate) fn decide(expected: ExpectedVersion, state: StreamState, is_check: bool) -> Verdict {
    match (expected, state) {
        // A deleted stream is not there, so that may be checked; but nothing can be appended to it.
        (ExpectedVersion::NoStream, StreamState::Deleted(_)) if is_check => Verdict::Append,
        (ExpectedVersion::Any, _) if is_check => Verdict::Append,
        (_, StreamState::Deleted(_)) => Verdict::Conflict,
        (ExpectedVersion::Any, StreamState::Missing) => Verdict::Append,
        (ExpectedVersion::NoStream, StreamState::Missing) => Verdict::Append,
        (ExpectedVersion::StreamExists | ExpectedVersion::Exact(_), StreamState::Missing) => {
            Verdict::Conflict
        }
        (ExpectedVersion::StreamExists, StreamState::At(_)) if is_check => Verdict::Append,
        (ExpectedVersion::Any | ExpectedVersion::StreamExists, StreamState::At(_)) => {
            Verdict::AppendUnlessRecent
        }
        (ExpectedVersion::Exact(expected), StreamState::At(actual)) if expected == actual => {
            Verdict::Append
        }
        (ExpectedVersion::Exact(expected), StreamState::At(actual))
            if expected < actual && !is_check =>
        {
            Verdict::CompareFrom(expected + 1)
        }
        (ExpectedVersion::NoStream, StreamState::At(_)) if !is_check => Verdict::CompareFrom(0),
        (ExpectedVersion::NoStream | ExpectedVersion::Exact(_), StreamState::At(_)) => {
            Verdict::Conflict
        }
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;
    use ExpectedVersion::{Any, Exact, NoStream, StreamExists};
    use StreamState::{At, Deleted, Missing};

    #[test]
    fn ev1_every_expectation_meets_every_state() {
        use Verdict::{Append, AppendUnlessRecent, CompareFrom, Conflict};
        let states = [Missing, At(2), Deleted(2)];
        for (expected, append, check) in [
            (Any, [Append, AppendUnlessRecent, Conflict], [Append; 3]),
            (
                NoStream,
                [Append, CompareFrom(0), Conflict],
                [Append, Conflict, Append],
            ),
            (
                StreamExists,
                [Conflict, AppendUnlessRecent, Conflict],
                [Conflict, Append, Conflict],
            ),
            (
                Exact(1),
                [Conflict, CompareFrom(2), Conflict],
                [Conflict; 3],
            ),
            (
                Exact(2),
                [Conflict, Append, Conflict],
                [Conflict, Append, Conflict],
            ),
            (Exact(3), [Conflict; 3], [Conflict; 3]),
            (Exact(u64::MAX), [Conflict; 3], [Conflict; 3]),
        ] {
            assert_eq!(
                states.map(|state| decide(expected, state, false)),
                append,
                "{expected}"
            );
            assert_eq!(
                states.map(|state| decide(expected, state, true)),
                check,
                "{expected}, checked"
            );
        }
    }
}

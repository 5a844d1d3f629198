//! How an attempt and a delivery end.
//!
//! publish → route → lane → worker → handler → **outcome**
//!
//! A handler answers each attempt with an [`Outcome`]; a delivery ends as one of [`Ended`]. What comes
//! between the two (retry, dead letter) starts from here.

mod failure;

pub use failure::{Advice, Failure, FailureKind};

use serde::Serialize;

/// What a handler made of an event.
#[derive(Debug)]
#[must_use]
pub enum Outcome {
    /// Done.
    Handled,
    /// Looked at and left aside on purpose; counted apart.
    Skipped,
    /// It could not be done.
    Failed(Failure),
}

/// What a handler may return: nothing, a result, or an [`Outcome`].
pub trait IntoOutcome {
    /// The outcome that the value stands for.
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for () {
    #[inline(always)]
    fn into_outcome(self) -> Outcome {
        Outcome::Handled
    }
}

impl IntoOutcome for Outcome {
    #[inline(always)]
    fn into_outcome(self) -> Outcome {
        self
    }
}

impl<T: IntoOutcome, E: Into<Failure>> IntoOutcome for Result<T, E> {
    #[inline(always)]
    fn into_outcome(self) -> Outcome {
        match self {
            Ok(value) => value.into_outcome(),
            Err(error) => Outcome::Failed(error.into()),
        }
    }
}

/// How one delivery (one event for one subscription) ended; each ends in exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ended {
    /// The handler did it.
    Handled,
    /// It failed for good, and no dead-letter queue took it.
    Failed,
    /// It failed for good, and is kept as a letter.
    DeadLettered,
    /// The handler left it aside.
    Skipped,
    /// The subscription was withdrawn first.
    Withdrawn,
    /// The engine stopped first.
    Abandoned,
}

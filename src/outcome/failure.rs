//! Why an attempt failed.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// What sort of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FailureKind {
    /// The handler said so.
    Error,
    /// The handler panicked.
    Panic,
    /// The handler took longer than its subscription allows.
    Timeout,
    /// The event could not be read, and no handler was called.
    Decode,
}

/// What a failure says about trying again (RO4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Advice {
    /// Another attempt may go better; the subscription's policy says when. What nothing else is said of.
    #[default]
    Retryable,
    /// No further attempt will go better.
    Permanent,
    /// Not before this long from now: in place of the policy's delay, whose attempts still count.
    RetryAfter(Duration),
}

/// Most messages that are told of one failure.
const CHAIN_MAX: usize = 32;

/// A failed attempt: a message, and where there is one the error it came from.
///
/// One pointer wide, so that returning an outcome costs nothing while all goes well. Converts from any
/// `std::error::Error`, which is why it is none itself.
pub struct Failure(Box<Inner>);

struct Inner {
    kind: FailureKind,
    advice: Advice,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    /// A failure that is only a message.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind: FailureKind::Error,
            advice: Advice::Retryable,
            message: message.into(),
            source: None,
        }))
    }

    #[cold]
    pub(crate) fn panicked(message: String) -> Self {
        Self::of_kind(FailureKind::Panic, message)
    }

    #[cold]
    pub(crate) fn timed_out(message: String) -> Self {
        Self::of_kind(FailureKind::Timeout, message)
    }

    #[cold]
    pub(crate) fn unreadable(message: String) -> Self {
        Self::of_kind(FailureKind::Decode, message)
    }

    fn of_kind(kind: FailureKind, message: String) -> Self {
        Self(Box::new(Inner {
            kind,
            advice: Advice::Retryable,
            message,
            source: None,
        }))
    }

    /// The same failure, with the word that no further attempt will go better.
    #[must_use]
    pub fn permanent(mut self) -> Self {
        self.0.advice = Advice::Permanent;
        self
    }

    /// The same failure, with the word not to try again before this long from now.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.0.advice = Advice::RetryAfter(delay);
        self
    }

    /// What it says about trying again.
    #[must_use]
    pub fn advice(&self) -> Advice {
        self.0.advice
    }

    /// The messages of the failure and of every error it came from, the latest first.
    #[must_use]
    pub fn chain(&self) -> Vec<String> {
        let mut chain = vec![self.0.message.clone()];
        let mut cause: Option<&(dyn Error + 'static)> = self.source().map(|error| error as _);
        // An error that is its own source, over and over, is somebody's fault, and no reason to hang.
        for _ in 0..CHAIN_MAX {
            let Some(error) = cause else { break };
            let message = error.to_string();
            // The failure's own message is its error's, where it was converted from one.
            if chain.len() > 1 || message != chain[0] {
                chain.push(message);
            }
            cause = error.source().filter(|_| chain.len() < CHAIN_MAX);
        }
        chain
    }

    /// Whether it was an error, a panic or a timeout.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.0.kind
    }

    /// What happened, in one line.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The error it came from; its `source()` leads on.
    #[must_use]
    pub fn source(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.0.source.as_deref()
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(Box::new(Inner {
            kind: FailureKind::Error,
            advice: Advice::Retryable,
            message: error.to_string(),
            source: Some(Box::new(error)),
        }))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("kind", &self.0.kind)
            .field("advice", &self.0.advice)
            .field("message", &self.0.message)
            .field("source", &self.0.source)
            .finish()
    }
}

//! Why an attempt failed.

use std::error::Error;
use std::fmt;

/// What sort of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FailureKind {
    /// The handler said so.
    Error,
    /// The handler panicked.
    Panic,
}

/// A failed attempt: a message, and where there is one the error it came from.
///
/// One pointer wide, so that returning an outcome costs nothing while all goes well. Converts from any
/// `std::error::Error`, which is why it is none itself.
pub struct Failure(Box<Inner>);

struct Inner {
    kind: FailureKind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    /// A failure that is only a message.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind: FailureKind::Error,
            message: message.into(),
            source: None,
        }))
    }

    #[cold]
    pub(crate) fn panicked(message: String) -> Self {
        Self(Box::new(Inner {
            kind: FailureKind::Panic,
            message,
            source: None,
        }))
    }

    /// Whether it was an error or a panic.
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
            .field("message", &self.0.message)
            .field("source", &self.0.source)
            .finish()
    }
}

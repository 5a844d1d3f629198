//! The one error of everything that is not on the hot path.

use std::fmt;

/// Why something could not be set up, changed or waited for. The text names the thing and the remedy.
pub struct Error {
    kind: ErrorKind,
    message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    Setting,
    Closed,
    WouldDeadlock,
    Conflict,
    Missing,
    Factory,
    Thread,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// A setting was outside its range.
    #[must_use]
    pub fn is_setting(&self) -> bool {
        self.kind == ErrorKind::Setting
    }

    /// The engine is stopping or has stopped.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.kind == ErrorKind::Closed
    }

    /// The call would have waited, on a worker's thread, for that worker.
    #[must_use]
    pub fn is_would_deadlock(&self) -> bool {
        self.kind == ErrorKind::WouldDeadlock
    }

    /// Something else stands in the way: another subscription, or somebody who does the same already.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.kind == ErrorKind::Conflict
    }

    /// What was named is not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.kind == ErrorKind::Missing
    }

    /// A handler factory failed or panicked; the subscription was undone.
    #[must_use]
    pub fn is_factory(&self) -> bool {
        self.kind == ErrorKind::Factory
    }

    /// A thread could not be started or pinned.
    #[must_use]
    pub fn is_thread(&self) -> bool {
        self.kind == ErrorKind::Thread
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}: {})", self.kind, self.message)
    }
}

impl std::error::Error for Error {}

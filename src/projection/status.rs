//! How a projection is doing.

use super::rebuild::RebuildProgress;
use crate::sync::Arc;

/// What a projection is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// It applies what is appended.
    Running,
    /// Somebody paused it.
    Paused,
    /// An event could not be applied, and the policy says to stop; or records that it needs are no longer kept.
    Failed {
        /// The position of the event.
        position: u64,
        /// What was wrong.
        reason: String,
    },
    /// A new view is being made; the old one is read meanwhile, and goes on as it did.
    Rebuilding(RebuildProgress),
    /// It has ended.
    Stopped,
}

/// Whether a projection is doing well enough.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// It is.
    Healthy {
        /// How many records it has before it.
        lag: u64,
    },
    /// It is further behind than it may be.
    Lagging {
        /// How many records it has before it.
        lag: u64,
        /// How many it may have.
        lag_max: u64,
    },
    /// It has failed, see [`Status::Failed`].
    Failed {
        /// The position of the event.
        position: u64,
        /// What was wrong.
        reason: String,
    },
    /// It has ended.
    Stopped,
}

impl Health {
    /// Whether all is well.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        matches!(self, Self::Healthy { .. })
    }
}

/// Whether a part goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    Paused,
    Failed { position: u64, reason: Arc<str> },
    Stopped,
}

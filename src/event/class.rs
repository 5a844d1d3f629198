//! Priority classes.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How urgent an event is. Among waiting events a worker takes the most urgent class first; a lower
/// one is still served within a bounded number of events (`starvation_limit`).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Class {
    /// Ends a running batch of a lower class.
    Critical = 0,
    /// Before normal.
    High = 1,
    /// What nothing is said about.
    #[default]
    Normal = 2,
    /// After everything else; never starved.
    Low = 3,
}

impl Class {
    /// All classes, the most urgent first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Normal, Self::Low];

    /// The class as an index into tables, 0 the most urgent.
    #[inline(always)]
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// The name in reports: `critical`, `high`, `normal`, `low`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

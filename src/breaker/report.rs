//! What is told of a breaker: each transition, and how it stands.
//!
//! publish → route → lane → worker → handler → outcome → **breaker**

use super::state::BreakerState;
use std::time::Duration;

/// Why a breaker's state changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(not(model), derive(serde::Serialize))]
#[cfg_attr(not(model), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum BreakerCause {
    /// Too many calls failed.
    FailureRate,
    /// Too many calls were slow.
    SlowCallRate,
    /// It had been open long enough.
    WaitOver,
    /// A probe failed, or was slow where slow calls count.
    ProbeFailed,
    /// A probe did not come back in time.
    ProbeLimit,
    /// All probes succeeded.
    ProbesSucceeded,
    /// Somebody said so.
    ByHand,
}

/// One change of a breaker's state.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(not(model), derive(serde::Serialize))]
#[non_exhaustive]
pub struct BreakerTransition {
    /// The breaker's name.
    pub breaker: String,
    /// The state it left.
    pub from: BreakerState,
    /// The state it is in.
    pub to: BreakerState,
    /// Why.
    pub cause: BreakerCause,
    /// The how manieth transition it is, from 1.
    pub epoch: u64,
    /// When, in nanoseconds since the engine's start; `None` where nobody knew the time: by hand, while no subscription
    /// uses the breaker.
    pub at_ns: Option<u64>,
    /// The part of the calls in the window that had failed; 0 where no window decided.
    pub failure_rate: f64,
    /// The part of the calls in the window that had been slow; 0 where no window decided.
    pub slow_call_rate: f64,
    /// The calls in the window; 0 where no window decided.
    pub calls: u64,
}

/// How often a breaker went to each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(not(model), derive(serde::Serialize))]
#[non_exhaustive]
pub struct BreakerTransitions {
    /// To closed.
    pub to_closed: u64,
    /// To open.
    pub to_open: u64,
    /// To half-open.
    pub to_half_open: u64,
    /// To forced open.
    pub to_forced_open: u64,
    /// To disabled.
    pub to_disabled: u64,
    /// Those of them that no observer was told of, as more than 1,024 waited for a slow one.
    pub untold: u64,
}

impl BreakerTransitions {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.to_closed + self.to_open + self.to_half_open + self.to_forced_open + self.to_disabled
    }

    pub(super) fn count(&mut self, to: BreakerState) {
        let number = match to {
            BreakerState::Closed => &mut self.to_closed,
            BreakerState::Open => &mut self.to_open,
            BreakerState::HalfOpen => &mut self.to_half_open,
            BreakerState::ForcedOpen => &mut self.to_forced_open,
            BreakerState::Disabled => &mut self.to_disabled,
        };
        *number += 1;
    }
}

/// How a breaker stands, in numbers.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(not(model), derive(serde::Serialize))]
#[non_exhaustive]
pub struct BreakerStatus {
    /// The breaker's name.
    pub name: String,
    /// How it stands.
    pub state: BreakerState,
    /// How many transitions there were.
    pub epoch: u64,
    /// How many there were of each kind.
    pub transitions: BreakerTransitions,
    /// Openings since it was last closed: what the wait grows by.
    pub openings_in_row: u32,
    /// Calls in the windows of all workers.
    pub calls: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// Those of them that were slow.
    pub slow_calls: u64,
    /// Probes that are out.
    pub permits_out: u32,
    /// Probes of this episode that have succeeded.
    pub probes_succeeded: u32,
    /// How long until it lets probes pass; `None` if it is not open, or while no subscription uses it.
    pub half_open_in: Option<Duration>,
}

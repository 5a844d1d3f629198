//! What a subscription wants done when its handler fails, hangs, or is to be left alone.
//!
//! publish → route → lane → worker → **handler** → outcome

use crate::breaker::{Breaker, OnOpen};
use crate::retry::RetryPolicy;
use std::time::Duration;

/// How long a call may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeLimit {
    pub(crate) after: Duration,
    /// A call that took longer is a failed attempt, whatever it answered.
    pub(crate) fails: bool,
}

/// The rules of one subscription; without any, one attempt and no breaker.
#[derive(Debug, Clone)]
pub(crate) struct Policies {
    pub(crate) retry: RetryPolicy,
    pub(crate) breaker: Option<Breaker>,
    pub(crate) timeout: Option<TimeLimit>,
    /// What fails for good becomes a letter, where the engine has a queue for them.
    pub(crate) keeps_letters: bool,
    /// A letter parks its key (DQ3).
    pub(crate) is_sequential: bool,
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            retry: RetryPolicy::none(),
            breaker: None,
            timeout: None,
            keeps_letters: true,
            is_sequential: false,
        }
    }
}

impl Policies {
    pub(crate) fn on_open(&self) -> OnOpen {
        self.breaker
            .as_ref()
            .map_or(OnOpen::Pause, Breaker::on_open)
    }

    /// The time above which a call counts as slow.
    pub(crate) fn slow_call(&self) -> Option<Duration> {
        let slow_ns = self.breaker.as_ref()?.slow_after_ns()?;
        Some(Duration::from_nanos(slow_ns))
    }

    /// Whether each call has to be timed by itself.
    pub(crate) fn needs_timing(&self) -> bool {
        self.timeout.is_some() || self.slow_call().is_some()
    }

    /// Everything that is out of range, a text for each.
    pub(crate) fn check(&self, faults: &mut Vec<String>) {
        self.retry.check(faults);
        if let Some(limit) = self.timeout
            && limit.after.is_zero()
        {
            faults.push(
                "time_limit: 0 ns is not above 0 (give the longest time that a call may take)"
                    .to_owned(),
            );
        }
    }
}

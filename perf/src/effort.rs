//! How much is measured.

use crate::machine::Machine;
use std::time::Duration;

/// Events of the first, discarded look at a system.
pub(crate) const PROBE_EVENTS: u64 = 32_768;
/// The most events of a round, so that a probe's good luck has its bounds.
const EVENTS_MAX: u64 = 50_000_000;
/// The fewest: a round is more than what fits into the queues.
const EVENTS_MIN: u64 = 16_384;

/// Quick to see where things stand, full for the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Effort {
    /// Interleaved rounds of throughput; never fewer than seven.
    pub(crate) rounds: usize,
    /// How long such a round is to take, whatever the system.
    pub(crate) round: Duration,
    /// Pairs of rounds of latency.
    pub(crate) pairs: usize,
    /// How long a paced round takes.
    pub(crate) paced: Duration,
    /// How long an idle engine is watched.
    pub(crate) watch: Duration,
    pub(crate) is_full: bool,
}

impl Effort {
    pub(crate) const QUICK: Self = Self {
        rounds: 7,
        round: Duration::from_millis(60),
        pairs: 15,
        paced: Duration::from_millis(100),
        watch: Duration::from_secs(2),
        is_full: false,
    };
    pub(crate) const FULL: Self = Self {
        rounds: 11,
        round: Duration::from_millis(250),
        pairs: 15,
        paced: Duration::from_millis(500),
        watch: Duration::from_secs(10),
        is_full: true,
    };

    /// So many events take about a round.
    pub(crate) fn events(self, ns_per_event: f64) -> u64 {
        let events = self.round.as_nanos() as f64 / ns_per_event;
        (events as u64).clamp(EVENTS_MIN, EVENTS_MAX)
    }
}

/// What every command is given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) effort: Effort,
}

// Fewer rounds have no median worth the name.
const _: () = assert!(Effort::QUICK.rounds >= 7 && Effort::FULL.rounds >= 7);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_takes_its_time_within_bounds() {
        assert_eq!(Effort::QUICK.events(30.0), 2_000_000);
        assert_eq!(Effort::QUICK.events(1e9), EVENTS_MIN);
        assert_eq!(Effort::QUICK.events(1e-9), EVENTS_MAX);
    }
}

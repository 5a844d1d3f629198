//! The counters of `metrics`, with the numbers that they are read as.

#[allow(
    dead_code,
    reason = "the marks carry no edge, so no model asks for them"
)]
#[path = "../../src/metrics/cell.rs"]
mod cell;

pub(crate) use cell::CountsCell;

/// As the original.
#[derive(Debug)]
#[allow(dead_code, reason = "no model asks for them")]
pub(crate) struct AttemptCounts {
    pub(crate) failed_attempts: u64,
    pub(crate) retries: u64,
    pub(crate) timeouts: u64,
    pub(crate) held: u64,
}

/// As the original, without what reports make of it.
#[derive(Debug)]
pub(crate) struct DeliveryCounts {
    pub(crate) admitted: u64,
    pub(crate) handled: u64,
    pub(crate) failed: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) skipped: u64,
    pub(crate) withdrawn: u64,
    pub(crate) abandoned: u64,
}

impl DeliveryCounts {
    pub(crate) fn ended(&self) -> u64 {
        self.handled
            + self.failed
            + self.dead_lettered
            + self.skipped
            + self.withdrawn
            + self.abandoned
    }
}

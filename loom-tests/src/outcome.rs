//! What the mounted files name of `outcome`, and the models look at nothing of.

/// Why something failed.
#[derive(Debug)]
pub(crate) struct Failure;

/// How one delivery ended.
#[derive(Debug, Clone, Copy)]
#[allow(dead_code, reason = "the counters know all of them")]
pub(crate) enum Ended {
    Handled,
    Failed,
    DeadLettered,
    Skipped,
    Withdrawn,
    Abandoned,
}

//! Faults of the engine that are known: lives keep clear of them, and each line goes with its fault.

/// A subscription that has left is taken from the list of those that leave before its counts are added to those that are
/// gone: a report meanwhile has it in neither, and its totals run backwards (OB1).
pub const TOTALS_RUN_BACKWARDS: bool = true;

/// Once the engine has shut, unsubscribing waits for no worker, also where one is still in the handler (PD7).
pub const UNSUBSCRIBE_WAITS_FOR_NOBODY_WHEN_SHUT: bool = true;

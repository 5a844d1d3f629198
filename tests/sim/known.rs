//! Faults of the engine that are known: a run keeps clear of them, and each line goes with its fault.

/// A handler that publishes for nobody through a publisher or a handle while the engine drains: counted as
/// published, and the stop hangs if the event's drop panics.
pub(crate) const FOR_NOBODY_WHILE_DRAINING: bool = true;

/// Two workers that spill for one inbox flush in any order, so the handle's causal order holds for each of
/// them only.
pub(crate) const INBOX_ORDER_BETWEEN_SPILLS: bool = true;

/// Below this limit the lower classes fall due so often that a critical event is never taken.
pub(crate) const STARVATION_LIMIT_MIN: usize = 6;

/// A poller that is dropped while the engine stops may leave events that nobody counts as abandoned.
pub(crate) const POLLER_GOES_WHILE_STOPPING: bool = true;

/// What a worker has spilled for another pool is abandoned in the name of its own pool's subscriptions.
pub(crate) const SPILL_ABANDONED_FOR_THE_WRONG_POOL: bool = true;

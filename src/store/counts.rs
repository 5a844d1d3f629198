//! What the store counts.

use crate::sync::atomic::AtomicU64;

/// Counters that the appenders keep under their lock, and a few of others.
#[derive(Debug, Default)]
pub(crate) struct StoreCounts {
    /// Appends that wrote something.
    pub(crate) appends: AtomicU64,
    /// Appends that were there already.
    pub(crate) duplicates: AtomicU64,
    /// Appends refused for an expectation.
    pub(crate) conflicts: AtomicU64,
    /// Bytes of payloads.
    pub(crate) payload_bytes: AtomicU64,
    /// Bytes of records.
    pub(crate) record_bytes: AtomicU64,
    /// Bytes of segments that retention let go.
    pub(crate) bytes_retired: AtomicU64,
    /// Positions that lossy followers and groups were told to be gone.
    pub(crate) lost: AtomicU64,
    /// Tombstones and truncations: positions that are no events.
    pub(crate) marks: AtomicU64,
    /// Readers that were made: where each begins to count what it samples.
    pub(crate) readers: AtomicU64,
}
